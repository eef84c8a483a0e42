"""criu(8), which saves processes and brings them back: it is started as `criu swrk` and asked over a socket (criu.org/RPC)."""

from __future__ import annotations

import errno
import posix

from pyrun._native import ffi, lib
from pyrun.base import log
from pyrun.base.errors import Error, words
from pyrun.base.files import drop, find_program, read
from pyrun.base.interrupts import Interrupted, waiting
from pyrun.base.processes import readable
from pyrun.criu import protobuf
from pyrun.init.session import GONE, Init, must, send
from pyrun.plan.clone import emit_cgroup_join, emit_clone
from pyrun.plan.mounts import MS_REC, MS_SLAVE
from pyrun.plan.namespaces import CLONE_NEWNS
from pyrun.plan.records import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    Notify = Callable[[str, int, list[int]], object]

MIN_VERSION = (3, 16)
"""The first that takes an LSM profile to restore with, and joins network, pid and time namespaces."""
# Where root's programs are, for a caller whose PATH is an ordinary user's.
SYSTEM_PATH = b":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
FIRST_FD = 3
"""The number that the socket to us has in criu; the files that are passed on follow."""
ROOM = 64 * 1024
SHOWN_ERRORS = 3
"""The first of criu's errors is often one that it can live with, the last a consequence of the one that matters."""

# --- the messages of rpc.proto

PAGE_SERVER = {"address": (1, str), "port": (2, int)}
PAIR = {"key": (1, str), "val": (2, str)}
OPTIONS = {
    "images_dir_fd": (1, int),
    "pid": (2, int),
    "leave_running": (3, int),
    "ext_unix_sk": (4, int),
    "tcp_established": (5, int),
    "evasive_devices": (6, int),
    "shell_job": (7, int),
    "file_locks": (8, int),
    "log_level": (9, int),
    "log_file": (10, str),
    "ps": (11, PAGE_SERVER),
    "notify_scripts": (12, int),
    "root": (13, str),
    "parent_img": (14, str),
    "track_mem": (15, int),
    "auto_dedup": (16, int),
    "work_dir_fd": (17, int),
    "link_remap": (18, int),
    "ext_mnt": (23, [PAIR]),
    "cg_root": (25, [{"ctrl": (1, str), "path": (2, str)}]),
    "rst_sibling": (26, int),
    "inherit_fd": (27, [{"key": (1, str), "fd": (2, int)}]),
    "manage_cgroups_mode": (34, int),
    "external": (37, [str]),
    "empty_ns": (38, int),
    "join_ns": (39, [{"ns": (1, str), "ns_file": (2, str)}]),
    "freeze_cgroup": (44, str),
    "tcp_skip_in_flight": (46, int),
    "lazy_pages": (48, int),
    "orphan_pts_master": (50, int),
    "config_file": (51, str),
    "lsm_profile": (53, str),
    "lsm_mount_context": (63, str),
}
FEATURES = {"mem_track": (1, int), "lazy_pages": (2, int)}
REQUEST = {"type": (1, int), "opts": (2, OPTIONS), "notify_success": (3, int), "keep_open": (4, int), "features": (5, FEATURES)}
RESPONSE = {
    "type": (1, int),
    "success": (2, int),
    "restore": (4, {"pid": (1, int)}),
    "notify": (5, {"script": (1, str), "pid": (2, int)}),
    "cr_errno": (7, int),
    "features": (8, FEATURES),
    "version": (10, {"major_number": (1, int), "minor_number": (2, int), "sublevel": (4, int)}),
}
DUMP, RESTORE, NOTIFY, FEATURE_CHECK, VERSION, SINGLE_PRE_DUMP = 1, 2, 6, 9, 10, 13
MISSING = {
    "mem_track": "--pre-dump: criu cannot track changes of memory here (a kernel with CONFIG_MEM_SOFT_DIRTY is needed)",
    "lazy_pages": "--lazy-pages: criu cannot restore memory lazily here (a kernel with userfaultfd is needed)",
}


class Refused(Error):
    """criu could not do it; its log says why."""


_given: str | None = None  # what --criu says


def use(given: str | None, command: str) -> None:
    """Finds criu. given: what --criu says; command: whose work needs it. Raises Error."""
    global _given
    _given = given
    find(command)


def find(command: str) -> str:
    """The path of criu. command: whose work needs it. Raises Error."""
    if _given and not posix.access(_given, posix.X_OK):
        raise Error(f"{command}: --criu {_given}: no executable file is there")
    if _given:
        return _given
    if path := find_program("criu", posix.environ.get(b"PATH", b"") + SYSTEM_PATH):
        return path
    raise Error(f"{command}: criu is not installed (it is not in $PATH): install the package criu, https://criu.org/Installation")


class Criu:
    """One process of criu, and what is said to it.

    command: whose work it does, for messages. cgroup_files: of the cgroup it joins (Cgroup.procs_files). root: a directory of
    the host that is a mount point for this criu alone, in a mount namespace of its own. keep: fds that it gets as 4, 5, ….
    """

    def __init__(self, command: str, cgroup_files: Sequence[str] = (), root: str | None = None, keep: Collection[int] = ()) -> None:
        self.command = command
        self.must_undo = False  # killed, it would leave others' processes as they are in the middle of its work
        self.socket = -1
        path = find(command)
        pair = ffi.new("int[2]")
        must(lib.native_socketpair(pair), "socketpair")
        plan = Plan()
        _plan(plan, path, cgroup_files, root, FIRST_FD + 1 + len(keep))
        self.process = Init(plan)
        self.socket = pair[0]
        try:
            self.process.spawn(keep=(pair[1], *keep))
            posix.close(pair[1])
            pair[1] = -1
            self.process.drive()
            self.process.close()
        except BaseException:
            if pair[1] >= 0:
                drop(pair[1])
            self.kill()
            raise

    @property
    def pid(self) -> int:
        return self.process.pid

    def require(self, feature: str | None = None) -> None:
        """Raises Error if it is too old, or cannot do what a feature (a key of FEATURES) needs."""
        version = self.ask({"type": VERSION, "keep_open": 1}).get("version", {})
        found = (version.get("major_number", 0), version.get("minor_number", 0))
        if found < MIN_VERSION:
            wanted, here = (".".join(map(str, one)) for one in (MIN_VERSION, found))
            raise Error(f"{self.command}: criu {here} is too old: install {wanted} or newer")
        if feature:
            answer = self.ask({"type": FEATURE_CHECK, "keep_open": 1, "features": {feature: 1}})
            if not answer.get("features", {}).get(feature):
                raise Error(f"{self.command}: {MISSING[feature]}")

    def ask(self, request: dict, notify: Notify | None = None, must_undo: bool = False) -> dict:
        """Sends a request and returns the response. Raises Refused where that says that criu failed.

        notify(script, pid, fds): called for what criu tells meanwhile; if it raises, criu is told to give up, has its time to
        undo what it did, and then the exception goes on. So has a signal, if `must_undo`: unless criu had nothing more to tell, and did it.
        """
        failure: BaseException | None = None
        self._send(request)
        self.must_undo = must_undo
        while True:
            try:
                response, fds = self._receive()
            except Interrupted as signal:
                if not self.must_undo:
                    raise
                failure = failure or signal
                continue
            if failure and (not response or response.get("type") != NOTIFY):
                if self.must_undo and response and response.get("success"):
                    return response
                raise failure
            if not response:
                raise Refused("criu ended without an answer")
            if response.get("type") == NOTIFY:
                try:
                    _notified(notify, response.get("notify", {}), fds)
                except BaseException as error:
                    failure = failure or error
                self._send({"type": NOTIFY, "notify_success": int(not failure)})
                continue
            if not response.get("success"):
                number = response.get("cr_errno")
                raise Refused(f"criu failed{': ' + words(number) if number else ''}")
            return response

    def _send(self, request: dict) -> None:
        code = send(self.socket, protobuf.encode(REQUEST, request))
        if code and code not in GONE:  # where criu has gone, there is no answer either
            raise Refused(f"criu cannot be asked: {words(-code)}")

    def _receive(self) -> tuple[dict | None, list[int]]:
        """The next message, None at the end, and the fds that came with it."""
        data = ffi.new("char[]", ROOM)
        fds, count, pid = ffi.new("int[]", 4), ffi.new("int *", 4), ffi.new("int *")
        waiting(readable, self.socket)
        while (size := lib.native_recv(self.socket, data, ROOM, fds, count, pid, -1)) == -errno.EINTR:
            count[0] = len(fds)
        if size < 0:
            raise Refused(f"criu: no answer: {words(-size)}")
        return (protobuf.decode(RESPONSE, ffi.buffer(data, size)[:]) if size else None), [fds[i] for i in range(count[0])]

    def wait(self) -> None:
        """Says goodbye, and waits until it has ended."""
        self._hang_up()
        if self.process.pid:
            posix.waitpid(self.process.pid, 0)
            self.process.pid = 0

    def kill(self) -> None:
        self.process.kill()
        self._hang_up()  # it would have complained, to our stderr

    def _hang_up(self) -> None:
        if self.socket >= 0:
            drop(self.socket)
        self.socket = -1


def _plan(plan: Plan, path: str, cgroup_files: Sequence[str], root: str | None, files: int) -> None:
    """The plan that becomes criu. files: number of those it has, stdio included."""
    emit_clone(plan, CLONE_NEWNS if root else 0, cgroup_files)
    emit_cgroup_join(plan, cgroup_files)
    if root:
        plan.propagation(propagation=MS_SLAVE | MS_REC)
        plan.root("root.path", root, path=root)
    plan.setsid()  # what is typed on the caller's terminal (^C) is for us, and criu must not die of it
    plan.umask(mask=0o022)
    args = [path, "swrk", str(FIRST_FD)]
    env = [b"=".join(entry).decode("utf-8", "surrogateescape") for entry in posix.environ.items()]
    plan.exec("criu", path, candidates=[path], argv=args, env=env, first_closed=files)


def _notified(notify: Notify | None, message: dict, fds: list[int]) -> None:
    try:
        script = message.get("script", "")
        log.debug(f"criu: {script}")
        if notify:
            notify(script, message.get("pid", 0), fds)
    finally:
        for fd in fds:
            posix.close(fd)


def last_errors(path: str) -> str:
    """The last lines of a log of criu's that are errors (in one line), without their times; '' if there is none."""
    try:
        lines = read(path).decode("utf-8", "replace").splitlines()
    except OSError:  # there is an error to report already
        return ""
    errors = [line[line.index("Error (") :].strip() for line in lines if "Error (" in line and not line.endswith(" FAILED.")]
    return "; ".join(errors[-SHOWN_ERRORS:])
