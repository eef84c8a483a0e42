"""Bringing a container back from a checkpoint: the steps of restore, and their undoing when one of them fails."""

import posix

from pyrun.base import interrupts
from pyrun.base.errors import Error
from pyrun.base.files import read_line
from pyrun.base.processes import end
from pyrun.cgroup import tree
from pyrun.config import normal, rules
from pyrun.container import hooks, life, make
from pyrun.criu import outside, service
from pyrun.criu.arguments import CGROUP_MODES
from pyrun.host import notify, passing
from pyrun.init.session import Init
from pyrun.plan import namespaces
from pyrun.plan.clone import emit_clone
from pyrun.plan.context import Context
from pyrun.plan.mounts import ATTR_RDONLY
from pyrun.plan.namespaces import CLONE_NEWNET, CLONE_NEWNS, Namespaces, entrance
from pyrun.plan.records import Plan
from pyrun.plan.request import Request
from pyrun.plan.root import emit_root

BARRIER_DONE = 1


class Revival:
    """What a restore works with, besides the container.

    console: tty.Console. foreground: the tty.Foreground that will wait for it, or None. mask: the signals as they were before
    interrupts.hold_interrupts().
    """

    def __init__(self, container, given, config, group, shares, console, pid_file, foreground, mask):
        self.container = container
        self.given = given
        self.config = config
        self.group = group
        self.shares = shares
        self.console = console
        self.pid_file = pid_file
        self.foreground = foreground
        self.mask = mask
        self.criu = None
        self.hooks_ran = False
        self.pid_written = False

    def run(self, options, directories):
        """options: criu's (dict). directories: criu_options.Directories. Whatever fails, nothing of it stays. Raises Error."""
        try:
            self._run(options, directories)
        except BaseException:
            self._undo()
            raise

    def _run(self, options, directories):
        container, config, group = self.container, self.config, self.group
        self._check_cgroup(options)
        container.data["cgroup"] = group.to_state()
        container.data["rdt"] = self.shares.own if self.shares else []
        container.data["stdio"] = passing.stdio()
        container.save()
        sources = outside.mounts_of(config, container.data["bundle"], group.hierarchies(), f"{container.directory}/{notify.DIRECTORY}")
        fds, options["join_ns"] = outside.joined_namespaces(config)
        try:
            interrupts.waiting(self.mask, group.reserve)
            group.create()
            if self.shares:
                self.shares.create()
            make.save_config(container, self.given)
            notify.make_directory(container.directory)
            _make_mount_points(container, config, group)
            # criu is in the container's cgroup, and so is what it makes, whatever it does about cgroups itself. It wants the
            # root to be a mount point, and mounts there must not be seen on the host.
            self.criu = service.Criu("restore", group.procs_files(), container.data["rootfs"], fds.values())
        finally:
            for fd in fds.values():
                posix.close(fd)
        self.criu.require("lazy_pages" if options["lazy_pages"] else None)
        directories.move_to(self.criu.pid)
        for entry in (config.get("linux") or {}).get("gidMappings") or ():
            if entry["containerID"] == 0:
                directories.admit(entry["hostID"])
        options |= directories.options() | {
            "root": container.data["rootfs"],
            "rst_sibling": 1,  # the first process is our child, not criu's
            "evasive_devices": 1,
            "ext_mnt": [{"key": name, "val": source} for name, source in sources],
            "cg_root": _cgroups_of(self.criu.pid),
        }
        for number, name in enumerate(fds, service.FIRST_FD + 1):
            options["inherit_fd"].append({"key": name, "fd": number})
        directories.forget_log()
        try:
            interrupts.waiting(self.mask, self.criu.ask, {"type": service.RESTORE, "opts": options}, self._notified)
        except service.Refused as error:
            raise directories.explain(error) from None
        if self.foreground:
            self.foreground.take_signals()
        self.criu.wait()

    def _check_cgroup(self, options):
        """For criu the container's cgroup is always there already; so what `strict` adds to `full` is seen to here."""
        if options["manage_cgroups_mode"] == CGROUP_MODES["strict"]:
            for path in self.group.paths.values():
                if tree.exists(path):
                    raise Error(f"--manage-cgroups-mode strict: {path} exists")
            options["manage_cgroups_mode"] = CGROUP_MODES["full"]

    # --- what criu tells

    def _notified(self, script, pid, fds):
        interrupts.hold_interrupts()
        if script == "setup-namespaces":
            self._set_up_namespaces(pid)
        elif script == "orphan-pts-master":
            self.console.receive(posix.dup(fds[0]))
        elif script == "post-restore":
            self._restored(pid)
        interrupts.set_mask(self.mask)

    def _set_up_namespaces(self, pid):
        """There is a first process, in its namespaces; what is in them comes next."""
        container, config = self.container, self.config
        container.set_process(pid)
        container.save()
        self.group.release()
        if Namespaces(config["linux"]["namespaces"]).new & CLONE_NEWNET:
            _set_up_network(config, pid)
            make.move_net_devices(config, pid)
        self.hooks_ran = True
        for kind in ("prestart", "createRuntime"):
            interrupts.waiting(self.mask, hooks.run, config, kind, container, "created")

    def _restored(self, pid):
        """All is there, stopped still."""
        container = self.container
        container.set_process(pid)
        self.group.release()
        # criu may have added a time namespace.
        container.data["mask"] = namespaces.mask_of(pid)
        container.data["creating"] = False
        if self.config["root"].get("readonly"):
            _make_root_read_only(pid)
        self.group.apply((self.config.get("linux") or {}).get("resources") or {})
        if self.shares:
            self.shares.add(pid)
        container.save()
        if self.pid_file:
            passing.write_pid_file(self.pid_file, pid)
            self.pid_written = True

    # --- undoing

    def _undo(self):
        self.console.close()
        if self.criu:
            self.criu.kill()
        if self.container.data["pid"]:
            end(self.container.data["pid"])
        self.group.release()
        if self.pid_written:
            passing.remove_pid_file(self.pid_file)
        self.container.data["pid"] = 0
        life.destroy(self.container, self.config if self.hooks_ran else {})


def _make_mount_points(container, config, group):
    """Makes the mount points that the root file system lacks: by mounting all of it, as create does, in a mount namespace that
    goes away again.
    """
    # In the caller's other namespaces, so what the config says of those does not matter.
    linux = {"namespaces": [{"type": "mount"}], "devices": config["linux"]["devices"]}
    context = Context(
        normal.config_of(config | {"linux": linux}), Request(container.id, container.data["bundle"]), hierarchies=group.hierarchies()
    )
    plan = Plan()
    emit_clone(plan, CLONE_NEWNS, ())
    emit_root(plan, context)
    _carry_out(plan)


def _set_up_network(config, pid):
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


def _make_root_read_only(pid):
    """With a criu older than 4.2 it would come back writable."""
    plan, way = Plan(), entrance(pid, CLONE_NEWNS)
    way.emit(plan)
    emit_clone(plan, 0, ())
    plan.setattr("root.readonly", "/", target="/", attr_set=ATTR_RDONLY)
    _carry_out_in(plan, way)


def _carry_out_in(plan, way):
    """Has init run a plan that enters the container by an Entrance."""
    try:
        _carry_out(plan, **way.files)
    finally:
        way.close()


def _carry_out(plan, **given):
    """Has init run a plan, and ends it then."""
    plan.barrier(number=BARRIER_DONE)
    init = Init(plan)
    try:
        init.spawn(**given)
        init.drive(barrier=lambda number: False)
    finally:
        init.kill()


def _cgroups_of(pid):
    """criu's cg_root: the cgroup in each hierarchy of a process that is where the container's shall be."""
    found = []
    for line in read_line(f"/proc/{pid}/cgroup").decode("utf-8", "surrogateescape").splitlines():
        _, names, path = line.split(":", 2)
        found += [{"ctrl": name, "path": path} for name in names.split(",")]
    return found
