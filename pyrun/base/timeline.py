"""When each phase of `create` and `run` began and ended, and each of init's ops: for --timeline FILE, and --debug.

The file has Chrome's trace events; ui.perfetto.dev and chrome://tracing show them. Times are CLOCK_REALTIME: a time
namespace does not shift that one. Without the options nothing is noted, and init is not asked for anything.
"""

from __future__ import annotations

import _struct
import posix
import time

from pyrun.base import jsonio, log
from pyrun.base.errors import Error, words
from pyrun.base.files import write_all

RUNTIME, INIT = 1, 2  # the rows ("threads") of the picture
_TIMES = _struct.Struct("=2Q")  # detail of MSG_TIMING

_path: str | None = None
_wanted = False
_events = []
_begin = 0
_phase: tuple[str, int] | None = None  # (name, begin) of the one that lasts


def start(path: str | None, debug: bool) -> None:
    """Begins to note, if there is a path or `debug`."""
    global _path, _wanted, _begin
    _path, _wanted, _begin = path, bool(path or debug), time.time_ns()


def wanted() -> bool:
    return _wanted


def phase(name: str | None) -> None:
    """Ends the phase that lasts, and begins another; None: no other."""
    global _phase
    if not _wanted:
        return
    now = time.time_ns()
    if _phase:
        _note(RUNTIME, *_phase, now)
        log.debug(f"phase {_phase[0]}: {(now - _phase[1]) // 1000} us")
    _phase = (name, now) if name else None


def op(name: str, where: str, subject: str, detail: bytes) -> None:
    """One of init's ops. detail: of its MSG_TIMING."""
    begin, end = _TIMES.unpack(detail[: _TIMES.size])
    _note(INIT, name, begin, end, {"where": where, "subject": subject})


def write(command: str) -> None:
    """Ends the last phase and writes the file. Raises Error."""
    phase(None)
    if not _path:
        return
    _note(RUNTIME, f"pyrun {command}", _begin, time.time_ns())
    pid = posix.getpid()
    names = [{"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": name}} for tid, name in ((RUNTIME, "pyrun"), (INIT, "init"))]
    text = jsonio.dumps({"traceEvents": names + _events, "displayTimeUnit": "ns"}).encode("utf-8", "surrogateescape")
    try:
        fd = posix.open(_path, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC, 0o644)
        try:
            write_all(fd, text)
        finally:
            posix.close(fd)
    except OSError as fault:
        raise Error(f"--timeline: {_path}: {words(fault.errno)}") from None


def _note(row: int, name: str, begin: int, end: int, args: dict[str, str] | None = None) -> None:
    event = {"ph": "X", "name": name, "pid": posix.getpid(), "tid": row, "ts": begin / 1000, "dur": (end - begin) / 1000}
    _events.append(event | {"args": args} if args else event)
