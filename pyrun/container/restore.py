"""Bringing a container back from a checkpoint: the steps, in order."""

from __future__ import annotations

import posix

from pyrun.base.errors import Error
from pyrun.base.files import read_line
from pyrun.base.interrupts import hold, waiting
from pyrun.base.processes import end
from pyrun.cgroup import tree
from pyrun.config import normal, rules
from pyrun.container.steps import Making
from pyrun.criu import outside, service
from pyrun.criu.arguments import CGROUP_MODES, Directories
from pyrun.host import notify
from pyrun.init.session import Init
from pyrun.plan import namespaces
from pyrun.plan.clone import emit_clone
from pyrun.plan.context import Context
from pyrun.plan.mounts import ATTR_RDONLY
from pyrun.plan.namespaces import CLONE_NEWNET, CLONE_NEWNS, Namespaces, entrance
from pyrun.plan.records import Plan
from pyrun.plan.request import Request
from pyrun.plan.root import emit_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyrun.cli.settings import Settings
    from pyrun.host.foreground import Foreground
    from pyrun.host.terminal import Console

BARRIER_DONE = 1


class Revival(Making):
    """The steps of restore, and what is done when criu tells of its own.

    options: criu's (dict). foreground: the Foreground that will wait for the program, or None.
    """

    def __init__(
        self, settings: Settings, request: Request, given: dict, config: dict, console: Console, options: dict, directories: Directories,
        foreground: Foreground | None,
    ) -> None:  # fmt: skip
        super().__init__(settings, request, given, config, console)
        self.options = options
        self.directories = directories
        self.foreground = foreground
        self.fds: dict[str, int] = {}  # of namespaces, by criu's names
        self.mounts: list[tuple[str, str]] = []  # from outside: destination, path on the host
        self.criu: service.Criu

    def make(self) -> None:
        """Whatever fails, nothing of it stays. Raises Error."""
        hold()
        with self.undo:
            self.check_cgroup()
            self.name_mounts()
            self.record()
            self.open_namespaces()
            self.make_cgroup()
            self.make_shares()
            self.connect_console()
            self.save_config()
            notify.make_directory(self.container.directory)
            self.make_mount_points()
            self.start_criu()
            self.prepare_directories()
            self.collect_options()
            self.restore()
            self.take_signals()
            self.criu.wait()

    def check_cgroup(self) -> None:
        """For criu the container's cgroup is always there already; so what `strict` adds to `full` is seen to here."""
        if self.options["manage_cgroups_mode"] == CGROUP_MODES["strict"]:
            for path in self.group.paths.values():
                if tree.exists(path):
                    raise Error(f"--manage-cgroups-mode strict: {path} exists")
            self.options["manage_cgroups_mode"] = CGROUP_MODES["full"]

    def name_mounts(self) -> None:
        """Before anything is made: there are mounts that criu cannot restore."""
        directory = f"{self.settings.root}/{self.request.id}/{notify.DIRECTORY}"
        self.mounts = outside.mounts_of(self.config, self.request.bundle, self.group.hierarchies(), directory)

    def open_namespaces(self) -> None:
        self.undo.push(self.close_namespaces)
        self.fds, self.options["join_ns"] = outside.joined_namespaces(self.config)

    def close_namespaces(self) -> None:
        while self.fds:
            posix.close(self.fds.popitem()[1])

    def make_mount_points(self) -> None:
        """Makes those that the root file system lacks: by mounting all of it, as create does, in a mount namespace that goes away
        again.
        """
        # In the caller's other namespaces, so what the config says of those does not matter.
        linux = {"namespaces": [{"type": "mount"}], "devices": self.linux["devices"]}
        request = Request(self.request.id, self.request.bundle)
        plan = Plan()
        emit_clone(plan, CLONE_NEWNS, ())
        emit_root(plan, Context(normal.config_of(self.config | {"linux": linux}), request, hierarchies=self.group.hierarchies()))
        _carry_out(plan, {})

    def start_criu(self) -> None:
        """criu is in the container's cgroup, and so is what it makes, whatever it does about cgroups itself. It wants the root to be
        a mount point, and mounts there must not be seen on the host.
        """
        for number, name in enumerate(self.fds, service.FIRST_FD + 1):
            self.options["inherit_fd"].append({"key": name, "fd": number})
        self.criu = service.Criu("restore", self.group.procs_files(), self.container.data["rootfs"], self.fds.values())
        self.undo.push(self.end_processes)
        self.close_namespaces()
        self.criu.require("lazy_pages" if self.options["lazy_pages"] else None)

    def end_processes(self) -> None:
        """criu first: as long as it traces the others, they cannot be reaped."""
        self.criu.kill()
        if pid := self.container.data["pid"]:
            end(pid)

    def prepare_directories(self) -> None:
        self.directories.move_to(self.criu.pid)
        for entry in self.linux["gidMappings"]:
            if entry["containerID"] == 0:
                self.directories.admit(entry["hostID"])
        self.directories.forget_log()

    def collect_options(self) -> None:
        container = self.container
        self.options |= self.directories.options() | {
            "root": container.data["rootfs"],
            "rst_sibling": 1,  # the first process is our child, not criu's
            "evasive_devices": 1,
            "ext_mnt": [{"key": name, "val": source} for name, source in self.mounts],
            "cg_root": _cgroups_of(self.criu.pid),
        }

    def restore(self) -> None:
        try:
            self.criu.ask({"type": service.RESTORE, "opts": self.options}, self._notified)
        except service.Refused as error:
            raise self.directories.explain(error) from None

    def take_signals(self) -> None:
        if self.foreground:
            self.foreground.take_signals()

    # --- what criu tells

    def _notified(self, script: str, pid: int, fds: list[int]) -> None:
        if script == "setup-namespaces":
            self._set_up_namespaces(pid)
        elif script == "orphan-pts-master":
            waiting(self.console.receive, posix.dup(fds[0]))
        elif script == "post-restore":
            self._restored(pid)

    def _set_up_namespaces(self, pid: int) -> None:
        """There is a first process, in its namespaces; what is in them comes next."""
        self.container.set_process(pid)
        self.container.save()
        self.group.release()
        if Namespaces(self.linux["namespaces"]).new & CLONE_NEWNET:
            _set_up_network(self.config, pid)
            self.move_net_devices()
        self.run_hooks("prestart")
        self.run_hooks("createRuntime")

    def _restored(self, pid: int) -> None:
        """All is there, stopped still."""
        # criu may have added a time namespace.
        self.container.data["mask"] = namespaces.mask_of(pid)
        self.container.set_process(pid)
        if self.config["root"]["readonly"]:
            _make_root_read_only(pid)
        self.set_limits()
        if self.shares:
            self.shares.add(pid)
        self.complete()


def _set_up_network(config: dict, pid: int) -> None:
    """A new network namespace is as empty as any: what create sets up in it is set up again."""
    plan, way = Plan(), entrance(pid, CLONE_NEWNET)
    way.emit(plan)
    emit_clone(plan, 0, ())
    plan.lo_up("linux.namespaces", "network")
    for name, value in config["linux"]["sysctl"].items():
        path = rules.sysctl_path(name)
        if path.startswith("net/"):
            plan.sysctl(f"linux.sysctl[{name}]", name, path=path, value=value)
    _carry_out_in(plan, way)


def _make_root_read_only(pid: int) -> None:
    """With a criu older than 4.2 it would come back writable."""
    plan, way = Plan(), entrance(pid, CLONE_NEWNS)
    way.emit(plan)
    emit_clone(plan, 0, ())
    plan.setattr("root.readonly", "/", target="/", attr_set=ATTR_RDONLY)
    _carry_out_in(plan, way)


def _carry_out_in(plan: Plan, way: namespaces.Entrance) -> None:
    """Has init run a plan that enters the container by an Entrance."""
    try:
        _carry_out(plan, way.files)
    finally:
        way.close()


def _carry_out(plan: Plan, given: Mapping[str, int]) -> None:
    """Has init run a plan, and ends it then."""
    plan.barrier(number=BARRIER_DONE)
    init = Init(plan)
    try:
        init.spawn(given=given)
        init.drive(barrier=lambda number: False)
    finally:
        init.kill()


def _cgroups_of(pid: int) -> list[dict]:
    """criu's cg_root: the cgroup in each hierarchy of a process that is where the container's shall be."""
    found = []
    for line in read_line(f"/proc/{pid}/cgroup").decode("utf-8", "surrogateescape").splitlines():
        _, names, path = line.split(":", 2)
        found += [{"ctrl": name, "path": path} for name in names.split(",")]
    return found
