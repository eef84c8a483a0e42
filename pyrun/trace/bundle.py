"""A bundle's container, traced from before its program begins to its end."""

from __future__ import annotations

import errno
import posix

from pyrun.base.errors import Error, words
from pyrun.base.processes import readable
from pyrun.container.make import Creation
from pyrun.host.foreground import Foreground
from pyrun.init.session import Init
from pyrun.plan import seccomp
from pyrun.plan.clone import BARRIER_START
from pyrun.trace import profile
from pyrun.trace.binding import PtraceError
from pyrun.trace.tracer import Tracer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.host.foreground import _Relay
    from pyrun.trace.report import Report


class TracedInit(Init):
    """init, whose stops are seen to while we wait for its messages."""

    tracer: Tracer | None = None

    def _await_message(self) -> None:
        if not self.tracer:
            Init._await_message(self)
            return
        while not readable(self.sock, 0):
            # The end of init is left for those who look why it ended. No signal comes between a stop and what is done about it.
            found = self._wait(posix.waitid, posix.P_PID, self.pid, posix.WEXITED | posix.WSTOPPED | posix.WNOWAIT)
            if not found or found.si_code != posix.CLD_TRAPPED:
                return
            self.tracer.serve(wait=False)


class Watched(Foreground):
    """The foreground, from where the tracer works too."""

    tracer: Tracer

    def watch(self, tracer: Tracer, pid: int) -> None:
        """From here on it may end at any time."""
        self.tracer, self.pid = tracer, pid
        tracer.ended = self._ended

    def _reap(self) -> None:
        self.tracer.serve(wait=False)

    def _loop(self, relay: _Relay | None) -> None:
        if relay or self.notify:
            Foreground._loop(self, relay)
            return
        self.tracer.forward(self.pid)
        if self.status is None:
            self.tracer.serve(wait=True)
        self.take_signals()

    def _ended(self, pid: int, status: int) -> None:
        if pid == self.pid:
            self.status = status
            self.tracer.done = True


def creation_of(report: Report, foreground: Watched) -> type[Creation]:
    """The steps of a container that is traced: with another filter, and from the last one before the program on by the tracer."""

    class Traced(Creation):
        def __init__(self, *args: Any) -> None:
            Creation.__init__(self, *args)
            self.init: TracedInit = TracedInit(self.init.plan)

        def filter(self) -> seccomp.Filter | None:
            # Compiled for its faults too: what is wrong in the bundle's own profile shall be said of that.
            seccomp.compile_of(self.config, self.settings.root)
            return seccomp.compile_profile(profile.traced(self.linux["seccomp"]), f"{self.settings.root}/.seccomp")

        def _barrier(self, number: int) -> None:
            Creation._barrier(self, number)
            if number == BARRIER_START:
                self._seize()

        def _seize(self) -> None:
            own = self.linux["seccomp"]
            default = own.get("defaultErrnoRet")
            tracer = Tracer(report, foreground.signals, True, profile.newest(own), 1 if default is None else default)
            try:
                tracer.seize(self.init.pid)
            except PtraceError as fault:
                raise Error(f"ptrace: process {self.init.pid}: {words(fault.errno)}{hint(fault)}") from None
            foreground.watch(tracer, self.init.pid)
            self.init.tracer = tracer

    return Traced


def hint(fault: PtraceError) -> str:
    """What keeps from tracing, where that is known."""
    if fault.errno != errno.EPERM:
        return ""
    return ": is it traced by another one already, or is ptrace forbidden here (kernel.yama.ptrace_scope, a seccomp filter, no CAP_SYS_PTRACE)?"
