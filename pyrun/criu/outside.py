"""What a container has from outside, as criu must know it: mounts, namespaces, stdio.

When it is saved, each gets a name; when it comes back, the name is given a thing of the host. The names are those that other
runtimes use: a mount's is its destination.
"""

from __future__ import annotations

import errno
import posix

from pyrun.base import files, jsonio
from pyrun.base.errors import ConfigError, Error, words
from pyrun.base.files import S_IFCHR, S_IFDIR, S_IFMT, clean, read_line
from pyrun.cgroup import layout
from pyrun.host import notify
from pyrun.plan import devices, mounts
from pyrun.plan.namespaces import CLONE_NEWCGROUP, CLONE_NEWUSER, FILES, Namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pyrun.container.state import Container

DESCRIPTORS = "descriptors.json"
"""The file among criu's images that says what the container's stdio was: a list of three str."""
NULL = "/dev/null"
# Namespaces that criu is told of by name and by fd, instead of having it join them by path.
BY_NAME = {"network": "extRootNetNS", "pid": "extRootPidNS"}
TERMINALS = (4, 5, *range(136, 144))
"""Major numbers of character devices (Documentation/admin-guide/devices.txt of the kernel)."""
MAX_SYMLINKS = 40  # path_resolution(7)


# --- mounts

def mounts_of(config: dict, bundle: str, hierarchies: Sequence[layout.Hierarchy], notify_directory: str = "") -> list[tuple[str, str]]:
    """What is mounted in the container from outside: (destination, path on the host) of each.

    hierarchies: what a cgroup mount shows. notify_directory: of its socket for sd_notify(3). Raises
    ConfigError for a mount that criu cannot bring back.
    """
    spaces = Namespaces(config["linux"]["namespaces"])
    own_cgroups = bool(spaces.new & CLONE_NEWCGROUP)
    found = [(notify.INSIDE, notify_directory)]
    for mount in mounts.parse(config, bundle):
        if mount.idmap:
            raise ConfigError(mount.where, "criu cannot restore a mount with mapped ids")
        if mount.bind:
            found.append((mount.destination, mount.source))
        elif mount.type == "cgroup" and not own_cgroups:
            found += _cgroup_mounts(mount.destination, hierarchies)
    linux = config["linux"]
    if spaces.new & CLONE_NEWUSER:
        # Device nodes cannot be made in a user namespace: these are the host's.
        names = [clean(entry["path"]) for entry in linux["devices"]]
        found += [(path, path) for path in dict.fromkeys([*names, *(f"/dev/{row[0]}" for row in devices.DEFAULT)])]
    if linux["maskedPaths"]:
        found.append((NULL, NULL))
    return list(dict(found).items())


def _cgroup_mounts(destination: str, hierarchies: Sequence[layout.Hierarchy]) -> list[tuple[str, str]]:
    if [one.name for one in hierarchies] == [""]:
        return [(destination, hierarchies[0].path)]
    return [(f"{destination}/{one.directory}", one.path) for one in hierarchies]


def saved_mounts(config: dict, container: Container) -> list[dict[str, str]]:
    """criu's ext_mnt for saving a container: where each is mounted in it, and its name."""
    root = f"/proc/{container.data['pid']}/root"
    hierarchies = [layout.Hierarchy(mount, "") for mount in layout.discover()]
    names = [name for name, _ in mounts_of(config, container.data["bundle"], hierarchies)]
    found = {resolve(root, name): name for name in names}
    for path in config["linux"]["maskedPaths"]:
        # A masked directory is a tmpfs, which criu saves itself.
        if _is_file(root + resolve(root, path)):
            found[resolve(root, path)] = NULL
    return [{"key": key, "val": name} for key, name in found.items()]


def resolve(root: str, path: str) -> str:
    """The path (from / on) without symbolic links, for a process whose root directory is `root`."""
    names, done = path.split("/")[::-1], "/"
    links = 0
    while names:
        name = names.pop()
        here = clean(f"{done}/{name}")
        try:
            target = posix.readlink(root + here)
        except OSError as fault:
            if fault.errno not in (errno.EINVAL, errno.ENOENT, errno.ENOTDIR):  # no link, or nothing at all
                raise
            done = here
            continue
        links += 1
        if links > MAX_SYMLINKS:
            raise OSError(errno.ELOOP, posix.strerror(errno.ELOOP), path)
        names += target.split("/")[::-1]
        if target.startswith("/"):
            done = "/"
    return done


def _is_file(path: str) -> bool:
    try:
        return posix.lstat(path).st_mode & S_IFMT != S_IFDIR
    except FileNotFoundError:
        return False


# --- namespaces

def saved_namespaces(config: dict, pid: int) -> list[str]:
    """criu's `external` for the namespaces that a container (its pid) joined, and that stay on the host."""
    joined = Namespaces(config["linux"]["namespaces"]).joined
    return [
        f"{FILES[kind]}[{posix.stat(f'/proc/{pid}/ns/{FILES[kind]}').st_ino}]:{name}" for kind, name in BY_NAME.items() if kind in joined
    ]


def joined_namespaces(config: dict) -> tuple[dict[str, int], list[dict[str, str]]]:
    """For restoring into namespaces given by path: ({name: open fd}, criu's join_ns). Raises Error."""
    fds, paths = {}, []
    joined = Namespaces(config["linux"]["namespaces"]).joined
    try:
        for kind, (path, where) in joined.items():
            if kind == "cgroup":
                raise ConfigError(where, "criu cannot restore into a cgroup namespace that is there already")
            fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
            if kind in BY_NAME:
                fds[BY_NAME[kind]] = fd
            else:
                posix.close(fd)
                paths.append({"ns": FILES[kind], "ns_file": path})
    except BaseException as fault:
        for fd in fds.values():
            posix.close(fd)
        if isinstance(fault, OSError):
            raise Error(f"{where}: open {path}: {words(fault.errno)}") from None
        raise
    return fds, paths


# --- stdio

def saved_stdio(container: Container, pids: Iterable[int]) -> list[str]:
    """The container's stdio, as DESCRIPTORS has it: a pipe (`pipe:[INODE]`), a file of the host (`file[MOUNT:INODE]`, criu's word
    for one that the container's mounts do not show), or '' for what is not open any more or the container's own.

    pids: of the container's processes. All are looked at: the first may have
    closed what another one still has open.
    Raises Error for what could not be restored.
    """
    given = container.data["stdio"]
    # The first column is the mount's id.
    own = {line.split(b" ", 1)[0] for line in files.read(f"/proc/{container.data['pid']}/mountinfo").splitlines()}
    found = {}
    for pid in pids:
        for fd in _listed(f"/proc/{pid}/fd"):
            _look_at(f"/proc/{pid}", fd, given, own, found)
    return [found.get(one, "") for one in given]


def _listed(directory: str) -> Sequence[str]:
    try:
        return posix.listdir(directory)
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return ()


def _look_at(process: str, fd: str, given: Sequence[str], own: set[bytes], found: dict[str, str]) -> None:
    """Adds the name of what a process has open, if it was given to it."""
    try:
        text = posix.readlink(f"{process}/fd/{fd}")
        if text in found or text not in given:
            return
        if not text.startswith("/"):
            found[text] = text
            return
        info = dict(line.split(b":", 1) for line in read_line(f"{process}/fdinfo/{fd}").splitlines() if b":" in line)
        mount = info[b"mnt_id"].strip()
        status = posix.stat(f"{process}/fd/{fd}")
        if mount in own:
            return
        if _is_terminal(status):
            raise Error(f"criu cannot bring back {text}, a terminal of the host: the container must have one of its own (process.terminal), or pipes")
        found[text] = f"file[{int(mount):x}:{status.st_ino:x}]"
    except (FileNotFoundError, ProcessLookupError):  # it has closed it, or ended
        pass


def _is_terminal(status: posix.stat_result) -> bool:
    return status.st_mode & S_IFMT == S_IFCHR and posix.major(status.st_rdev) in TERMINALS


def external_files(stdio: Iterable[str]) -> list[str]:
    """Those of saved_stdio() that are criu's `external`."""
    return sorted({one for one in stdio if one.startswith("file[")})


def inherited(image_path: str) -> list[dict]:
    """criu's inherit_fd for the stdio of a saved container: our own takes its place. Raises Error."""
    path = f"{image_path}/{DESCRIPTORS}"
    try:
        saved = jsonio.read(path)
    except FileNotFoundError:
        raise Error(f"--image-path {image_path}: there is no checkpoint: {path}: {words(errno.ENOENT)}") from None
    if saved.__class__ is not list or any(one.__class__ is not str for one in saved):
        raise Error(f"{path}: not a list of strings")
    found = {}
    for fd, one in enumerate(saved):
        if "pipe:" in one or one.startswith("file["):
            found.setdefault(one, fd)
    return [{"key": key, "fd": fd} for key, fd in found.items()]
