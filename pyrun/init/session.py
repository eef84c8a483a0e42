"""init under control: starting it with a plan, answering what it says, ending it."""

from __future__ import annotations

import _signal
import errno
import posix

from pyrun._native import ffi, lib
from pyrun.base import log, timeline
from pyrun.base.errors import Error, words
from pyrun.base.files import read_line
from pyrun.base.interrupts import Interrupted, waiting
from pyrun.base.processes import await_end, end, patient, readable
from pyrun.init.faults import explain, failed_start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, NoReturn

    from pyrun._native import CData
    from pyrun.plan.records import Plan

    Event = Callable[[], object]
    Taker = Callable[[int], object]


def _unasked(*_: object) -> NoReturn:
    """In the place of an answer to what the plan does not let init ask."""
    raise Error("init: a message that nobody here can answer")


SETTING_UP = "init is setting up"


class Init:
    """init while it still talks to us: one plan, one control socket, the pid of the process that will be the program.

    The first stage is our child and ends when it has cloned the real one, which is our child too (CLONE_PARENT). There may be a
    second one between them (Plan.stages).
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.ops = self.files = 0  # of the plan, that it has got
        self.first = 0  # of the stage that there is
        self.pid = 0
        self.sock = -1

    def spawn(self, stdio: Sequence[int] = (0, 1, 2), keep: Sequence[int] = (), given: Mapping[str, int] = {}) -> None:
        """Starts it. keep: fds the program gets from 3 on. given: the fds for Plan.given slots; they stay the caller's."""
        pair = ffi.new("int[2]")
        must(lib.native_socketpair(pair), "socketpair")
        self.sock = pair[0]
        try:
            self._hand_over(lambda files: self._start(stdio, [*keep, pair[1], *files], len(keep)), given)
        finally:
            posix.close(pair[1])

    def _start(self, stdio: Sequence[int], fds: list[int], keep: int) -> None:
        self.first = must(lib.native_spawn(list(stdio), fds, len(fds), keep), "starting init")
        _known.add(self.first)
        # The debug messages have the words of runc's log, for whoever follows a start there.
        log.debug(f"nsexec container setup: init is started, by process {self.first}")

    def give_rest(self, given: Mapping[str, int] = {}) -> None:
        """Sends it what has been added to the plan since; the op `rest` waits for that."""
        self._hand_over(self._send_rest, given)

    def _send_rest(self, files: list[int]) -> None:
        for at in range(0, len(files), lib.PLAN_PASSED):
            some = files[at : at + lib.PLAN_PASSED]
            message = ffi.new("struct plan_msg *", {"type": lib.MSG_REST, "number": len(files) - at - len(some)})
            code = send(self.sock, ffi.buffer(message)[:], some)
            if code in GONE:
                return  # what drive() finds there says why
            must(code, "sendmsg to init")

    def _hand_over(self, send: Callable[[list[int]], None], given: Mapping[str, int]) -> None:
        """send(files): of what init has not got of the plan, packed, and the files in it."""
        packed = self.plan.pack(lib.PLAN_TIMED if timeline.wanted() else 0, self.ops)
        memory = must(lib.native_memfd(b"pyrun:plan", packed, len(packed)), "memfd_create")
        files = []
        try:
            files = self.plan.open_files(given, self.files)
            send([memory, *files])
        finally:
            self.plan.close_files(files, self.files)
            posix.close(memory)
        self.ops, self.files = len(self.plan.records), len(self.plan.files)
        self.plan.begin_part()

    def drive(
        self, child: Event | None = None, barrier: Callable[[int], object] = _unasked, console: Taker = _unasked,
        ready: Event = _unasked, notify: Taker = _unasked, idmap: Callable[[str, int], object] = _unasked,
        source: Callable[[str], int] = _unasked,
    ) -> None:  # fmt: skip
        """Answers init's messages until it has become the program (EOF), or waits for `start` (READY).

        child(): its pid is known. barrier(number): returning False ends the drive there. console(fd): the pty's master.
        ready(): it is about to wait for `start`. notify(number of the listener fd in init).
        idmap(where, fd): the tree of a mount, to be mapped. source(where): gives the fd of one. Raises Error for a failed op, and
        where init was killed.
        """
        try:
            self._converse(child, barrier, console, ready, notify, idmap, source)
        except (Error, OSError) as error:
            # What is done for a process fails in many ways once that is dead: why it is says more.
            killed = self._killed()
            if not killed or isinstance(error, Ended):
                raise
            said = words(error.errno) if isinstance(error, OSError) else str(error)
            raise Ended(killed, self.first or self.pid, said, getattr(error, "code", 1)) from None

    def _converse(
        self, child: Event | None, barrier: Callable[[int], object], console: Taker, ready: Event, notify: Taker,
        idmap: Callable[[str, int], object], source: Callable[[str], int],
    ) -> None:  # fmt: skip
        stages = self.plan.stages
        while True:
            self._await_message()
            message, fds, pid = self._receive()
            if not message:
                self._end_of_messages()
                log.debug("init: closing the pipe to signal completion")
                return
            kind = message.type
            if kind == lib.MSG_CHILD:
                if self.pid or not _is_ours(pid):
                    _unasked()
                _known.add(pid)
                if stages > 0:
                    stages -= 1
                    self._reap_first()
                    self.first = pid
                    continue
                self.pid = pid
                log.debug(f"child process in init(): its pid is {pid}")
                self._reap_first()
                if child:
                    child()
                continue
            if kind == lib.MSG_TIMING:
                name, where, subject = self.plan.note(message.number)
                timeline.op(name, where, subject, ffi.buffer(message.detail)[:])
                continue
            if kind == lib.MSG_ERROR:
                raise explain(self.plan.note(message.number), message)
            if kind == lib.MSG_BARRIER:
                if barrier(message.number) is False:
                    return
            elif kind == lib.MSG_CONSOLE:
                console(_passed(fds))
            elif kind == lib.MSG_SECCOMP:
                notify(message.value)
            elif kind == lib.MSG_IDMAP:
                idmap(self.plan.note(message.number)[1], _passed(fds))
            elif kind == lib.MSG_SOURCE:
                self._give(message.number, source(self.plan.note(message.number)[1]))
                continue
            elif kind == lib.MSG_READY:
                ready()
            else:
                _unasked()
            self._go(message.number)
            if kind == lib.MSG_READY:
                return

    def _receive(self, timeout: int = -1) -> tuple[CData | None, list[int], int]:
        """receive(). An init that failed before it took the rest of its plan has reset the connection; what it said comes after that."""
        message, fds, pid = receive(self.sock, timeout)
        return receive(self.sock, timeout) if message is UNREAD else (message, fds, pid)

    def _await_message(self) -> None:
        self._wait(patient, lambda timeout: readable(self.sock, timeout), SETTING_UP)

    def _wait(self, function: Callable[..., Any], *args: object) -> Any:
        """waiting(); None, too, for a signal that came when the program ran already."""
        try:
            return waiting(function, *args)
        except Interrupted as signal:
            if not self.pid or not executed(self.pid)[0]:
                raise
            signal.put_back()  # it is meant for the program
            return None

    def drive_program(self, **answers: Any) -> None:
        """drive(), with the words that callers know a failed start by."""
        try:
            self.drive(**answers)
        except Error as error:
            raise failed_start(error) from None

    def _give(self, number: int, file: int) -> None:
        try:
            self._go(number, file)
        finally:
            posix.close(file)

    def _go(self, number: int, *files: int) -> None:
        code = send_go(self.sock, number, *files)
        if code in GONE:
            self._end_of_messages()
        must(code, "sendmsg to init")

    def _end_of_messages(self) -> None:
        """EOF: the program was executed, or init died on its way."""
        if not self.first and executed(self.pid)[0]:
            return
        raise Ended(*self._how_ended())

    def _how_ended(self) -> tuple[int, int]:
        """The exit code of an init that has died, -N for signal N, and its pid. It stays a zombie, for kill(). Raises Error."""
        pid = self.first or self.pid
        if not await_end(pid):
            raise Error(f"init, process {pid}, does not end: it hangs in the kernel")
        ended = _waitid(posix.P_PID, pid)
        while self.first and _exit_code(ended) == 0:
            # It had done its part. The one it had cloned died before we heard of it: a child of ours too, whichever.
            self._reap_first()
            ended = _waitid(posix.P_ALL, 0)
            self.first = 0 if _exit_code(ended) else ended.si_pid
        return _exit_code(ended), ended.si_pid

    def _killed(self) -> int:
        """The same, if a signal has ended it; 0 if none has."""
        pid = self.first or self.pid
        ended = pid and posix.waitid(posix.P_PID, pid, posix.WEXITED | posix.WNOWAIT | posix.WNOHANG)
        return min(_exit_code(ended), 0) if ended else 0

    def _reap_first(self) -> None:
        if self.first and posix.waitpid(self.first, posix.WNOHANG)[0] == 0:
            self._wait(_waitid, posix.P_PID, self.first)  # it may be in the container's cgroup, and that frozen
            posix.waitpid(self.first, posix.WNOHANG)
        self.first = 0

    def close(self) -> None:
        sock, self.sock = self.sock, -1  # close(2) lets go of it, whatever it says
        if sock >= 0:
            posix.close(sock)

    def kill(self) -> None:
        """Ends and reaps whatever of it is left."""
        while self.first:
            end(self.first)
            self.first = 0
            if not self.pid and self._clones():
                self.first = self._unannounced()
        if self.pid:
            end(self.pid)
        self.pid = 0
        self.close()

    def _clones(self) -> bool:
        """Whether init clones the program's process; the one that holds a scope's place for systemd does not."""
        return any(name == "clone" for name, _, _ in self.plan.notes)

    def _unannounced(self) -> int:
        """Pid of the process that a stage cloned before it ended, 0 if it did not: nobody has heard of it yet."""
        for patience in (0, 1000):
            try:
                while True:
                    message, _, pid = self._receive(patience)
                    if not message or message.type != lib.MSG_TIMING:
                        return pid if pid and _is_ours(pid) else _silent_child()
            except OSError:  # ETIMEDOUT
                if pid := _silent_child():
                    return pid
        return 0


def _is_ours(pid: int) -> bool:
    """Whether that is a child of ours. Who traces init in the container can send what he likes, from a process of his own."""
    try:
        posix.waitid(posix.P_PID, pid, posix.WEXITED | posix.WNOWAIT | posix.WNOHANG)
    except ChildProcessError:
        return False
    return True


_known: set[int] = set()
"""Pids of the processes of each init here that we have heard of: the container's, and those of its hooks."""


def _silent_child() -> int:
    """Pid of an init among our children that nobody has heard of, 0 if there is none: a container stops (SIGSTOP) one that enters it before
    it can speak.
    """
    try:
        for pid in map(int, read_line("/proc/thread-self/children").split()):
            if pid not in _known and read_line(f"/proc/{pid}/comm") == b"pyrun:init\n":
                return pid
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN, or it has just gone
        pass
    return 0


def must(code: int, what: str) -> int:
    """The value a function of the extension gave. Raises Error, named by what it was for."""
    if code < 0:
        raise Error(f"{what}: {words(-code)}")
    return code


class Ended(Error):
    """init ended before it was the program. how: its exit code, -N for signal N, 0: nobody knows. pid: of the process that it was.
    meanwhile: what failed by that.
    """

    def __init__(self, how: int, pid: int, meanwhile: str = "", code: int = 1) -> None:
        told = f": exit status {how}" if how > 0 else f": signal {-how} ({(_signal.strsignal(-how) or '?').lower()})" if how else ""
        Error.__init__(self, f"init ended before the program began{told}{meanwhile and f': {meanwhile}'}", code)
        self.how, self.pid = how, pid


def _waitid(kind: int, id: int) -> posix.waitid_result:
    """Waits for the end of a process, which stays a zombie."""
    return posix.waitid(kind, id, posix.WEXITED | posix.WNOWAIT)  # type: ignore[return-value]  # None is for WNOHANG alone


def _exit_code(ended: posix.waitid_result) -> int:
    """Of a waitid_result: an exit code, or -N for signal N."""
    return ended.si_status if ended.si_code == posix.CLD_EXITED else -ended.si_status


def executed(pid: int) -> tuple[bool, int]:
    """After EOF: (whether a process that init cloned has executed the program, its exit code as far as it can be told).

    One that is gone altogether counts: its parent has reaped it, and what /proc told went with it.
    """
    status = ffi.new("int *")
    code = lib.native_executed(pid, status)
    return (code == -errno.ESRCH or must(code, f"/proc/{pid}/stat") != 0), posix.waitstatus_to_exitcode(status[0])


def _passed(fds: Sequence[int]) -> int:
    """The fd that came with a message. The kernel leaves it out where we may open no more."""
    if not fds:
        raise Error("recvmsg: init has sent a file and none came: too many open files (raise the limit, `ulimit -n`)")
    return fds[0]


# The peer has gone; the second where it had not read all that it was sent.
GONE = frozenset((-errno.EPIPE, -errno.ECONNRESET))
UNREAD: Any = False


def receive(sock: int, timeout: int = -1, room: int = 1) -> tuple[CData | None, list[int], int]:
    """The next message on a control socket: (message, fds that came with it, pid of its sender).

    When the peer has gone the message is None, or UNREAD where it had not read all that it was sent.
    """
    message = ffi.new("struct plan_msg *")
    fds = ffi.new("int[]", room)
    count = ffi.new("int *", room)
    pid = ffi.new("int *")
    # Interrupted, it returns here, so that Python runs the handler of the signal.
    while (size := lib.native_recv(sock, message, ffi.sizeof("struct plan_msg"), fds, count, pid, timeout)) == -errno.EINTR:
        count[0] = room
    if size in GONE or size == 0:
        return UNREAD if size else None, [], 0
    if size < 0:
        raise OSError(-size, posix.strerror(-size), "the control socket of init")
    if size != ffi.sizeof("struct plan_msg"):
        raise Error(f"init: a message of {size} bytes")
    return message, [fds[i] for i in range(count[0])], pid[0]


def send_go(sock: int, number: int, *files: int) -> int:
    message = ffi.new("struct plan_msg *", {"type": lib.MSG_GO, "number": number})
    return send(sock, ffi.buffer(message)[:], files)


def send(sock: int, data: bytes, fds: Sequence[int] = ()) -> int:
    """Sends data (bytes), and fds with it. Returns 0 or -errno: ETIMEDOUT from a peer that takes nothing for too long."""
    while data:
        size = lib.native_send(sock, data, len(data), list(fds) or ffi.NULL, len(fds))
        if size == -errno.EINTR:
            continue
        if size < 0:
            return -errno.ETIMEDOUT if size == -errno.EAGAIN else size
        data, fds = data[size:], ()
    return 0


def connect(dirfd: int, name: bytes, kind: int) -> int:
    """An fd connected to a socket (native_connect), or -errno: ETIMEDOUT where nobody accepts for too long, if it may wait."""
    while (sock := lib.native_connect(dirfd, name, kind)) == -errno.EINTR:
        pass
    return -errno.ETIMEDOUT if sock == -errno.EAGAIN and not kind & posix.O_NONBLOCK else sock
