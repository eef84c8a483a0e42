"""What is known of system calls: which name files, and which want a capability."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

AT_FDCWD = -100
READ, WRITE, EXECUTE, CHANGE, LOOK = "read", "write", "execute", "change", "look at"


def _same(value: object, names: str) -> dict:
    return dict.fromkeys(names.split(), value)


Paths = tuple[tuple[int | None, int], ...]
FILES: dict[str, tuple[str, Paths]] = {
    # The directory's fd and the path, by the numbers of the arguments; None: the working directory.
    **_same((READ, ((None, 0),)), "open creat chdir chroot readlink"),
    **_same((READ, ((0, 1),)), "openat openat2 readlinkat"),
    **_same((EXECUTE, ((None, 0),)), "execve uselib"),
    "execveat": (EXECUTE, ((0, 1),)),
    **_same((LOOK, ((None, 0),)), "stat lstat stat64 lstat64 access statfs statfs64 getxattr lgetxattr listxattr llistxattr"),
    **_same((LOOK, ((0, 1),)), "newfstatat fstatat64 statx faccessat faccessat2 name_to_handle_at"),
    **_same(
        (CHANGE, ((None, 0),)),
        "mkdir rmdir unlink chmod chown lchown chown32 lchown32 mknod truncate truncate64 utime utimes setxattr lsetxattr removexattr "
        "lremovexattr acct swapon swapoff umount umount2",
    ),
    **_same((CHANGE, ((0, 1),)), "mkdirat unlinkat fchmodat fchmodat2 fchownat mknodat utimensat futimesat"),
    **_same((CHANGE, ((None, 0), (None, 1))), "rename link"),
    **_same((CHANGE, ((0, 1), (2, 3))), "renameat renameat2 linkat"),
    **_same((CHANGE, ((None, 1),)), "symlink mount"),
    "symlinkat": (CHANGE, ((1, 2),)),
    "bind": (CHANGE, ()),
}
"""Calls with paths -> (what they do to the file, where the paths are)."""
OPEN_FLAGS = {"open": 1, "openat": 2, "creat": None}
"""Of these the flags say whether they write."""

ASKING: dict[str, str] = {
    **_same(
        "CAP_SYS_ADMIN",
        "mount umount umount2 pivot_root setns fsopen fsmount fsconfig move_mount open_tree mount_setattr swapon swapoff sethostname "
        "setdomainname quotactl quotactl_fd fanotify_init lookup_dcookie",
    ),
    **_same("CAP_SYS_BOOT", "reboot kexec_load kexec_file_load"),
    **_same("CAP_SYS_MODULE", "init_module finit_module delete_module"),
    **_same("CAP_SYS_RAWIO", "iopl ioperm"),
    **_same("CAP_SYS_TIME", "settimeofday clock_settime adjtimex clock_adjtime stime"),
    **_same("CAP_SETUID", "setuid setreuid setresuid setfsuid setuid32 setreuid32 setresuid32 setfsuid32"),
    **_same("CAP_SETGID", "setgid setregid setresgid setfsgid setgroups setgid32 setregid32 setresgid32 setfsgid32 setgroups32"),
    **_same("CAP_CHOWN", "chown lchown fchown fchownat chown32 lchown32 fchown32"),
    **_same("CAP_SYS_PTRACE", "ptrace process_vm_readv process_vm_writev kcmp process_madvise pidfd_getfd"),
    **_same("CAP_BPF", "bpf"),
    **_same("CAP_PERFMON", "perf_event_open"),
    **_same("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    **_same("CAP_SYS_CHROOT", "chroot"),
    **_same("CAP_SYS_PACCT", "acct"),
    **_same("CAP_SYS_TTY_CONFIG", "vhangup"),
    **_same("CAP_SETPCAP", "capset"),
}
"""Calls that need a capability in all ordinary cases."""
AT_MOST: dict[str, str] = {
    **_same("CAP_SYS_ADMIN", "unshare clone clone3 setxattr lsetxattr fsetxattr syslog"),
    **_same("CAP_MKNOD", "mknod mknodat"),
    **_same("CAP_KILL", "kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal"),
    **_same("CAP_SYS_NICE", "setpriority nice sched_setscheduler sched_setparam sched_setattr sched_setaffinity ioprio_set"),
    **_same("CAP_SYS_RESOURCE", "setrlimit prlimit64"),
    **_same("CAP_NET_BIND_SERVICE", "bind"),
    **_same("CAP_NET_RAW", "socket"),
    **_same("CAP_NET_ADMIN", "setsockopt"),
    **_same("CAP_IPC_LOCK", "mlock mlock2 mlockall"),
    **_same("CAP_FOWNER", "chmod fchmod fchmodat fchmodat2 utime utimes utimensat"),
    **_same("CAP_IPC_OWNER", "shmat shmctl semctl semop semtimedop msgctl msgsnd msgrcv"),
    **_same("CAP_LEASE", "fcntl64"),
}
"""Calls that need one in some cases: it counts as asked for only where they are refused."""
FILE_RIGHTS = "CAP_DAC_OVERRIDE"
"""What overrides the permissions of files: refused where a call with a path gets EACCES."""

SOMETIMES = ("restart_syscall", "rt_sigreturn")
"""Calls that a program makes when a signal comes, at a moment that it does not choose: every profile allows them."""

TOLD = (FILES.keys() | ASKING.keys() | AT_MOST.keys()) - {"clone", "clone3"}
"""Calls whose arguments and result are looked at."""
FREE_LEVELS, FREE_OPTIONS = (6, 17), (2, 3, 7, 8, 9, 13, 15, 20, 21)


def matters(name: str, arguments: Sequence[int], has_paths: bool) -> bool:
    """Whether the result of a call is worth a second stop."""
    if name == "setsockopt":  # TCP's and UDP's own options, and SO_REUSEADDR and the like of SOL_SOCKET, are for everybody
        return arguments[1] not in FREE_LEVELS and not (arguments[1] == 1 and arguments[2] in FREE_OPTIONS)
    return has_paths or name in ASKING or name in AT_MOST  # fstat(3) is a call with a path too, an empty one
