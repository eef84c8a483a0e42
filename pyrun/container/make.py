"""Making a container: the steps of create, and their undoing when one of them fails."""

import _signal as signals
import posix

from pyrun import cgroup
from pyrun._native import lib
from pyrun.base import jsonio, timeline
from pyrun.base.errors import ConfigError, Error
from pyrun.base.interrupts import hold_interrupts, interruptible, others_blocked, waiting
from pyrun.base.processes import readable
from pyrun.cgroup import oom
from pyrun.config import load, mount_option, normal
from pyrun.container import hooks
from pyrun.container.life import destroy, run_start_hooks
from pyrun.container.state import CONFIG, START_SOCKET, Container
from pyrun.host import idmap, notify, terminal
from pyrun.host.passing import listen_env, listen_fds, preserved_fds, remove_pid_file, send_listener, send_pidfd, stdio, write_pid_file
from pyrun.init.faults import mount_fault, not_idmapped
from pyrun.init.session import Init, must
from pyrun.plan import seccomp
from pyrun.plan.clone import BARRIER_HOOKS, BARRIER_IDS, BARRIER_START
from pyrun.plan.context import Context
from pyrun.plan.create import container_plan
from pyrun.plan.mounts import AT_RECURSIVE, AT_SYMLINK_NOFOLLOW, OPEN_TREE_CLONE
from pyrun.plan.namespaces import first_ids
from pyrun.plan.request import Additions
from pyrun.plan.root import source_propagation


def create(settings, request, waits, before_start=None):
    """Makes a container. waits: it stops for `start`; otherwise the program runs when this returns.

    before_start(): called when all is set up and the program is about to run (not with waits). Returns (Container, Init,
    tty.Console, config). Whatever fails or is interrupted, nothing of it stays. Raises Error.
    """
    load.check_id(request.id)
    timeline.phase("load config")
    bundle = request.bundle
    given = load.load(bundle)
    load.check(given, bundle=bundle)
    config = normal.config_of(given)
    if not waits and not config["process"]:
        raise ConfigError("process", "missing: there is no program to run (`create` makes a container without one)")
    console = terminal.Console(config["process"] or {}, request.console_socket, request.detached)
    listen = listen_fds()
    keep = preserved_fds(request.preserve_fds, listen)
    timeline.phase("compile plan")
    group = cgroup.open(config, request.id, settings)
    shares = open_shares(config, request.id)
    filter = seccomp.compile_of(config, settings.root)
    env, more_mounts = listen_env(listen), []
    notifies = bool(notify.host_socket() and config["process"])
    if notifies:
        env += notify.ENV
        more_mounts = [("$NOTIFY_SOCKET", notify.mount(f"{settings.root}/{request.id}"))]
    context = Context(config, request, group.procs_files(), group.hierarchies(), Additions(len(keep), env, more_mounts))
    plan = container_plan(context, filter, waits)

    interruptible()
    # From here on a signal is let in only where we wait and nothing is half done (_Creation.waiting), and no more at the end.
    mask = hold_interrupts()
    timeline.phase("write state")
    container = Container.make(settings.root, request.id, bundle, context.rootfs, config)
    launch = _Creation(container, given, plan, context, group, shares, console, before_start, mask, notifies)
    try:
        launch.run(keep, waits)
    except BaseException as error:
        reason = oom.blamed(error, group, config)
        launch.undo()
        raise reason from None
    return container, launch.init, console, config


class _Creation:
    """The steps of create that leave something behind, and their undoing."""

    def __init__(self, container, given, plan, context, group, shares, console, before_start, mask, notifies):
        self.container = container
        self.given = given
        self.config = context.config
        self.plan = plan
        self.context = context
        self.request = context.request
        self.group = group
        self.shares = shares
        self.before_start = before_start
        self.mask = mask
        self.notifies = notifies
        self.init = Init(plan)
        self.init.before_message = lambda: self.waiting(readable, self.init.sock)
        self.console = console
        self.hooks_ran = False
        self.pid_written = False
        self.opened = {}

    def run(self, keep, waits):
        container, group = self.container, self.group
        # The cgroup's name is on disk before the cgroup is made: `delete --force` finds it after a kill at any instant.
        container.data["cgroup"] = group.to_state()
        container.data["rdt"] = self.shares.own if self.shares else []
        container.data["mask"] = self.context.spaces.mask
        container.data["stdio"] = stdio()
        container.save()
        timeline.phase("make cgroup")
        self.waiting(group.reserve)
        group.create()
        group.apply(self.config["linux"]["resources"])
        if self.shares:
            self.shares.create()
        timeline.phase("start init")
        self.waiting(self.console.connect)
        if self.notifies:
            notify.make_directory(container.directory)
            container.notify = None if waits else notify.listen(container)
        if waits:
            self.opened["start"] = self._listen()
        self._open_sources()
        self.init.spawn(keep=keep, **self.opened)
        self._close_opened()
        timeline.phase("set up by init")
        # What init does not wait for is done while it makes the namespaces.
        save_config(container, self.given)
        self.init.drive_program(child=self._child, barrier=self._barrier, console=self._console, ready=self._ready, notify=self._notify,
                                idmap=self._idmap_asked, source=self._source_asked)  # fmt: skip
        if not waits:
            if self.before_start:  # signals are for the program now
                self.mask = signals.pthread_sigmask(signals.SIG_BLOCK, ())
            self.hooks_ran = True
            timeline.phase("poststart hooks")
            self.waiting(hooks.run, self.config, "poststart", container, "running")

    def waiting(self, function, *args):
        return waiting(self.mask, function, *args)

    def _listen(self):
        return must(lib.native_listen(self.container.lock_fd, START_SOCKET.encode(), 1), f"bind {START_SOCKET}")

    def _open_sources(self):
        """Bind sources that the container's user namespace may not reach, and the maps of idmapped mounts."""
        for name, mount in self.plan.needs.sources:
            self.opened[name] = self._open_source(mount)
        for name, mount in self.plan.needs.idmaps:
            self.opened[name] = self._idmap(mount)

    def _open_source(self, mount):
        """An fd of the tree of a bind mount, cloned among the host's mounts."""
        flags = OPEN_TREE_CLONE | posix.O_CLOEXEC | (AT_RECURSIVE if mount.recursive else 0)
        if mount.source_nofollow:
            flags |= AT_SYMLINK_NOFOLLOW
        fd = lib.native_open_tree(-100, mount.source.encode("utf-8", "surrogateescape"), flags)
        if fd < 0:
            raise self._mount_error(mount, "open_tree", -fd)
        try:
            propagation = source_propagation(self.config["linux"])
            if (code := lib.native_propagation(fd, propagation)) < 0:
                raise self._mount_error(mount, "mount_setattr", -code)
            if mount.idmap:
                self._idmap_source(mount, fd)
        except BaseException:
            posix.close(fd)
            raise
        return fd

    def _source_asked(self, where):
        return self._open_source(self.plan.needs.asked[where])

    def _idmap_source(self, mount, tree):
        userns = self._idmap(mount)
        try:
            code = lib.native_idmap(tree, mount.idmap_recursive, userns)
        finally:
            posix.close(userns)
        if code < 0:
            text = mount_fault(mount.subject, mount.where, "idmap", -code)
            raise Error(f"{text} ({not_idmapped(lib.native_file_system(tree), -code)})")

    def _idmap_asked(self, where, tree):
        """A mount that only init could find, and only we may map."""
        try:
            self._idmap_source(self.plan.needs.asked[where], tree)
        finally:
            posix.close(tree)

    def _mount_error(self, mount, step, error):
        return Error(mount_fault(mount.subject, mount.where, step, error))

    def _idmap(self, mount):
        """An fd of a user namespace with the maps of an idmapped mount: its own, or the container's."""
        linux = self.config["linux"]
        own = mount_option.parse(mount.idmap_option, linux) if mount.idmap_option else mount.entry
        uids = own["uidMappings"] or linux["uidMappings"]
        gids = own["gidMappings"] or linux["gidMappings"]
        joined = self.context.spaces.joined.get("user")
        if not uids and not gids and joined:
            return posix.open(joined[0], posix.O_RDONLY | posix.O_CLOEXEC)
        if not uids or not gids:
            raise ConfigError(mount.where, "an idmapped mount needs uidMappings and gidMappings, of its own or in linux")
        return idmap.namespace(uids, gids, mount.where)

    def _close_opened(self):
        for fd in self.opened.values():
            posix.close(fd)
        self.opened = {}

    # --- what init reports

    def _child(self):
        # On disk before anything that can block.
        self.container.set_process(self.init.pid)
        self.container.save()
        if self.shares:
            self.shares.add(self.init.pid)
        move_net_devices(self.config, self.init.pid)

    def _barrier(self, number):
        if number == BARRIER_IDS:
            linux = self.config["linux"]
            idmap.write_maps(self.init.pid, linux["uidMappings"], linux["gidMappings"])
        elif number == BARRIER_HOOKS:
            self.waiting(self._run_create_hooks)
        elif number == BARRIER_START:
            self._ready()
            self.hooks_ran = True
            self.waiting(run_start_hooks, self.container, self.config)
            if self.before_start:
                self.before_start()
                self.mask = others_blocked()

    def _run_create_hooks(self):
        self.group.release()
        self.hooks_ran = True
        container, config = self.container, self.config
        for kind in ("prestart", "createRuntime"):
            hooks.run(config, kind, container, "created")
        target = hooks.Target(
            self.init.pid, container.data["mask"], self.context.cgroup_files, pivoted=False,
            env=config["process"]["env"] if config["process"] else (), rootfs=container.data["rootfs"], ids=first_ids(config["linux"]),
        )  # fmt: skip
        hooks.run(config, "createContainer", container, "created", inside=target)

    def _console(self, master):
        self.waiting(self.console.receive, master)

    def _notify(self, number):
        self.waiting(send_listener, self.container, self.config, number, self.init.pid)

    def _ready(self):
        """All is set up: the container is `created`."""
        container = self.container
        self.group.release()
        container.data["creating"] = False
        container.data["notes"] = self.plan.notes_from("wait_start")
        container.save()
        if self.request.pid_file:
            write_pid_file(self.request.pid_file, self.init.pid)
            self.pid_written = True
        if self.request.pidfd_socket:
            self.waiting(send_pidfd, self.request.pidfd_socket, self.init.pid)

    # --- undoing

    def undo(self):
        self._close_opened()
        self.console.close()
        self.init.kill()
        self.group.release()
        if self.pid_written:
            remove_pid_file(self.request.pid_file)
        self.container.data["pid"] = 0
        destroy(self.container, self.config if self.hooks_ran else {})


def open_shares(config, id):
    """The container's directories in resctrl (rdt.Group), None where the config has no intelRdt."""
    if config["linux"]["intelRdt"] is None:
        return None
    from pyrun.host import rdt

    return rdt.new_group(config, id)


def move_net_devices(config, pid):
    devices = (config.get("linux") or {}).get("netDevices")
    if devices:
        from pyrun.host import netdevices

        netdevices.move(devices, pid)


def save_config(container, config):
    """What exec, the hooks and a later `start` need of the config; the bundle may change or go."""
    jsonio.write(f"{container.directory}/{CONFIG}", config)
