"""python-ptrace as the executable has it: on our own extension, without ctypes and all that needs a shared C library."""

import json
import subprocess
import sys

import ptrace.binding.func
import ptrace.binding.linux_struct
import ptrace.syscall.linux_struct
import ptrace.syscall.socketcall_struct
import pytest
from harness import PROJECT

MODULES = (ptrace.binding.linux_struct, ptrace.syscall.linux_struct, ptrace.syscall.socketcall_struct)
LAYOUTS = """
import sys, json, importlib
import pyrun.trace.binding
from pyrun.trace import structures
found = {}
for name in sys.argv[1:]:
    for kind in vars(importlib.import_module(name)).values():
        if isinstance(kind, type) and issubclass(kind, structures.Structure) and kind.fields_:
            found[kind.__name__] = [kind.size_, {name: kind.fields_[name][1] for name, _ in kind._fields_}]
print(json.dumps(found))
"""
PROGRAM = """
import os
import pyrun.trace.binding
from ptrace.binding import ptrace_traceme
from ptrace.binding.func import ptrace as call
from ptrace.debugger import PtraceDebugger, ProcessExit, ProcessSignal
from ptrace.error import PtraceError
from ptrace.func_call import FunctionCallOptions
pid = os.fork()
if pid == 0:
    ptrace_traceme()
    os.execv("/bin/sh", ["sh", "-c", "echo hello; exec cat /nonexistent"])
debugger = PtraceDebugger()
debugger.traceExec()
process = debugger.addProcess(pid, True)
print("signal", process.getsiginfo().si_signo, "word", process.readWord(process.getStackPointer()))
print("stack", process.findStack() is not None)
process.setregs(process.getregs())
try:
    call(7, 1, 0, 0)
except PtraceError as error:
    print("error", error.errno)
while True:
    process.syscall()
    event = process.waitEvent()
    if isinstance(event, ProcessExit):
        break
    if not isinstance(event, ProcessSignal):
        continue
    call = process.syscall_state.event(FunctionCallOptions())
    if call and call.result is not None:
        print(call.format(), "=", call.result_text)
print("exit", event.exitcode)
"""


def python(program, *args):
    done = subprocess.run([sys.executable, "-c", program, *args], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    return done.stdout


@pytest.fixture(scope="module")
def layouts():
    return json.loads(python(LAYOUTS, *(module.__name__ for module in MODULES)))


def test_structures_lie_as_ctypes_has_them(layouts):
    from ctypes import Structure, Union, sizeof

    theirs = {
        kind.__name__: [sizeof(kind), {name: getattr(kind, name).offset for name, _ in kind._fields_}]
        for module in MODULES
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Structure | Union) and hasattr(kind, "_fields_")
    }
    assert layouts == theirs and {"user_regs_struct", "siginfo", "sockaddr_in6"} <= set(theirs)


def test_a_program_is_followed_from_call_to_call():
    out = python(PROGRAM).splitlines()
    assert out[0].startswith("signal 5 word ") and out[1] == "stack True" and "error 3" in out
    assert "write(1, 'hello\\n', 6) = 6" in out
    assert any("execve('/bin/cat'" in line or "execve('/usr/bin/cat'" in line for line in out), out
    assert any("'/nonexistent', O_RDONLY" in line and line.endswith("= -2 ENOENT (No such file or directory)") for line in out), out
    assert out[-1] == "exit 1"


def test_what_stands_in_for_others_does_so_for_python_ptrace_alone():
    names = "ctypes.CDLL, socket.socket, logging.Logger, 'cptrace' in sys.modules"
    out = python(f"import pyrun.trace.binding, sys, ctypes, socket, logging; print({names})")
    assert out.endswith("False\n")
