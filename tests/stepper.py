"""A program stopped at the system call of one's choice (ptrace(2), by python-ptrace)."""

import os
import signal

from ptrace.binding import ptrace_detach, ptrace_getregs, ptrace_setoptions, ptrace_syscall, ptrace_traceme
from ptrace.binding.func import PTRACE_O_TRACESYSGOOD
from ptrace.syscall import SYSCALL_NAMES

SYSCALL_STOP = signal.SIGTRAP | 0x80


class Stepper:
    """Runs a command to its first instruction; its children are not traced. Output goes to the files given."""

    def __init__(self, command, out, err):
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
        ptrace_setoptions(self.pid, PTRACE_O_TRACESYSGOOD)
        self.next()  # execve itself ends

    def run_to(self, count):
        """Lets it run until it is about to make the system call of this number, from 0 on. False if it ended before."""
        return all(self.next() for _ in range(2 * count + 1))

    def next(self):
        """Runs until the next system call begins, or the one that has begun ends. False if the program ends."""
        pending = 0
        while True:
            ptrace_syscall(self.pid, pending)
            self.status = os.waitpid(self.pid, 0)[1]
            if not os.WIFSTOPPED(self.status):
                return False
            pending = os.WSTOPSIG(self.status)
            if pending == SYSCALL_STOP:
                return True

    def calls(self):
        """Names of all its system calls, in order; it runs to its end."""
        names = []
        while self.next():
            names.append(SYSCALL_NAMES.get(ptrace_getregs(self.pid).orig_rax, "?"))
            if not self.next():
                break
        return names

    def end_with(self, number):
        """Sends a signal and lets the program go on untraced; returns its exit code, -N for a signal."""
        os.kill(self.pid, number)
        if number != signal.SIGKILL:
            ptrace_detach(self.pid)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
