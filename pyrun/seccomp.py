"""linux.seccomp -> a BPF program for seccomp(2) (config-linux.md#seccomp).

libseccomp makes the program (csrc/seccomp.c). That takes milliseconds, and nearly all containers of a machine have the
same profile, so the result is kept: a file for each profile, used again without a look at the profile's rules.
"""

import errno
import marshal
import posix

from pyrun import __version__, log
from pyrun._native import ffi, lib
from pyrun.errors import ConfigError, Error, words

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
# The actions with data, and the largest. libseccomp takes no errno from 4095 on, the kernel's MAX_ERRNO.
DATA_LIMITS = {"SCMP_ACT_ERRNO": 4094, "SCMP_ACT_TRACE": 0xFFFF}

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

# New system calls get ENOSYS in the place of these default actions. Where the default lets a call pass, the kernel
# itself gives the answer; a tracer shall see the calls that its author did not know as well.
REFUSALS = ("SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP", "SCMP_ACT_ERRNO")

PROGRAM_LIMIT = 4096 * 8  # the kernel's BPF_MAXINSNS
CACHE_LIMIT = 64  # files
# Part of every cached file; raised when the same profile gives another program.
CACHE_FORMAT = "pyrun seccomp filter 1"


class Filter:
    """bpf: struct sock_filter[] (bytes); flags: SECCOMP_FILTER_FLAG_* for seccomp(2), NEW_LISTENER included (int)."""

    __slots__ = ("bpf", "flags")

    def __init__(self, bpf, flags):
        self.bpf = bpf
        self.flags = flags

    @property
    def notify(self):
        """Whether seccomp(2) returns a listener, for the agent at linux.seccomp.listenerPath."""
        return bool(self.flags & NEW_LISTENER)


def compile_profile(profile, cache_dir):
    """The Filter of a linux.seccomp object (dict).

    None for an object without both defaultAction and syscalls, which means no seccomp to runc and its callers. A profile
    that allows everything does give a filter: it keeps out the architectures it does not list.

    cache_dir: directory for finished filters, made if its parent exists; None: none are kept.
    Raises ConfigError for anything that is wrong in the profile or that this kernel or libseccomp lacks.
    """
    if type(profile) is not dict:
        raise ConfigError("linux.seccomp", "must be an object")
    if not profile.get("defaultAction") and not profile.get("syscalls"):
        return None
    listener = _listener(profile)
    result = None
    key = _key(profile)
    if cache_dir:
        path = f"{cache_dir}/{_digest(key):016x}"
        result = _load(path, key)
    if result is None:
        result = _compile(profile)
        if cache_dir:
            _store(cache_dir, path, key, result)
    if result.notify and not listener:
        raise ConfigError("linux.seccomp.listenerPath", "missing, but a rule has SCMP_ACT_NOTIFY")
    log.debug(f"seccomp filter flags: {result.flags}")
    return result


def flag_supported(name):
    """Whether the kernel knows this one of FLAGS."""
    flag = FLAGS[name]
    # The kernel refuses WAIT_KILLABLE_RECV without a listener.
    return bool(lib.native_seccomp_flags(flag | NEW_LISTENER if flag == WAIT_KILLABLE_RECV else flag))


# --- the profile -------------------------------------------------------------------------------------------------------


def _compile(profile):
    default = _action(profile, "defaultAction", "defaultErrnoRet", "linux.seccomp")
    if default == ACTIONS["SCMP_ACT_NOTIFY"]:
        # As for write: the listener could not be handed over.
        raise ConfigError("linux.seccomp.defaultAction", "SCMP_ACT_NOTIFY cannot be used as default action")
    archs = [
        _choice(name, ARCHS, f"linux.seccomp.architectures[{i}]")
        for i, name in enumerate(_list(profile, "architectures", "linux.seccomp"))
    ]
    rules = _Rules(_list(profile, "syscalls", "linux.seccomp"))
    flags = _flags(profile, rules.notify)
    enosys = profile["defaultAction"] in REFUSALS and default != ACTIONS["SCMP_ACT_ERRNO"] | errno.ENOSYS
    return Filter(_build(default, enosys, archs, rules, profile), flags)


class _Rules:
    """`syscalls` as the flat arrays of csrc/seccomp.h. names: each name once, with its number in the array."""

    def __init__(self, calls):
        self.names = {}
        self.conditions = []
        self.rules = []
        self.origins = []  # (index in syscalls, name) of each rule
        self.notify = False
        for i, call in enumerate(calls):
            self._add(i, call, f"linux.seccomp.syscalls[{i}]")

    def _add(self, i, call, path):
        if type(call) is not dict:
            raise ConfigError(path, "must be an object")
        action = _action(call, "action", "errnoRet", path)
        names = _list(call, "names", path)
        if not names:
            raise ConfigError(f"{path}.names", "must name a system call")
        if action == ACTIONS["SCMP_ACT_NOTIFY"]:
            self.notify = True
            if "write" in names:
                # Init tells the number of the listener with write(2) after the filter is on: nobody could answer it yet.
                raise ConfigError(f"{path}.names[{names.index('write')}]", "SCMP_ACT_NOTIFY cannot be used for the write syscall")
        groups = self._conditions(_list(call, "args", path), path)
        for j, name in enumerate(names):
            if type(name) is not str or not name or "\0" in name:
                raise ConfigError(f"{path}.names[{j}]", "must be the name of a system call")
            number = self.names.setdefault(name, len(self.names))
            for first, count in groups:
                self.rules.append((number, action, first, count))
                self.origins.append((i, name))

    def _conditions(self, args, path):
        """Adds an entry's conditions; the (first, count) of those that must hold together, for each rule to make."""
        first = len(self.conditions)
        for k, arg in enumerate(args):
            where = f"{path}.args[{k}]"
            if type(arg) is not dict:
                raise ConfigError(where, "must be an object")
            self.conditions.append((
                _integer(arg, "index", where, 5),
                _choice(arg.get("op"), OPERATORS, f"{where}.op"),
                _integer(arg, "value", where, (1 << 64) - 1),
                _integer(arg, "valueTwo", where, (1 << 64) - 1, 0),
            ))  # fmt: skip
        # libseccomp compares an argument once in a rule. runc takes such an entry as alternatives, and profiles rely on it.
        if len({condition[0] for condition in self.conditions[first:]}) < len(args):
            return [(first + k, 1) for k in range(len(args))]
        return [(first, len(args))]


def _action(entry, key, data_key, path):
    """SECCOMP_RET_* with its data."""
    name = entry.get(key)
    action = _choice(name, ACTIONS, f"{path}.{key}")
    if name in DATA_LIMITS:
        return action | _integer(entry, data_key, path, DATA_LIMITS[name], errno.EPERM)
    if entry.get(data_key) is not None:
        raise ConfigError(f"{path}.{data_key}", f"{name} takes no errno")
    return action


def _flags(profile, notify):
    flags = NEW_LISTENER if notify else 0
    if profile.get("flags") is None:
        # Without it the filter turns on the mitigation of speculative store bypass before Linux 5.16, which is slow.
        return flags | (SPEC_ALLOW if flag_supported("SECCOMP_FILTER_FLAG_SPEC_ALLOW") else 0)
    for i, name in enumerate(_list(profile, "flags", "linux.seccomp")):
        path = f"linux.seccomp.flags[{i}]"
        flag = _choice(name, FLAGS, path)
        if flag == WAIT_KILLABLE_RECV and not notify:
            raise ConfigError(path, f"{name} needs a rule with SCMP_ACT_NOTIFY")
        if flag and not flag_supported(name):
            raise ConfigError(path, f"{name} is not known to this kernel")
        flags |= flag
    return flags


def _listener(profile):
    """linux.seccomp.listenerPath, '' for none."""
    for key in ("listenerPath", "listenerMetadata"):
        if type(profile.get(key) or "") is not str:
            raise ConfigError(f"linux.seccomp.{key}", "must be a string")
    path = profile.get("listenerPath") or ""
    if profile.get("listenerMetadata") and not path:
        raise ConfigError("linux.seccomp.listenerMetadata", "must not be set without listenerPath")
    return path


def _list(entry, key, path):
    value = entry.get(key)
    if value is None:
        return []
    if type(value) is not list:
        raise ConfigError(f"{path}.{key}", "must be an array")
    return value


def _choice(name, table, path):
    if type(name) is not str or name not in table:
        raise ConfigError(path, f"{_text(name)} is none of {', '.join(table)}")
    return table[name]


def _integer(entry, key, path, limit, default=None):
    value = entry.get(key)
    if value is None and default is not None:
        return default
    if type(value) is not int or not 0 <= value <= limit:
        raise ConfigError(f"{path}.{key}", f"{_text(value)} is not an integer from 0 to {limit}")
    return value


def _text(value):
    return "nothing" if value is None else f'"{value}"' if type(value) is str else str(value)


# --- libseccomp --------------------------------------------------------------------------------------------------------


def _build(default, enosys, archs, rules, profile):
    names = "".join(name + "\0" for name in rules.names).encode("utf-8", "replace")
    numbers = ffi.new("int32_t[]", len(rules.names))
    arrays = {
        "archs": ffi.new("uint32_t[]", archs),
        "names": ffi.from_buffer("char[]", names),
        "numbers": numbers,
        "rules": ffi.new("struct native_seccomp_rule[]", rules.rules),
        "conditions": ffi.new("struct native_seccomp_condition[]", rules.conditions),
    }
    request = ffi.new("struct native_seccomp_profile *", {
        "default_action": default,
        "enosys": enosys,
        "arch_count": len(archs),
        "name_count": len(rules.names),
        "rule_count": len(rules.rules),
        **arrays,
    })  # fmt: skip
    out = ffi.new("char[]", PROGRAM_LIMIT)
    size = lib.native_seccomp_compile(request, out, PROGRAM_LIMIT)
    if size < 0:
        raise _failure(-size, request, rules, profile)
    for name, number in zip(rules.names, numbers):
        if number == lib.NATIVE_SECCOMP_UNKNOWN:
            log.debug(f'seccomp: "{name}" is no system call that libseccomp {_version()} knows; its rules are skipped')
    return bytes(ffi.buffer(out, size))


def _failure(number, request, rules, profile):
    """The error for an errno of native_seccomp_compile."""
    if request.bad_arch >= 0:
        arch = profile["architectures"][request.bad_arch]
        reason = {
            errno.EINVAL: f"is not known to libseccomp {_version()}",
            errno.EDOM: "has another byte order than this machine",
        }.get(number, words(number))
        return ConfigError(f"linux.seccomp.architectures[{request.bad_arch}]", f"{arch} {reason}")
    if request.bad_rule >= 0:
        i, name = rules.origins[request.bad_rule]
        action = profile["syscalls"][i]["action"]
        reason = {
            errno.EINVAL: "is not known to this kernel",
            errno.EEXIST: f"contradicts another rule for {name}",
        }.get(number, f"for {name}: {words(number)}")
        return ConfigError(f"linux.seccomp.syscalls[{i}].action", f"{action} {reason}")
    if number == errno.EOPNOTSUPP:
        return ConfigError("linux.seccomp.defaultAction", f"{profile['defaultAction']} is not known to this kernel")
    if number == errno.E2BIG:
        return ConfigError("linux.seccomp.syscalls", "too many rules: the kernel takes a program of 4096 instructions")
    return Error(f"linux.seccomp: libseccomp {_version()}: {words(number)}")


def _version():
    version = lib.native_seccomp_version()
    return f"{version >> 16}.{version >> 8 & 255}.{version & 255}"


# --- the cache ---------------------------------------------------------------------------------------------------------
#
# A file is the key, a checksum, the flags and the program. The key is everything that decides the program, in full: the
# name is only a way to find it, so whatever hashes alike cannot give a container the wrong filter. The checksum is for a
# file whose end was lost in a crash.


def _key(profile):
    system = posix.uname()
    fields = [profile.get(name) for name in ("defaultAction", "defaultErrnoRet", "architectures", "flags", "syscalls")]
    # Version 2 of the format depends on values alone, not on which of them are one object.
    return marshal.dumps([
        CACHE_FORMAT, __version__, lib.native_seccomp_version(), system.release, system.version, system.machine, *fields,
    ], 2)  # fmt: skip


def _digest(data):
    """A number of 61 bits that stays the same from process to process, as hash() does not; never 0."""
    return int.from_bytes(data, "big") % ((1 << 61) - 1) + 1


def _load(path, key):
    """The Filter in a cached file, or None."""
    try:
        file = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW | posix.O_NONBLOCK)
    except OSError:
        return None
    try:
        status = posix.fstat(file)
        # A regular file, 0600, of the caller: nobody else can have written it.
        if status.st_mode != 0o100600 or status.st_uid != posix.geteuid():
            return None
        if not 12 < status.st_size - len(key) <= 12 + PROGRAM_LIMIT:
            return None
        data = posix.read(file, status.st_size)
    except OSError:
        return None
    finally:
        posix.close(file)
    checksum, content = data[len(key) : len(key) + 8], data[len(key) + 8 :]
    if not data.startswith(key) or _digest(content) != int.from_bytes(checksum, "little") or len(content) % 8 != 4:
        return None
    return Filter(content[4:], int.from_bytes(content[:4], "little"))


def _store(directory, path, key, result):
    """Keeps a filter. A failure is no error: the next container compiles it again."""
    content = result.flags.to_bytes(4, "little") + result.bpf
    data = key + _digest(content).to_bytes(8, "little") + content
    temporary = f"{path}.{posix.getpid()}"
    try:
        _make_directory(directory)
        file = posix.open(temporary, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC | posix.O_NOFOLLOW, 0o600)
        try:
            if posix.write(file, data) != len(data):
                raise OSError(errno.ENOSPC, "short write")
        finally:
            posix.close(file)
        posix.rename(temporary, path)
        _shrink(directory)
    except OSError as error:
        log.debug(f"seccomp: the filter is not kept in {directory}: {words(error.errno)}")
        _unlink(temporary)


def _make_directory(path):
    try:
        posix.mkdir(path, 0o700)
    except FileExistsError:
        pass


def _shrink(directory):
    """Removes the oldest files beyond CACHE_LIMIT, what killed writers left included."""
    names = posix.listdir(directory)
    if len(names) > CACHE_LIMIT:
        ages = sorted((posix.lstat(f"{directory}/{name}").st_mtime_ns, name) for name in names)
        for _, name in ages[: len(ages) - CACHE_LIMIT]:
            _unlink(f"{directory}/{name}")


def _unlink(path):
    try:
        posix.unlink(path)
    except OSError:
        pass
