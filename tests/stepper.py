"""A program stopped at the system call of one's choice (ptrace(2), by python-ptrace)."""

import ctypes
import errno
import os
import platform
import signal

from ptrace.binding import (
    ptrace_attach,
    ptrace_cont,
    ptrace_detach,
    ptrace_geteventmsg,
    ptrace_getregs,
    ptrace_setoptions,
    ptrace_setregs,
    ptrace_syscall,
    ptrace_traceme,
)
from ptrace.binding.func import (
    PTRACE_EVENT_CLONE,
    PTRACE_EVENT_EXEC,
    PTRACE_EVENT_FORK,
    PTRACE_EVENT_VFORK,
    PTRACE_O_TRACECLONE,
    PTRACE_O_TRACEEXEC,
    PTRACE_O_TRACEFORK,
    PTRACE_O_TRACESYSGOOD,
    PTRACE_O_TRACEVFORK,
    PTRACE_SETREGSET,
    ptrace,
)
from ptrace.binding.linux_struct import iovec_struct
from ptrace.error import PtraceError
from ptrace.syscall import SYSCALL_NAMES

SYSCALL_STOP = signal.SIGTRAP | 0x80
WALL = 0x40000000
WORD = (1 << 64) - 1
NO_CALL = WORD
SYSTEM_CALL = 0x404  # NT_ARM_SYSTEM_CALL


class X86:
    """Where a stopped process has its system call's number, result and third argument."""

    number, result, third = "orig_rax", "rax", "rdx"

    @staticmethod
    def begins(registers):
        """Whether it stopped before the call, and not after it."""
        return registers.rax == -errno.ENOSYS & WORD  # what the kernel leaves there until the call has ended

    @staticmethod
    def cancel(pid, registers):
        """Makes the call that begins none."""
        registers.orig_rax = NO_CALL
        ptrace_setregs(pid, registers)


class Arm:
    number, result, third = "r8", "r0", "r2"

    @staticmethod
    def begins(registers):
        return registers.r7 == 0  # the kernel shows that there, and 1 after it

    @staticmethod
    def cancel(pid, registers):
        none = ctypes.c_int(-1)
        place = iovec_struct()
        place.buf, place.len = ctypes.addressof(none), ctypes.sizeof(none)
        ptrace(PTRACE_SETREGSET, pid, SYSTEM_CALL, ctypes.addressof(place))


MACHINE = {"x86_64": X86, "aarch64": Arm}[platform.machine()]


class Stepper:
    """Runs a command to its first instruction; its children are not traced. Output goes to the files given."""

    def __init__(self, command, out, err, options=PTRACE_O_TRACESYSGOOD):
        self.pid = os.fork()
        if self.pid == 0:
            try:
                for fd, path in ((1, out), (2, err)):
                    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), fd)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                ptrace_traceme()
                os.execv(command[0], command)
            finally:
                os._exit(127)
        self.status = os.waitpid(self.pid, 0)[1]
        assert os.WIFSTOPPED(self.status), "the program cannot be traced"
        ptrace_setoptions(self.pid, options)
        self.next()  # execve itself ends

    @classmethod
    def attach(cls, pid):
        """A child of ours that runs already."""
        self = cls.__new__(cls)
        self.pid = pid
        ptrace_attach(pid)
        os.waitpid(pid, 0)
        ptrace_setoptions(pid, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC)
        return self

    def run_to(self, count):
        """Lets it run until it is about to make the system call of this number, from 0 on. False if it ended before."""
        return all(self.next() for _ in range(2 * count + 1))

    def next(self):
        """Runs until the next system call begins, or the one that has begun ends. False if the program ends, or executes another (attach())."""
        pending = 0
        while True:
            ptrace_syscall(self.pid, pending)
            self.status = os.waitpid(self.pid, 0)[1]
            if not os.WIFSTOPPED(self.status) or self.status >> 16 == PTRACE_EVENT_EXEC:
                return False
            pending = os.WSTOPSIG(self.status)
            if pending == SYSCALL_STOP:
                return True

    def calls(self):
        """Names of all its system calls, in order; it runs to its end."""
        names = []
        while self.next():
            names.append(SYSCALL_NAMES.get(getattr(ptrace_getregs(self.pid), MACHINE.number), "?"))
            if not self.next():
                break
        return names

    def fail(self, name, count, error):
        """Lets the call of this name fail once, its count-th from 0 on, and the program run to its end. False if there are fewer."""
        while self.next():
            registers = ptrace_getregs(self.pid)
            hit = MACHINE.begins(registers) and SYSCALL_NAMES.get(getattr(registers, MACHINE.number)) == name
            if hit and count == 0:
                MACHINE.cancel(self.pid, registers)
                self.next()
                registers = ptrace_getregs(self.pid)
                setattr(registers, MACHINE.result, -error & WORD)
                ptrace_setregs(self.pid, registers)
                ptrace_detach(self.pid)
                self.status = os.waitpid(self.pid, 0)[1]
                return True
            count -= hit
        return False

    def end_with(self, number):
        """Sends a signal and lets the program go on untraced; returns its exit code, -N for a signal."""
        os.kill(self.pid, number)
        if number != signal.SIGKILL:
            ptrace_detach(self.pid)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


class Follower:
    """Runs a command, and the processes it starts one system call after the other, until one of them executes a program.

    What begins by vfork and execs is init's first stage; of what comes from it by clones the first exec is the program.
    """

    OPTIONS = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC

    def __init__(self, command, out, err):
        self.stepper = Stepper(command, out, err, self.OPTIONS)
        self.pid = self.stepper.pid
        self.code = None  # exit code of the command
        self.stages = {self.pid: 0}  # pid -> 0 the command, 1 init's first stage, from 2 on what comes from it

    def kill_at(self, point):
        """Kills the process that is at the system call stop of this number. Returns it (int), 0 if there were fewer."""
        count, killed = 0, 0

        def stop(pid):
            nonlocal count, killed
            count += 1
            if count == point:
                killed = pid
                os.kill(pid, signal.SIGKILL)
            return not killed

        self._go_on(self.pid)
        self.follow(stop)
        return killed

    def follow(self, stop):
        """Until the command has ended: stop(pid) at the begin and the end of each system call, until it gives False. Of the processes that
        come one from the other it is asked for the last: a stage has nothing to do but to end, once it has cloned the next.
        """
        new = set()
        while self.code is None:
            pid, status = os.waitpid(-1, WALL)
            if not os.WIFSTOPPED(status):
                self.stages.pop(pid, None)
                if pid == self.pid:
                    self.code = os.waitstatus_to_exitcode(status)
                continue
            number, event = os.WSTOPSIG(status), status >> 16
            if pid not in self.stages:  # a new one, stopped; its parent's news may come later
                new.add(pid)
                continue
            if event in (PTRACE_EVENT_FORK, PTRACE_EVENT_VFORK, PTRACE_EVENT_CLONE):
                child = ptrace_geteventmsg(pid)
                self.stages[child] = self.stages[pid] + 1
                if child not in new:
                    new.add(os.waitpid(child, WALL)[0])
                self._go_on(child)
            if event == PTRACE_EVENT_EXEC and self.stages[pid] >= 2:
                del self.stages[pid]
                ptrace_detach(pid)
                continue
            if number == SYSCALL_STOP and stop and self.stages[pid] == max(self.stages.values()) and not stop(pid):
                stop = None
            self._go_on(pid, number if event == 0 and number not in (SYSCALL_STOP, signal.SIGSTOP) else 0, stop)
        self._let_go()

    def _go_on(self, pid, number=0, stop=True):
        try:
            (ptrace_syscall if stop and self.stages.get(pid) else ptrace_cont)(pid, number)
        except PtraceError as error:  # it was killed meanwhile
            if error.errno != errno.ESRCH:
                raise

    def _let_go(self):
        """What outlives the command is left alone."""
        for pid in self.stages:
            os.kill(pid, signal.SIGSTOP)
            if os.WIFSTOPPED(os.waitpid(pid, WALL)[1]):
                ptrace_detach(pid)
                os.kill(pid, signal.SIGCONT)
