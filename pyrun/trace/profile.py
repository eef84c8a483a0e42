"""Seccomp profiles: the one that the trace itself runs by, the one that it writes, and whether one would have refused a call."""

from __future__ import annotations

import errno
import os
import posix

from pyrun._native import ffi, lib
from pyrun.base import files, jsonio
from pyrun.base.errors import ConfigError, Error, words
from pyrun.config import load, normal
from pyrun.plan.seccomp import ARCHS
from pyrun.plan.seccomp import name_of as name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ALLOW, TRACE, REFUSE = "SCMP_ACT_ALLOW", "SCMP_ACT_TRACE", "SCMP_ACT_ERRNO"
FAMILIES = {"SCMP_ARCH_X86_64": ("SCMP_ARCH_X86", "SCMP_ARCH_X32"), "SCMP_ARCH_AARCH64": ("SCMP_ARCH_ARM",)}
ARCH_NAMES = {number: name for name, number in ARCHS.items()}
PASSES = (ALLOW, "SCMP_ACT_LOG")
ALL_BITS = (1 << 64) - 1
COMPARE = {
    "SCMP_CMP_NE": lambda value, wanted, _: value != wanted,
    "SCMP_CMP_LT": lambda value, wanted, _: value < wanted,
    "SCMP_CMP_LE": lambda value, wanted, _: value <= wanted,
    "SCMP_CMP_EQ": lambda value, wanted, _: value == wanted,
    "SCMP_CMP_GE": lambda value, wanted, _: value >= wanted,
    "SCMP_CMP_GT": lambda value, wanted, _: value > wanted,
    "SCMP_CMP_MASKED_EQ": lambda value, mask, wanted: value & mask == wanted & mask,
}


def native_arch() -> str:
    return ARCH_NAMES[lib.native_seccomp_arch()]


def numbers(names: Sequence[str]) -> list[int]:
    """On this machine's architecture; below zero for those that it has not."""
    found = ffi.new("int32_t[]", len(names))
    lib.native_seccomp_numbers(lib.native_seccomp_arch(), "".join(f"{name}\0" for name in names).encode("utf-8", "replace"), len(names), found)
    return list(found)


# --- the filter of the trace -------------------------------------------------------------------------------------------


def traced(profile: dict) -> dict:
    """The same as a profile (linux.seccomp; {} for none), with a stop for each call that it allows or gives an errno for.

    What the call shall get is in the data of the stop: 0, or the errno.
    """
    if not profile.get("defaultAction"):
        arch = native_arch()
        return {"defaultAction": TRACE, "defaultErrnoRet": 0, "architectures": [arch, *FAMILIES.get(arch, ())]}
    calls = [entry | _traced(entry["action"], entry.get("errnoRet"), "action", "errnoRet") for entry in profile.get("syscalls") or ()]
    default = _traced(profile["defaultAction"], profile.get("defaultErrnoRet"), "defaultAction", "defaultErrnoRet")
    return profile | default | {"syscalls": calls}


def _traced(action: str, number: int | None, action_key: str, number_key: str) -> dict:
    if action in PASSES:
        return {action_key: TRACE, number_key: 0}
    if action == REFUSE:
        return {action_key: TRACE, number_key: errno.EPERM if number is None else number}
    return {action_key: TRACE, number_key: errno.ENOSYS} if action == TRACE else {}


def newest(profile: dict) -> int:
    """The highest number that a profile with a default of an errno names; those above get ENOSYS (plan/seccomp.py, REFUSALS)."""
    if profile.get("defaultAction") != REFUSE:
        return 1 << 32
    return max(numbers([name for entry in profile.get("syscalls") or () for name in entry["names"]]), default=0)


# --- files -------------------------------------------------------------------------------------------------------------


def read(path: str) -> dict:
    """The profile in a file: linux.seccomp alone, or a config.json that has it. Raises Error, ConfigError."""
    try:
        content = jsonio.loads(files.read(path))
    except OSError as fault:
        raise Error(f"{path}: {words(fault.errno)}") from None
    except Error as fault:
        raise ConfigError("", f"syntax error: {fault}", path) from None
    profile = content
    if isinstance(content, dict) and "linux" in content:
        profile = content["linux"].get("seccomp") if isinstance(content["linux"], dict) else None
    if not isinstance(profile, dict) or "defaultAction" not in profile:
        raise ConfigError("", "is no seccomp profile: there is no defaultAction, neither in it nor in linux.seccomp", path)
    try:
        load.check({"ociVersion": "1.0.0", "root": {"path": "/"}, "linux": {"seccomp": profile}}, bundle="/")
    except ConfigError as fault:
        raise ConfigError(fault.path, fault.message, path, fault.cure) from None
    return profile


def smallest(names: Iterable[str], archs: Iterable[str]) -> dict:
    """The profile that allows these calls alone."""
    return {
        "defaultAction": REFUSE,
        "defaultErrnoRet": errno.EPERM,
        "architectures": sorted(archs),
        "syscalls": [{"names": sorted(names), "action": ALLOW}],
    }


def merged(profile: dict, names: Iterable[str], archs: Iterable[str]) -> dict:
    """A profile that allows these calls too."""
    calls = list(profile.get("syscalls") or ())
    known = {name for entry in calls if entry["action"] == ALLOW and not entry.get("args") for name in entry["names"]}
    if new := sorted(set(names) - known):
        plain = next((i for i, entry in enumerate(calls) if entry["action"] == ALLOW and not entry.get("args")), None)
        if plain is None:
            calls.append({"names": new, "action": ALLOW})
        else:
            calls[plain] = calls[plain] | {"names": sorted({*calls[plain]["names"], *new})}
    return profile | {"architectures": sorted({*(profile.get("architectures") or ()), *archs}), "syscalls": calls}


def write(path: str, names: Iterable[str], archs: Iterable[str], merge: bool) -> None:
    """Raises Error."""
    import json

    profile = merged(read(path), names, archs) if merge and posix.access(path, posix.F_OK) else smallest(names, archs)
    put(path, json.dumps(profile, indent="\t") + "\n")


def put(path: str, text: str) -> None:
    """Writes a file anew; into what is no regular file (/dev/stdout, a FIFO) as it is. Raises Error."""
    data = text.encode(errors="surrogateescape")
    try:
        if not path.startswith(("/dev/", "/proc/")) and (os.path.isfile(path) or not os.path.exists(path)):
            files.replace(os.path.realpath(path), data, 0o644)
            return
        fd = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC | posix.O_NOCTTY)
        try:
            files.write_all(fd, data)
        finally:
            posix.close(fd)
    except OSError as fault:
        raise Error(f"{path}: {words(fault.errno)}") from None


# --- what one would refuse ---------------------------------------------------------------------------------------------


class Check:
    """A profile, asked about calls."""

    def __init__(self, path: str) -> None:
        profile = normal.fill(normal.SECCOMP, read(path))
        self.default: str = profile["defaultAction"]
        self.archs = {native_arch(), *profile["architectures"]}
        self.plain: dict[str, str] = {}
        self.conditional: dict[str, list[dict]] = {}
        for entry in profile["syscalls"]:
            for name in entry["names"]:
                if entry["args"]:
                    self.conditional.setdefault(name, []).append(entry)
                else:
                    self.plain.setdefault(name, entry["action"])
        for name in self.plain:  # what has no conditions counts before all others
            self.conditional.pop(name, None)

    def action(self, name: str, arch: str, arguments: Sequence[int] = ()) -> str:
        """SCMP_ACT_* for a call."""
        if arch not in self.archs:
            return "SCMP_ACT_KILL"
        for entry in self.conditional.get(name, ()):
            results = [COMPARE[one["op"]](arguments[one["index"]], one["value"], one["valueTwo"]) for one in entry["args"]]
            twice = len({one["index"] for one in entry["args"]}) < len(results)
            if any(results) if twice else all(results):
                return entry["action"]
        return self.plain.get(name, self.default)

    def refuses(self, name: str, arch: str, arguments: Sequence[int] = ()) -> str:
        """The action if that is to refuse, else ''."""
        action = self.action(name, arch, arguments)
        return "" if action in PASSES else action


