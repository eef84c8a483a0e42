"""The traced threads, in python-ptrace's hands: how they are taken, what is done where they stop, how they are let go."""

from __future__ import annotations

import errno
import os
import posix
import signal
from types import SimpleNamespace

from pyrun._native import ffi, lib
from pyrun.base.errors import Error, words
from pyrun.init.session import must
from pyrun.trace import calls, profile
from pyrun.trace.binding import (
    FunctionCallOptions,
    NewProcessEvent,
    ProcessEvent,
    ProcessExecution,
    PtraceDebugger,
    PtraceError,
    PtraceProcess,
    PtraceSyscall,
    ptrace_geteventmsg,
    ptrace_getregs,
    ptrace_setregs,
    request,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrun._native import CData
    from pyrun.trace.report import Report

# ptrace(2); python-ptrace knows none of these.
SEIZE, INTERRUPT, LISTEN, DETACH = 0x4206, 0x4207, 0x4208, 17
CONT, SYSCALL = 7, 24
O_TRACESECCOMP, O_EXITKILL = 0x80, 0x100000
EVENT_EXEC, EVENT_SECCOMP, EVENT_STOP = 4, 7, 128
STOPPING = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
ENDS = 2
MORE = 2
NUMBERS = 1024  # the calls of an architecture have lower ones
PIDS = 0x10000
PATH_LENGTH = 4096
TEXT = ffi.new("char[]", PATH_LENGTH)
STRINGS = (("dev_name", "char *"), ("type", "char *"))  # arguments that are strings, and that python-ptrace shows as addresses
OPTIONS = FunctionCallOptions(string_max_length=300)


class Stopped(ProcessEvent):
    """A stop that python-ptrace does not know: of a group of threads by a signal, of a new thread, or asked for by INTERRUPT."""

    def __init__(self, thread: Thread) -> None:
        ProcessEvent.__init__(self, thread, "stopped")


class Thread(PtraceProcess):
    """A traced thread. call: the one it is in, if its end is waited for."""

    call: Call | None = None
    read_mem_file: Any

    def attach(self) -> None:
        request(SEIZE, self.pid, 0, self.debugger.options)
        self.is_attached = True

    def ptraceEvent(self, event: int) -> Any:  # python-ptrace's
        if event == EVENT_EXEC:
            self.debugger.take_over(self, ptrace_geteventmsg(self.pid))
        return Stopped(self) if event in (EVENT_STOP, EVENT_SECCOMP) else PtraceProcess.ptraceEvent(self, event)

    def forget_memory(self) -> None:
        """After an exec it is another one."""
        if self.read_mem_file:
            self.read_mem_file.close()
        self.read_mem_file = None

    def path(self, address: int) -> str:
        """A string in its memory; '' where there is none."""
        size = lib.native_trace_string(self.pid, address, TEXT, PATH_LENGTH) if address else 0
        return os.fsdecode(ffi.buffer(TEXT, size)[:]) if size > 0 else ""

    def place(self, fd: int | None) -> str:
        """The directory that a path of it begins at, as the container sees it."""
        link = "cwd" if fd is None or fd == calls.AT_FDCWD else f"fd/{fd}"
        try:
            return posix.readlink(f"/proc/{self.pid}/{link}")
        except OSError:
            return "?"


class Call(PtraceSyscall):
    """A system call. paths: the files that it names."""

    def __init__(self, thread: Thread, name: str, arch: str, stop: CData) -> None:
        self.arch = arch
        self.values = list(stop.arguments)
        self.paths: list[str] = []
        self.strings: dict[int, str] = {}
        PtraceSyscall.__init__(self, thread, OPTIONS, SimpleNamespace(number=stop.number, name=name))
        self.how, places = calls.FILES.get(name, ("", ()))
        if name in calls.OPEN_FLAGS:
            at = calls.OPEN_FLAGS[name]
            self.how = calls.WRITE if at is None or self.values[at] & (posix.O_ACCMODE | posix.O_CREAT) else calls.READ
        for directory, at in places:
            path = thread.path(self.values[at])
            if path and not path.startswith("/"):
                fd = None if directory is None else ffi.cast("int", self.values[directory])
                path = f"{thread.place(None if fd is None else int(fd)).rstrip('/')}/{path}"
            if path:
                self.paths.append(path)
                self.strings[at] = path

    def readSyscall(self, regs: Any) -> None:
        self.syscall, self.name = regs.number, regs.name

    def text(self) -> str:
        """As C has it. What a program is given as arguments and environment is left out: there may be secrets in it."""
        self.clearArguments()
        self.readArguments(self.values)
        for at, argument in enumerate(self.arguments):
            if at in self.strings or (argument.name, argument.type) in STRINGS:
                argument.text = repr(self.strings.get(at) or self.process.path(argument.value))
        if self.name.startswith("execve"):
            return f"{self.name}({', '.join(map(repr, self.paths))}, …)"
        try:
            return self.format()
        except (PtraceError, OSError, ValueError):
            return f"{self.name}(…)"


class Tracer(PtraceDebugger):
    """What follows the threads. filtered: a filter with SCMP_ACT_TRACE stops the calls, and they die with us."""

    def __init__(self, report: Report, signals: int, filtered: bool, newest: int = 1 << 32, default: int = 0) -> None:
        PtraceDebugger.__init__(self)
        self.traceFork()
        self.traceExec()
        self.traceClone()
        if filtered:
            self.options |= O_TRACESECCOMP | O_EXITKILL
        self.report = report
        self.newest, self.default = newest, default
        self.names: dict[tuple[int, int], tuple[str, str]] = {}
        self.go_on = CONT if filtered else SYSCALL
        self.done = False
        self.ended: Callable[[int, int], object] = lambda pid, status: None
        self.stop = ffi.new("struct trace_stop *")
        arch = lib.native_seccomp_arch()
        told = bytearray(b"\1" * NUMBERS)
        self.counts = ffi.new("uint64_t[]", NUMBERS)
        for number in range(NUMBERS):
            told[number] = report.wants(profile.name_of(arch, number))
        self.buffers = ffi.new("uint8_t[]", bytes(told)), ffi.new("uint8_t[]", PIDS)
        fields = {"signals": signals, "go_on": self.go_on, "arch": arch, "end": NUMBERS, "counts": self.counts}
        self.trace: Any = ffi.new("struct trace *", {**fields, "told": self.buffers[0], "counted": self.buffers[1]})

    # --- taking and letting go

    def seize(self, pid: int, parent: Thread | None = None) -> Thread:
        """Raises PtraceError."""
        return self.keep(Thread(self, pid, is_attached=False, parent=parent))

    def addProcess(self, pid: int, is_attached: bool, parent: Any = None, is_thread: bool = False) -> Thread:
        """A new thread, which the kernel has attached. Its first stop may have come before its parent's news of it."""
        return self.dict.get(pid) or self.keep(Thread(self, pid, is_attached, parent, is_thread))

    def keep(self, thread: Thread) -> Thread:
        self.dict[thread.pid] = thread
        self.list.append(thread)
        return thread

    def take_over(self, thread: Thread, former: int) -> None:
        """A thread has executed a program: the others are gone, and it has the pid of the first one."""
        self.buffers[1][thread.pid % PIDS] = 0
        thread.forget_memory()
        if former != thread.pid and former in self.dict:
            thread.call = self.dict[former].call
            self.dict[former].is_attached = False
            self.deleteProcess(pid=former)

    def let_go(self) -> None:
        """Detaches from all threads, each where it stops next."""
        for thread in list(self):
            try:
                request(INTERRUPT, thread.pid, 0, 0)
            except PtraceError:  # it has ended
                self.forget(thread)
        while self.list:
            try:
                pid, status = posix.waitpid(-1, 0x40000000)  # __WALL
            except ChildProcessError:
                return
            thread = self.dict.get(pid) or (self.addProcess(pid, True) if posix.WIFSTOPPED(status) else None)
            if thread and posix.WIFSTOPPED(status):
                plain = status >> 16 == 0 and posix.WSTOPSIG(status) & 0x7F != signal.SIGTRAP
                try:
                    request(DETACH, pid, 0, posix.WSTOPSIG(status) if plain else 0)
                except PtraceError:
                    pass
            if thread:
                self.forget(thread)

    def forget(self, thread: Thread) -> None:
        thread.is_attached = False
        self.deleteProcess(process=thread)

    def forward(self, pid: int) -> None:
        """The signals that we get are that process's; nothing but the threads is waited for then, which is quicker."""
        must(lib.native_trace_forward(pid), "sigprocmask")
        self.trace.signals = -1

    def finish(self) -> None:
        """What was counted without a look goes into the report."""
        self.report.take(self.counts)
        self.report.signals = {number: count for number, count in enumerate(self.trace.delivered) if count}
        self.report.processes += self.trace.born[0]
        self.report.threads += self.trace.born[1]

    # --- stops

    def serve(self, wait: bool) -> int:
        """Sees to all stops. wait: until a signal comes, which is returned, or there is nothing more to be done (-1)."""
        while (code := lib.native_trace(self.trace, wait, self.stop)) == 1:
            self.on_stop(self.stop.pid, self.stop.status)
            if self.done:
                return -1
        if code == MORE:
            signal.raise_signal(signal.SIGCHLD)  # so that whoever waits for signals comes back at once
        return -1 if code < 0 else self.stop.status if wait else 0

    def on_stop(self, pid: int, status: int) -> None:
        thread = self.dict.get(pid)
        if not posix.WIFSTOPPED(status):
            if thread:
                thread.processStatus(status)
            self.ended(pid, status)
            return
        thread = thread or self.addProcess(pid, True)
        try:
            if self.stop.call == ENDS:
                self.on_end(thread)
            elif self.stop.call:
                self.on_call(thread)
            else:
                self.on_event(thread, status)
        except PtraceError as fault:
            if fault.errno != errno.ESRCH:  # killed meanwhile, of which the next stop tells
                raise Error(f"ptrace: process {pid}: {words(fault.errno)}") from None

    def on_event(self, thread: Thread, status: int) -> None:
        number = posix.WSTOPSIG(status)
        event = thread.processStatus(status)
        if isinstance(event, Stopped) and number in STOPPING:
            request(LISTEN, thread.pid, 0, 0)  # it stays stopped, and we hear of its going on
            return
        if isinstance(event, NewProcessEvent):
            self.report.processes += not event.process.is_thread
            self.report.threads += event.process.is_thread
        elif isinstance(event, ProcessExecution):
            self.report.begin(self.counts)
        self.resume(thread)

    def on_call(self, thread: Thread) -> None:
        stop = self.stop
        arch, name = self.name(stop)
        call = Call(thread, name, arch, stop)
        if not (stop.arch == self.trace.arch and stop.number < NUMBERS):
            self.report.count(name, arch)
        self.report.check(call)
        if stop.data:
            self.refuse(thread, call, stop)
        elif calls.matters(name, call.values, bool(call.paths)):
            thread.call = call
        self.resume(thread)

    def on_end(self, thread: Thread) -> None:
        if thread.call:
            self.report.ended(thread.call, self.stop.result)
            thread.call = None
        self.resume(thread)

    def resume(self, thread: Thread) -> None:
        if thread.call or self.go_on == SYSCALL:
            thread.syscall()
        else:
            thread.cont()

    def name(self, stop: CData) -> tuple[str, str]:
        """Of a call: its architecture, and its name there."""
        arch, number = stop.arch, stop.number
        if arch == profile.ARCHS["SCMP_ARCH_X86_64"] and number & 0x40000000:
            arch = profile.ARCHS["SCMP_ARCH_X32"]
        key = arch, number
        if key not in self.names:
            self.names[key] = profile.ARCH_NAMES.get(arch, hex(arch)), profile.name_of(arch, number)
        return self.names[key]

    def refuse(self, thread: Thread, call: Call, stop: CData) -> None:
        """The call fails as the bundle's own profile has it: in its place none is made, and it gets the errno."""
        number = stop.data
        if number == self.default and stop.arch == self.trace.arch and stop.number > self.newest:
            number = errno.ENOSYS
        self.report.ended(call, -number, by_profile=True)
        skip(thread.pid, number)


def skip(pid: int, number: int) -> None:
    """The call that a thread is about to make is none, and fails with this errno."""
    from pyrun.trace import structures

    registers = ptrace_getregs(pid)
    if hasattr(registers, "orig_rax"):
        registers.orig_rax = -1
        registers.rax = -number
    else:  # arm64, where the number of the call is a register set of its own
        none = structures.c_int(-1)
        words = structures.c_ulong(structures.addressof(none)), structures.c_ulong(4)
        vector = bytearray(b"".join(bytes(word.memory_) for word in words))
        request(0x4205, pid, 0x404, int(ffi.cast("uintptr_t", ffi.from_buffer(vector))))  # PTRACE_SETREGSET, NT_ARM_SYSTEM_CALL
        registers.r0 = -number
    ptrace_setregs(pid, registers)
