"""linux.seccomp -> a filter for seccomp(2) (config-linux.md#seccomp).

To make one takes milliseconds, and nearly all containers of a machine have the same profile. So it is kept: a file for each
profile, used again without a look at the profile's rules.
"""

from __future__ import annotations

import errno
import marshal
import posix

from pyrun import __version__
from pyrun._native import ffi, lib
from pyrun.base import files, log
from pyrun.base.errors import ConfigError, HostError, words
from pyrun.config import normal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrun.plan.seccomp_program import Condition, Rules

# seccomp(2), SECCOMP_RET_*; the lower 16 bits are the action's data.
ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
}
NOTIFY = ACTIONS["SCMP_ACT_NOTIFY"]
PASSES = (ACTIONS["SCMP_ACT_ALLOW"], ACTIONS["SCMP_ACT_LOG"])
NO_SUCH_CALL = ACTIONS["SCMP_ACT_ERRNO"] | errno.ENOSYS
# The kernel kills for an action that it does not know. Those that came after seccomp(2) itself:
NEW_ACTIONS = ("SCMP_ACT_KILL_PROCESS", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY")
# The actions with data, and the largest (the kernel's MAX_ERRNO).
DATA_LIMITS = {"SCMP_ACT_ERRNO": 4095, "SCMP_ACT_TRACE": 0xFFFF}

# enum scmp_compare of libseccomp.
OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
ALL_BITS = (1 << 64) - 1

# The kernel's AUDIT_ARCH_* (linux/audit.h); x32, which the kernel tells from x86_64 by the system call's number, has one
# of libseccomp's own.
ARCHS = {
    "SCMP_ARCH_X86": 0x40000003,
    "SCMP_ARCH_X86_64": 0xC000003E,
    "SCMP_ARCH_X32": 0x4000003E,
    "SCMP_ARCH_ARM": 0x40000028,
    "SCMP_ARCH_AARCH64": 0xC00000B7,
    "SCMP_ARCH_MIPS": 0x00000008,
    "SCMP_ARCH_MIPS64": 0x80000008,
    "SCMP_ARCH_MIPS64N32": 0xA0000008,
    "SCMP_ARCH_MIPSEL": 0x40000008,
    "SCMP_ARCH_MIPSEL64": 0xC0000008,
    "SCMP_ARCH_MIPSEL64N32": 0xE0000008,
    "SCMP_ARCH_PPC": 0x00000014,
    "SCMP_ARCH_PPC64": 0x80000015,
    "SCMP_ARCH_PPC64LE": 0xC0000015,
    "SCMP_ARCH_S390": 0x00000016,
    "SCMP_ARCH_S390X": 0x80000016,
    "SCMP_ARCH_PARISC": 0x0000000F,
    "SCMP_ARCH_PARISC64": 0x8000000F,
    "SCMP_ARCH_RISCV64": 0xC00000F3,
    "SCMP_ARCH_LOONGARCH64": 0xC0000102,
    "SCMP_ARCH_M68K": 0x00000004,
    "SCMP_ARCH_SH": 0x4000002A,
    "SCMP_ARCH_SHEB": 0x0000002A,
}
LITTLE_ENDIAN = 0x40000000

# seccomp(2). TSYNC is for programs with threads; init has one.
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0,
    "SECCOMP_FILTER_FLAG_LOG": 0x02,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 0x04,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 0x20,
}
NEW_LISTENER = 0x08
WAIT_KILLABLE_RECV = FLAGS["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]
SPEC_ALLOW = FLAGS["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]

SUPPORTED = {"actions": ACTIONS, "operators": OPERATORS, "archs": ARCHS, "flags": FLAGS}

# In the place of these default actions, system calls newer than the profile get ENOSYS. A C library tries the newest call
# first, and falls back to an older one for ENOSYS alone; for a call that its author did not know a profile would give EPERM,
# and programs would fail that ran before (clone3, faccessat2). Where the default lets calls pass, the kernel itself answers;
# a tracer may well know calls that the profile's author did not.
REFUSALS = ("SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP", "SCMP_ACT_ERRNO")

# Raised when the same profile gets another program than before.
CACHE_FORMAT = "pyrun seccomp filter 1"
CACHE_LIMIT = 64  # files
PROGRAM_LIMIT = 4096 * 8  # bytes: the kernel's BPF_MAXINSNS


class Filter:
    """bpf: struct sock_filter[] (bytes); flags: SECCOMP_FILTER_FLAG_* for seccomp(2), NEW_LISTENER included (int)."""

    __slots__ = ("bpf", "flags")

    def __init__(self, bpf: bytes, flags: int) -> None:
        self.bpf = bpf
        self.flags = flags

    @property
    def notify(self) -> bool:
        """Whether seccomp(2) returns a listener, for the agent at linux.seccomp.listenerPath."""
        return bool(self.flags & NEW_LISTENER)

    def answer(self, name: str, *args: int) -> int:
        """SECCOMP_RET_*, with its data, for a system call of this machine with these arguments and zeros after them."""
        return lib.native_seccomp_answer(self.bpf, len(self.bpf), name.encode(), [*args, *(0,) * (6 - len(args))])

    def lets_pass(self, name: str, *args: int) -> bool:
        return self.answer(name, *args) in PASSES


def name_of(arch: int, number: int) -> str:
    """The name of a system call; of one that libseccomp does not know its number."""
    name = ffi.new("char[]", 64)
    return ffi.string(name).decode() if lib.native_seccomp_name(arch, number, name, len(name)) == 0 else f"syscall_{number:#x}"


def compile_of(config: dict, root: str) -> Filter | None:
    """compile_profile() of what a normal config asks for; None if that is nothing. root: --root."""
    profile = config["linux"]["seccomp"]
    return compile_profile(profile, f"{root}/.seccomp") if profile.get("defaultAction") else None


def compile_profile(profile: dict, cache_dir: str | None) -> Filter:
    """The Filter of a linux.seccomp object (dict) that has passed config.check(): its types and ranges are right.

    A profile that allows everything gives a filter too: it keeps out the architectures that the profile does not list.

    cache_dir: directory (str) for finished filters, made if its parent exists; None: none are kept.
    Raises ConfigError for what is wrong in the profile beyond its shape, and for what the kernel or libseccomp lacks.
    """
    listener = profile.get("listenerPath")
    if profile.get("listenerMetadata") and not listener:
        raise ConfigError("linux.seccomp.listenerMetadata", "must not be set without listenerPath")
    found = None
    key = _key(profile)
    path = f"{cache_dir}/{_digest(key):016x}"
    if cache_dir:
        found = _load(path, key)
    if not found:
        found = _compile(profile)
        if cache_dir:
            _store(cache_dir, path, key, found)
    if found.notify and not listener:
        raise ConfigError("linux.seccomp.listenerPath", "missing, but a rule has SCMP_ACT_NOTIFY")
    log.debug(f"seccomp filter flags: {found.flags}")
    return found


def flag_supported(name: str) -> bool:
    """Whether the kernel knows this one of FLAGS."""
    flag = FLAGS[name]
    # The kernel takes WAIT_KILLABLE_RECV together with a listener only.
    return bool(lib.native_seccomp_flags(flag | NEW_LISTENER if flag == WAIT_KILLABLE_RECV else flag))


# --- the profile -------------------------------------------------------------------------------------------------------


def _compile(profile: dict) -> Filter:
    from pyrun.plan import seccomp_program

    profile = normal.fill(normal.SECCOMP, profile)
    default = _action(profile, "defaultAction", "defaultErrnoRet", "linux.seccomp")
    if default == NOTIFY:
        # For the same reason as write, below.
        raise ConfigError("linux.seccomp.defaultAction", "SCMP_ACT_NOTIFY cannot be used as default action")
    rules, notify = _rules(profile["syscalls"], default)
    flags = _flags(profile["flags"], notify)
    archs = _archs(profile["architectures"])
    newer = NO_SUCH_CALL if profile["defaultAction"] in REFUSALS else default
    if log.debugging():
        for name in seccomp_program.unknown(archs[0], list(rules)):
            log.debug(f'seccomp: the rules for "{name}" are skipped: libseccomp {_version()} knows no such system call')
    try:
        return Filter(seccomp_program.build(archs, rules, default, newer), flags)
    except OverflowError as error:
        raise ConfigError("linux.seccomp.syscalls", f"too many rules: they make {error} instructions, the kernel takes 4096") from None


def _rules(calls: list[dict], default: int) -> tuple[Rules, bool]:
    """`syscalls` as seccomp_program.build() takes it, and whether any of it is for the agent."""
    rules = {}
    notify = False
    for i, call in enumerate(calls):
        path = f"linux.seccomp.syscalls[{i}]"
        action = _action(call, "action", "errnoRet", path)
        if action == NOTIFY:
            notify = True
            if "write" in call["names"]:
                # Init tells the number of the listener with write(2), after the filter is on: nobody could answer it yet.
                where = f"{path}.names[{call['names'].index('write')}]"
                raise ConfigError(where, "SCMP_ACT_NOTIFY cannot be used for the write syscall")
        groups = _groups(call["args"])
        for name in call["names"]:
            known = rules.setdefault(name, [])
            # A rule that does as the default does is left out, as by runc. Its name still tells the profile's age.
            if action != default:
                known += [(action, group) for group in groups]
    return rules, notify


def _groups(args: list[dict]) -> list[list[Condition]]:
    """The conditions that must hold together, for each rule that an entry of `syscalls` makes."""
    conditions = []
    for arg in args:
        operator, value = OPERATORS[arg["op"]], arg["value"]
        masked = operator == OPERATORS["SCMP_CMP_MASKED_EQ"]
        mask = value if masked else ALL_BITS
        conditions.append((arg["index"], operator, arg["valueTwo"] & mask if masked else value, mask))
    # libseccomp can't compare an argument twice in a rule; runc takes such an entry as alternatives, and profiles rely on it.
    if len({condition[0] for condition in conditions}) < len(conditions):
        return [[condition] for condition in conditions]
    return [conditions]


def _action(entry: dict, key: str, data_key: str, path: str) -> int:
    """SECCOMP_RET_* with its data."""
    name, data = entry[key], entry[data_key]
    action = ACTIONS[name]
    if name in NEW_ACTIONS and not lib.native_seccomp_action(action):
        raise HostError(f"{path}.{key}", f"this kernel does not know {name}")
    if name in DATA_LIMITS:
        if data is not None and data > DATA_LIMITS[name]:
            raise ConfigError(f"{path}.{data_key}", f"must be from 0 to {DATA_LIMITS[name]}, not {data}")
        return action | (errno.EPERM if data is None else data)
    if data is not None:
        raise ConfigError(f"{path}.{data_key}", f"{name} takes no errno")
    return action


def _flags(names: Sequence[str] | None, notify: bool) -> int:
    """For seccomp(2). names: list, None if the profile has none."""
    flags = NEW_LISTENER if notify else 0
    if names is None:
        # Up to Linux 5.15 a filter without it turns on mitigations (SSBD, STIBP) that slow the program down.
        return flags | (SPEC_ALLOW if flag_supported("SECCOMP_FILTER_FLAG_SPEC_ALLOW") else 0)
    for i, name in enumerate(names):
        path = f"linux.seccomp.flags[{i}]"
        if FLAGS[name] == WAIT_KILLABLE_RECV and not notify:
            raise ConfigError(path, f"{name} needs a rule with SCMP_ACT_NOTIFY")
        if FLAGS[name] and not flag_supported(name):
            raise HostError(path, f"this kernel does not know {name}")
        flags |= FLAGS[name]
    return flags


def _archs(names: Sequence[str]) -> list[int]:
    """SCMP_ARCH_*, the native one first: it is always in, as with libseccomp."""
    native = lib.native_seccomp_arch()
    archs = [native]
    for i, name in enumerate(names):
        path = f"linux.seccomp.architectures[{i}]"
        arch = ARCHS[name]
        if (arch ^ native) & LITTLE_ENDIAN:
            # The words of its arguments could not be compared here. No machine runs both.
            raise HostError(path, f"{name} has another byte order than this machine")
        if lib.native_seccomp_numbers(arch, b"", 0, ffi.NULL) < 0:
            raise HostError(path, f"libseccomp {_version()} does not know {name}")
        if arch not in archs:
            archs.append(arch)
    return archs


def _version() -> str:
    version = lib.native_seccomp_version()
    return f"{version >> 16}.{version >> 8 & 255}.{version & 255}"


# --- the cache ---------------------------------------------------------------------------------------------------------
#
# A file is the key, a checksum, the flags and the program. The key is everything that decides the program, in full: the
# name is only a way to find it, so whatever hashes alike cannot give a container the wrong filter. The checksum is for a
# file whose end was lost in a crash.


def _key(profile: dict) -> bytes:
    system = posix.uname()
    fields = [profile.get(name) for name in ("defaultAction", "defaultErrnoRet", "architectures", "flags", "syscalls")]
    # Version 2 of the format depends on values alone, not on which of them are one object.
    return marshal.dumps([
        CACHE_FORMAT, __version__, lib.native_seccomp_version(), system.release, system.version, system.machine, *fields,
    ], 2)  # fmt: skip


def _digest(data: bytes) -> int:
    """A number of 61 bits that stays the same from process to process, as hash() does not; never 0."""
    return int.from_bytes(data, "big") % ((1 << 61) - 1) + 1


def _load(path: str, key: bytes) -> Filter | None:
    """The Filter in a cached file, or None."""
    try:
        file = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW | posix.O_NONBLOCK)
    except OSError:  # whatever it is, the filter can be made again
        return None
    try:
        status = posix.fstat(file)
        # A regular file, 0600, of the caller: nobody else can have written it.
        if status.st_mode != 0o100600 or status.st_uid != posix.geteuid():
            return None
        if not 12 < status.st_size - len(key) <= 12 + PROGRAM_LIMIT:
            return None
        data = posix.read(file, status.st_size)
    except OSError:  # as above
        return None
    finally:
        posix.close(file)
    checksum, content = data[len(key) : len(key) + 8], data[len(key) + 8 :]
    if not data.startswith(key) or _digest(content) != int.from_bytes(checksum, "little") or len(content) % 8 != 4:
        return None
    return Filter(content[4:], int.from_bytes(content[:4], "little"))


def _store(directory: str, path: str, key: bytes, result: Filter) -> None:
    """Keeps a filter. A failure is no error: the next container compiles it again."""
    content = result.flags.to_bytes(4, "little") + result.bpf
    data = key + _digest(content).to_bytes(8, "little") + content
    try:
        _make_directory(directory)
        files.replace(path, data, 0o600)
        _shrink(directory)
    except OSError as error:
        log.debug(f"seccomp: the filter is not kept in {directory}: {words(error.errno)}")


def _make_directory(path: str) -> None:
    try:
        posix.mkdir(path, 0o700)
    except FileExistsError:
        pass


def _shrink(directory: str) -> None:
    """Removes the oldest files beyond CACHE_LIMIT, what killed writers left included."""
    paths = [f"{directory}/{name}" for name in posix.listdir(directory)]
    if len(paths) > CACHE_LIMIT:
        paths.sort(key=_age)
        for path in paths[: len(paths) - CACHE_LIMIT]:
            files.remove(path)


def _age(path: str) -> int:
    try:
        return posix.lstat(path).st_mtime_ns
    except FileNotFoundError:  # another process is at it
        return 0
