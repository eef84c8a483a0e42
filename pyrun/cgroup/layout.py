"""Where the hierarchies are mounted, and where in each the runtime itself is. Read once, when a container is made."""

from __future__ import annotations

import posix

from pyrun.base.errors import Error
from pyrun.cgroup import tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

V2_MOUNT = "/sys/fs/cgroup"
HYBRID_MOUNT = "/sys/fs/cgroup/unified"


class Mount:
    """One mounted hierarchy. names: its controllers, `name=systemd`, or '' for cgroup v2; own: the runtime's cgroup,
    from the mount point on ('' at the mount point).
    """

    def __init__(self, names: list[str], point: str, own: str) -> None:
        self.names, self.point, self.own = names, point, own


class Hierarchy:
    """What a cgroup mount of the container shows of one hierarchy.

    name: '' for cgroup v2; directory: its name below /sys/fs/cgroup; links: other names of the same; type and
    options: for a mount in a new cgroup namespace; path: the directory of the host for a bind mount.
    """

    def __init__(self, mount: Mount, path: str) -> None:
        self.name = mount.names[0]
        self.directory = mount.point.rpartition("/")[2]
        self.links = [name for name in mount.names if name != self.directory] if len(mount.names) > 1 else []
        self.type = "cgroup" if self.name else "cgroup2"
        self.options = mount.names if self.name else []
        self.path = path


def discover(pid: int | str = "self") -> list[Mount]:
    """The mounted hierarchies: one with the name '' alone on pure v2, several on v1, '' last on hybrid.

    pid: the process whose cgroup `own` is.
    """
    try:
        return parse(tree.read("/proc/self/mountinfo"), tree.read(f"/proc/{pid}/cgroup"), leads_to)
    except ValueError as fault:
        raise Error(f"/proc/self/mountinfo or /proc/{pid}/cgroup is not as the kernel writes it: {fault}") from None


def leads_to(point: str, device: str) -> bool:
    """Whether the path really is the mount of that device (`MAJOR:MINOR`): another mount may cover it."""
    try:
        number = posix.stat(point).st_dev
    except (FileNotFoundError, NotADirectoryError, PermissionError):  # covered by another mount, or out of the caller's reach
        return False
    return device == f"{posix.major(number)}:{posix.minor(number)}"


def parse(mountinfo: str, own: str, leads_to: Callable[[str, str], bool]) -> list[Mount]:
    """As discover(), from the texts of /proc/self/mountinfo and /proc/self/cgroup. Raises ValueError."""
    cgroup_of = {}
    for line in own.splitlines():
        _, names, path = line.split(":", 2)
        cgroup_of.update(dict.fromkeys(names.split(","), path))
    found = {}
    for line in mountinfo.splitlines():
        if " - cgroup" not in line:
            continue
        left, right = line.split(" - ", 1)
        _, _, device, root, point = left.split(" ", 5)[:5]
        point = unescape(point)
        # Of the same hierarchy on the same place the last one is on top: its root counts.
        if leads_to(point, device):
            found[point] = root, right
    v1, v2 = [], {}
    for point, (root, right) in found.items():
        kind, _, options = right.split(" ", 2)
        controllers = [""] if kind == "cgroup2" else [name for name in options.split(",") if joinable(name, cgroup_of)]
        # A hierarchy may be mounted at several places. The first that can be reached is the one to use.
        if any(set(controllers) & set(mount.names) for mount in v1) or not controllers:
            continue
        mount = Mount(controllers, point, below(cgroup_of.get(controllers[0], "/"), unescape(root)))
        if kind == "cgroup2":
            v2.setdefault(point, mount)
        elif kind == "cgroup":
            v1.append(mount)
    if V2_MOUNT in v2:
        return [v2[V2_MOUNT]]
    if v1:
        # Beside v1 only systemd's hybrid place counts: others mount cgroup v2 for purposes of their own.
        return v1 + [v2[point] for point in v2 if point == HYBRID_MOUNT]
    return list(v2.values())[:1]


def joinable(name: str, cgroup_of: dict[str, str]) -> bool:
    """Controllers, and of the named hierarchies systemd's: a service manager's idea of the container must be right."""
    return name in cgroup_of and (not name.startswith("name=") or name == "name=systemd")


def below(path: str, root: str) -> str:
    """A path of /proc/self/cgroup, as seen from a mount that shows the hierarchy from `root` on."""
    root = root.rstrip("/")
    path = path.rstrip("/")
    # Outside of what the mount shows (or, `/..`, of the cgroup namespace): the mount point is the nearest there is.
    return path[len(root) :] if f"{path}/".startswith(f"{root}/") and "/.." not in path else ""


def unescape(text: str) -> str:
    """mountinfo writes blanks and backslashes as three octal digits."""
    head, *rest = text.split("\\")
    return head + "".join(chr(int(piece[:3], 8)) + piece[3:] for piece in rest)
