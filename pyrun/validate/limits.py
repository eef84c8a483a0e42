"""Whether this host's cgroups can hold the limits of a config, by the table that writes them (cgroup/resources.py)."""

from __future__ import annotations

from pyrun.base.errors import HostError
from pyrun.cgroup import layout, resources, tree
from pyrun.cgroup.available import V2_NAMES, Available
from pyrun.cgroup.base import may_make
from pyrun.cgroup.stats import page_sizes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.cgroup.base import Cgroup
    from pyrun.validate.subject import Subject

class Limit:
    """A setting of linux.resources: a row of the table with its value."""

    def __init__(self, row: tuple, place: str, value: object, section: dict, host: Available) -> None:
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
            if isinstance(text, resources.Spare) or names[-1] in resources.DEPRECATED:
                continue
            if not any(self.is_known(controller, name) for name in names):
                raise HostError(self.where, f"this kernel's cgroups have no file {' or '.join(names)}", cure=_cure(names[-1]))

    def is_known(self, controller: str, file: str) -> bool:
        """Whether the kernel has this file of a controller. Where no cgroup has such files, nobody can tell, but for those of page sizes."""
        if controller == "hugetlb":
            return file.split(".")[1] in page_sizes()
        sample = self.host.sample(controller)
        return sample is None or tree.exists(f"{sample}/{file}")


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
    host = Available(layout.discover())
    for row in resources.RESOURCES:
        for place, value, section in resources.settings(given, row[0], "linux.resources"):
            yield Limit(row, place, value, section, host)


def unreachable(group: Cgroup) -> Iterator[str]:
    """Yields the directories of a container's cgroup that the caller may not make."""
    for path in dict.fromkeys(group.paths.values()):
        if not may_make(path):
            yield path
