/* The plan: what init executes, and what it answers. This is the only declaration of both; init includes it and
 * cffi reads it (csrc/build.py drops the preprocessor lines that are not plain #define NAME NUMBER).
 *
 * A plan is one block of flat data:   plan_header | plan_op[op_count] | string area (string_size bytes)
 * Strings are NUL-terminated and named by their offset in the string area; offset 0 is the empty string and means
 * "none". A list of strings is a run of non-empty strings ended by an empty one; lists that may hold empty strings
 * (argv, env) carry their count in n[]. Binary data (BPF, gids, CPU masks) lies 8-aligned in the same area, its
 * size in `len`.
 *
 * Files: init starts with stdio on 0, 1, 2, the files the user's program shall keep on 3 .. first-1, and the plan's
 * table on first .. first+fd_count-1. Slot 0 of the table is the control socket (SOCK_SEQPACKET), slot 1 the plan.
 * `fd` and `fd2` of an op are slots of the table, -1 for none. */

#define PLAN_MAGIC 0x4e555259
#define PLAN_VERSION 1
#define PLAN_MAX_FDS 1024
/* MSG_TIMING follows each op that has run, until OP_READY or OP_SECCOMP. */
#define PLAN_TIMED 1

struct plan_header {
    uint32_t magic;
    uint32_t version;
    uint32_t op_count;
    uint32_t string_size;
    uint32_t fd_count;
    uint32_t flags; /* PLAN_TIMED */
};

struct plan_op {
    uint16_t op;
    uint16_t flags;
    int32_t fd;
    int32_t fd2;
    uint32_t len;
    uint32_t s[4];
    uint64_t n[6];
};

/* Every path that init resolves "in the root" is resolved with openat2(RESOLVE_IN_ROOT) below the root fd, to an fd,
 * and used by that fd. OP_ROOT sets the root fd; OP_PIVOT and OP_CHROOT make it "/". Before OP_ROOT the root is "/". */
enum plan_opcode {
    OP_NONE = 0,

    /* --- first stage, in the caller's namespaces --- */
    OP_SETNS,          /* fd: nsfd or pidfd; n0: CLONE_NEW* mask. SETNS_TRY: EPERM is kept for a later SETNS_RETRY of the same mask */
    OP_OOM_SCORE_ADJ,  /* s0: the number as text, written to oom_score_adj of init itself (inherited by what it clones) */
    OP_RLIMIT,         /* n0: resource, n1: soft, n2: hard. RLIMIT_RAISE: only lifts the hard limit if it is lower */
    OP_CLONE,          /* n0: CLONE_NEW* mask. clone3 with CLONE_PARENT: the rest of the plan is the child's; the child sends
                          MSG_CHILD, the first stage exits 0. fd: a directory of cgroup v2 that the child begins in
                          (CLONE_INTO_CGROUP), as far as the kernel can do that */

    /* --- set-up --- */
    OP_BARRIER,        /* n0: number. Sends MSG_BARRIER, waits for MSG_GO with the same number; anything else ends init */
    OP_DUMPABLE,       /* n0: PR_SET_DUMPABLE value. init is not dumpable from its first instruction on (CVE-2016-9962) */
    OP_CGROUP_JOIN,    /* fd: an open cgroup.procs, or tasks of v1; s0: its path, for people. Writes "0". CGROUP_JOIN_BORN: only
                          if OP_CLONE could not do it */
    OP_UNSHARE,        /* n0: CLONE_NEW* mask */
    OP_TIMENS,         /* s0: text for timens_offsets, or none. unshare(CLONE_NEWTIME), offsets, then setns into it */
    OP_SETID,          /* n0: uid, n1: gid. setresgid, setresuid; supplementary groups are kept (they may open mount sources) */
    OP_SETSID,
    OP_KEYRING,        /* s0: name of a new session keyring. ENOSYS, EACCES, EPERM, EDQUOT are no error */
    OP_PROPAGATION,    /* n0: MS_* propagation flags, MS_REC included, for "/" */
    OP_LO_UP,          /* sets the loopback interface up */
    OP_HOSTNAME,       /* s0 */
    OP_DOMAINNAME,     /* s0 */

    /* --- the root file system --- */
    OP_ROOT,           /* s0: host path of the rootfs. Binds it onto itself (recursively) and makes it the root fd. ROOT_UNBOUND: no bind.
                          n0: MS_PRIVATE or MS_SLAVE for the mount it lies on, before that (pivot_root refuses a shared parent), or 0.
                          What OP_MOUNT and OP_BIND put on "/" later becomes the root fd */
    OP_MOUNT,          /* s0: fs type, s1: target in the root, s2: list of "key" or "key=value" for fsconfig ("source" included),
                          n0: MOUNT_ATTR_* , n1: MS_* propagation or 0, n2: the MS_* flags for mount(2) where the kernel or an
                          outer seccomp filter has no fsopen. MOUNT_*: see below. A missing target is made (0755) */
    OP_BIND,           /* s0: source in init's own view of the host, or fd: a detached tree; s1: target in the root;
                          n0/n1: MOUNT_ATTR_* to set/clear on the top mount, n2/n3: the same, recursively, n4: MS_* propagation or 0,
                          n5: what of n1 must not stay if it is locked;
                          fd2: user namespace of an idmapped mount. BIND_*: see below. A missing target becomes a directory or an
                          empty file, as the source is. Flags locked by a user namespace are kept rather than EPERM */
    OP_SETATTR,        /* s0: mount point in the root; n0/n1: MOUNT_ATTR_* to set/clear; n2: MS_* propagation or 0 */
    OP_DEVICE,         /* s0: path in the root, n0: S_IFMT | permissions, n1: dev_t, n2: uid, n3: gid. An equal node is accepted.
                          DEVICE_BIND: s1 (host path) is bound there instead */
    OP_SYMLINK,        /* s0: text, s1: path in the root. An existing entry is left alone. SYMLINK_REPLACE: it is removed first.
                          SYMLINK_SAME: it must be a symlink with the same text */
    OP_MASK,           /* s0: path in the root. A file gets /dev/null (checked to be 1:3), a directory a read-only tmpfs that
                          all masked directories share; ENOENT and ENOTDIR are no error */
    OP_READONLY,       /* s0: path in the root, bound onto itself and made read-only (not recursively); ENOENT is no error */
    OP_CONSOLE,        /* New pty from devpts of the root (s0: "/dev/pts/ptmx", none: the host's); n0: uid that owns it; n1: rows,
                          n2: columns (0: leave); s1: path that the slave is bound on, or none. Sends MSG_CONSOLE with the master,
                          waits for MSG_GO; setsid done before by OP_SETSID; the slave becomes the controlling tty and 0, 1, 2 */
    OP_PIVOT,          /* pivot_root onto the root fd, the old root unmounted. PIVOT_MOVE: MS_MOVE and chroot instead, after every
                          other proc and sysfs is unmounted (it would let a nested user namespace mount a full one) */
    OP_CHROOT,         /* fchdir to the root fd (or fd), chroot, chdir / */
    OP_MKDIR,          /* s0: directory in the root, made if missing, its parents too (0755) */
    OP_SYSCTL,         /* s0: path below /proc/sys with slashes, s1: value. Through the procfs that init opened when it started */
    OP_PROC_WRITE,     /* s0: path below /proc (as "self/attr/exec"), s1: value, s2: path to try first, or none */

    /* --- the process --- */
    OP_SCHEDULER,      /* s0: struct sched_attr, len */
    OP_IOPRIO,         /* n0: value for ioprio_set(IOPRIO_WHO_PROCESS, 0) */
    OP_AFFINITY,       /* s0: CPU mask, len */
    OP_MEMPOLICY,      /* n0: mode with flags, s0: node mask, len, n1: its number of bits */
    OP_PERSONALITY,    /* n0 */
    OP_UMASK,          /* n0 */
    OP_CHDIR,          /* s0. EACCES is kept for OP_CHDIR_CHECK; makes sure the directory lies inside the root */
    OP_CHDIR_CHECK,    /* after OP_IDS: does the kept chdir again, then getcwd must be absolute (CVE-2024-21626); s0 as before */
    OP_HOME,           /* n0: uid. Finds its home in the root's /etc/passwd ("/" if there is none) and adds HOME to the environment
                          of OP_EXEC; a file that is no regular one, or cannot be read, counts as missing */
    OP_EXEC_CHECK,     /* s0: list of candidate paths: the first that exists decides: ENOENT none, EACCES not executable by anyone */
    OP_READY,          /* Sends MSG_READY, waits for MSG_GO, closes the control socket, the plan and all of the table but fd */
    OP_WAIT_START,     /* fd: listening socket. Accepts a connection and reads one byte from it; later messages go to that
                          connection. A connection that ends without the byte is forgotten and the next one accepted.
                          TERM, INT, HUP, QUIT … end init as they would end a program (pid 1 has no default actions) */
    OP_FIX_STDIO,      /* n0: uid. fchown of those of 0, 1, 2 that are FIFOs, to that uid; never a device or a file */
    OP_BOUNDING,       /* n0: capabilities that stay in the bounding set */
    OP_IDS,            /* n0: uid, n1: gid, s0: supplementary gids as uint32_t[], len. IDS_NO_SETGROUPS: groups untouched.
                          Capabilities survive (PR_SET_KEEPCAPS), and what is permitted is effective again afterwards: a filter
                          without no_new_privs is installed between this and OP_CAPS */
    OP_CAPS,           /* n0: effective, n1: permitted, n2: inheritable, n3: ambient */
    OP_NO_NEW_PRIVS,
    OP_SECCOMP,        /* s0: struct sock_filter[], len, n0: SECCOMP_FILTER_FLAG_*. SECCOMP_NOTIFY: sends MSG_SECCOMP with the number
                          of the listener fd (by write(2), after the filter is on), waits for MSG_GO (by read(2)), closes it */
    OP_EXEC,           /* s0: list of candidate paths, s1: argv, n0: argc, s2: env, n1: envc. Tries them in order as execvp does; all
                          fds from n2 on are closed on exec; signals and their mask are reset */
    OP_COUNT
};

enum plan_flag {
    SETNS_TRY = 1,
    SETNS_RETRY = 2,
    RLIMIT_RAISE = 1,
    CGROUP_JOIN_BORN = 1,
    ROOT_UNBOUND = 1,         /* the mount namespace is not the container's: only a chroot follows */
    MOUNT_ORDINARY_DIR = 1,   /* /proc and /sys: the target must be a directory at exactly that path, no symlink (CVE-2019-19921) */
    MOUNT_TARGET_MODE = 2,    /* tmpfs without mode=: the mode of the existing target, sticky bits too (fsconfig mode=) */
    MOUNT_TMPCOPYUP = 4,      /* tmpfs that starts as a copy of what the target held */
    BIND_RECURSIVE = 1,
    BIND_IDMAP_RECURSIVE = 2,
    BIND_TARGET_FILE = 4,     /* with fd: the tree is a file, so a missing target becomes one */
    BIND_SOURCE_NOFOLLOW = 8, /* a source that is a symlink is mounted itself */
    BIND_TARGET_NOFOLLOW = 16, /* a target that is a symlink is mounted on itself */
    BIND_IDMAP_ASKED = 32,    /* no fd2: sends MSG_IDMAP with the tree, waits for MSG_GO: a user namespace may not map what it does not own */
    BIND_SOURCE_ASKED = 64,   /* no fd: sends MSG_SOURCE, takes the tree that comes with MSG_GO: for more trees than a process may hold */
    DEVICE_BIND = 1,
    SYMLINK_REPLACE = 1,
    SYMLINK_SAME = 2,
    PIVOT_MOVE = 1,
    IDS_NO_SETGROUPS = 1,
    SECCOMP_NOTIFY = 1
};

/* One message is one packet of this size, in both directions. */
enum plan_message {
    MSG_NONE = 0,
    MSG_CHILD,         /* first message of the child; the receiver takes its pid from SCM_CREDENTIALS */
    MSG_BARRIER,       /* number */
    MSG_GO,            /* number: of the barrier; of the op otherwise */
    MSG_CONSOLE,       /* number: op index; carries the pty's master fd */
    MSG_READY,         /* number: op index */
    MSG_SECCOMP,       /* number: op index; value: fd number of the listener in init */
    MSG_TIMING,        /* number: op index; detail: when it began and ended, uint64_t[2], nanoseconds of CLOCK_REALTIME */
    MSG_ERROR,         /* number: op index; value: errno; detail: what fsconfig's log or the failing path adds, may be empty */
    MSG_IDMAP,         /* number: op index; carries the tree of a bind mount whose ids are to be mapped */
    MSG_SOURCE         /* number: op index; MSG_GO carries the tree of a bind mount */
};

#define PLAN_DETAIL 112

struct plan_msg {
    uint32_t type;
    uint32_t number;
    int32_t value;
    uint32_t step;     /* MSG_ERROR: which system call of the op failed, one of plan_step */
    char detail[PLAN_DETAIL];
};

/* The name of the system call that failed, for MSG_ERROR; Python derives the words from these names. */
enum plan_step {
    STEP_NONE = 0, STEP_VERIFY, STEP_OPEN, STEP_OPEN_TARGET, STEP_OPEN_SOURCE, STEP_MKDIR, STEP_MKNOD, STEP_SYMLINK, STEP_UNLINK,
    STEP_READ, STEP_WRITE, STEP_STAT, STEP_CHMOD, STEP_CHOWN, STEP_COPY,
    STEP_FSOPEN, STEP_FSCONFIG, STEP_FSMOUNT, STEP_OPEN_TREE, STEP_MOVE_MOUNT, STEP_MOUNT_SETATTR, STEP_MOUNT, STEP_UMOUNT,
    STEP_PIVOT_ROOT, STEP_CHROOT, STEP_CHDIR, STEP_GETCWD,
    STEP_SETNS, STEP_UNSHARE, STEP_CLONE, STEP_SETSID, STEP_SETHOSTNAME, STEP_SETDOMAINNAME, STEP_SOCKET, STEP_IOCTL,
    STEP_SETGROUPS, STEP_SETGID, STEP_SETUID, STEP_CAPSET, STEP_PRCTL, STEP_SECCOMP, STEP_SETRLIMIT, STEP_SCHED_SETATTR,
    STEP_SCHED_SETAFFINITY, STEP_IOPRIO_SET, STEP_SET_MEMPOLICY, STEP_PERSONALITY, STEP_KEYCTL, STEP_DUP, STEP_EXECVE,
    STEP_ORDINARY_DIR, STEP_INSIDE_PROC, STEP_NOT_DEVNULL, STEP_OUTSIDE_ROOT, STEP_PROTOCOL,
    STEP_COUNT
};
