"""config.process -> ops: who the program is, what it may do, what it executes (config.md#process)."""

import _struct

from pyrun._native import ffi, lib
from pyrun.base import log
from pyrun.base.errors import ConfigError, Error
from pyrun.base.files import read_line
from pyrun.config import rules
from pyrun.plan import namespaces

CAPABILITIES = {
    "CAP_" + name: number
    for number, name in enumerate(
        (
            "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
            "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
            "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE "
            "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
        ).split()
    )
}
ALL_CAPABILITIES = (1 << len(CAPABILITIES)) - 1

RLIMITS = {
    "RLIMIT_" + name: number
    for number, name in enumerate(
        "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME".split()
    )
}

NR_OPEN = 1 << 20
"""No RLIMIT_NOFILE can be higher than sysctl fs.nr_open, which this is where nobody has changed it."""
CAP_SYS_RESOURCE = 24

# sched(7), sched_setattr(2)
SCHEDULER_POLICIES = {
    "SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_ISO": 4, "SCHED_IDLE": 5, "SCHED_DEADLINE": 6,
}  # fmt: skip
SCHEDULER_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
IOPRIO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
PERSONALITY_DOMAINS = {"LINUX": 0, "LINUX32": 8}
MEMORY_MODES = {
    "MPOL_DEFAULT": 0, "MPOL_PREFERRED": 1, "MPOL_BIND": 2, "MPOL_INTERLEAVE": 3, "MPOL_LOCAL": 4, "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}  # fmt: skip
MEMORY_FLAGS = {"MPOL_F_STATIC_NODES": 0x8000, "MPOL_F_RELATIVE_NODES": 0x4000, "MPOL_F_NUMA_BALANCING": 0x2000}

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def own_capabilities():
    """(permitted, bounding) capabilities of the runtime, as masks."""
    out = ffi.new("unsigned long long[4]")
    code = lib.native_capabilities(out)
    if code < 0:
        raise Error(f"capget: errno {-code}")
    return out[1], out[3]


class Capabilities:
    """The five sets as masks, cut down to what can be granted.

    The specification wants a warning for a capability that can't be granted, and the container to go on
    (config.md#linux-process); runc's words for the ambient ones are kept.
    """

    __slots__ = ("bounding", "effective", "inheritable", "permitted", "ambient")

    def __init__(self, sets, user_namespace, own):
        permitted, bounding = (ALL_CAPABILITIES, ALL_CAPABILITIES) if user_namespace else own
        self.bounding = _mask(sets, "bounding", bounding)
        self.permitted = _mask(sets, "permitted", permitted)
        self.effective = _mask(sets, "effective", self.permitted, "effective needs permitted")
        # capset(2): no more than the bounding set becomes inheritable.
        self.inheritable = _mask(sets, "inheritable", permitted & self.bounding, "inheritable needs bounding")
        # capabilities(7): an ambient capability must be permitted and inheritable.
        self.ambient = _mask(sets, "ambient", self.permitted & self.inheritable, "ambient needs permitted and inheritable")


def _mask(sets, name, grantable, reason=""):
    mask = 0
    for index, word in enumerate(sets.get(name) or ()):
        number = CAPABILITIES.get(word.upper())
        where = f"config.json: process.capabilities.{name}[{index}]"
        if number is None:
            log.warning(f"{where}: unknown capability {word} is ignored")
        elif not grantable >> number & 1:
            if name == "ambient":
                log.warning(f"{where}: can't raise ambient capability {word}: {reason or 'operation not permitted'}")
            else:
                log.warning(f"{where}: {word} cannot be granted and is ignored{f': {reason}' if reason else ''}")
        else:
            mask |= 1 << number
    return mask


def environment(entries):
    """Entries NAME=VALUE as the program gets them (dict): of several the last one wins, and it comes once."""
    last = {}
    for entry in entries:
        name, _, value = entry.partition("=")
        last.pop(name, None)
        last[name] = value
    return last


def candidates(name, path):
    """What execvp would try for `name`, in order, inside the container. The empty name is nowhere."""
    if not name:
        return []
    if "/" in name:
        return [name]
    # An empty element is the current directory; runc's and Go's look-up refuse a program found that way.
    return [f"{directory}/{name}" for directory in path.split(":") if directory]


def emit_setup(plan, process, linux):
    """What is set once and inherited by the program: scheduling, personality, memory policy, labels, umask."""
    # The caller's affinity is not the container's: all CPUs, which the kernel cuts down to the cgroup's cpuset.
    plan.affinity(cpus=b"\xff" * 1024)
    scheduler = process.get("scheduler")
    if scheduler:
        _emit_scheduler(plan, scheduler)
    priority = process.get("ioPriority")
    if priority:
        kind = priority["class"]
        plan.ioprio("process.ioPriority", kind, priority=IOPRIO_CLASSES[kind] << 13 | priority.get("priority", 0))
    personality = linux.get("personality")
    if personality:
        domain = personality["domain"]
        plan.personality("linux.personality", domain, persona=PERSONALITY_DOMAINS[domain])
    policy = linux.get("memoryPolicy")
    if policy:
        _emit_memory_policy(plan, policy)
    _emit_labels(plan, process)
    umask = (process.get("user") or {}).get("umask")
    # init works with umask 0; runc's default for the program is 022.
    plan.umask("process.user.umask", mask=0o022 if umask is None else umask)


def emit_affinity(plan, cpus, where):
    """cpus: a list like `0-3,7`."""
    mask = sum(1 << cpu for cpu in rules.id_list(cpus, rules.CPUS))
    log.debug(f"nsexec: {where}: affinity: {mask:#x}")
    size = (mask.bit_length() + 63) // 64 * 8
    plan.affinity(where, cpus, cpus=mask.to_bytes(size, "little"))


def _emit_scheduler(plan, scheduler):
    name = scheduler["policy"]
    flags = 0
    for word in scheduler.get("flags") or ():
        flags |= SCHEDULER_FLAGS[word]
    # struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period, and the two clamps of utilisation,
    # for which the specification has flags and no values. Kernels before 5.3 do not mind the zeros.
    attributes = _struct.pack(
        "=IIQiIQQQ8x",
        56,
        SCHEDULER_POLICIES[name],
        flags,
        scheduler.get("nice") or 0,
        scheduler.get("priority") or 0,
        scheduler.get("runtime") or 0,
        scheduler.get("deadline") or 0,
        scheduler.get("period") or 0,
    )
    plan.scheduler("process.scheduler", name, attributes=attributes)


def _emit_memory_policy(plan, policy):
    mode = policy["mode"]
    value = MEMORY_MODES[mode]
    for word in policy.get("flags") or ():
        value |= MEMORY_FLAGS[word]
    nodes = rules.id_list(policy.get("nodes") or "", rules.NODES)
    mask = sum(1 << node for node in nodes)
    size = (mask.bit_length() + 63) // 64 * 8
    plan.mempolicy("linux.memoryPolicy", mode, nodes=mask.to_bytes(size, "little"), policy=value, bits=size * 8)


def emit_hard_limits(plan, process, host):
    """By the caller, before anything waits for `start`: what it may not raise fails then, and a user namespace can raise nothing."""
    almighty = not host.binds_devices and host.own_capabilities[0] >> CAP_SYS_RESOURCE & 1
    if not almighty or any(entry["hard"] > NR_OPEN for entry in process.get("rlimits") or () if entry["type"] == "RLIMIT_NOFILE"):
        emit_rlimits(plan, process, lib.RLIMIT_RAISE)


def emit_rlimits(plan, process, flags=0):
    for index, entry in enumerate(process.get("rlimits") or ()):
        where = f"process.rlimits[{index}]"
        kind = entry["type"]
        plan.rlimit(where, kind, flags=flags, resource=RLIMITS[kind], soft=entry["soft"], hard=entry["hard"])


def emit_host_stdio(plan, process, linux):
    """Before the user namespace is entered: pipes of the caller's go to the user, who could not open /dev/stderr of somebody
    that has no id there. What has a terminal does not get them.
    """
    uid = namespaces.host_id(linux.get("uidMappings"), (process.get("user") or {}).get("uid") or 0)
    if uid is not None and not process.get("terminal"):
        plan.fix_stdio("process.user", uid=uid)


def emit_oom_score(plan, process):
    score = process.get("oomScoreAdj")
    if score is not None:
        plan.oom_score_adj("process.oomScoreAdj", str(score), score=str(score))


def emit_identity(plan, process, host, seccomp):
    """The last steps before the program: ids, capabilities, filter, limits.

    Without no_new_privs a filter needs CAP_SYS_ADMIN, so it goes in after the ids and the check of the working
    directory and before the capabilities go (seccomp(2)); with it, it goes in last.
    """
    user = process.get("user") or {}
    uid, gid = user.get("uid") or 0, user.get("gid") or 0
    gids = _groups(user, host)
    no_new_privileges = bool(process.get("noNewPrivileges"))
    sets = Capabilities(process.get("capabilities") or {}, host.user_namespace, host.own_capabilities)
    emit_rlimits(plan, process)
    plan.fix_stdio("process.user", uid=uid)
    plan.bounding("process.capabilities.bounding", kept_caps=sets.bounding)
    groups = _struct.pack(f"={len(gids)}I", *gids)
    plan.ids(
        "process.user", f"{uid}:{gid}", flags=lib.IDS_NO_SETGROUPS if host.no_setgroups or host.keep_groups else 0, gids=groups,
        uid=uid, gid=gid
    )
    cwd = process["cwd"]
    plan.chdir_check("process.cwd", cwd, path=cwd)
    if seccomp and not no_new_privileges:
        emit_seccomp(plan, seccomp)
    plan.caps(
        "process.capabilities", effective=sets.effective, permitted=sets.permitted, inheritable=sets.inheritable, ambient=sets.ambient
    )
    if no_new_privileges:
        plan.no_new_privs("process.noNewPrivileges")
        if seccomp:
            emit_seccomp(plan, seccomp)


def _groups(user, host):
    """The supplementary gids to set (list). Where they were asked for and cannot be, runc's root of a namespace goes on without."""
    gids = user.get("additionalGids") or ()
    if not gids or host.keep_groups or not host.no_setgroups:
        return () if host.keep_groups else gids
    where, reason = "process.user.additionalGids", "setgroups is denied in this user namespace (user_namespaces(7))"
    if host.rootless:
        raise ConfigError(where, f"cannot set any additional groups in a rootless container: {reason}: map a range of gids, with newgidmap")
    log.warning(f"config.json: {where}: not set: {reason}")
    return ()


def emit_seccomp(plan, seccomp):
    plan.seccomp("linux.seccomp", flags=lib.SECCOMP_NOTIFY if seccomp.notify else 0, filter=seccomp.bpf, filter_flags=seccomp.flags)


def _emit_labels(plan, process):
    """What the kernel labels the program with when it is executed (proc_pid_attr(5))."""
    profile = process.get("apparmorProfile")
    if profile and profile != "unconfined":
        if _read("/sys/module/apparmor/parameters/enabled") != "Y":
            raise ConfigError("process.apparmorProfile", f'"{profile}" cannot be enforced: AppArmor is not enabled on this host')
        plan.proc_write(
            "process.apparmorProfile", profile, path="self/attr/exec", value=f"exec {profile}", preferred="self/attr/apparmor/exec"
        )
    label = process.get("selinuxLabel")
    if label:
        if not selinux_enabled():
            raise ConfigError("process.selinuxLabel", f'"{label}" cannot be set: SELinux is not enabled on this host')
        plan.proc_write("process.selinuxLabel", label, path="self/attr/exec", value=label)


def selinux_enabled():
    return bool(_read("/sys/fs/selinux/enforce"))


def _read(path):
    try:
        return read_line(path).decode().strip()
    except FileNotFoundError:
        return ""


class Program:
    """The program's words: what is looked up, its arguments and its environment. env: what the runtime adds to it (list)."""

    def __init__(self, process, env):
        self.args = process["args"]
        self.env = environment([*(process.get("env") or ()), *env])
        # runc: an empty HOME counts as none, and the container's passwd gives it.
        self.needs_home = not self.env.get("HOME")
        if self.needs_home:
            self.env.pop("HOME", None)
        path = self.env.get("PATH")
        self.candidates = candidates(self.args[0], DEFAULT_PATH if path is None else path)

    def emit_check(self, plan, process):
        """Fails while nothing has been started yet if the program is missing; finds HOME."""
        if self.needs_home:
            uid = (process.get("user") or {}).get("uid") or 0
            plan.home("process.env", "HOME", uid=uid)
        plan.exec_check("process.args[0]", self.args[0], candidates=self.candidates)

    def emit_exec(self, plan, keep):
        """keep: number of files beyond stdio that the program gets."""
        environ = [f"{name}={value}" for name, value in self.env.items()]
        plan.exec("process.args[0]", self.args[0], candidates=self.candidates, argv=self.args, env=environ, first_closed=3 + keep)
