"""config.process -> ops: who the program is, what it may do, what it executes (config.md#process)."""

from __future__ import annotations

import _struct

from pyrun._native import lib
from pyrun.base import log
from pyrun.base.errors import HostError
from pyrun.base.facts import Facts
from pyrun.config import rules
from pyrun.config.annotations import KEEP_GROUPS
from pyrun.plan import namespaces
from pyrun.plan.records import Plan
from pyrun.plan.seccomp import Filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence

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


class Capabilities:
    """The five sets as masks, cut down to what can be granted.

    The specification wants a warning for a capability that can't be granted, and the container to go on
    (config.md#linux-process); runc's words for the ambient ones are kept.
    """

    __slots__ = ("bounding", "effective", "inheritable", "permitted", "ambient")

    def __init__(self, sets: dict, grantable: tuple[int, int]) -> None:
        permitted, bounding = grantable
        self.bounding = _mask(sets, "bounding", bounding)
        self.permitted = _mask(sets, "permitted", permitted)
        self.effective = _mask(sets, "effective", self.permitted, "effective needs permitted")
        # capset(2): no more than the bounding set becomes inheritable.
        self.inheritable = _mask(sets, "inheritable", permitted & self.bounding, "inheritable needs bounding")
        # capabilities(7): an ambient capability must be permitted and inheritable.
        self.ambient = _mask(sets, "ambient", self.permitted & self.inheritable, "ambient needs permitted and inheritable")


def _mask(sets: dict, name: str, grantable: int, reason: str = "") -> int:
    mask = 0
    for index, word in enumerate(sets[name]):
        number = CAPABILITIES.get(word.upper())
        where = f"process.capabilities.{name}[{index}]"
        if number is None:
            log.doubt(where, f"unknown capability {word} is ignored")
        elif not grantable >> number & 1:
            if name == "ambient":
                log.doubt(where, f"can't raise ambient capability {word}: {reason or 'operation not permitted'}")
            else:
                log.doubt(where, f"{word} cannot be granted and is ignored{f': {reason}' if reason else ''}", here=not reason)
        else:
            mask |= 1 << number
    return mask


class Rights:
    """What can be granted to the program, which the machine and its user namespace decide.

    capabilities: (permitted, bounding) as masks. denies_groups: whether setgroups(2) is denied for the gids that are wanted;
    keeps_groups: whether the caller's stay in their place.
    """

    def __init__(self, config: dict, process: dict, facts: Facts, user_namespace: bool, denies_setgroups: Callable[[], bool]) -> None:
        """user_namespace: whether the program runs in another one than ours, where all capabilities are there to have.
        denies_setgroups(): whether setgroups(2) is denied in that; asked only where it matters.
        """
        self.capabilities = (ALL_CAPABILITIES, ALL_CAPABILITIES) if user_namespace else facts.capabilities
        self.denies_groups = bool(process["user"]["additionalGids"]) and denies_setgroups()
        self.keeps_groups = config["annotations"].get(KEEP_GROUPS, "0") != "0"
        self.facts = facts


def environment(entries: Iterable[str]) -> dict[str, str]:
    """Entries NAME=VALUE as the program gets them (dict): of several the last one wins, and it comes once."""
    last: dict[str, str] = {}
    for entry in entries:
        name, _, value = entry.partition("=")
        last.pop(name, None)
        last[name] = value
    return last


def candidates(name: str, path: str) -> list[str]:
    """What execvp would try for `name`, in order, inside the container. The empty name is nowhere."""
    if not name:
        return []
    if "/" in name:
        return [name]
    # An empty element is the current directory; runc's and Go's look-up refuse a program found that way.
    return [f"{directory}/{name}" for directory in path.split(":") if directory]


def emit_setup(plan: Plan, process: dict, linux: dict, facts: Facts) -> None:
    """What is set once and inherited by the program: scheduling, personality, memory policy, labels, umask."""
    # The caller's affinity is not the container's: all CPUs, which the kernel cuts down to the cgroup's cpuset.
    plan.affinity(cpus=b"\xff" * 1024)
    if process["scheduler"]:
        _emit_scheduler(plan, process["scheduler"])
    if priority := process["ioPriority"]:
        kind = priority["class"]
        plan.ioprio("process.ioPriority", kind, priority=IOPRIO_CLASSES[kind] << 13 | priority["priority"])
    if linux["personality"]:
        domain = linux["personality"]["domain"]
        plan.personality("linux.personality", domain, persona=PERSONALITY_DOMAINS[domain])
    if linux["memoryPolicy"]:
        _emit_memory_policy(plan, linux["memoryPolicy"])
    emit_labels(plan, process, facts)
    # init works with umask 0.
    plan.umask("process.user.umask", mask=process["user"]["umask"])


def emit_affinity(plan: Plan, cpus: str, where: str) -> None:
    """cpus: a list like `0-3,7`."""
    mask = sum(1 << cpu for cpu in rules.id_list(cpus, rules.CPUS) or ())
    log.debug(f"nsexec: {where}: affinity: {mask:#x}")
    size = (mask.bit_length() + 63) // 64 * 8
    plan.affinity(where, cpus, cpus=mask.to_bytes(size, "little"))


def _emit_scheduler(plan: Plan, scheduler: dict) -> None:
    name = scheduler["policy"]
    flags = 0
    for word in scheduler["flags"]:
        flags |= SCHEDULER_FLAGS[word]
    # struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period, and the two clamps of utilisation,
    # for which the specification has flags and no values. Kernels before 5.3 do not mind the zeros.
    attributes = _struct.pack(
        "=IIQiIQQQ8x",
        56,
        SCHEDULER_POLICIES[name],
        flags,
        scheduler["nice"],
        scheduler["priority"],
        scheduler["runtime"],
        scheduler["deadline"],
        scheduler["period"],
    )
    plan.scheduler("process.scheduler", name, attributes=attributes)


def _emit_memory_policy(plan: Plan, policy: dict) -> None:
    mode = policy["mode"]
    value = MEMORY_MODES[mode]
    for word in policy["flags"]:
        value |= MEMORY_FLAGS[word]
    nodes = rules.id_list(policy["nodes"], rules.NODES) or ()
    mask = sum(1 << node for node in nodes)
    size = (mask.bit_length() + 63) // 64 * 8
    plan.mempolicy("linux.memoryPolicy", mode, nodes=mask.to_bytes(size, "little"), policy=value, bits=size * 8)


def emit_hard_limits(plan: Plan, process: dict, almighty: bool) -> None:
    """By the caller, before anything waits for `start`: what it may not raise fails then, and a user namespace can raise nothing.

    almighty: whether the program can still raise them, in the container, as the caller could.
    """
    if not almighty or any(entry["hard"] > NR_OPEN for entry in process["rlimits"] if entry["type"] == "RLIMIT_NOFILE"):
        emit_rlimits(plan, process, lib.RLIMIT_RAISE)


def emit_rlimits(plan: Plan, process: dict, flags: int = 0, kinds: Container[str] = RLIMITS) -> None:
    """kinds: those of them that are set."""
    for index, entry in enumerate(process["rlimits"]):
        where = f"process.rlimits[{index}]"
        kind = entry["type"]
        if kind in kinds:
            plan.rlimit(where, kind, flags=flags, resource=RLIMITS[kind], soft=entry["soft"], hard=entry["hard"])


def emit_host_stdio(plan: Plan, process: dict, linux: dict) -> None:
    """Before the user namespace is entered: pipes of the caller's go to the user, who could not open /dev/stderr of somebody
    that has no id there. What has a terminal does not get them.
    """
    uid = namespaces.host_id(linux["uidMappings"], process["user"]["uid"])
    if uid is not None and not process["terminal"]:
        plan.fix_stdio("process.user", uid=uid)


def emit_console(plan: Plan, process: dict, bind: str) -> None:
    """bind: where the container finds its terminal, too, or ""."""
    size = process["consoleSize"]
    plan.console(
        "process.terminal", "/dev/pts/ptmx", ptmx="/dev/pts/ptmx", bind=bind, uid=process["user"]["uid"], rows=size["height"],
        columns=size["width"]
    )


def emit_oom_score(plan: Plan, process: dict) -> None:
    score = process["oomScoreAdj"]
    if score is not None:
        plan.oom_score_adj("process.oomScoreAdj", str(score), score=str(score))


def emit_identity(plan: Plan, process: dict, rights: Rights, seccomp: Filter | None) -> None:
    """Ids and capabilities, and the filter where it takes a capability to set one: without no_new_privs that is CAP_SYS_ADMIN
    (seccomp(2)), so it goes in after the ids and the check of the working directory. emit_last_filter() follows.
    """
    uid, gid, gids = process["user"]["uid"], process["user"]["gid"], _groups(process["user"], rights)
    sets = Capabilities(process["capabilities"], rights.capabilities)
    plan.fix_stdio("process.user", uid=uid)
    plan.bounding("process.capabilities.bounding", kept_caps=sets.bounding)
    groups = _struct.pack(f"={len(gids)}I", *gids)
    plan.ids(
        "process.user", f"{uid}:{gid}", flags=lib.IDS_NO_SETGROUPS if rights.denies_groups or rights.keeps_groups else 0, gids=groups,
        uid=uid, gid=gid
    )
    cwd = process["cwd"]
    plan.chdir_check("process.cwd", cwd, path=cwd)
    if seccomp and not process["noNewPrivileges"]:
        emit_seccomp(plan, seccomp)
    plan.caps(
        "process.capabilities", effective=sets.effective, permitted=sets.permitted, inheritable=sets.inheritable, ambient=sets.ambient
    )
    if process["noNewPrivileges"]:
        plan.no_new_privs("process.noNewPrivileges")


def emit_last_filter(plan: Plan, process: dict, seccomp: Filter | None) -> None:
    """With no_new_privs the filter is the last thing before the program."""
    if seccomp and process["noNewPrivileges"]:
        emit_seccomp(plan, seccomp)


def _groups(user: dict, rights: Rights) -> Sequence[int]:
    """The supplementary gids to set. Where they were asked for and cannot be, runc's root of a user namespace goes on without."""
    if rights.keeps_groups:
        return ()
    if not rights.denies_groups:
        return user["additionalGids"]
    where, reason = "process.user.additionalGids", "setgroups is denied in this user namespace (user_namespaces(7))"
    if rights.facts.rootless:
        raise HostError(
            where, f"cannot set any additional groups in a rootless container: {reason}", cure="map a range of gids, with newgidmap"
        )
    log.doubt(where, f"not set: {reason}", here=True)
    return ()


def emit_seccomp(plan: Plan, seccomp: Filter) -> None:
    plan.seccomp("linux.seccomp", flags=lib.SECCOMP_NOTIFY if seccomp.notify else 0, filter=seccomp.bpf, filter_flags=seccomp.flags)


def emit_labels(plan: Plan, process: dict, facts: Facts) -> None:
    """What the kernel labels the program with when it is executed (proc_pid_attr(5))."""
    profile = process["apparmorProfile"]
    if profile and profile != "unconfined":
        if not facts.apparmor:
            raise HostError("process.apparmorProfile", f'"{profile}" cannot be enforced: AppArmor is not enabled on this host')
        plan.proc_write(
            "process.apparmorProfile", profile, path="self/attr/exec", value=f"exec {profile}", preferred="self/attr/apparmor/exec"
        )
    label = process["selinuxLabel"]
    if label:
        if not facts.selinux:
            raise HostError("process.selinuxLabel", f'"{label}" cannot be set: SELinux is not enabled on this host')
        plan.proc_write("process.selinuxLabel", label, path="self/attr/exec", value=label)


def emit_program_setup(plan: Plan, process: dict, linux: dict, env: Sequence[str], facts: Facts) -> Program:
    """All but the identity. env: what the runtime adds to the program's."""
    emit_setup(plan, process, linux, facts)
    cwd = process["cwd"]
    plan.chdir("process.cwd", cwd, path=cwd)
    program = Program(process, env)
    program.emit_check(plan, process)
    return program


class Program:
    """The program's words: what is looked up, its arguments and its environment. env: what the runtime adds to it."""

    def __init__(self, process: dict, env: Sequence[str]) -> None:
        self.args = process["args"]
        self.env = environment([*process["env"], *env])
        # runc: an empty HOME counts as none, and the container's passwd gives it.
        self.needs_home = not self.env.get("HOME")
        if self.needs_home:
            self.env.pop("HOME", None)
        path = self.env.get("PATH")
        self.candidates = candidates(self.args[0], DEFAULT_PATH if path is None else path)

    def emit_check(self, plan: Plan, process: dict) -> None:
        """Fails while nothing has been started yet if the program is missing; finds HOME."""
        if self.needs_home:
            plan.home("process.env", "HOME", uid=process["user"]["uid"])
        plan.exec_check("process.args[0]", self.args[0], candidates=self.candidates)

    def emit_exec(self, plan: Plan, keep: int) -> None:
        """keep: number of files beyond stdio that the program gets."""
        environ = [f"{name}={value}" for name, value in self.env.items()]
        plan.exec("process.args[0]", self.args[0], candidates=self.candidates, argv=self.args, env=environ, first_closed=3 + keep)
