"""Whether this host's cgroups can hold the limits of a config, by the table that writes them (cgroup/resources.py)."""

from __future__ import annotations

from pyrun.base.errors import HostError
from pyrun.base.facts import facts
from pyrun.cgroup import layout, resources, tree
from pyrun.cgroup.base import may_make

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.cgroup.base import Cgroup
    from pyrun.cgroup.layout import Mount
    from pyrun.validate.subject import Subject

V2_NAMES = {"blkio": "io"}
"""Controllers that v2 calls otherwise."""


class Hierarchies:
    """The controllers of this host, in the place of a container's cgroup: what its files say now is unknown."""

    def __init__(self, mounts: list[Mount]) -> None:
        self.mounts = mounts
        self.unified = next((mount for mount in mounts if mount.names == [""]), None)
        self.v2 = set(tree.read(f"{self._top()}/cgroup.controllers").split()) if self.unified else set()

    def _top(self) -> str:
        """The v2 cgroup below which the caller can have one: an ordinary user's is one that was delegated."""
        assert self.unified
        return self.unified.point + (tree.parent(self.unified.own) if facts.rootless and self.unified.own else "")

    def version_of(self, controller: str) -> tuple[int, str | None]:
        """As Cgroup.version_of(), but without switching anything on."""
        if any(controller in mount.names for mount in self.mounts):
            return 1, "/none"
        if V2_NAMES.get(controller, controller) in self.v2 or controller.startswith("unified"):
            return 2 if self.unified and len(self.mounts) == 1 else 1, "/none"
        return 2 if self.unified else 1, None

    def controller_missing(self, controller: str, where: str) -> HostError:
        if self.unified and len(self.mounts) == 1:
            point, name = self._top(), V2_NAMES.get(controller, controller)
            text, has = f"no cgroup controller {name} here: {point}/cgroup.controllers has", " ".join(sorted(self.v2)) or "none"
            cure = f"have {name} delegated to you (Delegate= of systemd)" if facts.rootless else "leave the limit out, or use another kernel"
            return HostError(where, f"{text} {has}", cure=cure)
        return HostError(where, f"no cgroup controller {controller} here: no hierarchy with it is mounted", cure="mount it, or leave the limit out")

    def sample(self, controller: str) -> str | None:
        """A cgroup that has this controller's files; None where there is none to look at."""
        for mount in self.mounts:
            if mount.names == [""] or controller in mount.names:
                for path in tree.children(mount.point):
                    if controller in mount.names or controller in _controllers(path):
                        return path
        return None


def _controllers(path: str) -> list[str]:
    try:
        return tree.read(f"{path}/cgroup.controllers").split()
    except OSError:  # it has gone
        return []


class Limit:
    """A setting of linux.resources: a row of the table with its value."""

    def __init__(self, row: tuple, place: str, value: object, section: dict, host: Hierarchies) -> None:
        self.where = place
        self.setting = row, place, value, section
        self.host = host

    def check(self) -> None:
        """Raises ConfigError for a wrong value, HostError for one that cannot be had here."""
        for write in resources.writes_of(*self.setting, self.host):
            names = [name for name, _ in write.files]
            text = write.files[-1][1]
            controller = resources.controller_of(names[-1])
            if write.version == 2 and controller != "cgroup" and V2_NAMES.get(controller, controller) not in self.host.v2:
                raise self.host.controller_missing(controller, self.where)
            sample = self.host.sample(controller)
            if sample is None or isinstance(text, resources.Spare) or names[-1] in resources.DEPRECATED:
                continue
            if not any(tree.exists(f"{sample}/{name}") for name in names):
                raise HostError(self.where, f"this kernel's cgroups have no file {' or '.join(names)}", cure=_cure(names[-1]))


def _cure(file: str) -> str:
    if file.startswith("hugetlb."):
        return "/sys/kernel/mm/hugepages has the page sizes that there are"
    if ".swap." in file or ".memsw." in file:
        return "boot with swapaccount=1, or leave the limit of swap out"
    return "leave it out, or use a newer kernel"


def limits_of(subject: Subject) -> Iterator[Limit]:
    """What of a config's limits is sound."""
    given = subject.config["linux"]["resources"]
    if not any(value for name, value in given.items() if name != "devices"):
        return
    host = Hierarchies(layout.discover())
    for row in resources.RESOURCES:
        for place, value, section in resources.settings(given, row[0], "linux.resources"):
            yield Limit(row, place, value, section, host)


def unreachable(group: Cgroup) -> Iterator[str]:
    """Yields the directories of a container's cgroup that the caller may not make."""
    for path in dict.fromkeys(group.paths.values()):
        if not may_make(path):
            yield path
