"""Filters in a real kernel: a child puts one on, makes system calls, and tells which errno each gave. Needs no root."""

import ctypes
import errno
import json
import mmap
import os
import random
import signal
import struct

import pytest
from seccomp_model import ALL_BITS, FAMILY, NATIVE, X32_BIT, X86_64, arg, like_dockers, names, native, profile, rule, verdict

from pyrun.plan import seccomp

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_NO_NEW_PRIVS = 38
SET_MODE_FILTER = 1
SIGSYS = 128 + signal.SIGSYS

x86 = pytest.mark.skipif(NATIVE != X86_64, reason="calls of the other kinds that an x86_64 has")


def call(number, *args):
    """The errno of a system call, 0 if it worked."""
    words = [ctypes.c_ulong(value) for value in (*args, *[0] * (6 - len(args)))]
    return ctypes.get_errno() if LIBC.syscall(ctypes.c_long(number), *words) == -1 else 0


def call_32(number, *args):
    """The errno of a system call of the 32-bit kind, made with `int 0x80`."""
    # push rbx; mov eax, edi; mov ebx, esi; mov ecx, edx; mov edx, 0; int 0x80; pop rbx; ret
    code = bytes.fromhex("53 89f8 89f3 89d1 ba00000000 cd80 5b c3")
    page = mmap.mmap(-1, len(code), prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    function = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_uint] * 3)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    return max(0, -function(number, *args, *[0] * (2 - len(args))))


def put_on(filter):
    """seccomp(2): its result."""
    code = ctypes.create_string_buffer(filter.bpf, len(filter.bpf))
    assert LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    descriptor = struct.pack("=H6xQ", len(filter.bpf) // 8, ctypes.addressof(code))
    return LIBC.syscall(native("seccomp"), SET_MODE_FILTER, filter.flags, descriptor)


def under(profile, what):
    """What `what()` gives in a child under the filter, or the child's exit code if it does not get that far."""
    filter = seccomp.compile_profile(profile, None)
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGSYS, signal.SIG_DFL)
        status = 99
        try:
            if put_on(filter) >= 0:
                os.write(theirs, json.dumps(what()).encode())
                status = 0
        finally:
            os._exit(status)
    os.close(theirs)
    with open(ours, "rb") as pipe:
        data = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return json.loads(data) if code == 0 else 128 - code


def all_but(*denied):
    """A rule that allows what a program needs."""
    return rule("ALLOW", *(name for name in names(NATIVE).values() if name not in denied))


def test_a_profile_like_dockers():
    def calls():
        return {
            "mount": call(native("mount")),
            "clone3": call(native("clone3")),
            "newer": [call(nr) for nr in (max(names(NATIVE)) + 1, 1000, 99999)],
            "socket": [call(native("socket"), family, 2) for family in (1, 2, 4, 40)],
            "personality": [call(native("personality"), value) for value in (0xFFFFFFFF, 0x20000, 4)],
            "clone": call(native("clone"), 0x10000000),
            "getpid": call(native("getpid")),
        }

    seen = under(like_dockers(*FAMILY), calls)
    assert seen == {
        "mount": errno.EPERM,
        "clone3": errno.ENOSYS,
        "newer": [errno.ENOSYS] * 3,
        "socket": [0, 0, errno.EPERM, errno.EPERM],
        "personality": [0, 0, errno.EPERM],
        "clone": errno.EPERM,
        "getpid": 0,
    }


def test_the_kernel_reads_the_program_as_the_tests_do():
    """Random conditions, and an errno of its own for each rule: nothing is ever executed."""
    chance = random.Random(7)
    tried = ["mkdirat", "mount", "keyctl", "bpf", "ptrace", "setsockopt"]
    values = [0, 1, 5, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 32, (1 << 32) + 5, 1 << 63, ALL_BITS]
    rules = []
    for code in range(50, 110):
        conditions = [
            arg(index, chance.choice(["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"]), chance.choice(values), 0)
            for index in chance.sample(range(6), chance.randint(1, 3))
        ]
        rules.append(rule("ERRNO", chance.choice(tried), args=conditions, errnoRet=code))
    made = profile("ERRNO", all_but(*tried), *rules)
    calls = [(native(chance.choice(tried)), [chance.choice(values) for _ in range(6)]) for _ in range(500)]
    bpf = seccomp.compile_profile(made, None).bpf
    wanted = [verdict(bpf, NATIVE, nr, args) & 0xFFFF for nr, args in calls]
    assert under(made, lambda: [call(nr, *args) for nr, args in calls]) == wanted
    assert len(set(wanted)) > 20


@pytest.mark.parametrize(
    "action, result",
    [("KILL", SIGSYS), ("KILL_THREAD", SIGSYS), ("KILL_PROCESS", SIGSYS), ("TRAP", SIGSYS), ("TRACE", errno.ENOSYS), ("LOG", 0)],
)
def test_actions(action, result):
    assert under(profile("ALLOW", rule(action, "getppid")), lambda: call(native("getppid"))) == result


def test_a_trap_can_be_caught():
    def caught():
        seen = []
        signal.signal(signal.SIGSYS, lambda *_: seen.append("caught"))
        call(native("getppid"))
        return seen

    assert under(profile("ALLOW", rule("TRAP", "getppid")), caught) == ["caught"]


@x86
def test_calls_of_32_bits():
    made = profile("ALLOW", rule("ERRNO", "getppid", errnoRet=100), rule("ERRNO", "getpriority", args=[arg(1, "EQ", ALL_BITS)], errnoRet=101))

    def calls():
        return [call_32(64), call_32(20), call_32(96, 0, 0xFFFFFFFF)]  # getppid, getpid, getpriority

    assert under({**made, "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]}, calls) == [100, 0, 101]
    assert under(made, calls) == SIGSYS


@x86
def test_calls_of_32_bits_newer_than_the_profile():
    made = profile("ERRNO", all_but("mount"), archs=("X86_64", "X86"))
    assert under(made, lambda: [call_32(21), call_32(20), call_32(999)]) == [errno.EPERM, 0, errno.ENOSYS]


@x86
def test_calls_of_x32():
    made = profile("ALLOW", rule("ERRNO", "getppid", errnoRet=100))
    assert under(made, lambda: call(X32_BIT + 110)) == SIGSYS
    assert under({**made, "architectures": ["SCMP_ARCH_X32"]}, lambda: call(X32_BIT + 110)) == 100


@pytest.mark.parametrize("names", [None, [], ["LOG"], ["SPEC_ALLOW"], ["TSYNC", "LOG", "SPEC_ALLOW"]])
def test_the_kernel_takes_the_flags(names):
    flags = None if names is None else [f"SECCOMP_FILTER_FLAG_{name}" for name in names]
    assert under(profile("ALLOW", rule("ERRNO", "getppid", errnoRet=100), flags=flags), lambda: call(native("getppid"))) == 100


@pytest.mark.parametrize("flags", [None, ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]])
def test_notification_gives_a_listener(flags):
    made = profile("ALLOW", rule("NOTIFY", "getppid"), listenerPath="/agent", flags=flags)
    filter = seccomp.compile_profile(made, None)
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        listener = put_on(filter)
        os.write(theirs, os.readlink(f"/proc/self/fd/{listener}").encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(theirs)
    with open(ours) as pipe:
        assert pipe.read() == "anon_inode:seccomp notify"


def test_a_program_as_long_as_can_be():
    """Just below the kernel's limit of 4096 instructions."""
    rules = [rule("ERRNO", "getppid", args=[arg(0, "EQ", value)], errnoRet=100) for value in range(815)]
    made = profile("ALLOW", *rules)
    assert len(seccomp.compile_profile(made, None).bpf) > 4000 * 8
    assert under(made, lambda: [call(native("getppid"), value) for value in (0, 814, 815)]) == [100, 100, 0]
