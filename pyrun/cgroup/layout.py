"""Where the hierarchies are mounted, and where in each the runtime itself is. Read once, when a container is made."""

import posix

from pyrun.cgroup import tree

V2_MOUNT = "/sys/fs/cgroup"
HYBRID_MOUNT = "/sys/fs/cgroup/unified"


class Mount:
    """One mounted hierarchy. names: its controllers, `name=systemd`, or '' for cgroup v2; own: the runtime's cgroup,
    from the mount point on ('' at the mount point).
    """

    def __init__(self, names, point, own):
        self.names, self.point, self.own = names, point, own


def discover(pid="self"):
    """The mounted hierarchies (list of Mount): one with the name '' alone on pure v2, several on v1, '' last on hybrid.

    pid: the process whose cgroup `own` is.
    """
    return parse(tree.read("/proc/self/mountinfo"), tree.read(f"/proc/{pid}/cgroup"), leads_to)


def leads_to(point, device):
    """Whether the path really is the mount of that device (`MAJOR:MINOR`): another mount may cover it."""
    try:
        number = posix.stat(point).st_dev
    except (FileNotFoundError, NotADirectoryError, PermissionError):  # covered by another mount, or out of the caller's reach
        return False
    return device == f"{posix.major(number)}:{posix.minor(number)}"


def parse(mountinfo, own, leads_to):
    """As discover(), from the texts of /proc/self/mountinfo and /proc/self/cgroup."""
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
        names = [""] if kind == "cgroup2" else [name for name in options.split(",") if joinable(name, cgroup_of)]
        # A hierarchy may be mounted at several places. The first that can be reached is the one to use.
        if any(set(names) & set(mount.names) for mount in v1) or not names:
            continue
        mount = Mount(names, point, below(cgroup_of.get(names[0], "/"), unescape(root)))
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


def joinable(name, cgroup_of):
    """Controllers, and of the named hierarchies systemd's: a service manager's idea of the container must be right."""
    return name in cgroup_of and (not name.startswith("name=") or name == "name=systemd")


def below(path, root):
    """A path of /proc/self/cgroup, as seen from a mount that shows the hierarchy from `root` on."""
    root = root.rstrip("/")
    path = path.rstrip("/")
    # Outside of what the mount shows (or, `/..`, of the cgroup namespace): the mount point is the nearest there is.
    return path[len(root) :] if f"{path}/".startswith(f"{root}/") and "/.." not in path else ""


def unescape(text):
    """mountinfo writes blanks and backslashes as three octal digits."""
    head, *rest = text.split("\\")
    return head + "".join(chr(int(piece[:3], 8)) + piece[3:] for piece in rest)
