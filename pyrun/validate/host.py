"""Will it run here? What a config asks of this machine and of the caller; cgroups, labels and filters are in trial.py, files in files.py."""

from __future__ import annotations

import posix

from pyrun.base import files
from pyrun.base.errors import Error, words
from pyrun.base.facts import facts
from pyrun.config import mount_option, rules
from pyrun.config.shape import path_of
from pyrun.host import idmap
from pyrun.init.faults import forbidden
from pyrun.plan.mounts import RECURSIVE_WORDS, Mount
from pyrun.plan.namespaces import CLONE_NEWUSER, FILES, FLAGS, maps_one_id
from pyrun.plan.process import CAP_SYS_RESOURCE, RLIMITS
from pyrun.validate import program, roots
from pyrun.validate.roots import exists
from pyrun.validate.subject import WARNING, Found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.validate.subject import Subject

    Founds = Iterator[Found]

OLDEST = (5, 10)
DELEGATE = "have one delegated (systemd: Delegate=yes for user@.service, and --systemd-cgroup), or leave the limits out"
# What takes a newer kernel than that (specs/kernels.md): what it is called, and since when it is there.
IDMAPPED, BELOW, NO_SYMLINKS = ("id-mapped mounts", (5, 12)), ("options for all mounts below one", (5, 12)), ("nosymfollow", (5, 14))
NS_GET_NSTYPE = 0xB703  # ioctl_ns(2)
HARD_COLUMN = 47
"""Where the hard limits stand in /proc/PID/limits, whose lines are in the order of the numbers of RLIMIT_*."""
ONLINE = {"cpus": "/sys/devices/system/cpu/online", "mems": "/sys/devices/system/node/online"}


def _text(path: str) -> str:
    """The content of a file of the kernel; '' where there is none to read."""
    try:
        return files.read(path).decode("utf-8", "replace").strip()
    except OSError:
        return ""


# --- the kernel --------------------------------------------------------------------------------------------------------


def release() -> tuple[int, ...]:
    """(6, 1) of the kernel 6.1.0-18-amd64."""
    numbers = posix.uname().release.partition("-")[0].split(".")
    return tuple(int(number) for number in numbers[:2] if number.isdigit())


def kernel(subject: Subject) -> Founds:
    if release() < OLDEST:
        yield Found("", f"Linux {posix.uname().release} is older than 5.10, which pyrun needs", "use a newer kernel", WARNING)
    for index, entry in enumerate(subject.config["mounts"]):
        mount = Mount(entry, f"mounts[{index}]")
        asked = mount_option.words(entry)
        wanted = [IDMAPPED] * mount.idmap + [BELOW] * any(word in RECURSIVE_WORDS for word in asked)
        for what, since in wanted + [NO_SYMLINKS] * ("nosymfollow" in asked and not mount.bind):
            if release() < since:
                yield Found(mount.where, f"{what} take Linux {since[0]}.{since[1]}, and this is {posix.uname().release}", "use a newer kernel")


def namespace_kinds(subject: Subject) -> Founds:
    for index, entry in enumerate(subject.config["linux"]["namespaces"]):
        kind, path = entry["type"], entry["path"]
        where = f"linux.namespaces[{index}]"
        if not exists(f"/proc/self/ns/{FILES[kind]}"):
            yield Found(f"{where}.type", f"this kernel has no {kind} namespaces", "take it out, or use another kernel")
        elif path:
            if fault := _no_namespace(path, FLAGS[kind], kind):
                yield Found(f"{where}.path", fault, "name a file of /proc/PID/ns, or a bind mount of one")
        elif FLAGS[kind] == CLONE_NEWUSER and facts.rootless and (reason := forbidden()):
            yield Found(where, reason, "have the administrator change it, or run it as root")
        elif _text(f"/proc/sys/user/max_{FILES[kind]}_namespaces") == "0":
            yield Found(where, f"sysctl user.max_{FILES[kind]}_namespaces is 0: nobody may make one", "raise it")


def _no_namespace(path: str, flag: int, kind: str) -> str:
    """Why a file is no namespace to join; '' if it is one."""
    import fcntl

    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    except OSError as error:
        return f"{path}: {words(error.errno)}"
    try:
        return "" if fcntl.ioctl(fd, NS_GET_NSTYPE) == flag else f"{path} is a namespace of another kind than {kind}"
    except OSError:
        return f"{path} is no namespace"
    finally:
        posix.close(fd)


def sysctls(subject: Subject) -> Founds:
    for name in subject.config["linux"]["sysctl"]:
        path = rules.sysctl_path(name)
        if not exists(f"/proc/sys/{path}"):
            where = path_of(("linux", "sysctl", name))
            yield Found(where, f"this kernel has no sysctl {name}", "correct the name (`sysctl -a`), or load the module that has it")


def file_systems(subject: Subject) -> Founds:
    """A type may also be in a module, which the kernel loads when it is asked for."""
    known = {line.split()[-1] for line in _text("/proc/filesystems").splitlines()}
    modules = None
    for index, entry in enumerate(subject.config["mounts"]):
        mount = Mount(entry, f"mounts[{index}]")
        kind = mount.type.partition(".")[0]
        if not kind or mount.bind or mount.remount or kind in known or kind == "cgroup":
            continue
        if modules is None:
            modules = _text(f"/lib/modules/{posix.uname().release}/modules.alias")
        if f"fs-{kind} " not in modules:
            yield Found(f"{mount.where}.type", f"this kernel has no file system {kind}", "/proc/filesystems has those that it knows")


def cpus_and_nodes(subject: Subject) -> Founds:
    cpu = subject.config["linux"]["resources"].get("cpu", {})
    for name, path in ONLINE.items():
        wanted, online = rules.id_list(cpu.get(name) or "", rules.CPUS), rules.id_list(_text(path), rules.CPUS)
        if wanted and online and not wanted <= online:
            few = ",".join(map(str, sorted(wanted - online)[:5]))
            yield Found(f"linux.resources.cpu.{name}", f"{few} not online here: must be of {_text(path)}", f"take them from {_text(path)}")


def block_devices(subject: Subject) -> Founds:
    for kind, value in subject.config["linux"]["resources"].get("blockIO", {}).items():
        for index, entry in enumerate(value if isinstance(value, list) else ()):
            number = f"{entry['major']}:{entry['minor']}"
            if exists("/sys/dev/block") and not exists(f"/sys/dev/block/{number}"):
                where = f"linux.resources.blockIO.{kind}[{index}]"
                yield Found(where, f"there is no block device {number} here", "`lsblk` has the numbers of those that there are")


def network_devices(subject: Subject) -> Founds:
    for name in subject.config["linux"]["netDevices"]:
        if not exists(f"/sys/class/net/{name}"):
            yield Found(path_of(("linux", "netDevices", name)), f"there is no network device {name} here", "`ip link` lists those that there are")


# --- the caller --------------------------------------------------------------------------------------------------------


def state_directory(subject: Subject) -> Founds:
    path = subject.settings.root
    while path and not exists(path):
        path = path.rpartition("/")[0]
    if not posix.access(path or "/", posix.W_OK):
        yield Found("", f"the state directory {subject.settings.root} cannot be made", "give one of your own with --root, or set XDG_RUNTIME_DIR")


def cgroup_place(subject: Subject) -> Founds:
    from pyrun import cgroup
    from pyrun.validate import limits, trial

    if subject.settings.systemd_cgroup:
        from pyrun.cgroup.systemd import manager

        try:
            manager.connect(facts.unprivileged)
        except Error as fault:
            yield Found("linux.cgroupsPath", str(fault))
        return
    try:
        group = cgroup.open(subject.config, trial.ID, subject.settings)
        denied = list(limits.unreachable(group))
    except (Error, OSError):  # trial.py has said it
        return
    if denied:
        yield Found("linux.cgroupsPath", f"no permission to make the cgroup {denied[0]}", "choose one below a cgroup that is delegated to you")
    elif not group.paths and group.mounts and any(value for name, value in group.resources.items() if name != "devices"):
        yield Found("linux.resources", "the limits need a cgroup, and none is delegated to this user", DELEGATE)


def id_ranges(subject: Subject) -> Founds:
    linux = subject.config["linux"]
    if any(entry["type"] == "user" and not entry["path"] for entry in linux["namespaces"]):
        yield from _ids("uid", linux["uidMappings"], facts.uid)
        yield from _ids("gid", linux["gidMappings"], facts.gid)


def _ids(kind: str, mappings: list[dict], own: int) -> Founds:
    """user_namespaces(7): who has no rights over ids may map his own, and by newuidmap(1) those that subuid(5) gives him."""
    where = f"linux.{kind}Mappings"
    if facts.rootless:
        if maps_one_id(mappings, own):
            return
        tool = f"new{kind}map"
        if files.find_program(tool, posix.environ.get(b"PATH") or idmap.DEFAULT_PATH) is None:
            cure = f"install it (package uidmap, or shadow-utils), or map hostID {own} alone with size 1"
            yield Found(where, f"an ordinary user needs {tool}(1) for more than his own id, and it is not in $PATH", cure)
        if "subid:" in _text("/etc/nsswitch.conf"):  # they are not in the file
            return
        allowed, cure = [(own, 1), *_subordinate(kind)], f"usermod --add-sub{kind}s FIRST-LAST {_user_name()}"
        text = f"this user may map: besides {own}, /etc/sub{kind} gives him {_ranges(allowed[1:])}"
    else:
        allowed = [(int(first), int(size)) for _, first, size in map(str.split, _inside_first(kind))]
        text, cure = f"the user namespace has that this runs in: {_ranges(allowed)}", f"take them from /proc/self/{kind}_map"
    for index, entry in enumerate(mappings):
        first, last = entry["hostID"], entry["hostID"] + entry["size"] - 1
        if not any(begin <= first and last < begin + size for begin, size in allowed):
            ids = f"{kind} {first} is not one that" if first == last else f"{kind}s {first}-{last} are not ones that"
            yield Found(f"{where}[{index}].hostID", f"{ids} {text}", cure)


def _inside_first(kind: str) -> list[str]:
    """The lines of our own map, with the ids that we can name at their second place."""
    lines = [line.split() for line in _text(f"/proc/self/{kind}_map").splitlines()]
    return [f"{outside} {inside} {size}" for inside, outside, size in lines]


def _ranges(ranges: list[tuple[int, int]]) -> str:
    return ", ".join(f"{first}-{first + size - 1}" for first, size in ranges) or "none"


def _user_name() -> str:
    rows = [line.split(":") for line in _text("/etc/passwd").splitlines()]
    return next((row[0] for row in rows if row[2:3] == [str(facts.uid)]), str(facts.uid))


def _subordinate(kind: str) -> list[tuple[int, int]]:
    """(first, number) of each range that subuid(5) gives the caller."""
    rows = [line.split(":") for line in _text(f"/etc/sub{kind}").splitlines()]
    return [(int(row[1]), int(row[2])) for row in rows if len(row) == 3 and row[0] in (_user_name(), str(facts.uid)) and row[1].isdigit()]


def hard_limits(subject: Subject) -> Founds:
    """getrlimit(2): who has not CAP_SYS_RESOURCE may not raise a hard limit; nobody RLIMIT_NOFILE above fs.nr_open."""
    process, may_raise = subject.config["process"], facts.capabilities[0] >> CAP_SYS_RESOURCE & 1
    own_limits = _text("/proc/self/limits").splitlines()
    for index, entry in enumerate(process["rlimits"] if process else ()):
        own = own_limits[RLIMITS[entry["type"]] + 1][HARD_COLUMN:].split()[0]
        ceiling = int(_text("/proc/sys/fs/nr_open") or 0) if entry["type"] == "RLIMIT_NOFILE" else 0
        where = f"process.rlimits[{index}].hard"
        if ceiling and entry["hard"] > ceiling:
            yield Found(where, f"must be at most sysctl fs.nr_open ({ceiling}), not {entry['hard']}", "lower it, or raise the sysctl")
        elif not may_raise and own != "unlimited" and entry["hard"] > int(own):
            yield Found(where, f"must be at most the caller's own ({own}) without CAP_SYS_RESOURCE, not {entry['hard']}", "lower it")


def security_labels(subject: Subject) -> Founds:
    """Whether the profile is loaded: root alone can read which are. That there is an LSM is seen in trial.py."""
    process = subject.config["process"]
    profile = process["apparmorProfile"] if process else ""
    loaded = _text("/sys/kernel/security/apparmor/profiles")
    names = {line.rpartition(" (")[0] for line in loaded.splitlines()}
    if profile and profile != "unconfined" and facts.apparmor and loaded and profile not in names:
        yield Found("process.apparmorProfile", f'no AppArmor profile "{profile}" is loaded here', "load it: apparmor_parser -r FILE")


def seccomp_agent(subject: Subject) -> Founds:
    path = subject.config["linux"]["seccomp"].get("listenerPath")
    if path and not exists(path):
        yield Found("linux.seccomp.listenerPath", f"{path} is not there: no agent listens", "start the agent first")


CHECKS = (
    (state_directory, "ociVersion"),
    (kernel, "mounts"),
    (namespace_kinds, "linux.namespaces"),
    (id_ranges, "linux.namespaces", "linux.uidMappings", "linux.gidMappings"),
    (cgroup_place, "linux.cgroupsPath", "linux.resources", "linux.namespaces"),
    (cpus_and_nodes, "linux.resources"),
    (block_devices, "linux.resources"),
    (sysctls, "linux.sysctl"),
    (network_devices, "linux.netDevices"),
    (file_systems, "mounts"),
    (hard_limits, "process.rlimits"),
    (security_labels, "process.apparmorProfile"),
    (seccomp_agent, "linux.seccomp"),
    (roots.root_file_system, "root.path", "process", "mounts"),
    (roots.sources, "mounts", "root.path"),
    (roots.id_mapped, "mounts", "root.path", "linux"),
    (roots.hooks, "hooks"),
    (roots.device_nodes, "linux.devices", "linux.namespaces"),
    (roots.terminal, "process.terminal", "mounts", "root.path"),
    (program.program, "process", "mounts", "root.path"),
)
