"""What a cgroup of either version does, and what a command may ask of it."""

from __future__ import annotations

import errno
import posix

from pyrun.base import log
from pyrun.base.errors import Error, HostError, words
from pyrun.base.facts import facts
from pyrun.base.files import read_line
from pyrun.base.processes import SIGKILL
from pyrun.cgroup import tree
from pyrun.cgroup.layout import Hierarchy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyrun.cgroup.layout import Mount
    from pyrun.cgroup.resources import Write

END_TIMEOUT = 10  # seconds within which killed processes must have ended, and a cgroup must be removed
DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
NO_PERMISSION = "rootless needs no limits + no cgrouppath when no permission is granted for cgroups (a cgroup must be delegated to the caller)"


class Cgroup:
    """The cgroup of one container. Made by cgroup.open() and cgroup.from_state().

    paths: {controller: directory}; `name=systemd` is one of them, and '' is cgroup v2. Controllers that are mounted
    together have the same directory. Empty if a rootless container has no cgroup.
    """

    def __init__(self, state: dict, mounts: Sequence[Mount] = (), config: dict | None = None, rootless: str = "auto") -> None:
        self.state = state
        self.mounts = mounts
        # A normal one, or empty: what lies in it is asked for while the cgroup is made.
        self.config = config or {}
        self.linux = config["linux"] if config else {}
        self.resources = config["linux"]["resources"] if config else {}
        self.rootless = rootless
        # On a new cgroup device rules are set even where the config names none (there are defaults); on others only when named.
        self.new = config is not None

    @property
    def paths(self) -> dict[str, str]:
        return self.state["paths"]

    # --- what v1.py and v2.py do in their own ways --------------------------------------------------------------------

    FREEZER, FROZEN, THAW = "", "", ("", "")
    """The key in paths of the hierarchy that can freeze; its file that says "1" when the cgroup is frozen; what thaws it: (file, text)."""

    def version_of(self, controller: str) -> tuple[int, str | None]:
        """By which column of the table a controller (v1's name) is set, and where: (1 or 2, directory).

        The directory is None if the controller is nowhere.
        """
        raise NotImplementedError

    def _limit_devices(self, rules: Sequence[dict], where: str) -> None:
        """Sets device rules. Raises Error."""
        raise NotImplementedError

    def _freeze(self, path: str, seconds: float) -> bool:
        """Freezes a directory of the freezer. False if it is not frozen within so many seconds; OSError."""
        raise NotImplementedError

    def _kill(self, path: str) -> None:
        """Kills all processes in a directory and below. They may still be about to end."""
        raise NotImplementedError

    def _wait_empty(self, path: str) -> None:
        """Waits for a second at most until no process is in a directory or below."""
        raise NotImplementedError

    # --- making -------------------------------------------------------------------------------------------------------

    def reserve(self) -> None:
        """Where systemd makes the cgroup: asks it to. May take long, and be interrupted; then nothing stays. Raises Error."""

    def create(self) -> None:
        """Makes the directories. If that fails, those made are removed again, and this object stands for no cgroup any more.

        Raises Error if the cgroup holds processes or is frozen, and if it cannot be made.
        """
        made = []
        try:
            for path in dict.fromkeys(self.paths.values()):
                self._make(path, made)
            self.state["claimed"] = True
        except BaseException as fault:
            self.state["paths"] = {}
            for path in reversed(made):
                try:
                    posix.rmdir(path)
                except OSError:  # another container uses it by now
                    pass
            if not isinstance(fault, OSError):
                raise
            hint = f"{NO_PERMISSION}: " if fault.errno in DENIED and self._is_rootless() else ""
            raise Error(f"unable to apply cgroup configuration: {hint}{fault.filename or path}: {words(fault.errno)}") from None

    def _make(self, path: str, made: list[str]) -> bool:
        """Makes one directory; adds it, and the parents it needed, to `made`. Whether it was not there before."""
        if tree.make(path, made):
            return True
        if found := self._strangers(path):
            raise Error(f"container's cgroup is not empty: {len(found)} process(es) found in {path}")
        return False

    def _strangers(self, path: str) -> list[int]:
        """Processes in a directory that was there already, which must have none."""
        return tree.pids(path)

    def release(self) -> None:
        """Called when the container's init is in its cgroup, which from now on exists without our help."""

    def give_up(self) -> None:
        """Leaves out the hierarchies in which the caller may make no cgroup, if it is rootless and its config asks for no particular one.

        Such a container stays in the caller's cgroup. Limits that it asks for are an error later, in apply().
        """
        # The usual case, a root that may do everything, takes one system call.
        almighty = not self.mounts or (not facts.rootless and posix.access(self.mounts[0].point, posix.W_OK))
        if almighty or self.linux["cgroupsPath"] or not self._is_rootless():
            return
        self.state["paths"] = {name: path for name, path in self.paths.items() if may_make(path)}
        if not self.paths:
            self._tell_missing()

    def _is_rootless(self) -> bool:
        return self.rootless == "true" or (self.rootless == "auto" and facts.unprivileged)

    def _tell_missing(self) -> None:
        from pyrun.base import log

        if any(space["type"] == "pid" and not space["path"] for space in self.linux["namespaces"]):
            log.debug("rootless: no permission to make a cgroup; the container stays in the caller's")
        else:
            log.warning(
                "a rootless container without a cgroup and a pid namespace of its own: not all its processes can be killed. "
                "Such configuration is strongly discouraged"
            )

    # --- limits -------------------------------------------------------------------------------------------------------

    def apply(self, resources: dict, where: str = "linux.resources") -> None:
        """Writes the limits of linux.resources, and nothing that it does not name.

        Device rules are set when they are named, and once on a new cgroup in any case. where: config path for errors.
        Raises ConfigError.
        """
        resources = resources or {}
        if resources:
            from pyrun.cgroup import resources as table

            self.write(table.writes(resources, self, where))
        if self.new or resources.get("devices") is not None:
            self._limit_devices(resources.get("devices", ()), f"{where}.devices")
            self.new = False

    def write(self, writes: list[Write]) -> None:
        """Does what a list of writes says. Raises ConfigError for one that the kernel refuses."""
        self._tell(writes)
        self._write_all(writes)

    def _tell(self, writes: list[Write]) -> None:
        """Where systemd makes the cgroup: tells it the limits, before they are written, since it writes to the same files."""

    def _write_all(self, writes: list[Write]) -> None:
        """Some settings hold each other back: memory and memory+swap, quota and period and burst, real-time runtime and
        period, weight and idle. The kernel refuses one with EINVAL until the other is written, and which of them depends
        on the old values. So what is refused is written again after the rest.
        """
        while writes:
            refused = []
            for write in writes:
                try:
                    write.run()
                except OSError as fault:
                    if fault.errno != errno.EINVAL or len(writes) == 1:
                        raise write.error(fault) from None
                    refused.append(write)
                    reason = fault
            if len(refused) == len(writes):
                raise refused[-1].error(reason) from None
            writes = refused

    def controller_missing(self, controller: str, where: str) -> HostError:
        """The HostError for a limit that no cgroup of the container has."""
        text = f"cannot set {controller} limit: container could not join or create cgroup"
        given_up = [mount.names for mount in self.mounts if mount.names[0] not in self.paths]
        if any(controller in names or "" in names for names in given_up):
            text = f"{NO_PERMISSION}: {text}"
        elif self.mounts:
            text = f"{text}: mountpoint for {controller} not found"
        return HostError(where, text)

    # --- joining ------------------------------------------------------------------------------------------------------

    def hierarchies(self) -> list[Hierarchy]:
        """What a cgroup mount of the container shows. Only after open()."""
        return [Hierarchy(mount, self.paths.get(mount.names[0], mount.point + mount.own)) for mount in self.mounts]

    def procs_files(self, init: int = 0) -> list[str]:
        """The files that put a process of one thread into the cgroup when it writes "0" to them all.

        init: pid of the container's init, for v2: where the cgroup can take no process any more, its cgroup is joined.
        """
        return [self._join_file(path) for path in dict.fromkeys(self.paths.values())]

    def _join_file(self, path: str) -> str:
        return path + "/cgroup.procs"

    def sub(self, arguments: Sequence[str]) -> list[str]:
        """As procs_files(), for the values of `exec --cgroup`: `path`, or on v1 `controller[,controller…]:path`. Raises Error.

        Controllers that are not named are joined at the top of the container.
        """
        from pyrun.cgroup.sub import directories

        return [self._join_file(path) for path in directories(arguments, self.paths)]

    # --- freezing -----------------------------------------------------------------------------------------------------

    def frozen(self) -> bool:
        """Whether the cgroup is frozen itself, or about to be (a frozen parent does not count)."""
        path = self.paths.get(self.FREEZER)
        try:
            return path is not None and read_line(f"{path}/{self.FROZEN}") == b"1\n"
        except OSError as fault:
            if fault.errno not in tree.GONE:
                raise
            return False

    def freeze(self, seconds: float = 10) -> None:
        """Stops all processes. Raises Error if that cannot be done within so many seconds: then they run again."""
        path = self.paths.get(self.FREEZER)
        if path is None:
            raise Error("cannot toggle freezer: cgroups not configured for container")
        try:
            if self._freeze(path, seconds):
                return
            self.thaw()
        except OSError as fault:
            raise Error(f"unable to freeze: {path}: {words(fault.errno)}") from None
        raise Error(f"unable to freeze: {path} is not frozen after {seconds} s")

    def thaw(self, recursive: bool = False) -> None:
        """Lets the processes run again; recursive: in cgroups below too, which the workload may have frozen."""
        path = self.paths.get(self.FREEZER)
        if path is None:
            return
        file, text = self.THAW
        for directory in tree.walk(path) if recursive else [path]:
            try:
                tree.write(f"{directory}/{file}", text)
            except OSError as fault:
                if fault.errno not in tree.GONE:
                    raise Error(f"unable to thaw: {directory}: {words(fault.errno)}") from None

    # --- processes ----------------------------------------------------------------------------------------------------

    def _main(self) -> str | None:
        """The directory whose processes count: the one that can be frozen, if there is one. None if there is no cgroup."""
        for controller in ("", "freezer", "devices"):
            if controller in self.paths:
                return self.paths[controller]
        return next(iter(self.paths.values()), None)

    def pids(self, recursive: bool = True) -> list[int]:
        """The processes of the cgroup, and of those below it. None, if it is gone."""
        return tree.pids(path, recursive) if (path := self._main()) else []

    def kill(self, signal: int) -> None:
        """Sends a signal to all processes of the cgroup and of those below it, whether frozen or not.

        With SIGKILL it returns when they have ended; Error if they have not after END_TIMEOUT.
        """
        path = self._main()
        if not path or not self.state["claimed"]:
            return
        if signal != SIGKILL:
            self._signal(path, signal)
            return
        left = []
        for _ in tree.pauses(END_TIMEOUT):
            left = self._others(path)
            if not left:
                return
            self._kill(path)
            self._wait_empty(path)
        raise Error(f"processes do not end: {' '.join(map(str, left))}")

    def _others(self, path: str) -> list[int]:
        own = posix.getpid()
        return [pid for pid in tree.pids(path) if pid != own]

    def _signal(self, path: str, signal: int) -> None:
        """Sends a signal while the cgroup is frozen: a process that runs could fork one that is missed, or end and leave its pid to another."""
        paused = self.frozen()
        if not paused:
            self._freeze_briefly()
        self._send(path, signal)
        if not paused:
            self.thaw()

    def _send(self, path: str, signal: int) -> None:
        for pid in self._others(path):
            try:
                posix.kill(pid, signal)
            except ProcessLookupError:
                pass
            except OSError as fault:
                raise Error(f"kill process {pid}: {words(fault.errno)}") from None

    def _kill_at_once(self, path: str) -> bool:
        """Whether the kernel killed all processes of a v2 cgroup and those below, frozen or about to fork (5.14)."""
        try:
            tree.write(path + "/cgroup.kill", "1")
        except OSError:  # an older kernel, a threaded cgroup, a gone one: then they are killed one by one
            return False
        return True

    def _freeze_briefly(self) -> None:
        try:
            self.freeze(0.05)
        except Error:  # no freezer, or a process that cannot be stopped now: then we go on without
            pass

    # --- removing -----------------------------------------------------------------------------------------------------

    def delete(self) -> None:
        """Removes the cgroup and what the workload made below it; processes that are left in it are killed. A missing one is fine.

        Parents stay: they may be another's. Raises Error if a directory cannot be removed within END_TIMEOUT.
        """
        if not self.state["claimed"]:
            self._remove_unclaimed()
            return
        failed = None
        pauses = tree.pauses(END_TIMEOUT)  # of all of them together: a process that does not end is in each of v1's
        for path in dict.fromkeys(self.paths.values()):
            try:
                tree.remove(path)
            except OSError as fault:
                try:
                    self._remove_slowly(path, fault, pauses)
                except (OSError, Error) as error:  # the others go all the same
                    failed = failed or error
        if failed:
            raise failed

    def _remove_unclaimed(self) -> None:
        """The runtime was killed when the state was on disk: the directories may be ours, or those of another container
        with the same cgroupsPath, which create() would have refused. Only what nobody uses goes; an init without its runtime
        ends by itself, on a busy machine after seconds.
        """
        left = list(dict.fromkeys(self.paths.values()))
        for _ in tree.pauses(END_TIMEOUT):
            left = [path for path in left if _is_busy(path)]
            if not left:
                return
        log.warning(f"cgroups that are in use, maybe by another container, are left: {', '.join(left)}")

    def _remove_slowly(self, path: str, fault: OSError, pauses: Iterator[None]) -> None:
        # A process that has just ended may still be on its way out of the cgroup, so killing comes second.
        killed, tries = False, 3
        for _ in pauses:
            denied = fault.errno in DENIED and self._is_rootless()
            if not denied and fault.errno != errno.EBUSY:
                # It may pass, as a want of memory does. What is left here nobody finds any more.
                tries -= 1
                if not tries:
                    break
            inside = (denied or not killed) and tree.pids(path)
            if denied and not inside:
                log.warning(f"rmdir {path}: {words(fault.errno)}")
                return
            if not killed and inside:
                killed = True
                self._kill(path)
            try:
                tree.remove(path)
            except OSError as again:
                fault = again
            else:
                return
        raise Error(f"unable to remove container's cgroup: rmdir {path}: {words(fault.errno)}")

    def to_state(self) -> dict:
        """What from_state() needs, for state.json: `paths`, and `claimed`, whether create() has made them this container's.

        create() changes this very dict: the state of a container holds it, and so is right at any moment.
        """
        return self.state


def _is_busy(path: str) -> bool:
    """Removes a directory; whether it is still in use."""
    try:
        posix.rmdir(path)
    except FileNotFoundError:
        return False
    except OSError as fault:
        if fault.errno != errno.EBUSY:
            raise
        return True
    return False


def may_make(path: str) -> bool:
    """Whether the caller may make a cgroup, or join it if it is there."""
    if tree.exists(path):
        return posix.access(path + "/cgroup.procs", posix.W_OK)
    above = tree.parent(path)
    while not tree.exists(above):
        above = tree.parent(above)
    return posix.access(above, posix.W_OK)
