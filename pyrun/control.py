"""init under control: starting it with a plan, answering what it says, ending it."""

import errno
import posix
import select

from pyrun import log, timeline
from pyrun._native import ffi, lib
from pyrun.errors import Error, words
from pyrun.faults import explain, failed_start
from pyrun.plan import OP_NAMES

SIGKILL = 9


class Init:
    """init while it still talks to us: one plan, one control socket, the pid of the process that will be the program.

    The first stage is our child and ends when it has cloned the real one, which is our child too (CLONE_PARENT).
    """

    def __init__(self, plan):
        self.plan = plan
        self.first = 0
        self.pid = 0
        self.sock = -1
        self.before_message = None

    def spawn(self, stdio=(0, 1, 2), keep=(), **given):
        """Starts it. keep: fds the program gets from 3 on. given: the fds for Plan.given slots; they stay the caller's."""
        pair = ffi.new("int[2]")
        must(lib.native_socketpair(pair), "socketpair")
        self.sock = pair[0]
        packed = self.plan.pack(lib.PLAN_TIMED if timeline.wanted() else 0)
        memory = -1
        files = []
        try:
            memory = must(lib.native_memfd(b"pyrun:plan", packed, len(packed)), "memfd_create")
            files = self.plan.open_files(**given)
            fds = [*keep, pair[1], memory, *files]
            self.first = must(lib.native_spawn(list(stdio), fds, len(fds), len(keep)), "starting init")
            # The debug messages have the words of runc's log, for whoever follows a start there.
            log.debug(f"nsexec container setup: init is started, by process {self.first}")
        finally:
            self.plan.close_files(files)
            posix.close(pair[1])
            if memory >= 0:
                posix.close(memory)

    def drive(self, child=None, barrier=None, console=None, ready=None, notify=None, idmap=None):
        """Answers init's messages until it has become the program (EOF), or waits for `start` (READY).

        child(): its pid is known. barrier(number): returning False ends the drive there. console(fd): the pty's master.
        ready(): it is about to wait for `start`. notify(number of the listener fd in init).
        idmap(where, fd): the tree of a mount, to be mapped. Raises Error for a failed op.
        """
        while True:
            if self.before_message:
                self.before_message()
            message, fds, pid = receive(self.sock)
            if message is None:
                self._end_of_messages()
                log.debug("init: closing the pipe to signal completion")
                return
            kind = message.type
            if kind == lib.MSG_CHILD:
                self.pid = pid
                log.debug(f"child process in init(): its pid is {pid}")
                self._reap_first()
                if child:
                    child()
                continue
            if kind == lib.MSG_TIMING:
                opcode, where, subject = self.plan.note(message.number)
                timeline.op(OP_NAMES[opcode], where, subject, ffi.buffer(message.detail)[:])
                continue
            if kind == lib.MSG_ERROR:
                raise explain(self.plan.note(message.number), message)
            if kind == lib.MSG_BARRIER:
                if barrier and barrier(message.number) is False:
                    return
            elif kind == lib.MSG_CONSOLE:
                console(fds[0])
            elif kind == lib.MSG_SECCOMP:
                notify(message.value)
            elif kind == lib.MSG_IDMAP:
                idmap(self.plan.note(message.number)[1], fds[0])
            elif kind == lib.MSG_READY and ready:
                ready()
            send_go(self.sock, message.number)
            if kind == lib.MSG_READY:
                return

    def drive_program(self, **answers):
        """drive(), with the words that callers know a failed start by."""
        try:
            self.drive(**answers)
        except Error as error:
            raise failed_start(error) from None

    def _end_of_messages(self):
        """EOF: the program was executed, unless init died on its way."""
        if self.first:
            status = posix.waitpid(self.first, 0)[1]
            self.first = 0
            raise Error(f"init ended before the container began: {_how_ended(status)}")

    def _reap_first(self):
        if self.first:
            posix.waitpid(self.first, 0)
            self.first = 0

    def close(self):
        if self.sock >= 0:
            posix.close(self.sock)
            self.sock = -1

    def kill(self):
        """Ends and reaps whatever of it is left."""
        if self.first:
            end(self.first)
            if not self.pid:
                self.pid = self._unannounced()
        self.close()
        if self.pid:
            end(self.pid)
        self.first = self.pid = 0

    def _unannounced(self):
        """Pid of the process that the first stage cloned before it ended, 0 if it did not: nobody has heard of it yet."""
        try:
            while True:
                message, _, pid = receive(self.sock, 1000)
                if message is None or message.type != lib.MSG_TIMING:
                    return pid
        except OSError:  # ETIMEDOUT: it says nothing; nor can more be found out by what is broken
            return 0


def readable(fd, timeout=None):
    """Waits until there is something to read, or a pidfd's process has ended. timeout: milliseconds, None for no end."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.poll(timeout)


def end(pid):
    """Kills and reaps a child; one that is gone is fine."""
    try:
        posix.kill(pid, SIGKILL)
        posix.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def must(code, what):
    """The value a function of the extension gave. Raises Error, named by what it was for."""
    if code < 0:
        raise Error(f"{what}: {words(-code)}")
    return code


def _how_ended(status):
    code = posix.waitstatus_to_exitcode(status)
    return f"exit status {code}" if code >= 0 else f"signal {-code}"


def receive(sock, timeout=-1, room=1):
    """The next message on a control socket: (message or None at EOF, fds that came with it, pid of its sender)."""
    message = ffi.new("struct plan_msg *")
    fds = ffi.new("int[]", room)
    count = ffi.new("int *", room)
    pid = ffi.new("int *")
    # Interrupted, it returns here, so that Python runs the handler of the signal.
    while (size := lib.native_recv(sock, message, ffi.sizeof("struct plan_msg"), fds, count, pid, timeout)) == -errno.EINTR:
        count[0] = room
    if size < 0:
        raise OSError(-size, posix.strerror(-size), "the control socket of init")
    return (message if size else None), [fds[i] for i in range(count[0])], pid[0]


def send_go(sock, number):
    message = ffi.new("struct plan_msg *", {"type": lib.MSG_GO, "number": number})
    return lib.native_send(sock, message, ffi.sizeof("struct plan_msg"), ffi.NULL, 0)
