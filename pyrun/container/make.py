"""Making a container for `create` and `run`: the steps, in order."""

from __future__ import annotations

import posix

from pyrun._native import lib
from pyrun.base import timeline
from pyrun.base.errors import ConfigError, Error
from pyrun.base.interrupts import hold, waiting
from pyrun.config import load, normal
from pyrun.container import hooks
from pyrun.container.sources import Sources
from pyrun.container.start import inside
from pyrun.container.state import START_SOCKET
from pyrun.container.steps import Making
from pyrun.host import fds, idmap, notify, sockets
from pyrun.host.terminal import Console
from pyrun.init.session import Init, must
from pyrun.plan import seccomp
from pyrun.plan.clone import BARRIER_HOOKS, BARRIER_IDS, BARRIER_START
from pyrun.plan.context import Context
from pyrun.plan.create import emit_rest, first_part
from pyrun.plan.namespaces import first_ids
from pyrun.plan.request import Additions, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.settings import Settings
    from pyrun.host.foreground import Foreground


def create(
    settings: Settings, request: Request, waits: bool, foreground: Foreground | None = None, creation: type[Creation] | None = None
) -> Creation:
    """Makes a container. waits: it stops for `start`; otherwise the program runs when this returns. foreground: who stays with it.
    creation: the class of the steps, where it is another one.

    Whatever fails or is interrupted, nothing of it stays. Raises Error.
    """
    load.check_id(request.id)
    timeline.phase("load config")
    given = load.load(request.bundle)
    load.check(given, bundle=request.bundle)
    config = normal.config_of(given)
    if not waits and not config["process"]:
        raise ConfigError("process", "missing: there is no program to run (`create` makes a container without one)")
    making = (creation or Creation)(settings, request, given, config, waits)
    if foreground:
        # All signals are the program's, once it is there. Until then those that end us are let in where we wait.
        foreground.take_signals()
    hold()
    with making.undo:
        try:
            making.make()
        except Error as error:
            from pyrun.container import why

            raise why.failed(error, why.Place(config, making.group, making.context.rootfs, request.bundle)) from None
    return making


class Creation(Making):
    """The steps of create and run, and what init is answered meanwhile."""

    def __init__(self, settings: Settings, request: Request, given: dict, config: dict, waits: bool) -> None:
        # Before we open anything: a number that the caller has left free is not ours to pass on.
        listen = fds.listen_fds()
        self.keep = fds.preserved(request.preserve_fds, listen)
        console = Console(config["process"], request.console_socket, request.detached)
        timeline.phase("begin plan")
        super().__init__(settings, request, given, config, console)
        self.waits = waits
        env, mounts = fds.listen_env(listen), []
        self.notifies = bool(notify.host_socket() and config["process"])
        if self.notifies:
            env += notify.ENV
            mounts = [("$NOTIFY_SOCKET", notify.mount(f"{settings.root}/{request.id}"))]
        additions = Additions(len(self.keep), env, mounts)
        self.context = Context(config, request, self.group.procs_files(), self.group.hierarchies(), additions)
        self.init = Init(first_part(self.context))
        self.sources = Sources(self.linux, self.init.plan.needs)
        self.files: dict[str, int] = {}  # for init, by the names of their slots in the plan

    def filter(self) -> seccomp.Filter | None:
        return seccomp.compile_of(self.config, self.settings.root)

    def make(self) -> None:
        self.record()
        self.make_cgroup()
        self.set_limits()
        self.start_init()
        self.compile_plan()  # while init makes the namespaces
        self.make_shares()
        self.connect_console()
        self.make_notify_socket()
        self.listen_for_start()
        self.open_sources()
        self.give_plan()
        self.save_config()  # what init does not wait for
        self.answer_init()
        self.run_poststart_hooks()

    def make_notify_socket(self) -> None:
        if self.notifies:
            notify.make_directory(self.container.directory)
            self.container.notify = None if self.waits else notify.listen(self.container)

    def listen_for_start(self) -> None:
        self.undo.push(self.close_files)
        if self.waits:
            self.files["start"] = must(lib.native_listen(self.container.lock_fd, START_SOCKET.encode(), 1), f"bind {START_SOCKET}")

    def open_sources(self) -> None:
        self.sources.open_all(self.files)

    def close_files(self) -> None:
        files, self.files = self.files, {}  # none is closed twice, whatever close(2) says
        for fd in files.values():
            posix.close(fd)

    def start_init(self) -> None:
        timeline.phase("start init")
        self.undo.push(self.init.kill)
        self.init.spawn(keep=self.keep)

    def compile_plan(self) -> None:
        timeline.phase("compile plan")
        # An init that waits for its id maps, or asks for a mount, takes no more of the plan before it has them.
        part = None if self.context.user_namespace else self.init.give_rest
        emit_rest(self.init.plan, self.context, self.filter(), self.waits, part)

    def give_plan(self) -> None:
        self.init.give_rest(self.files)
        self.close_files()

    def answer_init(self) -> None:
        """Until init waits for `start`, or is the program."""
        timeline.phase("set up by init")
        self.init.drive_program(
            child=self._child, barrier=self._barrier, console=self._console, ready=self._ready, notify=self._notify,
            idmap=self.sources.map_asked, source=self.sources.open_asked,
        )  # fmt: skip

    def run_poststart_hooks(self) -> None:
        if not self.waits:
            timeline.phase("poststart hooks")
            self.run_hooks("poststart", "running")

    # --- what init reports

    def _child(self) -> None:
        # On disk before anything that can block.
        self.container.set_process(self.init.pid)
        self.container.save()
        if self.shares:
            self.shares.add(self.init.pid)
        self.move_net_devices()

    def _barrier(self, number: int) -> None:
        if number == BARRIER_IDS:
            idmap.write_maps(self.init.pid, self.linux["uidMappings"], self.linux["gidMappings"])
        elif number == BARRIER_HOOKS:
            self.group.release()
            self.run_hooks("prestart")
            self.run_hooks("createRuntime")
            self.run_hooks("createContainer", target=self._rootfs)
        elif number == BARRIER_START:
            self._ready()
            self.run_hooks("startContainer", target=lambda: inside(self.container, self.config))

    def _rootfs(self) -> hooks.Target:
        """The container before the pivot."""
        return hooks.Target(
            self.init.pid, self.container.data["mask"], self.context.cgroup_files, pivoted=False,
            env=self.config["process"]["env"] if self.config["process"] else (), rootfs=self.container.data["rootfs"], ids=first_ids(self.linux),
        )  # fmt: skip

    def _console(self, master: int) -> None:
        waiting(self.console.receive, master)

    def _notify(self, number: int) -> None:
        waiting(sockets.send_listener, self.container, self.config, number, self.init.pid)

    def _ready(self) -> None:
        self.container.data["notes"] = self.init.plan.notes_from("wait_start")
        self.complete()
