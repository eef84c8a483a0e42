"""A container that runs already: its threads are taken, followed, and let go."""

from __future__ import annotations

import _signal as signals
import errno
import posix

from pyrun._native import lib
from pyrun.base.errors import Error, words
from pyrun.init.session import must
from pyrun.trace.binding import PtraceError, request
from pyrun.trace.bundle import hint
from pyrun.trace.tracer import INTERRUPT, Tracer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.container.state import Container
    from pyrun.trace.report import Report

ENDINGS = (signals.SIGHUP, signals.SIGINT, signals.SIGTERM, signals.SIGQUIT)
ROUNDS = 100


def follow(container: Container, report: Report) -> Tracer:
    """Until the container ends, or a signal ends the command."""
    tracer = Tracer(report, must(lib.native_signalfd(), "signalfd"), filtered=False)
    try:
        seize_all(tracer, container)
        while (number := tracer.serve(wait=True)) >= 0 and number not in ENDINGS:
            pass
    finally:
        tracer.let_go()
    return tracer


def seize_all(tracer: Tracer, container: Container) -> None:
    """All threads, those too that are made meanwhile by ones that are not taken yet."""
    for _ in range(ROUNDS):
        new = [tid for pid in processes(container) for tid in threads(pid) if tid not in tracer.dict]
        for tid in new:
            try:
                tracer.seize(tid)
                request(INTERRUPT, tid, 0, 0)  # its first stop, from which on its calls are seen
            except PtraceError as fault:
                if fault.errno == errno.ESRCH:
                    continue
                raise Error(f"ptrace: process {tid}: {words(fault.errno)}{hint(fault)}") from None
        if not new:
            return
    raise Error("the container makes processes faster than they can be taken")


def processes(container: Container) -> list[int]:
    group = container.cgroup()
    return group.pids() if group and group.paths else [container.data["pid"]]


def threads(pid: int) -> list[int]:
    try:
        return [int(name) for name in posix.listdir(f"/proc/{pid}/task")]
    except (FileNotFoundError, ProcessLookupError):
        return []
