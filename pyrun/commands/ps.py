"""pyrun ps: the processes of a container, as ps(1) shows them or as a list of pids."""

from __future__ import annotations

import errno
import posix

from pyrun._native import lib
from pyrun.base import files, jsonio, output
from pyrun.base.errors import Error, words
from pyrun.container import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrun.cli.settings import Settings
    from pyrun.container.state import Container

EVERYTHING = ("-ef",)


def ps(settings: Settings, *, id: str, format: str, args: Sequence[str]) -> int:
    """Prints the processes of a container, none if it is stopped. args: options for ps(1). Returns the exit status.

    Raises Error for an unknown format and where ps(1) fails or prints no pids.
    """
    container = state.load(settings.root, id)
    pids = find_pids(container)
    if format == "json":
        # Of no processes runc makes a null: callers decode it into an empty list.
        output.write(jsonio.dumps(pids or None) + "\n")
    elif format == "table":
        output.write(choose(call_ps(args or EVERYTHING), pids))
    else:
        raise Error("invalid format option: use table or json")
    return 0


def find_pids(container: Container) -> list[int]:
    """Pids on the host of all that is in the container's cgroup."""
    group = container.cgroup()
    if group is None or not group.paths:
        if container.alive():
            raise Error("unable to get all container pids: the container has no cgroup of its own")
        return []
    return group.pids()


def call_ps(options: Sequence[str]) -> str:
    """What ps(1) prints."""
    reader, writer = posix.pipe2(posix.O_CLOEXEC)
    actions = [(posix.POSIX_SPAWN_DUP2, writer, fd) for fd in (1, 2)]
    try:
        lib.native_cloexec(3)
        pid = posix.posix_spawnp("ps", ["ps", *options], posix.environ, file_actions=actions)
    except OSError as fault:
        posix.close(reader)
        cure = ": its package is procps" if fault.errno == errno.ENOENT else ""
        raise Error(f'exec: "ps": {words(fault.errno)}{cure}') from None
    finally:
        posix.close(writer)
    shown = files.read_fd(reader, "ps").decode(errors="surrogateescape")
    posix.close(reader)
    _, status = posix.waitpid(pid, 0)
    if status:
        raise Error(f"ps {' '.join(options)}: exit status {posix.waitstatus_to_exitcode(status)}: {shown}")
    return shown


def choose(text: str, pids: Sequence[int]) -> str:
    """The title and the lines of these pids, out of what ps(1) printed."""
    title, *lines = text.splitlines()
    columns = title.split()
    if "PID" not in columns:
        raise Error("couldn't find PID field in ps output")
    index = columns.index("PID")
    wanted = {str(pid) for pid in pids}
    chosen = [line for line in lines if line.strip() and line.split()[index] in wanted]
    return "\n".join([title, *chosen]) + "\n"
