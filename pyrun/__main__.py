"""argv -> command: the only place that catches errors and sets the exit status."""

from __future__ import annotations

import _signal
import posix
import sys

from pyrun.base import errors, log, timeline
from pyrun.cli import scan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyrun.cli.settings import Settings

# How the message of a failed command begins, and its exit status, where they differ from the others': callers know both.
FAILURES = {"create": ("pyrun create failed: ", 1), "run": ("pyrun run failed: ", 1), "exec": ("exec failed: ", 255)}
# Commands whose names Python keeps for itself.
FUNCTIONS = {"list": "list_", "exec": "exec_"}
# Commands that no container's state concerns: they work wherever no directory for it can be.
STATELESS = {"features", "plan", "spec", "unpack", "validate", "version"}
INTERRUPTED = 130
OUT_OF_MEMORY = "out of memory: raise the limit (ulimit -v, or that of the cgroup)"


def main(words: Sequence[str]) -> int:
    """Runs one command line. words: what follows the program's name (list of str). Returns the exit status (int)."""
    command = ""
    try:
        hold_stdio()
        # A caller that ignores it, and execve hands that on, would take the exit status of our children from us.
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        # What the caller's limits (ulimit -f, -t) forbid is an error where it happens, and undone, not our death half-way.
        _signal.signal(_signal.SIGXFSZ, _signal.SIG_IGN)
        _signal.signal(_signal.SIGXCPU, _signal.SIG_IGN)
        settings, name, values = scan.parse(words) or parse(words)
        log.start(settings.log, settings.log_format, settings.debug)
        settings.check()
        if name not in STATELESS:
            settings.own_root()
        command = name
        timeline.start(settings.timeline, settings.debug)
        try:
            return load(name)(settings, **values) or 0
        finally:
            timeline.write(name)
    except SystemExit as end:
        return int(end.code or 0)
    except KeyboardInterrupt:
        return INTERRUPTED
    except errors.Error as fault:
        return fail(command, str(fault), fault.code, fault.bare)
    except OSError as fault:
        log_traceback()
        return fail(command, describe(fault))
    except MemoryError:
        return fail(command, OUT_OF_MEMORY)
    except SystemError as fault:
        # Some parts of Python report the want of memory so, with the other as the cause.
        if isinstance(fault.__cause__ or fault.__context__, MemoryError):
            return fail(command, OUT_OF_MEMORY)
        return internal(command, fault)
    except ModuleNotFoundError as fault:  # of the sources: the executable has them all
        return fail(command, f"{fault}: pip install 'pyrun[source]' brings the packages, `make ext` builds what belongs to a checkout")
    except Exception as fault:
        return internal(command, fault)


def parse(words: Sequence[str]) -> tuple[Settings, str, dict]:
    """The same as scan.parse(), by click. Raises SystemExit after help and completion."""
    # A shell asks without words: a hot command never looks for this.
    if not words and scan.COMPLETE.encode() in posix.environ:
        from pyrun.commands import complete

        complete.answer()
        raise SystemExit(0)
    from pyrun.cli import declaration

    return declaration.parse(words)


def load(name: str) -> Callable:
    """The function of a command."""
    function = FUNCTIONS.get(name, name)
    return getattr(__import__(f"pyrun.commands.{name}", fromlist=[function]), function)


def hold_stdio() -> None:
    """Opens /dev/null as each of stdin, stdout and stderr that the caller has closed: no file of ours may become one."""
    for fd in range(3):
        try:
            posix.fstat(fd)
        except OSError:  # EBADF is all that fstat can say of an fd
            posix.set_inheritable(posix.open("/dev/null", posix.O_RDWR), True)


def fail(command: str, message: str, code: int = 1, bare: bool = False) -> int:
    """Says why the command failed, once; returns the exit status."""
    begin, usual = FAILURES.get(command, ("", 1))
    log.error(message if bare else begin + message, bare)
    return usual if code == 1 else code


def internal(command: str, fault: BaseException) -> int:
    log_traceback()
    return fail(command, f"internal error: {place(fault)}: {type(fault).__name__}: {fault} (--debug shows more)")


def describe(fault: OSError) -> str:
    """An OSError in one line: the path or paths, and the errno in words."""
    text = errors.words(fault.errno) if fault.errno else str(fault)
    names = [name for name in (fault.filename, fault.filename2) if name is not None]
    return ": ".join([" -> ".join(map(str, names)), text]) if names else f"a system call failed: {text} (--debug shows which)"


def place(fault: BaseException) -> str:
    """Where in the source an exception was raised."""
    where, trace = "?", fault.__traceback__
    while trace:
        where, trace = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}", trace.tb_next
    return where


def log_traceback() -> None:
    if not log.debugging():
        return
    import traceback

    for line in traceback.format_exc().splitlines():
        log.debug(line)


def script() -> None:
    """The command `pyrun` of an installed package."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    script()
