"""Three things that a filter of ours is compared with: the words of the specification, libseccomp's own program, the kernel."""

import ctypes
import ctypes.util
import functools
import os
import platform
import struct

from pyrun._native import ffi, lib
from pyrun.plan import seccomp

ALL_BITS = (1 << 64) - 1
X86_64, X86, X32, AARCH64, ARM = (seccomp.ARCHS[f"SCMP_ARCH_{name}"] for name in ("X86_64", "X86", "X32", "AARCH64", "ARM"))
NATIVE = {"x86_64": X86_64, "aarch64": AARCH64}[platform.machine()]
X32_BIT = 0x40000000
ENOSYS = seccomp.ACTIONS["SCMP_ACT_ERRNO"] | 38
ALLOW = seccomp.ACTIONS["SCMP_ACT_ALLOW"]


def rule(action, *names, **more):
    return {"names": list(names), "action": f"SCMP_ACT_{action}", **more}


def arg(index, operator, value, two=None):
    return {"index": index, "op": f"SCMP_CMP_{operator}", "value": value, **({} if two is None else {"valueTwo": two})}


def profile(default, *rules, archs=("X86_64",), **more):
    return {"defaultAction": f"SCMP_ACT_{default}", "architectures": [f"SCMP_ARCH_{a}" for a in archs], "syscalls": list(rules), **more}


def number(arch, name):
    """The number of a system call on an architecture (SCMP_ARCH_*), negative if it has none."""
    found = ffi.new("int32_t *")
    assert lib.native_seccomp_numbers(arch, name.encode() + b"\0", 1, found) == 0
    return found[0]


FAMILY = {X86_64: ("X86_64", "X86", "X32"), AARCH64: ("AARCH64", "ARM")}[NATIVE]
"""The architectures that a profile of an engine names here."""


def native(name):
    """The number of a system call on this machine."""
    return number(NATIVE, name)


@functools.cache
def names(arch=X86_64):
    """{number: name} of the system calls of an architecture, as far as libseccomp knows them."""
    room = ffi.new("char[]", 64)
    return {i: ffi.string(room).decode() for i in range(520) if lib.native_seccomp_name(arch, i, room, 64) == 0}


def like_dockers(*archs):
    """A profile of the size and the shape of docker's."""
    denied = {"mount", "umount2", "reboot", "swapon", "kexec_load", "bpf", "clone3", "socket", "personality", "clone"}
    families = [rule("ALLOW", "socket", args=[arg(0, "LT", 3)]), *(rule("ALLOW", "socket", args=[arg(0, "EQ", n)]) for n in range(7, 40))]
    return profile(
        "ERRNO",
        rule("ALLOW", *(name for name in [*names().values(), *names(X86).values()] if name not in denied)),
        *families,
        *(rule("ALLOW", "personality", args=[arg(0, "EQ", value)]) for value in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)),
        rule("ALLOW", "clone", args=[arg(0, "MASKED_EQ", 0x7E020000, 0)]),
        rule("ERRNO", "clone3", errnoRet=38),
        archs=archs,
        defaultErrnoRet=1,
    )


# --- the kernel ----------------------------------------------------------------------------------------------------------


@functools.lru_cache(8)
def _decode(bpf):
    return [struct.unpack_from("=HBBI", bpf, at) for at in range(0, len(bpf), 8)]


def verdict(bpf, arch, nr, args=(0,) * 6):
    """What the kernel gets from a program for a system call: SECCOMP_RET_* with its data."""
    data = struct.pack("=IIQ6Q", nr, X86_64 if arch == X32 else arch, 0, *args)
    code = _decode(bpf)
    at = accumulator = 0
    while True:
        operation, yes, no, operand = code[at]
        at += 1
        if operation == 0x20:
            assert operand % 4 == 0 and operand < len(data)
            accumulator = struct.unpack_from("=I", data, operand)[0]
        elif operation == 0x54:
            accumulator &= operand
        elif operation == 0x05:
            at += operand
        elif operation == 0x06:
            return operand
        else:
            holds = {0x15: accumulator == operand, 0x25: accumulator > operand, 0x35: accumulator >= operand}[operation]
            at += yes if holds else no


# --- the specification ---------------------------------------------------------------------------------------------------

OPERATORS = {
    "SCMP_CMP_NE": lambda arg, value, two: arg != value,
    "SCMP_CMP_LT": lambda arg, value, two: arg < value,
    "SCMP_CMP_LE": lambda arg, value, two: arg <= value,
    "SCMP_CMP_EQ": lambda arg, value, two: arg == value,
    "SCMP_CMP_GE": lambda arg, value, two: arg >= value,
    "SCMP_CMP_GT": lambda arg, value, two: arg > value,
    "SCMP_CMP_MASKED_EQ": lambda arg, value, two: arg & value == two,
}


def expected(profile, name, args):
    """The action of x86_64's system call `name`. Each call has one action at most in the profiles that this is asked for."""
    for entry in profile["syscalls"]:
        if name in entry["names"] and _holds(entry.get("args") or (), args):
            return _action(entry, "action", "errnoRet")
    return _action(profile, "defaultAction", "defaultErrnoRet")


def _holds(conditions, args):
    results = [OPERATORS[one["op"]](args[one["index"]], one["value"], one.get("valueTwo", 0)) for one in conditions]
    twice = len({one["index"] for one in conditions}) < len(conditions)
    return any(results) if twice else all(results)


def _action(entry, key, data):
    takes_data = entry[key] in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
    return seccomp.ACTIONS[entry[key]] | (entry.get(data, 1) if takes_data else 0)


# --- libseccomp ----------------------------------------------------------------------------------------------------------


class Comparison(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


@functools.cache
def libseccomp():
    """The library, None if it is not there."""
    name = ctypes.util.find_library("seccomp")
    if name is None:
        return None
    library = ctypes.CDLL(name)
    library.seccomp_init.restype = ctypes.c_void_p
    pointer, u32 = ctypes.c_void_p, ctypes.c_uint32
    library.seccomp_init.argtypes = [u32]
    library.seccomp_arch_add.argtypes = [pointer, u32]
    library.seccomp_rule_add_array.argtypes = [pointer, u32, ctypes.c_int, ctypes.c_uint, pointer]
    library.seccomp_export_bpf.argtypes = [pointer, ctypes.c_int]
    library.seccomp_release.argtypes = [pointer]
    library.seccomp_arch_resolve_name.argtypes = [ctypes.c_char_p]
    library.seccomp_arch_resolve_name.restype = u32
    return library


def libseccomps_program(profile):
    """The program that libseccomp makes of a profile, in the way runc calls it."""
    library = libseccomp()
    default = _action(profile, "defaultAction", "defaultErrnoRet")
    filter = library.seccomp_init(default)
    for name in profile["architectures"]:
        assert library.seccomp_arch_add(filter, seccomp.ARCHS[name]) in (0, -17)
    for entry in profile["syscalls"]:
        conditions = [Comparison(one["index"], seccomp.OPERATORS[one["op"]], one["value"], one.get("valueTwo", 0)) for one in entry.get("args") or ()]
        action = _action(entry, "action", "errnoRet")
        for name in entry["names"]:
            if action != default and number(X86_64, name) != -1:
                array = (Comparison * len(conditions))(*conditions)
                assert library.seccomp_rule_add_array(filter, action, number(X86_64, name), len(conditions), array) == 0
    file = os.memfd_create("bpf")
    try:
        assert library.seccomp_export_bpf(filter, file) == 0
        return os.pread(file, 1 << 20, 0)
    finally:
        os.close(file)
        library.seccomp_release(filter)
