"""Messages: for a person on stderr, and for the caller in the `--log` file.

    level     no --log                            --log FILE
    debug     stderr (only with --debug)          FILE (only with --debug)
    info      stderr                              FILE
    warning   stderr                              FILE
    error     stderr                              FILE, and the plain text on stderr

On stderr a message is one plain line that begins with `pyrun`. With --debug or --log-format json, where lines need a
time and a level, stderr gets the lines that a file would get.
"""

from __future__ import annotations

import posix
import time

from pyrun.base.errors import Error, visible, words

FORMATS = ("text", "json")
# What the caller passes on with --preserve-fds are the fds from 3 up: the log file keeps out of their way.
LOWEST_FD = 64
QUOTED = {ord("\\"): "\\\\", ord('"'): '\\"'}
PLAIN = {"info": "pyrun: ", "warning": "pyrun: warning: ", "error": "pyrun: "}

_file: int | None = None  # its fd
_format = "text"
_debug = False

doubts: list[tuple[str, str, bool]] | None = None
"""Where `validate` collects what would be a warning otherwise."""


def start(path: str | None, form: str, debug_too: bool) -> None:
    """Opens the log. path: file to append to, None for stderr. form: `text` or `json`. debug_too: keep debug lines.

    Raises Error for an unknown format and for a file that cannot be opened.
    """
    global _file, _format, _debug
    if form not in FORMATS:
        raise Error(f"invalid log-format: {form}")
    _format, _debug = form, debug_too
    if path:
        _file = _open(path)


def to_file() -> bool:
    """Whether messages go to a file (--log)."""
    return _file is not None


def debugging() -> bool:
    """Whether debug lines are kept."""
    return _debug


def debug(text: str) -> None:
    if _debug:
        _say("debug", text)


def info(text: str) -> None:
    _say("info", text)


def warning(text: str) -> None:
    _say("warning", text)


def doubt(path: str, text: str, here: bool = False) -> None:
    """A warning about what stands in config.json at a path. here: it is this machine, or the caller, that cannot have it."""
    if doubts is None:
        warning(f"config.json: {path}: {text}")
    else:
        doubts.append((path, text, here))


def error(text: str, bare: bool = False) -> None:
    """The message that a command ends with, which __main__ says; or why a program has ended badly. bare: without our name on stderr."""
    _say("error", text, bare)


def _open(path: str) -> int:
    try:
        fd = posix.open(path, posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT | posix.O_CLOEXEC, 0o644)
    except OSError as fault:
        raise Error(f"--log: open {path}: {words(fault.errno)}") from None
    import fcntl

    try:
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, LOWEST_FD)
    except OSError:  # RLIMIT_NOFILE is lower than that
        return fd
    posix.close(fd)
    return high


def _say(level: str, text: str, bare: bool = False) -> None:
    if _file is not None:
        _write(_file, _line(level, text))
        if level == "error":
            _write(2, _plain(level, text, bare))
    elif _debug or _format == "json":
        _write(2, _line(level, text))
    else:
        _write(2, _plain(level, text, bare))


# One message is one line, and a config or a file name cannot send codes to the reader's terminal (errors.visible).


def _plain(level: str, text: str, bare: bool) -> str:
    prefix = "" if bare or text.startswith("pyrun ") else PLAIN[level]
    return f"{prefix}{visible(text)}\n"


def _line(level: str, text: str) -> str:
    year, month, day, hour, minute, second = time.gmtime()[:6]
    now = f"{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
    if _format == "text":
        return f'time="{now}" level={level} msg="{visible(text, QUOTED)}"\n'
    from pyrun.base import jsonio

    return jsonio.dumps({"level": level, "msg": text, "time": now}) + "\n"


def _write(fd: int, line: str) -> None:
    try:
        posix.write(fd, line.encode(errors="surrogateescape"))
    except OSError:  # a full disk, a closed pipe: there is no other place to say so
        pass
