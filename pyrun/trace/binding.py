"""python-ptrace, bound to ptrace(2) by our own extension: whatever uses it imports this module first.

python-ptrace takes from others what the executable lacks or has no use for. While it is imported, and for it alone, that is replaced.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType, SimpleNamespace

from pyrun._native import lib
from pyrun.base import log
from pyrun.trace import structures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PEEKS = (1, 2, 3)  # PTRACE_PEEKTEXT, PEEKDATA, PEEKUSER


def ptrace(request: int, pid: int, address: int, data: int, _: bool) -> int:
    """As the module cptrace has it, python-ptrace's own binding in C: what is peeked is the result. Raises ValueError, after set_errno()."""
    peeks = request in PEEKS
    if peeks:
        word = structures.c_ulong()
        data = structures.addressof(word)
    code = lib.native_ptrace(request, pid, address, data)
    if code < 0:
        structures.set_errno(-code)
        raise ValueError(f"ptrace request {request:#x} for process {pid}: {os.strerror(-code)}")
    return word.value if peeks else code


def say(message: object, *_: object) -> None:
    log.debug(f"ptrace: {message}")


LOGGER = SimpleNamespace(debug=say, info=say, warning=say, error=say)
STAND_INS: dict[str, dict[str, Any]] = {
    "cptrace": {"ptrace": ptrace},
    "ctypes": vars(structures),
    "logging": {**vars(LOGGER), "getLogger": lambda: LOGGER, "DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40},
    "resource": {"getpagesize": lambda: os.sysconf("SC_PAGE_SIZE")},
    "socket": {"AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16, "SOCK_CLOEXEC": 0o2000000,
               "inet_ntoa": lambda address: ".".join(map(str, address))},
    # A program of its own, its child processes, a disassembler that is a shared library.
    "ptrace.debugger.application": {"Application": None},
    "ptrace.debugger.child": {"ChildError": RuntimeError},
    "ptrace.disasm": {"HAS_DISASSEMBLER": False},
}  # fmt: skip


def bind() -> None:
    kept = {name: sys.modules.get(name) for name in STAND_INS}
    for name, content in STAND_INS.items():
        sys.modules[name] = ModuleType(name)
        vars(sys.modules[name]).update(content)
    try:
        import ptrace.debugger
        import ptrace.syscall  # noqa: F401
    finally:
        for name, module in kept.items():
            del sys.modules[name]
            if module:
                sys.modules[name] = module


bind()

from ptrace.binding import ptrace_geteventmsg, ptrace_getregs, ptrace_setregs  # noqa: E402
from ptrace.binding.func import ptrace as request  # noqa: E402
from ptrace.debugger import NewProcessEvent, ProcessEvent, ProcessExecution, PtraceDebugger, PtraceProcess  # noqa: E402
from ptrace.error import PtraceError  # noqa: E402
from ptrace.func_call import FunctionCallOptions  # noqa: E402
from ptrace.syscall import PtraceSyscall  # noqa: E402

__all__ = [
    "FunctionCallOptions", "NewProcessEvent", "ProcessEvent", "ProcessExecution", "PtraceDebugger", "PtraceError",
    "PtraceProcess", "PtraceSyscall", "ptrace_geteventmsg", "ptrace_getregs", "ptrace_setregs", "request",
]  # fmt: skip
