"""Why programs of the suite fail against pyrun: the machine, a fault of the program, or an older specification."""

_KERNEL_MEMORY = "kernel: takes a value for memory.kmem.limit_in_bytes and ignores it; the specification calls the field not recommended"
_PIDS = "program: compares two pointers (LinuxPids.Limit became *int64) instead of the limits, so it is never equal"
_LEAF_WEIGHT = "machine: blkio.leaf_weight belonged to the CFQ scheduler, which Linux 5.0 took out"

# Programs that race with their own container, and how often they are tried: killsig sends its signal as soon as the shell runs,
# on a busy machine before the shell has set its trap.
TRIES = {"killsig": 5}

REASONS = {
    "delete_resources": _PIDS,
    "hooks": "program: wants `post-start1` where its own hooks write `post-start1 called`, and would call Error() on nil if that matched",
    "linux_cgroups_blkio": _LEAF_WEIGHT,
    "linux_cgroups_relative_blkio": _LEAF_WEIGHT,
    "linux_cgroups_hugetlb": "machine: no hugetlb hierarchy",
    "linux_cgroups_relative_hugetlb": "machine: no hugetlb hierarchy",
    "linux_cgroups_memory": _KERNEL_MEMORY,
    "linux_cgroups_relative_memory": _KERNEL_MEMORY,
    "linux_cgroups_network": "machine: no net_cls and net_prio hierarchies",
    "linux_cgroups_relative_network": "machine: no net_cls and net_prio hierarchies",
    "linux_cgroups_pids": _PIDS,
    "linux_cgroups_relative_pids": _PIDS,
    "linux_process_apparmor_profile": "machine: no AppArmor, and a profile that cannot be enforced is an error",
    "pidfile": "program: its container runs `true`, which has ended when it is killed; killing a stopped container must be an error",
    "poststart_fail": "specification: since 1.3 a failed poststart hook is an error and the container is stopped (runtime.md, lifecycle)",
    "prestart": "specification: prestart hooks are called during create (config.md, POSIX-platform hooks)",
    "process_capabilities": "machine: CAP_SYS_RESOURCE is not in the caller's bounding set",
    "process_capabilities_fail": "specification: an unknown capability is a warning (config.md, Linux process)",
    "process_rlimits": "program: Go raises its own soft RLIMIT_NOFILE to the hard one before runtimetest reads it",
    "start": "program: says that `start` without `process` MUST generate an error, and asserts that it generates none",
}
