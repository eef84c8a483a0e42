"""What docker gives a container that asks for nothing: capabilities, a seccomp profile, what of /proc and /sys is out of reach."""

from __future__ import annotations

CAPABILITIES = """
    CAP_CHOWN CAP_DAC_OVERRIDE CAP_FSETID CAP_FOWNER CAP_MKNOD CAP_NET_RAW CAP_SETGID CAP_SETUID CAP_SETFCAP CAP_SETPCAP CAP_NET_BIND_SERVICE
    CAP_SYS_CHROOT CAP_KILL CAP_AUDIT_WRITE
""".split()
MASKED = """
    /proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug /proc/scsi /proc/timer_list
    /proc/timer_stats /sys/devices/virtual/powercap /sys/firmware
""".split()
READONLY = "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger".split()

# Architecture, as images name it -> what the profile is for.
ARCHITECTURES = {
    "amd64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "arm64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
    "386": ["SCMP_ARCH_X86"],
    "arm": ["SCMP_ARCH_ARM"],
    "ppc64le": ["SCMP_ARCH_PPC64LE"],
    "riscv64": ["SCMP_ARCH_RISCV64"],
    "s390x": ["SCMP_ARCH_S390X", "SCMP_ARCH_S390"],
}
# System calls that any container may make; those of a kernel or an architecture that has them not are passed over.
ALLOWED = """
    _llseek accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32 chroot clock_getres
    clock_gettime clock_gettime64 clock_nanosleep close close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1
    epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat
    faccessat2 fadvise64 fadvise64_64 fallocate fanotify_init fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl
    fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate
    ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd
    getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp
    getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname getsockopt
    gettid gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel
    io_destroy io_getevents io_pgetevents io_setup io_submit ioctl ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset
    landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat
    lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap
    mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync
    munlock munlockall munmap name_to_handle_at nanosleep newfstatat open openat openat2 pause pidfd_getfd pidfd_open pidfd_send_signal pipe
    pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_madvise process_mrelease
    process_vm_readv process_vm_writev pselect6 pselect6_time64 ptrace pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv
    recv recvfrom recvmmsg recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall riscv_hwprobe rmdir
    rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo
    sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
    sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop send
    sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32
    setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32
    setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack
    signalfd signalfd4 socketcall socketpair splice stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range syncfs sysinfo
    tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime
    times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimes vfork vmsplice wait4 waitid
    waitpid write writev
""".split()
# Of some architectures alone.
OF_MACHINES = "arch_prctl arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush modify_ldt set_tls sync_file_range2".split()
# clone(2) with one of CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET: no new namespaces.
NAMESPACES = 0x7E020000
AF_VSOCK = 40
# personality(2): Linux, Linux that says it is 2.6 (UNAME26), with randomness or without, and the question which one it is.
PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
ENOSYS = 38


def capabilities(root: bool) -> dict:
    """process.capabilities. root: whether the user is; others get none until they execute a file that has some."""
    return {"bounding": CAPABILITIES} | ({"effective": CAPABILITIES, "permitted": CAPABILITIES} if root else {})


def seccomp(architecture: str) -> dict:
    """linux.seccomp. What is not allowed gets EPERM; clone3(2), whose flags no filter can read, ENOSYS, upon which libraries call clone(2)."""

    def allow(names: list[str], *conditions: dict) -> dict:
        return {"names": names, "action": "SCMP_ACT_ALLOW"} | ({"args": list(conditions)} if conditions else {})

    # On s390x the flags are the second argument.
    flags = {"index": int(architecture == "s390x"), "value": NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    rules = [
        allow(ALLOWED),
        allow(OF_MACHINES),
        allow(["socket"], {"index": 0, "value": AF_VSOCK, "op": "SCMP_CMP_NE"}),
        *(allow(["personality"], {"index": 0, "value": value, "op": "SCMP_CMP_EQ"}) for value in PERSONALITIES),
        allow(["clone"], flags),
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS},
    ]
    found = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "syscalls": rules}
    return found | ({"architectures": ARCHITECTURES[architecture]} if architecture in ARCHITECTURES else {})
