"""cgroup v2: one directory, in which the controllers are switched on from above."""

from __future__ import annotations

import posix

from pyrun.base import files
from pyrun.base.errors import Error, words
from pyrun.base.processes import SIGKILL
from pyrun.cgroup import tree
from pyrun.cgroup.base import Cgroup
from pyrun.config import mount_option
from pyrun.plan.namespaces import host_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

DELEGATE = "/sys/kernel/cgroup/delegate"
DELEGATED = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n"
"""The files that may be given away, for kernels that do not list them (config-linux.md, Cgroup ownership)."""
THREADED = {"cpu", "cpuset", "perf_event", "pids"}
"""Controllers that a threaded cgroup can have."""
DOMAIN_RESOURCES = ("memory", "blockIO", "hugepageLimits", "rdma")


class V2(Cgroup):
    # --- making -------------------------------------------------------------------------------------------------------

    def _make(self, path: str, made: list[str]) -> bool:
        fresh = Cgroup._make(self, path, made)
        if not fresh and self.frozen():
            raise Error("container's cgroup unexpectedly frozen")
        tree.enable(path, set(tree.read(self.mounts[0].point + "/cgroup.controllers").split()))
        self._settle_type(path)
        if (owner := self._owner()) is not None:
            self._give_away(path, owner)
        return fresh

    def _settle_type(self, path: str) -> None:
        """Below a threaded cgroup a new one is `domain invalid` and takes no process until it is threaded, too."""
        kind = tree.read(path + "/cgroup.type").strip()
        if kind == "domain":
            return
        if any(self.resources.get(name) for name in DOMAIN_RESOURCES):
            state = "an invalid state" if kind == "domain invalid" else f"{kind} mode"
            raise Error(f'cannot enter cgroupv2 "{path}" with domain controllers -- it is in {state}')
        if kind == "domain invalid":
            self._settle_type(tree.parent(path))
            tree.write(path + "/cgroup.type", "threaded")

    def _owner(self) -> int | None:
        """The uid on the host that the cgroup is given to, None if it stays the runtime's.

        config-linux.md, Cgroup ownership: only with a cgroup namespace of its own and a writable mount of it.
        """
        namespaces = {space["type"]: space["path"] for space in self.linux["namespaces"]}
        if "cgroup" not in namespaces or namespaces["cgroup"] or not any(map(_is_writable_cgroup, self.config["mounts"])):
            return None
        process = self.config["process"]
        uid = process["user"]["uid"] if process else 0
        if "user" not in namespaces:
            return uid or None
        return host_id(self.linux["uidMappings"], uid)

    def _give_away(self, path: str, owner: int) -> None:
        try:
            names = tree.read(DELEGATE)
        except FileNotFoundError:
            names = DELEGATED
        for file in (path, *(f"{path}/{name}" for name in names.split())):
            try:
                posix.chown(file, owner, -1)
            except FileNotFoundError:  # a file of a controller that is off
                pass
            except PermissionError:
                if not self._is_rootless():
                    raise

    # --- limits -------------------------------------------------------------------------------------------------------

    def version_of(self, controller: str) -> tuple[int, str | None]:
        return 2, self.paths.get("")

    def _limit_devices(self, rules: Sequence[dict], where: str) -> None:
        from pyrun.cgroup import bpf, devices

        target = devices.compile(rules, where)
        if not self.paths or (self.new and target.allow and not target.exceptions):
            return
        try:
            bpf.attach(self.paths[""], target)
        except OSError as fault:
            # A user namespace may not load the program, and need not: no device can be made or opened in it.
            if self._is_rootless():
                return
            raise Error(f"{where}: cannot set device rules: bpf: {self.paths['']}: {words(fault.errno)}") from None

    # --- joining ------------------------------------------------------------------------------------------------------

    def procs_files(self, init: int = 0) -> list[str]:
        path = self.paths.get("")
        if path and init and not takes_processes(path):
            from pyrun.cgroup import layout

            mount = layout.discover(init)[0]
            return [f"{mount.point}{mount.own}/cgroup.procs"]
        return Cgroup.procs_files(self)

    # --- freezing -----------------------------------------------------------------------------------------------------

    FREEZER, FROZEN, THAW = "", "cgroup.freeze", ("cgroup.freeze", "0")

    def _freeze(self, path: str, seconds: float) -> bool:
        tree.write(path + "/cgroup.freeze", "1")
        return tree.wait_event(path, "frozen 1", seconds)

    # --- killing ------------------------------------------------------------------------------------------------------

    def _kill(self, path: str) -> None:
        if not self._kill_at_once(path):
            self._freeze_briefly()
            self._send(path, SIGKILL)
            self.thaw(recursive=True)

    def _wait_empty(self, path: str) -> None:
        tree.wait_event(path, "populated 0", 1)


def _is_writable_cgroup(mount: dict) -> bool:
    from pyrun.cgroup import layout

    target = files.clean(mount["destination"])
    return mount["source"] == "cgroup" and target == layout.V2_MOUNT and "ro" not in mount_option.words(mount)


def takes_processes(path: str) -> bool:
    """Whether a process can join: not if the cgroup is gone, nor if it switches on for those below it controllers that only a cgroup
    without processes may hand on (cgroups(7), "no internal processes").
    """
    try:
        return set(tree.read(path + "/cgroup.subtree_control").split()) <= THREADED
    except OSError as fault:
        if fault.errno not in tree.GONE:
            raise
        return False
