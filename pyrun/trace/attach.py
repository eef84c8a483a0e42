"""A container that runs already: its threads are taken, followed, and let go."""

from __future__ import annotations

import _signal as signals
import errno
import posix

from pyrun._native import lib
from pyrun.base import files
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
    """All threads, those too that are made meanwhile by ones that are not taken yet. The kernel takes what taken ones make."""
    for _ in range(ROUNDS):
        found = [tid for pid in processes(container) for tid in threads(pid) if tid not in tracer.dict]
        taken = [seize(tracer, tid) for tid in found]
        if not any(taken):
            return
    raise Error("the container makes processes faster than they can be taken")


def seize(tracer: Tracer, tid: int) -> bool:
    """Takes a thread, unless it has gone or is ours already."""
    try:
        tracer.seize(tid)
        request(INTERRUPT, tid, 0, 0)  # its first stop, from which on its calls are seen
    except PtraceError as fault:
        if fault.errno == errno.ESRCH or tracer_of(tid) == posix.getpid():
            return False
        raise Error(f"ptrace: process {tid}: {words(fault.errno)}{hint(fault)}") from None
    return True


def tracer_of(tid: int) -> int:
    """The pid of the process that traces a thread; ours for one that has gone or is a zombie, which nobody can trace any more (EPERM)."""
    try:
        lines = files.read(f"/proc/{tid}/status").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return posix.getpid()
    said = dict(line.split(b":\t", 1) for line in lines if b":\t" in line)
    return posix.getpid() if said[b"State"][:1] in b"ZX" else int(said[b"TracerPid"])


def processes(container: Container) -> list[int]:
    group = container.cgroup()
    return group.pids() if group and group.paths else [container.data["pid"]]


def threads(pid: int) -> list[int]:
    try:
        return [int(name) for name in posix.listdir(f"/proc/{pid}/task")]
    except (FileNotFoundError, ProcessLookupError):
        return []
