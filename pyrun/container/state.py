"""What is kept of a container: a directory below --root with state.json, the config it was made of, and the start socket.

Nothing is remembered that the kernel can tell: the status is derived from the process, its cgroup and the socket.
"""

from __future__ import annotations

import errno
import fcntl
import posix
import time

from pyrun import SPEC_VERSION, cgroup
from pyrun._native import lib
from pyrun.base import files, jsonio
from pyrun.base.errors import Error, words
from pyrun.base.processes import TICK, boottime_offset, end, start_time, started_at
from pyrun.container import record
from pyrun.container.record import Gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cgroup.base import Cgroup
    from pyrun.host.notify import Proxy

CONFIG, START_SOCKET, CRIU = "config.json", "start.sock", "criu"
_STREAM = 1  # SOCK_STREAM
LOCK_PATIENCE, LOCK_LOOK = 10, 0.01  # s
BOOT_ID = "/proc/sys/kernel/random/boot_id"


_boot_id = ""


def boot_id() -> str:
    """The kernel's name for this boot (str), read once; '' where /proc does not show it (mounted with subset=pid)."""
    global _boot_id
    try:
        _boot_id = _boot_id or files.read_line(BOOT_ID).decode().strip()
    except FileNotFoundError:
        pass
    return _boot_id


def timestamp() -> str:
    """RFC 3339 in UTC with nanoseconds, as Go prints it."""
    now = time.time_ns()
    y, mo, d, h, mi, s = time.gmtime(now // 10**9)[:6]
    fraction = f".{now % 10**9:09d}".rstrip("0").rstrip(".")
    return f"{y:04d}-{mo:02d}-{d:02d}T{h:02d}:{mi:02d}:{s:02d}{fraction}Z"


class Container:
    """One container. uid: of the user whose it is.

    `data` is state.json: id, bundle, rootfs, created, annotations, pid, startTime, bootId, creating, cgroup
    (cgroup.Cgroup.to_state), rdt (paths in resctrl that go with it), mask (CLONE_NEW* of its namespaces), notes (of the
    ops after `start`), stdio (what it was given: fds.stdio), hooks (the kinds of which its config has any), keyring (whether
    it has a session keyring of its own), version (FORMAT), plan (PLAN_VERSION of its init).
    """

    def __init__(self, root: str, data: dict, uid: int = 0, text: bytes = b"") -> None:
        self.root = root
        self.data = data
        self.text = text  # what data was read from
        self.uid = uid
        self.id = data["id"]
        self.directory = f"{root}/{self.id}"
        self.lock_fd = -1
        self.notify: Proxy | None = None  # notify.Proxy, while this command listens to the container

    # --- the directory

    @classmethod
    def make(cls, root: str, id: str, bundle: str, rootfs: str, config: dict) -> Container:
        """Makes and locks the directory of a new container. Raises Error: the id is taken, root is not writable."""
        container = cls(
            root,
            record.BLANK
            | {
                "version": record.FORMAT,
                "plan": lib.PLAN_VERSION,
                "id": id,
                "ociVersion": config["ociVersion"],
                "bundle": bundle,
                "rootfs": rootfs,
                "annotations": config["annotations"],
                "created": timestamp(),
                "bootId": boot_id(),
                "creating": True,
            },
        )
        make_directories(root)
        record.check_root(root)
        try:
            posix.mkdir(container.directory, 0o711)
        except OSError as error:
            if error.errno == errno.EEXIST:
                raise Error("container with given ID already exists") from None
            raise Error(f"--root {root}: mkdir {container.directory}: {words(error.errno)}") from None
        try:
            container._lock()
        except Gone:  # taken for what an aborted create left, before it was locked
            return cls.make(root, id, bundle, rootfs, config)
        except BaseException:
            posix.rmdir(container.directory)
            raise
        return container

    def lock(self) -> None:
        """Waits until no other command changes this container. Raises Gone: another one has deleted it meanwhile."""
        self._lock()
        text, _ = record.read(self.root, self.id)
        if text != self.text:
            self.data = record.decode(self.root, self.id, text)

    def _lock(self) -> None:
        try:
            self.lock_fd = posix.open(self.directory, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
            _await_lock(self.lock_fd, self.id)
            self._check_same()
        except FileNotFoundError:
            raise Gone(self.root, self.id) from None
        except OSError as error:
            raise Error(f"lock {self.directory}: {words(error.errno)}") from None

    def _check_same(self) -> None:
        """Raises Gone: what is locked was removed meanwhile; there may be a new one of the same id. OSError."""
        if posix.fstat(self.lock_fd).st_ino != posix.stat(self.directory).st_ino:
            raise Gone(self.root, self.id)

    def lock_now(self) -> bool:
        """Locks the directory, whatever is in it. Whether that could be done without a wait. Raises Gone."""
        try:
            self.lock_fd = posix.open(self.directory, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
        except FileNotFoundError:
            raise Gone(self.root, self.id) from None
        try:
            fcntl.flock(self.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._check_same()
        except BlockingIOError:
            self.unlock()
            return False
        except FileNotFoundError:
            raise Gone(self.root, self.id) from None
        return True

    def unlock(self) -> None:
        fd, self.lock_fd = self.lock_fd, -1
        posix.close(fd)

    def locked_elsewhere(self) -> bool:
        """Whether another command is at work on it now."""
        if self.lock_fd >= 0:
            return False
        try:
            if not self.lock_now():
                return True
        except Gone:
            return False
        self.unlock()
        return False

    def save(self) -> None:
        files.replace(f"{self.directory}/{record.STATE}", jsonio.encode(self.data), 0o600, _exchange)

    def has(self, name: str) -> bool:
        """Whether there is a file of that name in the directory. OSError where that cannot be found out."""
        try:
            posix.lstat(f"{self.directory}/{name}")
        except FileNotFoundError:
            return False
        return True

    def remove(self) -> None:
        """Removes the directory; what is missing already is no error."""
        _remove_tree(self.directory)

    def config(self) -> dict:
        """The config the container was made of."""
        path = f"{self.directory}/{CONFIG}"
        try:
            config = jsonio.loads(files.read_regular(path, posix.O_NOFOLLOW))
        except files.Odd:
            raise
        except Error as error:
            raise Error(f"{path} is damaged: {error}") from None
        if config.__class__ is not dict:
            raise Error(f"{path} is damaged: not an object")
        return config

    def normal(self) -> dict:
        """The same with all its members."""
        from pyrun.config import normal  # `start` and `delete` need it for hooks and faults alone

        return normal.config_of(self.config())

    # --- the process

    def set_process(self, pid: int) -> None:
        from pyrun.plan.namespaces import CLONE_NEWTIME  # which `create` has imported, and those that only look at a container do without

        self.data["pid"] = pid
        time = start_time(pid)
        if time and self.data["mask"] & CLONE_NEWTIME:  # else started_at() can see by the process whose clock that is
            time -= boottime_offset() // TICK
        self.data["startTime"] = time

    def alive(self) -> bool:
        """Whether init, or the program it became, still runs (and not another process with its pid). OSError: it cannot be found out."""
        data = self.data
        if not data["pid"] or not data["startTime"] or not started_at(data["pid"], data["startTime"]):
            return False
        # Where one of them is unknown the time of the start decides.
        return data["bootId"] in (boot_id(), "") or not boot_id()

    def cgroup(self) -> Cgroup | None:
        return cgroup.from_state(self.data["cgroup"]) if self.data["cgroup"] else None

    def waits_for_start(self) -> bool:
        """Whether init listens on the start socket. The file alone says little: a `start` that was killed left it behind.

        init forgets a connection that says nothing; with many of them waiting (EAGAIN) it still listens.
        """
        if not posix.access(f"{self.directory}/{START_SOCKET}", posix.F_OK):
            return False  # as of nearly every running container, and `list` asks a thousand
        try:
            fd = posix.open(self.directory, posix.O_PATH | posix.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            sock = lib.native_connect(fd, START_SOCKET.encode(), _STREAM | posix.O_NONBLOCK)
        finally:
            posix.close(fd)
        if sock >= 0:
            posix.close(sock)
        return sock >= 0 or sock == -errno.EAGAIN

    def status(self) -> str:
        """creating, created, running, paused or stopped (runtime.md#state; paused is runc's)."""
        return self.settled() or ("created" if self.waits_for_start() else "running")

    def settled(self) -> str:
        """The same, but "" for created and running: which of them it is, only the start socket tells."""
        if not self.alive():
            return "creating" if self.data["creating"] and not self.data["pid"] and self.locked_elsewhere() else "stopped"
        if self.data["creating"]:
            return "creating"
        group = self.cgroup()
        if group and group.frozen():
            return "paused"
        return ""

    # --- criu, where it holds the processes for longer than `checkpoint` may live

    def keep_criu(self, pid: int) -> None:
        files.replace(f"{self.directory}/{CRIU}", b"%d %d" % (pid, start_time(pid)), 0o600)

    def forget_criu(self) -> None:
        files.remove(f"{self.directory}/{CRIU}")

    def end_criu(self) -> None:
        """Kills it: a process that it holds can be killed, and is not gone before criu is."""
        try:
            pid, _, time = files.read_line(f"{self.directory}/{CRIU}").partition(b" ")
        except FileNotFoundError:
            return
        if pid.isdigit() and time.isdigit() and int(time) and started_at(int(pid), int(time)):
            end(int(pid))

    # --- what others see

    def oci(self, status: str | None = None) -> dict:
        """The state as the specification has it (runtime.md#state): what hooks and the seccomp agent get."""
        data = self.data
        state = {"ociVersion": SPEC_VERSION, "id": self.id, "status": status or self.status()}
        if state["status"] != "stopped" and data["pid"]:
            state["pid"] = data["pid"]
        state["bundle"] = data["bundle"]
        if data["annotations"]:
            state["annotations"] = data["annotations"]
        return state

    def public(self) -> dict:
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
        public["owner"] = record.owner(self.uid)
        return public


def load(root: str, id: str) -> Container:
    """The container of this id. Raises Gone: there is none; Unusable; Error: what is there cannot be read (now)."""
    text, uid = record.read(root, id)
    return Container(root, record.decode(root, id, text), uid, text)


def salvage(root: str, id: str, data: Any) -> Container:
    """A Container of what is whole in a damaged state.json (any value)."""
    return Container(root, record.whole(data) | {"id": id})


# --- the lock and the directory


def _exchange(temporary: str, path: str) -> None:
    """Puts a file in the place of another file (no directory), which goes. OSError.

    What a rename replaces ext4 writes to the disk at once (auto_da_alloc), and that takes longer than all else about it.
    """
    if lib.native_exchange(*(name.encode("utf-8", "surrogateescape") for name in (temporary, path))) < 0:
        posix.rename(temporary, path)  # there is none yet, or the file system cannot exchange
    else:
        files.remove(temporary)


def _await_lock(fd: int, id: str) -> None:
    """Locks an open directory; others hold it as long as their command works on the container. Raises Error after 10 s."""
    limit = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > limit:
                raise Error(f"container {id} is locked by {_lock_holder(fd)}, for {LOCK_PATIENCE} s: end that, or wait for it") from None
        time.sleep(LOCK_LOOK)


def _lock_holder(fd: int) -> str:
    """Who holds the lock (proc_locks(5)): `process 12 (pyrun create …)`."""
    inode = b":%d " % posix.fstat(fd).st_ino
    for line in files.read("/proc/locks").splitlines():
        if b" FLOCK " in line and inode in line and b"->" not in line:
            pid = line.split()[4].decode()
            try:
                command = files.read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:
                command = "gone"
            return f"process {pid} ({command})"
    return "a process that cannot be seen from here"


def make_directories(path: str) -> None:
    """mkdir -p, mode 0711: the start socket inside must stay unreachable by other users. Raises Error."""
    try:
        files.make_tree(path, 0o711)
    except OSError as error:
        raise Error(f"--root {path}: mkdir: {words(error.errno)}; choose a directory you can write with --root") from None


def _remove_tree(directory: str) -> None:
    try:
        # state.json is the last to go: whatever kills us, `delete` finds a container, or nothing that could live.
        for name in sorted(_names(directory), key=record.STATE.__eq__):
            _remove_entry(f"{directory}/{name}")
        posix.rmdir(directory)
    except FileNotFoundError:
        pass


def _names(directory: str) -> list[str]:
    """What is in a state directory; where we may open no more, what can be there while a container is made."""
    try:
        return posix.listdir(directory)
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        return [CONFIG, START_SOCKET, record.STATE]


def _remove_entry(path: str) -> None:
    try:
        posix.unlink(path)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        _remove_tree(path)
