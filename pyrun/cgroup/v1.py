"""cgroup v1: a directory in every mounted hierarchy, of which on a hybrid machine one is v2."""

from __future__ import annotations

from pyrun.base.errors import ConfigError, Error, words
from pyrun.base.processes import SIGKILL
from pyrun.cgroup import tree
from pyrun.cgroup.base import DENIED, Cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class V1(Cgroup):
    # --- making -------------------------------------------------------------------------------------------------------

    def _make(self, path: str, made: list[str]) -> bool:
        fresh = Cgroup._make(self, path, made)
        if not fresh and path == self.paths.get("freezer") and self.frozen():
            raise Error("container's cgroup unexpectedly frozen")
        if path == self.paths.get("cpuset"):
            # CPUs or memory nodes that the config asks for are written with the limits, and not inherited before: the kernel may
            # refuse the parent's (cpuset.cpu_exclusive). The parent must have some in any case, and one that others made may have none.
            cpu = self.resources.get("cpu", {})
            for name in ("cpus", "mems"):
                asked = bool(cpu.get(name))
                inherit_cpuset(tree.parent(path) if asked else path, [f"cpuset.{name}"], fresh and not asked)
        return fresh

    # --- limits -------------------------------------------------------------------------------------------------------

    def version_of(self, controller: str) -> tuple[int, str | None]:
        if controller in self.paths:
            return 1, self.paths[controller]
        # On a hybrid machine a controller may be in v2's hierarchy alone, as hugetlb often is.
        name = {"blkio": "io"}.get(controller, controller)
        path = self.paths.get("")
        if path and name in tree.enable(path, {name}):
            return 2, path
        return 1, None

    def _limit_devices(self, rules: Sequence[dict], where: str) -> None:
        from pyrun.cgroup import devices

        target = devices.compile(rules, where)
        path = self.paths.get("devices")
        if not path:
            if self._is_rootless():
                return
            raise Error(f"{where}: cannot set device rules: mountpoint for devices not found")
        try:
            current = None if self.new else devices.parse(tree.read(path + "/devices.list"))
            for file, texts in devices.v1_writes(target, current):
                tree.write(f"{path}/{file}", *texts)
        except ValueError as fault:
            raise ConfigError(where, str(fault)) from None
        except OSError as fault:
            # A user namespace may not set device rules, and need not: no device can be made or opened in it.
            if fault.errno in DENIED and self._is_rootless():
                return
            raise Error(f"{where}: cannot set device rules: {path}: {words(fault.errno)}") from None

    # --- joining ------------------------------------------------------------------------------------------------------

    def _join_file(self, path: str) -> str:
        # A write to cgroup.procs stops all forks and exits of the machine, for which the kernel waits a grace period of RCU:
        # milliseconds. A thread that moves itself alone (`tasks`) needs no such thing since 5.6, and init has but one.
        return path + ("/tasks" if self._is_v1(path) else "/cgroup.procs")

    def _is_v1(self, path: str) -> bool:
        """Whether a directory is in a hierarchy of v1; on a hybrid machine one is not."""
        top = self.paths.get("")
        return not top or not f"{path}/".startswith(f"{top}/")

    # --- freezing -----------------------------------------------------------------------------------------------------

    FREEZER, FROZEN, THAW = "freezer", "freezer.self_freezing", ("freezer.state", "THAWED")

    def _freeze(self, path: str, seconds: float) -> bool:
        file = path + "/freezer.state"
        for count, _ in enumerate(tree.pauses(seconds), 1):
            # The kernel may miss a process that forks or goes to sleep just then: each write makes it look again. Now and then
            # all run for a moment, so that one that waits for a frozen one (vfork) can get to where it can be frozen.
            if count % 20 == 0:
                tree.write(file, "THAWED")
            tree.write(file, "FROZEN")
            if tree.read(file) == "FROZEN\n":
                return True
        return False

    # --- killing ------------------------------------------------------------------------------------------------------

    def _kill(self, path: str) -> None:
        if path != self.paths.get("") or not self._kill_at_once(path):
            self._freeze_briefly()
            self._send(path, SIGKILL)
        # What is frozen dies only when it runs again.
        self.thaw(recursive=True)

    def _wait_empty(self, path: str) -> None:
        for _ in tree.pauses(1):
            if not tree.pids(path):
                return


def inherit_cpuset(path: str, names: Sequence[str], fresh: bool) -> None:
    """Gives a v1 cpuset cgroup its parent's CPUs and memory nodes: without any it takes no process. Parents first.

    names: of its files. fresh: it was just made, so they are known to be empty.
    """
    for name in names:
        if not fresh and tree.read(f"{path}/{name}").strip():
            continue
        above = tree.parent(path)
        value = tree.read(f"{above}/{name}").strip()
        if not value:
            inherit_cpuset(above, [name], True)
            value = tree.read(f"{above}/{name}").strip()
        tree.write(f"{path}/{name}", value)
