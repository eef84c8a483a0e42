"""linux.intelRdt: shares of the L3 cache and of memory bandwidth, by the resctrl file system (config-linux.md#intelrdt).

A class of service (CLOS) is a directory of resctrl. It is the config's, by closID, and then stays when the container goes,
or one of the container's own, with its id for a name, that goes with it. So does the monitoring group.
"""

from __future__ import annotations

import errno
import posix

from pyrun.base import files, log
from pyrun.base.errors import ConfigError, HostError, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# The members that become lines of `schemata`, in the order the specification gives.
LINES = ("l3CacheSchema", "memBwSchema")


def mount_point() -> str | None:
    """Where resctrl is mounted, in the runtime's mount namespace; None: nowhere."""
    for line in files.read("/proc/self/mountinfo").decode("utf-8", "surrogateescape").splitlines():
        left, _, right = line.partition(" - ")
        if right.startswith("resctrl "):
            return left.split(" ")[4]
    return None


class Group:
    """The directories of one container.

    rdt: linux.intelRdt. root: where resctrl is mounted. own: the paths that go with the container, in that order.
    """

    def __init__(self, rdt: dict, id: str, root: str) -> None:
        self.rdt = rdt
        closid = rdt.get("closID")
        self.named = bool(closid)
        self.path = root if closid == "/" else f"{root}/{closid or id}"
        self.own = [f"{self.path}/mon_groups/{id}"] if rdt.get("enableMonitoring") else []
        if not self.named:
            self.own.append(self.path)

    def create(self) -> None:
        """Makes the directories and writes the schemata. Raises ConfigError."""
        lines = schemata(self.rdt)
        exists = files.is_directory(self.path)
        if self.named and not lines and not exists:
            raise ConfigError("linux.intelRdt.closID", f"{self.path} does not exist: make it, or give schemata")
        if self.named and lines and exists:
            self._compare(lines)
        else:
            if not exists:
                _mkdir(self.path, "linux.intelRdt.closID")
            if lines:
                write_schemata(self.path, lines)
        if self.rdt.get("enableMonitoring"):
            _mkdir(self.own[0], "linux.intelRdt.enableMonitoring")

    def _compare(self, lines: Sequence[str]) -> None:
        """A class that was there already must have what the config asks for: others live in it."""
        present = _settings(files.read(f"{self.path}/schemata").decode().splitlines())
        for name, wanted in _settings(lines).items():
            if any(present.get(name, {}).get(domain) != value for domain, value in wanted.items()):
                raise ConfigError("linux.intelRdt", f"{self.path}/schemata has other values for {name} than the config: {present.get(name)}")

    def add(self, pid: int) -> None:
        """Puts a process, and so its descendants to come, into the class and its monitoring group."""
        for directory in (self.path, *(self.own[:1] if self.rdt.get("enableMonitoring") else ())):
            _write(f"{directory}/tasks", str(pid), "linux.intelRdt")


def group_of(config: dict, id: str) -> Group:
    """The Group of a container whose config has intelRdt. Raises ConfigError: resctrl is not mounted."""
    root = mount_point()
    if root is None:
        cure = "mount -t resctrl resctrl /sys/fs/resctrl (needs a CPU with RDT)"
        raise HostError("linux.intelRdt", "resctrl is not mounted on this host", cure=cure)
    return Group(config["linux"]["intelRdt"], id, root)


def new_group(config: dict, id: str) -> Group:
    """The same for a container that is being made. Raises ConfigError: a name is taken."""
    group = group_of(config, id)
    for path in group.own:
        # `delete` removes what the container's state names: it must not be another's.
        if files.is_directory(path):
            raise HostError("linux.intelRdt", f"{path} is there already, and is not the container's", cure="remove it, or use another id")
    return group


def delete(paths: Iterable[str]) -> None:
    """Removes the directories that were a container's own. A failure is a warning."""
    for path in paths:
        try:
            posix.rmdir(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning(f"intelRdt: {path} is left: {words(error.errno)}")


def schemata(rdt: dict) -> list[str]:
    """The lines for the file `schemata`."""
    return [*(rdt[name] for name in LINES if rdt.get(name)), *(rdt.get("schemata") or ())]


def write_schemata(directory: str, lines: Sequence[str]) -> None:
    _write(f"{directory}/schemata", "".join(f"{line}\n" for line in lines), "linux.intelRdt")


def _settings(lines: Iterable[str]) -> dict[str, dict[str, str]]:
    """`L3:0=f;1=0f` -> {"L3": {"0": "f", "1": "f"}}: resctrl prints masks without the zeros and spaces it was given."""
    found = {}
    for line in lines:
        name, _, rest = line.strip().partition(":")
        for part in rest.split(";"):
            domain, _, value = part.partition("=")
            found.setdefault(name, {})[domain.strip().lstrip("0") or "0"] = value.strip().lower().lstrip("0") or "0"
    return found


def _mkdir(path: str, where: str) -> None:
    try:
        posix.mkdir(path, 0o755)
    except OSError as error:
        hint = ": the CPU has no more of them" if error.errno == errno.ENOSPC else ""
        raise ConfigError(where, f"mkdir {path}: {words(error.errno)}{hint}") from None


def _write(path: str, text: str, where: str) -> None:
    try:
        files.write(path, text)
    except OSError as error:
        raise ConfigError(where, f"write {path}: {words(error.errno)}") from None
