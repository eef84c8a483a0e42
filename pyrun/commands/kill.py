"""pyrun kill: a signal for the container's init, or for all its processes."""

from __future__ import annotations

import posix

from pyrun.base.errors import Error, words
from pyrun.base.processes import SIGKILL
from pyrun.container import state
from pyrun.plan.namespaces import CLONE_NEWPID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.settings import Settings

SIGNALS = {
    name: number
    for number, name in enumerate(
        "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU "
        "XFSZ VTALRM PROF WINCH IO PWR SYS".split(),
        1,
    )
} | {"IOT": 6, "CLD": 17, "POLL": 29, "UNUSED": 31}
RTMIN, RTMAX = 34, 64


def kill(settings: Settings, *, id: str, signal: str | None, all: bool) -> int:
    """Returns the exit status (runtime.md#kill). Callers match `container not running`."""
    number = parse_signal(signal or "TERM")
    container = state.load(settings.root, id)
    group = container.cgroup()
    everyone = all or not container.data["mask"] & CLONE_NEWPID
    if not container.alive():
        # With the host's pids the container's other processes may outlive its init.
        if everyone and group and group.pids():
            group.kill(number)
        elif not all:
            raise Error("container not running")
        return 0
    if everyone and group:
        group.kill(number)
    else:
        try:
            posix.kill(container.data["pid"], number)
        except ProcessLookupError:
            raise Error("container not running") from None
        except OSError as fault:
            raise Error(f"kill process {container.data['pid']}: {words(fault.errno)}") from None
    if number == SIGKILL and group:
        # A process frozen by a v1 freezer dies when it is thawed.
        group.thaw(recursive=True)
    return 0


def parse_signal(word: str) -> int:
    """Number of a signal given as `15`, `TERM`, `SIGTERM`, `RTMIN+3`, `RTMAX-1`. Raises Error: `unknown signal`."""
    name = word.upper().removeprefix("SIG")
    if word.isascii() and word.isdigit():
        number = int(word)
        if 0 <= number <= RTMAX:
            return number
    elif name in SIGNALS:
        return SIGNALS[name]
    for base, start, sign in (("RTMIN", RTMIN, 1), ("RTMAX", RTMAX, -1)):
        if name.startswith(base):
            rest = name[len(base) :]
            offset = 0 if not rest else int(rest[1:]) if rest[:1] in "+-" and rest[1:].isascii() and rest[1:].isdigit() else -1
            number = start + sign * offset
            if offset >= 0 and RTMIN <= number <= RTMAX and rest[:1] in ("", "+" if sign > 0 else "-"):
                return number
    raise Error(f'unknown signal "{word}": use a name like TERM or SIGTERM, RTMIN+N, or a number')
