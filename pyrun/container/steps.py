"""The steps of making a container that `create`, `run` and `restore` have in common."""

from __future__ import annotations

from pyrun import cgroup
from pyrun.base import jsonio, log, timeline
from pyrun.base.errors import Error, words
from pyrun.base.interrupts import waiting
from pyrun.base.undo import Undo
from pyrun.container import end, hooks
from pyrun.container.record import Gone
from pyrun.container.state import CONFIG, Container
from pyrun.host import fds, pidfile, sockets
from pyrun.host.terminal import Console
from pyrun.plan.context import rootfs_path
from pyrun.plan.namespaces import Namespaces
from pyrun.plan.request import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrun.cli.settings import Settings
    from pyrun.host.foreground import Foreground


class Making:
    """A container that is being made. What takes its steps back is in `undo`.

    given: the config as it was given, config: the normal one. Interrupts are held (base/interrupts.py) when the first step begins, so
    none comes between a step and the push of its undoing.
    """

    container: Container  # from record() on

    def __init__(self, settings: Settings, request: Request, given: dict, config: dict, console: Console) -> None:
        self.settings = settings
        self.request = request
        self.given = given
        self.config = config
        self.linux = config["linux"]
        self.console = console
        self.group = cgroup.open(config, request.id, settings)
        self.shares = None
        if self.linux["intelRdt"] is not None:
            from pyrun.host import rdt

            self.shares = rdt.new_group(config, request.id)
        self.undo = Undo()

    def record(self) -> None:
        """The state directory. It names the cgroup and the directories in resctrl before they are made, and its undoing removes them:
        `delete --force` finds all after a kill at any instant.
        """
        timeline.phase("write state")
        bundle = self.request.bundle
        self.container = Container.make(self.settings.root, self.request.id, bundle, rootfs_path(self.config, bundle), self.config)
        self.undo.push(end.remove, self.container)
        self.container.data |= {
            "cgroup": self.group.to_state(),
            "rdt": self.shares.own if self.shares else [],
            "mask": Namespaces(self.linux["namespaces"]).mask,
            "stdio": fds.stdio(),
            "hooks": [kind for kind, hooks in self.config["hooks"].items() if hooks],
            "keyring": not self.request.no_new_keyring,
        }
        self.container.save()

    def make_cgroup(self) -> None:
        timeline.phase("make cgroup")
        self.undo.push(self.group.release)
        waiting(self.group.reserve)
        self.group.create()

    def set_limits(self) -> None:
        self.group.apply(self.linux["resources"])

    def make_shares(self) -> None:
        if self.shares:
            self.shares.create()

    def connect_console(self) -> None:
        self.undo.push(self.console.close)
        waiting(self.console.connect)

    def save_config(self) -> None:
        """What exec, the hooks and a later `start` need of the config; the bundle may change or go."""
        jsonio.write(f"{self.container.directory}/{CONFIG}", self.given)

    def move_net_devices(self) -> None:
        if self.linux["netDevices"]:
            from pyrun.host import netdevices

            netdevices.move(self.linux["netDevices"], self.container.data["pid"])

    def run_hooks(self, kind: str, status: str = "created", target: Callable[[], hooks.Target] | None = None) -> None:
        """From the first kind on, the poststop hooks belong to the container's end. target(): where those run that run inside."""
        self.undo.then(end.run_poststop, self.container, self.config)
        if self.config["hooks"][kind]:  # else a signal for a program that runs already would be let in
            waiting(hooks.run, self.config, kind, self.container, status, target and target())

    def complete(self) -> None:
        """All is set up: the record says so, and whoever waits for it is told."""
        pid = self.container.data["pid"]
        self.group.release()
        self.container.data["creating"] = False
        self.container.save()
        if path := self.request.pid_file:
            pidfile.write(path, pid)
            self.undo.push(pidfile.remove, path)
        if self.request.pidfd_socket:
            waiting(sockets.send_pidfd, self.request.pidfd_socket, pid)

    def attend(self, foreground: Foreground, keep: bool = False) -> int:
        """Stays until the program ends; then removes the container, unless it is to be kept. Returns the exit code."""
        try:
            foreground.adopt(self.console)
            self.container.unlock()
            timeline.phase("program")
            code = foreground.wait(self.container.data["pid"], self.container.notify)
            if code:
                from pyrun.container import why

                why.tell(foreground.status, self.container.data["pid"], why.Place(self.config, self.group))
        except (Error, OSError):
            end.kill_init(self.container)  # nobody attends it any more
            if not keep:
                self._remove()
            raise
        if not keep:
            self._remove()
        return code

    def _remove(self) -> None:
        """Removes the container whose program has ended; what fails there is a warning."""
        timeline.phase("remove")
        try:
            self.container.lock()
            end.destroy(self.container, self.config)
        except Gone:
            pass  # `delete --force` was what ended it
        except Error as error:
            log.warning(str(error))
        except OSError as error:
            what = f"{error.filename}: {words(error.errno)}" if error.filename else words(error.errno)
            log.warning(f"container {self.container.id} is left: {what}: `delete` removes it")
