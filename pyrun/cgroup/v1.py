"""cgroup v1: a directory in every mounted hierarchy, of which on a hybrid machine one is v2."""

from pyrun.base.errors import ConfigError, Error, words
from pyrun.cgroup import tree
from pyrun.cgroup.base import DENIED, SIGKILL, Cgroup


class V1(Cgroup):
    # --- making -------------------------------------------------------------------------------------------------------

    def _make(self, path, made):
        fresh = Cgroup._make(self, path, made)
        if not fresh and path == self.paths.get("freezer") and self.frozen():
            raise Error("container's cgroup unexpectedly frozen")
        if path == self.paths.get("cpuset"):
            # Those that are asked for come with the limits: the parent's might be refused where it is exclusive. But the
            # parent must have them, and one that was there before us may be empty still.
            cpu = self.resources.get("cpu") or {}
            for name in ("cpus", "mems"):
                asked = bool(cpu.get(name))
                inherit_cpuset(tree.parent(path) if asked else path, [f"cpuset.{name}"], fresh and not asked)
        return fresh

    # --- limits -------------------------------------------------------------------------------------------------------

    def version_of(self, controller):
        if controller in self.paths:
            return 1, self.paths[controller]
        # On a hybrid machine a controller may be in v2's hierarchy alone, as hugetlb often is.
        name = {"blkio": "io"}.get(controller, controller)
        path = self.paths.get("")
        if path and name in tree.enable(path, {name}):
            return 2, path
        return 1, None

    def _limit_devices(self, rules, where):
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

    def _join_file(self, path):
        # A write to cgroup.procs stops all forks and exits of the machine, for which the kernel waits a grace period of RCU:
        # milliseconds. A thread that moves itself alone (`tasks`) needs no such thing since 5.6, and init has but one.
        return path + ("/tasks" if self._is_v1(path) else "/cgroup.procs")

    def _is_v1(self, path):
        """Whether a directory is in a hierarchy of v1; on a hybrid machine one is not."""
        top = self.paths.get("")
        return not top or not f"{path}/".startswith(f"{top}/")

    # --- freezing -----------------------------------------------------------------------------------------------------

    FREEZER, FROZEN, THAW = "freezer", "freezer.self_freezing", ("freezer.state", "THAWED")

    def _freeze(self, path, seconds):
        file = path + "/freezer.state"
        for count, _ in enumerate(tree.pauses(seconds), 1):
            # While processes fork or are about to sleep the kernel may miss one: each write looks again, and running for
            # a moment lets those pass that wait for one that is stopped already.
            if count % 20 == 0:
                tree.write(file, "THAWED")
            tree.write(file, "FROZEN")
            if tree.read(file) == "FROZEN\n":
                return True
        return False

    # --- killing ------------------------------------------------------------------------------------------------------

    def _kill(self, path):
        if path != self.paths.get("") or not self._kill_at_once(path):
            self._freeze_briefly()
            self._send(path, SIGKILL)
        # What is frozen dies only when it runs again.
        self.thaw(recursive=True)

    def _wait_empty(self, path):
        for _ in tree.pauses(1):
            if not tree.pids(path):
                return


def inherit_cpuset(path, names, fresh):
    """Gives a v1 cpuset cgroup its parent's CPUs and memory nodes: without any it takes no process. Parents first.

    names: of its files (list of str). fresh: it was just made, so they are known to be empty.
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
