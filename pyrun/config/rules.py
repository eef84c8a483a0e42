"""What a config must obey beyond its schema: which members need which others.

Every rule is a function that yields (path, message, cure) for each fault: check() stops at the first, `validate` takes all.
It stands in a table beside the members it reads, since it can only be asked where these have their right types.
"""

from __future__ import annotations

import errno
import posix

from pyrun.base import files
from pyrun.base.errors import words
from pyrun.config import mount_option
from pyrun.config.shape import path_of, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    Faults = Iterator[tuple[str, str, str]]  # (path, message, cure) of each
    Namespaces = dict[str, str | None]  # type -> path

NICE = range(-20, 20)
# sched(7): the static priorities of SCHED_FIFO and SCHED_RR.
REALTIME_PRIORITIES = range(1, 100)
# sched_setattr(2): the kernel counts in units of 1024 ns and needs the top bit.
DEADLINE_RUNTIME = range(1024, 1 << 63)
# struct winsize has unsigned shorts.
CONSOLE_MAX = 65535
# uname(2): __NEW_UTS_LEN.
UTS_NAME_MAX = 64
# netdevice(7): IFNAMSIZ with its NUL.
INTERFACE_NAME_MAX = 15
# The most the kernel can be built for (NR_CPUS, MAX_NUMNODES).
CPUS, NODES = 8192, 1024
ID_END = (1 << 32) - 1
# user_namespaces(7), since Linux 4.15.
MAPPINGS_MAX = 340
HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
GROUPS_MAX = 65536  # setgroups(2): NGROUPS_MAX
SECCOMP_NAMES_MAX = 65536  # a filter has 4096 instructions: what names many more system calls repeats itself
IPC_SYSCTLS = ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")


def broken(config: dict, bundle: str, sound: Callable[[str], bool] | None = None) -> Faults:
    """Yields (path, message, cure) for every rule that a config (dict) in a bundle (directory, str) breaks.

    sound: function of a path like `linux.sysctl`: whether its value has the right types; None: all have.
    """
    if sound is None or sound("root"):
        yield from rootfs(config["root"], bundle)
    process, linux, namespaces = config.get("process"), config.get("linux"), {}
    if type(process) is dict:
        yield from broken_process(process, sound)
    if type(linux) is not dict:
        linux = {}
    if sound is None or sound("linux.namespaces"):
        namespaces = {entry["type"]: entry.get("path") for entry in linux.get("namespaces") or ()}
    for rule, *needs in RULES:
        if sound is None or all(map(sound, needs)):
            yield from rule(config, linux, namespaces)


def broken_process(process: dict, sound: Callable[[str], bool] | None = None) -> Faults:
    """The same for a process; the paths begin with `process.`"""
    for rule, *needs in PROCESS_RULES:
        if sound is None or all(map(sound, needs)):
            yield from rule(process)


# --- root, process -----------------------------------------------------------------------------------------------------


def rootfs(root: dict, bundle: str) -> Faults:
    path = root["path"]
    if path[0] != "/":
        path = f"{bundle}/{path}"
    try:
        if posix.stat(path).st_mode & files.S_IFMT != files.S_IFDIR:
            yield "root.path", f"invalid rootfs: {path}: {words(errno.ENOTDIR)}", "name the directory that holds the root file system"
    except OSError as error:
        yield "root.path", f"invalid rootfs: {path}: {words(error.errno)}", "put the root file system there, or correct the path"


def environment(process: dict) -> Faults:
    yield from _environment(process.get("env"), "process.env")


def _environment(entries: Iterable[str] | None, where: str) -> Faults:
    """What is there may be a secret, so it is not shown."""
    for index, entry in enumerate(entries or ()):
        if entry.find("=") < 1:
            fault = "name cannot be empty" if entry[:1] == "=" else "missing '='"
            yield f"{where}[{index}]", f"invalid environment variable: {fault}", "write NAME=VALUE"


def hooks_environment(config: dict, linux: dict, namespaces: Namespaces) -> Faults:
    hooks = config.get("hooks") or {}
    for kind in HOOKS:
        for index, entry in enumerate(hooks.get(kind) or ()):
            yield from _environment(entry.get("env"), f"hooks.{kind}[{index}].env")


def console(process: dict) -> Faults:
    size = process.get("consoleSize")
    if size and process.get("terminal"):
        for name in ("height", "width"):
            if size[name] > CONSOLE_MAX:
                yield f"process.consoleSize.{name}", f"must be at most {CONSOLE_MAX}, not {size[name]}", "or leave consoleSize out"


def rlimits(process: dict) -> Faults:
    seen = {}
    for index, entry in enumerate(process.get("rlimits") or ()):
        where, kind = f"process.rlimits[{index}]", entry["type"]
        if kind in seen:
            yield f"{where}.type", f"{kind} is already in process.rlimits[{seen[kind]}]", "keep one of them"
        seen.setdefault(kind, index)
        if entry["soft"] > entry["hard"]:
            yield f"{where}.soft", f"must not be higher than hard ({entry['hard']}), not {entry['soft']}", "lower soft, or raise hard"


def additional_groups(process: dict) -> Faults:
    if (count := len((process.get("user") or {}).get("additionalGids") or ())) > GROUPS_MAX:
        yield "process.user.additionalGids", f"must be at most {GROUPS_MAX} groups, the kernel's limit, not {count}", "name fewer"


def scheduler(process: dict) -> Faults:
    entry = process.get("scheduler") or {}
    policy, nice, priority = entry.get("policy"), entry.get("nice") or 0, entry.get("priority") or 0
    times = [entry.get(name) or 0 for name in ("runtime", "deadline", "period")]
    if policy == "SCHED_ISO":
        yield "process.scheduler.policy", "SCHED_ISO is reserved and not implemented by Linux", "use another policy"
    if policy in ("SCHED_OTHER", "SCHED_BATCH") and nice not in NICE:
        yield "process.scheduler.nice", f"must be from -20 to 19 with {policy}, not {nice}", "-20 is the most urgent, 0 is usual"
    if policy in ("SCHED_FIFO", "SCHED_RR"):
        if priority not in REALTIME_PRIORITIES:
            yield "process.scheduler.priority", f"must be from 1 to 99 with {policy}, not {priority}", "99 is the most urgent"
    elif policy and priority:
        yield "process.scheduler.priority", f"can only be given with SCHED_FIFO or SCHED_RR, not with {policy}", "leave it out, or change policy"
    if policy == "SCHED_DEADLINE":
        yield from _deadline(*times)
    elif policy and any(times):
        yield "process.scheduler", f"runtime, deadline and period can only be given with SCHED_DEADLINE, not with {policy}", "leave them out"


def _deadline(runtime: int, deadline: int, period: int) -> Faults:
    """sched_setattr(2): runtime <= deadline <= period; no period means that it is the deadline."""
    if runtime not in DEADLINE_RUNTIME:
        yield "process.scheduler.runtime", f"must be at least {DEADLINE_RUNTIME[0]} ns with SCHED_DEADLINE, not {runtime}", "raise it"
    elif not runtime <= deadline <= (period or deadline) < DEADLINE_RUNTIME.stop:
        yield "process.scheduler", f"runtime {runtime} <= deadline {deadline} <= period {period} must hold with SCHED_DEADLINE", "change one of them"


def affinity(process: dict) -> Faults:
    entry = process.get("execCPUAffinity") or {}
    for name in ("initial", "final"):
        if id_list(entry.get(name) or "", CPUS) is None:
            yield f"process.execCPUAffinity.{name}", f"must be a list of CPUs like 0-3,7: {show(entry[name])}", f"each number is below {CPUS}"


def id_list(text: str, end: int) -> set[int] | None:
    """The numbers (set of int) of a list like `0-3,7` (cpuset(7)), all below end; None where it is none."""
    numbers = set()
    for part in text.split(","):
        part = part.strip()
        first, dash, last = part.partition("-")
        last = last if dash else first
        if part and not (_below(first, end) and _below(last, end) and int(first) <= int(last)):
            return None
        if part:
            numbers.update(range(int(first), int(last) + 1))
    return numbers


def _below(digits: str, end: int) -> bool:
    return digits.isascii() and digits.isdigit() and len(digits) <= len(str(end)) and int(digits) < end


PROCESS_RULES = (
    (environment, "process.env"),
    (console, "process.consoleSize", "process.terminal"),
    (rlimits, "process.rlimits"),
    (additional_groups, "process.user"),
    (scheduler, "process.scheduler"),
    (affinity, "process.execCPUAffinity"),
)


# --- namespaces --------------------------------------------------------------------------------------------------------


def namespaces_once(config: dict, linux: dict, namespaces: Namespaces) -> Faults:
    seen = {}
    for index, entry in enumerate(linux.get("namespaces") or ()):
        kind = entry["type"]
        if kind in seen:
            yield f"linux.namespaces[{index}].type", f'duplicated namespace "{kind}", already in linux.namespaces[{seen[kind]}]', "keep one of them"
        seen.setdefault(kind, index)


def uts_names(config: dict, linux: dict, namespaces: Namespaces) -> Faults:
    for name in ("hostname", "domainname"):
        value = config.get(name)
        if value and "uts" not in namespaces:
            yield name, f"unable to set {name} without a private UTS namespace", _add("uts")
        if value and len(value.encode("utf-8", "surrogateescape")) > UTS_NAME_MAX:
            yield name, f"must be at most {UTS_NAME_MAX} bytes long", "shorten it"


def restricted_paths(config: dict, linux: dict, namespaces: Namespaces) -> Faults:
    for name in ("maskedPaths", "readonlyPaths"):
        if linux.get(name) and "mount" not in namespaces:
            yield f"linux.{name}", "unable to restrict sys entries without a private MNT namespace", _add("mount")


def user_namespace(config: dict, linux: dict, namespaces: Namespaces) -> Faults:
    given = [name for name in ("uidMappings", "gidMappings") if linux.get(name)]
    if "user" not in namespaces:
        for name in given:
            fault = "user namespace mappings specified, but user namespace isn't enabled in the config"
            yield f"linux.{name}", fault, _add("user")
    elif not namespaces["user"]:
        for name in ("uidMappings", "gidMappings"):
            if name not in given:
                yield f"linux.{name}", "missing: a new user namespace needs uidMappings and gidMappings, or a path to join", f"add {name}"


def id_mappings(config: dict, linux: dict, namespaces: Namespaces) -> Faults:
    for name in ("uidMappings", "gidMappings"):
        yield from _mappings(linux.get(name), f"linux.{name}")


def _mappings(mappings: Sequence[dict] | None, where: str) -> Faults:
    """user_namespaces(7): on neither side may ranges overlap or go beyond 32 bits."""
    if mappings and len(mappings) > MAPPINGS_MAX:
        yield where, f"must be at most {MAPPINGS_MAX} ranges, not {len(mappings)}", "join ranges that lie side by side"
        return
    for side in ("containerID", "hostID"):
        end, last = 0, None
        for index, entry in sorted(enumerate(mappings or ()), key=lambda pair: pair[1][side]):
            if entry[side] < end:
                yield f"{where}[{index}].{side}", f"the range overlaps that of {where}[{last}]", "each id may be in one range"
            if entry[side] + entry["size"] > ID_END:
                yield f"{where}[{index}].size", f"the range from {side} {entry[side]} on ends beyond 4294967294", "make it smaller"
            end, last = max(end, entry[side] + entry["size"]), index


def mapped_user(config: dict, linux: dict, namespaces: Namespaces) -> Faults:
    """Ids of the process that a new user namespace doesn't have cannot be set."""
    user = (config.get("process") or {}).get("user") or {}
    if "user" not in namespaces or namespaces["user"]:
        return
    groups = [("process.user.gid", user.get("gid") or 0)]
    groups += [(f"process.user.additionalGids[{index}]", gid) for index, gid in enumerate(user.get("additionalGids") or ())]
    for name, call, ids in (
        ("uidMappings", "setuid to unmapped uid", [("process.user.uid", user.get("uid") or 0)]),
        ("gidMappings", "setgid to unmapped gid", groups),
    ):
        mappings = linux.get(name)
        for where, id in ids:
            if mappings and not _maps(mappings, id):
                yield where, f"cannot {call} {id} in user namespace", f"map it in linux.{name}"


def mapped_owners(config: dict, linux: dict, namespaces: Namespaces) -> Faults:
    """tmpfs and devpts take owners that the new user namespace has, and no others."""
    if namespaces.get("user", "host"):
        return
    for index, mount in enumerate(config.get("mounts") or ()):
        if mount.get("type") not in ("tmpfs", "devpts"):
            continue
        words = ((number, word) for number, option in enumerate(mount.get("options") or ()) for word in mount_option.split(option))
        for number, word in words:
            name, _, id = word.partition("=")
            if name in ("uid", "gid") and id.isdecimal() and not _maps(linux.get(f"{name}Mappings"), int(id)):
                yield f"mounts[{index}].options[{number}]", f"cannot specify {word}", f"map it in linux.{name}Mappings, or leave the option out"


def _maps(mappings: Sequence[dict] | None, id: int) -> bool:
    return any(entry["containerID"] <= id < entry["containerID"] + entry["size"] for entry in mappings or ())


def time_offsets(config: dict, linux: dict, namespaces: Namespaces) -> Faults:
    if not linux.get("timeOffsets"):
        return
    if "time" not in namespaces:
        fault = "time namespace offsets specified, but time namespace isn't enabled in the config"
        yield "linux.timeOffsets", fault, _add("time")
    elif namespaces["time"]:
        yield "linux.timeOffsets", "both a path of a time namespace and time offsets are specified", "you may only provide one"


def sysctls(config: dict, linux: dict, namespaces: Namespaces) -> Faults:
    """/proc/sys is namespaced in parts only: the others would change the host."""
    for key, value in (linux.get("sysctl") or {}).items():
        path = sysctl_path(key)
        fault, cure = _sysctl(path, namespaces)
        if path == "kernel/domainname" and config.get("domainname") not in (None, "", value):
            fault, cure = 'conflicts with the OCI "domainname" field', "keep one of them"
        if fault:
            yield path_of(("linux", "sysctl", key)), f"sysctl {show(key)} {fault}", cure


def sysctl_path(key: str) -> str:
    """Name of a sysctl -> path below /proc/sys. sysctl(8): whichever of . and / comes first separates, the other belongs to a name."""
    dot, slash = key.find("."), key.find("/")
    if dot >= 0 and (slash < 0 or dot < slash):
        return key.translate({46: "/", 47: "."})
    return key


def _sysctl(path: str, namespaces: Namespaces) -> tuple[str, str]:
    """What is wrong with it, and the cure; ("", "") if nothing is."""
    top, _, rest = path.partition("/")
    if ".." in path.split("/") or "" in path.split("/"):
        return "is no name of a sysctl", "write it as `sysctl -a` does"
    if path == "kernel/hostname":
        return 'is not allowed as it conflicts with the OCI "hostname" field', "set hostname instead"
    for kind, of_kind in (
        ("uts", path == "kernel/domainname"),
        ("ipc", path[:10] == "fs/mqueue/" or (top == "kernel" and rest in IPC_SYSCTLS)),
        ("network", top == "net"),
        ("user", top == "user"),
    ):
        if of_kind:
            if kind in namespaces and not (kind == "network" and _is_callers_network(namespaces[kind])):
                return "", ""
            return f"is not allowed in the host's {kind} namespace", _add(kind)
    return "is not in a separate kernel namespace", "it would change the host, set it there"


def _add(kind: str) -> str:
    """The cure where a namespace is missing."""
    return f'add {{"type": "{kind}"}} to linux.namespaces'


def _is_callers_network(path: str | None) -> bool:
    """Whether the path is that of the caller's network namespace. One that is missing is reported where it is joined."""
    try:
        return bool(path and posix.stat(path)[1:3] == posix.stat("/proc/self/ns/net")[1:3])
    except OSError:  # the same happens where it is joined, and is said there
        return False


def net_devices(config: dict, linux: dict, namespaces: Namespaces) -> Faults:
    devices = linux.get("netDevices") or {}
    if devices and "network" not in namespaces:
        yield "linux.netDevices", "unable to move network devices without a NET namespace", _add("network")
    for key, device in devices.items():
        for name in (key, device.get("name") or key):
            if not _is_interface_name(name):
                yield path_of(("linux", "netDevices", key)), f"invalid network device name {show(name)}", "take one of 1 to 15 bytes"
                break


def _is_interface_name(name: str) -> bool:
    """dev_valid_name() of the kernel."""
    size = len(name.encode("utf-8", "surrogateescape"))
    return size <= INTERFACE_NAME_MAX and name not in (".", "..") and not any(char in "/:" or char.isspace() for char in name)


# --- mounts and the rest -----------------------------------------------------------------------------------------------


def idmapped_mounts(config: dict, linux: dict, namespaces: Namespaces) -> Faults:
    for index, mount in enumerate(config.get("mounts") or ()):
        options = mount_option.words(mount)
        where = f"mounts[{index}]"
        given = [name for name in ("uidMappings", "gidMappings") if mount.get(name)]
        values = [value for option in options if (value := mount_option.value_of(option))]
        if not given and not values and "idmap" not in options and "ridmap" not in options:
            continue
        if values:
            try:
                mount = mount_option.parse(values[-1], linux)
                given = list(mount)
            except ValueError as fault:
                yield f"{where}.options", f"idmap: {fault}", "write idmap=uids=FIRST-FIRST-SIZE;gids=FIRST-FIRST-SIZE"
                continue
        if "bind" not in options and "rbind" not in options:
            yield f"{where}.options", "id-mapped mounts are only supported for bind-mounts", "add bind or rbind"
        if len(given) == 1:
            yield where, f"id-mapped mounts must have both uid and gid mappings specified, not {given[0]} alone", "add the other"
        if not given and "user" not in namespaces:
            yield where, "an id-mapped mount needs uidMappings and gidMappings, of its own or of the container's user namespace", "add them"
        for name in given:
            yield from _mappings(mount[name], f"{where}.{name}")


def cpu_burst(config: dict, linux: dict, namespaces: Namespaces) -> Faults:
    cpu = (linux.get("resources") or {}).get("cpu") or {}
    quota, burst = cpu.get("quota") or 0, cpu.get("burst") or 0
    if 0 < quota < burst:
        yield "linux.resources.cpu.burst", f"must not be higher than quota ({quota}), not {burst}", "lower burst, or raise quota"


def memory_policy(config: dict, linux: dict, namespaces: Namespaces) -> Faults:
    policy = linux.get("memoryPolicy")
    if not policy:
        return
    mode, text, flags = policy["mode"], policy.get("nodes") or "", policy.get("flags") or ()
    nodes = id_list(text, NODES)
    if nodes is None:
        fault = f"invalid memory policy nodes: must be a list like 0-3,7 of numbers below {NODES}: {show(text)}"
        yield "linux.memoryPolicy.nodes", fault, "correct the list"
    elif nodes and mode in ("MPOL_DEFAULT", "MPOL_LOCAL"):
        fault = f"invalid memory policy: {mode}: memory policy mode requires 0 nodes but got {len(nodes)}"
        yield "linux.memoryPolicy.nodes", fault, "leave nodes out"
    elif not nodes and mode not in ("MPOL_DEFAULT", "MPOL_LOCAL", "MPOL_PREFERRED"):
        fault = f"invalid memory policy: {mode}: memory policy mode requires at least one node but got 0"
        yield "linux.memoryPolicy.nodes", fault, "add nodes"
    if "MPOL_F_STATIC_NODES" in flags and "MPOL_F_RELATIVE_NODES" in flags:
        fault = "invalid memory policy flags: MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other"
        yield "linux.memoryPolicy.flags", fault, "keep one of them"


def intel_rdt(config: dict, linux: dict, namespaces: Namespaces) -> Faults:
    name = (linux.get("intelRdt") or {}).get("closID") or "/"
    if name in (".", "..") or (name != "/" and "/" in name):
        yield "linux.intelRdt.closID", f"must be the name of one directory, or / alone: {show(name)}", "correct it, or leave it out"


def seccomp(config: dict, linux: dict, namespaces: Namespaces) -> Faults:
    """Without a default action and rules there is no filter, as with runc."""
    profile = linux.get("seccomp") or {}
    calls = profile.get("syscalls") or ()
    if (named := sum(len(call["names"]) for call in calls)) > SECCOMP_NAMES_MAX:
        yield "linux.seccomp.syscalls", f"too many rules: they name {named} system calls, at most {SECCOMP_NAMES_MAX} are taken", "name each once"
    for index, call in enumerate(calls):
        if not call["action"]:
            yield f"linux.seccomp.syscalls[{index}].action", "missing", "say what happens to these system calls, as SCMP_ACT_ALLOW"
    if profile.get("syscalls") and not profile.get("defaultAction"):
        yield "linux.seccomp.defaultAction", "missing", "say what happens to the system calls that no rule names, as SCMP_ACT_ERRNO"


RULES = (
    (namespaces_once, "linux.namespaces"),
    (uts_names, "hostname", "domainname", "linux.namespaces"),
    (restricted_paths, "linux.maskedPaths", "linux.readonlyPaths", "linux.namespaces"),
    (user_namespace, "linux.uidMappings", "linux.gidMappings", "linux.namespaces"),
    (id_mappings, "linux.uidMappings", "linux.gidMappings"),
    (mapped_user, "process.user", "linux.uidMappings", "linux.gidMappings", "linux.namespaces"),
    (mapped_owners, "mounts", "linux.uidMappings", "linux.gidMappings", "linux.namespaces"),
    (time_offsets, "linux.timeOffsets", "linux.namespaces"),
    (sysctls, "linux.sysctl", "linux.namespaces"),
    (net_devices, "linux.netDevices", "linux.namespaces"),
    (idmapped_mounts, "mounts", "linux.namespaces"),
    (cpu_burst, "linux.resources.cpu"),
    (memory_policy, "linux.memoryPolicy"),
    (intel_rdt, "linux.intelRdt"),
    (hooks_environment, "hooks"),
    (seccomp, "linux.seccomp.defaultAction", "linux.seccomp.syscalls"),
)
