"""How a container ends: its init is killed, and what it held is removed (runtime.md#lifecycle)."""

from __future__ import annotations

import posix

from pyrun.base import log
from pyrun.base.errors import Error
from pyrun.base.processes import PATIENCE, SECOND, SIGKILL, await_end
from pyrun.cgroup import tree
from pyrun.container import hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cgroup.base import Cgroup
    from pyrun.container.state import Container


def kill_init(container: Container) -> None:
    """SIGKILL for init, and a wait until it is gone. Raises Error: it hangs in the kernel, and the record stays."""
    pid = container.data["pid"]
    if not container.alive():
        return
    try:
        posix.kill(pid, SIGKILL)
    except ProcessLookupError:
        return
    group = container.cgroup()
    if group:
        # On v1 a frozen process does not die before it is thawed; it may be a cgroup below that is frozen.
        group.thaw(recursive=True)
    if await_end(pid, SECOND):
        return
    container.end_criu()
    if not await_end(pid):
        raise kept(container, [pid], f"killed, and not gone after {PATIENCE // 1000} s")


def destroy(container: Container, config: dict) -> None:
    """Removes what a stopped container holds; then its poststop hooks run. Raises Error: as remove()."""
    remove(container)
    run_poststop(container, config)


def remove(container: Container) -> None:
    """Removes the cgroup of a container whose init has ended, its directories in resctrl, and its record.

    Raises Error where processes are left that do not end: then the record stays, so that they can be found. All else is a warning.
    """
    group = container.cgroup()
    if group:
        try:
            group.delete()
        except (OSError, Error) as error:
            if left := _processes(group):
                raise kept(container, left, str(error)) from None
            log.warning(f"cgroup of {container.id} is left: {error}")
    if container.data["rdt"]:
        from pyrun.host import rdt

        rdt.delete(container.data["rdt"])
    container.remove()


def _processes(group: Cgroup) -> list[int]:
    """Those in any of the container's cgroups."""
    return sorted({pid for path in group.paths.values() for pid in tree.pids(path)})


def kept(container: Container, pids: list[int], reason: str) -> Error:
    """The Error for a container that is not removed, because processes of it go on."""
    numbers = " ".join(map(str, pids))
    return Error(f"container {container.id} is kept: its processes do not end: {numbers} ({reason}): they hang in the kernel, or are "
                 "frozen from above: `delete --force` again when that is over")  # fmt: skip


def run_poststop(container: Container, config: dict) -> None:
    # The state is that of a container that is gone, so it is made up, not looked up.
    hooks.run_all(config, "poststop", container, "stopped")
