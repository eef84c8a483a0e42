"""What is kept of a container: a directory below --root with state.json, the config it was made of, and the start socket.

Nothing is remembered that the kernel can tell: the status is derived from the process, its cgroup and the socket.
"""

import errno
import fcntl
import posix
import time

from pyrun import SPEC_VERSION, cgroup, files, jsonio
from pyrun._native import lib
from pyrun.errors import Error, words
from pyrun.files import read_line
from pyrun.jsonio import read_bytes

STATE, CONFIG, START_SOCKET = "state.json", "config.json", "start.sock"
_STREAM = 1  # SOCK_STREAM
BOOT_ID = "/proc/sys/kernel/random/boot_id"


_boot_id = ""


def boot_id():
    """The kernel's name for this boot (str), read once."""
    global _boot_id
    _boot_id = _boot_id or read_line(BOOT_ID).decode().strip()
    return _boot_id


def timestamp():
    """RFC 3339 in UTC with nanoseconds, as Go prints it."""
    now = time.time_ns()
    y, mo, d, h, mi, s = time.gmtime(now // 10**9)[:6]
    fraction = f".{now % 10**9:09d}".rstrip("0").rstrip(".")
    return f"{y:04d}-{mo:02d}-{d:02d}T{h:02d}:{mi:02d}:{s:02d}{fraction}Z"


def ids(root):
    """Names of the state directories below root, sorted. Raises OSError."""
    return sorted(name for name in posix.listdir(root) if name[0] != ".")


class Gone(Error):
    """There is no such container, or none any more."""


class Container:
    """One container. uid: of the user whose it is.

    `data` is state.json: id, bundle, rootfs, created, annotations, pid, startTime, bootId, creating, cgroup
    (cgroup.Cgroup.to_state), rdt (paths in resctrl that go with it), mask (CLONE_NEW* of its namespaces), notes (of the
    ops after `start`), stdio (what it was given: handover.stdio).
    """

    def __init__(self, root, data, uid=0):
        self.root = root
        self.data = data
        self.uid = uid
        self.id = data["id"]
        self.directory = f"{root}/{self.id}"
        self.lock_fd = -1
        self.notify = None  # notify.Proxy, while this command listens to the container

    # --- the directory

    @classmethod
    def make(cls, root, id, bundle, rootfs, config):
        """Makes and locks the directory of a new container. Raises Error: the id is taken, root is not writable."""
        container = cls(
            root,
            {
                "id": id,
                "ociVersion": config["ociVersion"],
                "bundle": bundle,
                "rootfs": rootfs,
                "annotations": config.get("annotations") or {},
                "created": timestamp(),
                "pid": 0,
                "startTime": 0,
                "bootId": boot_id(),
                "creating": True,
                "cgroup": None,
                "mask": 0,
                "notes": {},
            },
        )
        make_directories(root)
        try:
            posix.mkdir(container.directory, 0o711)
        except OSError as error:
            if error.errno == errno.EEXIST:
                raise Error("container with given ID already exists") from None
            raise Error(f"--root {root}: mkdir {container.directory}: {words(error.errno)}") from None
        container._lock()
        return container

    def lock(self):
        """Waits until no other command changes this container. Raises Gone: another one has deleted it meanwhile."""
        self._lock()
        self.data = load(self.root, self.id).data

    def _lock(self):
        try:
            self.lock_fd = posix.open(self.directory, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
            fcntl.flock(self.lock_fd, fcntl.LOCK_EX)
            # There may be a new one of the same id.
            same = posix.fstat(self.lock_fd).st_ino == posix.stat(self.directory).st_ino
        except FileNotFoundError:
            same = False
        if not same:
            raise Gone("container does not exist")

    def unlock(self):
        posix.close(self.lock_fd)
        self.lock_fd = -1

    def locked_elsewhere(self):
        """Whether another command is at work on it now."""
        if self.lock_fd >= 0:
            return False
        try:
            fd = posix.open(self.directory, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            posix.close(fd)
        return False

    def save(self):
        jsonio.write_atomic(f"{self.directory}/{STATE}", self.data)

    def remove(self):
        """Removes the directory; what is missing already is no error."""
        _remove_tree(self.directory)

    def config(self):
        """The config the container was made of."""
        return jsonio.loads(read_bytes(f"{self.directory}/{CONFIG}"))

    # --- the process

    def set_process(self, pid):
        self.data["pid"] = pid
        self.data["startTime"] = lib.native_process_start(pid)

    def alive(self):
        """Whether init, or the program it became, still runs (and not another process with its pid)."""
        data = self.data
        return bool(data["pid"]) and data["startTime"] == lib.native_process_start(data["pid"]) != 0 and data["bootId"] == boot_id()

    def cgroup(self):
        return cgroup.from_state(self.data["cgroup"]) if self.data["cgroup"] else None

    def waits_for_start(self):
        """Whether init listens on the start socket. The file alone says little: a `start` that was killed left it behind.

        init forgets a connection that says nothing; with many of them waiting (EAGAIN) it still listens.
        """
        if not posix.access(f"{self.directory}/{START_SOCKET}", posix.F_OK):
            return False  # as of nearly every running container, and `list` asks a thousand
        try:
            fd = posix.open(self.directory, posix.O_PATH | posix.O_CLOEXEC)
        except OSError:
            return False
        try:
            sock = lib.native_connect(fd, START_SOCKET.encode(), _STREAM | posix.O_NONBLOCK)
        finally:
            posix.close(fd)
        if sock >= 0:
            posix.close(sock)
        return sock >= 0 or sock == -errno.EAGAIN

    def status(self):
        """creating, created, running, paused or stopped (runtime.md#state; paused is runc's)."""
        if not self.alive():
            return "creating" if self.data["creating"] and not self.data["pid"] and self.locked_elsewhere() else "stopped"
        if self.data["creating"]:
            return "creating"
        group = self.cgroup()
        if group and group.frozen():
            return "paused"
        return "created" if self.waits_for_start() else "running"

    # --- what others see

    def oci(self, status=None):
        """The state as the specification has it (runtime.md#state): what hooks and the seccomp agent get."""
        data = self.data
        state = {"ociVersion": SPEC_VERSION, "id": self.id, "status": status or self.status()}
        if state["status"] != "stopped" and data["pid"]:
            state["pid"] = data["pid"]
        state["bundle"] = data["bundle"]
        if data["annotations"]:
            state["annotations"] = data["annotations"]
        return state

    def public(self):
        """The state as `runc state` and `runc list` print it."""
        data = self.data
        status = self.status()
        public = {
            "ociVersion": data["ociVersion"],
            "id": self.id,
            "pid": 0 if status == "stopped" else data["pid"],
            "status": status,
            "bundle": data["bundle"],
            "rootfs": data["rootfs"],
            "created": data["created"],
        }
        if data["annotations"]:
            public["annotations"] = data["annotations"]
        public["owner"] = owner(self.uid)
        return public


def load(root, id):
    """The container of this id. Raises Error: `container does not exist`."""
    from pyrun import config

    config.check_id(id)
    path = f"{root}/{id}/{STATE}"
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            about = posix.fstat(fd)
            text = posix.read(fd, about.st_size)  # it is written whole, and never changed
        finally:
            posix.close(fd)
    except (FileNotFoundError, NotADirectoryError):
        raise Gone("container does not exist") from None
    except OSError as error:
        raise Error(f"--root {root}: open {path}: {words(error.errno)}") from None
    data = jsonio.loads(text)
    if data.__class__ is not dict or data.get("id") != id or "cgroup" not in data:
        raise Error(f"{path} is not a container's state: was --root {root} written by another runtime?")
    return Container(root, data, about.st_uid)


def owner(uid):
    """Name of a user of the host, or the number."""
    if uid == 0:
        return "root"
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def make_directories(path):
    """mkdir -p, mode 0711: the start socket inside must stay unreachable by other users. Raises Error."""
    try:
        files.make_tree(path, 0o711)
    except OSError as error:
        raise Error(f"--root {path}: mkdir: {words(error.errno)}; choose a directory you can write with --root") from None


def _remove_tree(directory):
    try:
        for name in posix.listdir(directory):
            _remove_entry(f"{directory}/{name}")
        posix.rmdir(directory)
    except FileNotFoundError:
        pass


def _remove_entry(path):
    try:
        posix.unlink(path)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        _remove_tree(path)
