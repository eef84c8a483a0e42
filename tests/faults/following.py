"""A command of the runtime, followed by ptrace(2) system call by system call: itself, or the init that it starts or wakes.

One of the calls can be struck: the process is killed there, the call fails, or reads and writes less than it was asked to.
"""

import ctypes
import errno
import os
import signal
from typing import NamedTuple

from ptrace.binding import (
    ptrace_attach,
    ptrace_getregs,
    ptrace_setoptions,
    ptrace_setregs,
    ptrace_syscall,
)
from ptrace.binding.func import ptrace
from ptrace.error import PtraceError
from ptrace.syscall import SYSCALL_NAMES
from stepper import MACHINE, WALL, WORD, Follower, Stepper

GET_SYSCALL_INFO, ENTRY = 0x420E, 1
CUTTABLE = {"read", "write", "pread64", "pwrite64"}
"""Calls whose third argument is the number of bytes."""
WHOLE = ("/proc/", "/sys/", "socket:")
"""What is read and written there comes whole, or not at all: the kernel's own files, and messages."""


class Call(NamedTuple):
    name: str
    bytes: int
    """What a read or write has moved, 0 where it is none that could have been cut short."""


class SyscallInfo(ctypes.Structure):
    """struct ptrace_syscall_info, at the begin of a call."""

    _fields_ = [("op", ctypes.c_uint8), ("arch", ctypes.c_uint32), ("ip", ctypes.c_uint64), ("sp", ctypes.c_uint64),
                ("number", ctypes.c_uint64), ("args", ctypes.c_uint64 * 6)]  # fmt: skip


INFO = SyscallInfo()


def begun(pid):
    """The call that a stopped process is about to make (INFO, until the next stop), None if one has just ended."""
    ptrace(GET_SYSCALL_INFO, pid, ctypes.sizeof(INFO), ctypes.addressof(INFO))
    return INFO if INFO.op == ENTRY else None


class Signal:
    """Comes to the process there."""

    def __init__(self, name):
        self.name, self.number = name, getattr(signal, name)

    def applies(self, call):
        return True

    def strike(self, pid, call):
        os.kill(pid, self.number)


class Fail:
    """The call is not made, and gives this error."""

    # Calls that cannot fail, or for a wrong argument alone; and brk, which does not say so by an error.
    NEVER = set(
        "arch_prctl brk exit exit_group getegid geteuid getgid getpid getppid gettid getuid rseq rt_sigaction rt_sigprocmask rt_sigreturn "
        "set_robust_list set_tid_address sigaltstack umask".split()
    )

    INTERRUPTED = {"wait4", "waitid"}
    """Calls that can be, and fail in no other way that is not the caller's fault."""

    def __init__(self, name):
        self.name, self.error = name, getattr(errno, name)

    def applies(self, call):
        return call.name not in self.NEVER and (call.name not in self.INTERRUPTED or self.name == "EINTR")

    def strike(self, pid, call):
        registers = ptrace_getregs(pid)
        if call.name != "close":  # which lets go of the file, whatever it says
            MACHINE.cancel(pid, registers)
        ptrace_syscall(pid)
        _, status = os.waitpid(pid, WALL)
        if os.WIFSTOPPED(status):
            registers = ptrace_getregs(pid)
            setattr(registers, MACHINE.result, -self.error & WORD)
            ptrace_setregs(pid, registers)


class Cut:
    """Half of the bytes are read or written."""

    name = "short"

    def applies(self, call):
        return call.bytes > 1

    def strike(self, pid, call):
        registers = ptrace_getregs(pid)
        setattr(registers, MACHINE.third, max(call.bytes // 2, 1))
        ptrace_setregs(pid, registers)


TERM = Signal("SIGTERM")
FAULTS = [Signal("SIGKILL"), *map(Fail, ("ENOSPC", "EIO", "ENOMEM", "EMFILE", "EINTR", "EPERM")), Cut()]


class Followed(Follower):
    """A command and whom of it to follow: `pyrun`, itself; `init`, which it starts; or a pid, the init that waits for it.

    `init` is followed as stepper.Follower does: of the processes that come one from the other, the last, until it executes the program.
    """

    def __init__(self, command, whom, out, err):
        self.code = None
        if isinstance(whom, int):
            ptrace_attach(whom)
            os.waitpid(whom, WALL)
            ptrace_setoptions(whom, Follower.OPTIONS)
            self.pid = spawn(command, out, err)
            self.stages = {whom: 2}
            ptrace_syscall(whom)
            return
        stepper = Stepper(command, out, err, Follower.OPTIONS if whom == "init" else Stepper.__init__.__defaults__[0])
        self.pid = stepper.pid
        self.stages = {self.pid: 0 if whom == "init" else 2}
        self._go_on(self.pid)

    def calls(self):
        """Runs it to its end: the calls that it made."""
        calls, open_calls = [], {}

        def note(pid, info):
            name = SYSCALL_NAMES.get(info.number, str(info.number))
            if name in CUTTABLE and not link(pid, info.args[0]).startswith(WHOLE):
                open_calls[pid] = len(calls)
            calls.append(Call(name, 0))
            return True

        def end(pid):
            if pid in open_calls:
                moved = getattr(ptrace_getregs(pid), MACHINE.result)
                calls[open_calls.pop(pid)] = Call(calls[-1].name, moved if moved < 1 << 31 else 0)

        self._follow(note, end)
        return calls

    def strike(self, number, call, fault):
        """Lets the fault come at the call of this number, if it is of this name. Whether it did."""
        struck, count = [], 0

        def look(pid, info):
            nonlocal count
            count += 1
            if count <= number:
                return True
            if SYSCALL_NAMES.get(info.number, str(info.number)) == call.name:
                fault.strike(pid, call)
                struck.append(pid)
            return False

        self._follow(look)
        return bool(struck)

    def _follow(self, look, end=lambda pid: None):
        """look(pid, INFO) at the begin of each call, and end(pid) at its end; when look gives False they are not asked again."""

        def stop(pid):
            try:
                info = begun(pid)
                return look(pid, info) if info else end(pid) is None
            except PtraceError as error:  # the runtime has killed it meanwhile
                if error.errno != errno.ESRCH:
                    raise
                return True

        self.follow(stop)


def spawn(command, out, err):
    """Starts a command with output to files; its pid."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    files = [(0, os.devnull, os.O_RDONLY, 0), (1, out, flags, 0o600), (2, err, flags, 0o600)]
    return os.posix_spawn(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, *file) for file in files])


def link(pid, fd):
    try:
        return os.readlink(f"/proc/{pid}/fd/{fd}")
    except OSError:
        return ""
