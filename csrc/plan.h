/* The plan: what init executes, and what it answers. This is the only declaration of both.
 *
 * init includes this file. The build reads it with cffi and makes two things of it: the table by which init verifies
 * a plan (plan_table.c), and the methods by which Python writes one (pyrun/plan/_ops.py), such as
 * plan.hostname(where, subject, name="box"). So an op is declared here once: its number below in plan_opcode, its
 * operands as the members of its struct, its flags in plan_flag, named after it.
 *
 * A plan is one block of flat data:   plan_header | plan_op[op_count] | string area (string_size bytes)
 * Offset 0 of the string area is the empty string and means "none"; its last byte is a NUL.
 *
 * Files: init starts with stdio on 0, 1, 2, the files the user's program shall keep on 3 .. first-1, and the plan's
 * table on first .. first+fd_count-1. Slot 0 of the table is the control socket (SOCK_SEQPACKET), slot 1 the plan.
 *
 * A plan may come in two parts, so that init makes the namespaces while the runtime still compiles what follows: OP_REST is the
 * last op of the first part, and takes the second. Ops and slots are numbered through; the second part has the strings of both. */

#define PLAN_MAGIC 0x4e555259
#define PLAN_VERSION 3
#define PLAN_MAX_FDS 1024
/* How many files one message may carry. */
#define PLAN_PASSED 64
/* MSG_TIMING follows each op that has run, until OP_READY or OP_SECCOMP. */
#define PLAN_TIMED 1

struct plan_header {
    uint32_t magic;
    uint32_t version;
    uint32_t op_count;
    uint32_t string_size;
    uint32_t first_op; /* the number of its first op */
    uint16_t fd_count; /* slots, those of the part before too */
    uint16_t flags;    /* PLAN_TIMED */
};

/* --- kinds of operands: the type of a member says what verify.c holds it to ------------------------------------------- */

struct plan_text { uint32_t at; };               /* a string that is not empty */
struct plan_optional { uint32_t at; };           /* a string, or none */
struct plan_list { uint32_t at; };               /* strings that are not empty, ended by an empty one */
struct plan_strings { uint32_t at, count; };     /* any strings, one after the other */
struct plan_bytes { uint32_t at, size; };        /* binary data, 8-aligned as the next two are, or none */
struct plan_gids { uint32_t at, size; };         /* uint32_t[] */
struct plan_filter { uint32_t at, size; };       /* struct sock_filter[] */
struct plan_fd { int32_t slot; };                /* an open file: a slot of the table */
struct plan_optional_fd { int32_t slot; };       /* the same, -1 for none */
/* Numbers are uint64_t. The names of some say how they are to be read: `namespaces` is a mask of CLONE_NEW*, `attr_…` of
 * MOUNT_ATTR_*, `propagation` and `ms_flags` of MS_* (these may be left out in Python: 0), `mode` of S_IF* and permissions. */

/* --- ops -------------------------------------------------------------------------------------------------------------
 *
 * Every path that init resolves "in the root" is resolved with openat2(RESOLVE_IN_ROOT) below the root fd, to an fd,
 * and used by that fd. OP_ROOT sets the root fd; OP_PIVOT and OP_CHROOT make it "/". Before OP_ROOT the root is "/".
 *
 * Without operands, and so without a struct: OP_REST (waits for MSG_REST: the rest of the plan), OP_SETSID, OP_LO_UP (sets the loopback interface up),
 * OP_CTTY (stdin becomes the controlling terminal; OP_SETSID comes before), OP_PIVOT, OP_CLOSE (of init's own all but the control
 * socket: no later op may use one), OP_NO_NEW_PRIVS. */

enum plan_opcode {
    OP_NONE = 0,
    /* first stage, in the caller's namespaces */
    OP_SETNS, OP_OOM_SCORE_ADJ, OP_RLIMIT, OP_CLONE, OP_REST,
    /* set-up */
    OP_BARRIER, OP_DUMPABLE, OP_CGROUP_JOIN, OP_UNSHARE, OP_TIMENS, OP_SETID, OP_SETSID, OP_KEYRING, OP_PROPAGATION, OP_LO_UP,
    OP_HOSTNAME, OP_DOMAINNAME,
    /* the root file system */
    OP_ROOT, OP_MOUNT, OP_BIND, OP_SETATTR, OP_DEVICE, OP_SYMLINK, OP_MASK, OP_READONLY, OP_CONSOLE, OP_CTTY, OP_PIVOT, OP_CHROOT,
    OP_MKDIR, OP_SYSCTL, OP_PROC_WRITE,
    /* the process */
    OP_SCHEDULER, OP_IOPRIO, OP_AFFINITY, OP_MEMPOLICY, OP_PERSONALITY, OP_UMASK, OP_CHDIR, OP_CHDIR_CHECK, OP_HOME, OP_EXEC_CHECK,
    OP_READY, OP_WAIT_START, OP_CLOSE, OP_FIX_STDIO, OP_BOUNDING, OP_IDS, OP_CAPS, OP_NO_NEW_PRIVS, OP_SECCOMP, OP_EXEC,
    OP_COUNT
};

/* setns(2). file: an nsfd or a pidfd. SETNS_TRY: EPERM is kept for a later SETNS_RETRY of the same namespaces. */
struct op_setns { struct plan_fd file; uint64_t namespaces; };

/* Written to oom_score_adj of init itself, and inherited by what it clones. score: the number as text. */
struct op_oom_score_adj { struct plan_text score; };

/* RLIMIT_RAISE: only lifts the hard limit if it is lower. */
struct op_rlimit { uint64_t resource, soft, hard; };

/* clone3 with CLONE_PARENT: the rest of the plan is the child's; the child sends MSG_CHILD, the process that cloned it exits 0.
 * cgroup: a directory of cgroup v2 that the child begins in (CLONE_INTO_CGROUP), as far as the kernel can do that.
 * CLONE_LAST: by clone(2), for a filter may be on already, and can see the flags of that. */
struct op_clone { struct plan_optional_fd cgroup; uint64_t namespaces; };

/* Sends MSG_BARRIER, waits for MSG_GO with the same number; anything else ends init. */
struct op_barrier { uint64_t number; };

/* PR_SET_DUMPABLE. init is not dumpable from its first instruction on (CVE-2016-9962). */
struct op_dumpable { uint64_t value; };

/* Writes "0" to an open cgroup.procs, or tasks of v1. path: its name, for people. CGROUP_JOIN_BORN: only if OP_CLONE could
 * not do it. */
struct op_cgroup_join { struct plan_fd file; struct plan_optional path; };

struct op_unshare { uint64_t namespaces; };

/* unshare(CLONE_NEWTIME), then the offsets (the text for timens_offsets), then setns into it. */
struct op_timens { struct plan_optional offsets; };

/* setresgid, setresuid. Supplementary groups are kept: they may open mount sources. */
struct op_setid { uint64_t uid, gid; };

/* A new session keyring of this name. ENOSYS, EACCES, EPERM, EDQUOT are no error. */
struct op_keyring { struct plan_optional name; };

/* Of "/", and with MS_REC of all below. */
struct op_propagation { uint64_t propagation; };

struct op_hostname { struct plan_optional name; };
struct op_domainname { struct plan_optional name; };

/* Binds the rootfs (a path on the host) onto itself, recursively, and makes it the root fd. ROOT_UNBOUND: no bind.
 * parent_propagation: MS_PRIVATE or MS_SLAVE for the mount it lies on, before that (pivot_root refuses a shared parent), or 0.
 * What OP_MOUNT and OP_BIND put on "/" later becomes the root fd. */
struct op_root { struct plan_text path; uint64_t parent_propagation; };

/* options: "key" or "key=value" for fsconfig, "source" included. ms_flags: for mount(2), where the kernel or an outer seccomp
 * filter has no fsopen. A missing target is made (0755). */
struct op_mount {
    struct plan_text type, target;
    struct plan_list options;
    uint64_t attr_set, propagation, ms_flags;
};

/* source: a path in init's own view of the host; none where `tree`, a detached tree, is given. attr_…: of the top mount;
 * attr_…_below: of all of the tree. attr_named: what of attr_clear must not stay if it is locked. userns: of an idmapped
 * mount. A missing target becomes a directory or an empty file, as the source is. Flags that a user namespace has locked are
 * kept rather than EPERM. */
struct op_bind {
    struct plan_optional source;
    struct plan_text target;
    struct plan_optional_fd tree, userns;
    uint64_t attr_set, attr_clear, attr_set_below, attr_clear_below, propagation, attr_named;
};

/* Of a mount point in the root. */
struct op_setattr {
    struct plan_text target;
    uint64_t attr_set, attr_clear, propagation;
};

/* A node of this mode and number in the root. An equal node is accepted. DEVICE_BIND: `source`, a path on the host, is
 * bound there instead. */
struct op_device {
    struct plan_text path;
    struct plan_optional source;
    uint64_t mode, device, uid, gid;
};

/* An existing entry is left alone. SYMLINK_REPLACE: it is removed first. SYMLINK_SAME: it must be a symlink with the same
 * text. */
struct op_symlink { struct plan_text text, path; };

/* A file gets /dev/null (checked to be 1:3), a directory a read-only tmpfs that all masked directories share. ENOENT and
 * ENOTDIR are no error. */
struct op_mask { struct plan_text path; };

/* Bound onto itself and made read-only (not recursively). ENOENT is no error. */
struct op_readonly { struct plan_text path; };

/* A new pty from devpts of the root ("/dev/pts/ptmx"; none: the host's). uid: who owns it. rows, columns: 0 leaves them.
 * bind: where the slave is bound, or none. Sends MSG_CONSOLE with the master, waits for MSG_GO. The slave becomes 0, 1, 2. */
struct op_console {
    struct plan_optional ptmx, bind;
    uint64_t uid, rows, columns;
};

/* OP_PIVOT: pivot_root onto the root fd, the old root unmounted. PIVOT_MOVE: MS_MOVE and chroot instead, after every other proc and
 * sysfs is unmounted (it would let a nested user namespace mount a full one). */

/* fchdir to `root`, or to the root fd, chroot, chdir /. */
struct op_chroot { struct plan_optional_fd root; };

/* A directory in the root, made if missing, its parents too (0755). */
struct op_mkdir { struct plan_text path; };

/* path: below /proc/sys, with slashes. Through the procfs that init opened when it started. */
struct op_sysctl { struct plan_text path; struct plan_optional value; };

/* path: below /proc, as "self/attr/exec". preferred: the path that is tried first, or none. */
struct op_proc_write { struct plan_text path; struct plan_optional value, preferred; };

/* attributes: struct sched_attr. */
struct op_scheduler { struct plan_bytes attributes; };

/* For ioprio_set(IOPRIO_WHO_PROCESS, 0). */
struct op_ioprio { uint64_t priority; };

/* cpus: a mask. */
struct op_affinity { struct plan_bytes cpus; };

/* policy: the mode with its flags. nodes: a mask. bits: its length. */
struct op_mempolicy { struct plan_bytes nodes; uint64_t policy, bits; };

struct op_personality { uint64_t persona; };
struct op_umask { uint64_t mask; };

/* EACCES is kept for OP_CHDIR_CHECK. Makes sure that the directory lies inside the root. */
struct op_chdir { struct plan_text path; };

/* After OP_IDS: does the kept chdir again, then getcwd must be absolute (CVE-2024-21626). */
struct op_chdir_check { struct plan_text path; };

/* Finds the home of a user id in the root's /etc/passwd ("/" if there is none) and adds HOME to the environment of OP_EXEC.
 * A file that is no regular one, or cannot be read, counts as missing. */
struct op_home { uint64_t uid; };

/* The first path that exists decides: ENOENT none, EACCES not executable by anyone. */
struct op_exec_check { struct plan_list candidates; };

/* Sends MSG_READY, waits for MSG_GO, closes the control socket, the plan and all of the table but `kept`. */
struct op_ready { struct plan_fd kept; };

/* socket: a listening one. Accepts a connection and reads one byte from it; later messages go to that connection. A
 * connection that ends without the byte is forgotten and the next one accepted. TERM, INT, HUP, QUIT … end init as they
 * would end a program (pid 1 has no default actions). */
struct op_wait_start { struct plan_fd socket; };

/* fchown of those of 0, 1, 2 that are FIFOs, to that uid; never a device or a file. */
struct op_fix_stdio { uint64_t uid; };

/* kept: the capabilities that stay in the bounding set. */
struct op_bounding { uint64_t kept_caps; };

/* gids: the supplementary ones. IDS_NO_SETGROUPS: they are untouched. Capabilities survive (PR_SET_KEEPCAPS), and what is
 * permitted is effective again afterwards: a filter without no_new_privs is installed between this and OP_CAPS. */
struct op_ids { struct plan_gids gids; uint64_t uid, gid; };

struct op_caps { uint64_t effective, permitted, inheritable, ambient; };

/* flags: SECCOMP_FILTER_FLAG_*. SECCOMP_NOTIFY: sends MSG_SECCOMP with the number of the listener fd (by write(2), after the
 * filter is on), waits for MSG_GO (by read(2)), closes it. */
struct op_seccomp { struct plan_filter filter; uint64_t filter_flags; };

/* Tries the candidates in order as execvp does. All fds from `first_closed` on are closed on exec; signals and their mask are
 * reset. Nothing comes after it. */
struct op_exec {
    struct plan_list candidates;
    struct plan_strings argv, env;
    uint64_t first_closed;
};

struct plan_op {
    uint16_t op;
    uint16_t flags; /* of plan_flag */
    union {
        struct op_setns setns;
        struct op_oom_score_adj oom_score_adj;
        struct op_rlimit rlimit;
        struct op_clone clone;
        struct op_barrier barrier;
        struct op_dumpable dumpable;
        struct op_cgroup_join cgroup_join;
        struct op_unshare unshare;
        struct op_timens timens;
        struct op_setid setid;
        struct op_keyring keyring;
        struct op_propagation propagation;
        struct op_hostname hostname;
        struct op_domainname domainname;
        struct op_root root;
        struct op_mount mount;
        struct op_bind bind;
        struct op_setattr setattr;
        struct op_device device;
        struct op_symlink symlink;
        struct op_mask mask;
        struct op_readonly readonly;
        struct op_console console;
        struct op_chroot chroot;
        struct op_mkdir mkdir;
        struct op_sysctl sysctl;
        struct op_proc_write proc_write;
        struct op_scheduler scheduler;
        struct op_ioprio ioprio;
        struct op_affinity affinity;
        struct op_mempolicy mempolicy;
        struct op_personality personality;
        struct op_umask umask;
        struct op_chdir chdir;
        struct op_chdir_check chdir_check;
        struct op_home home;
        struct op_exec_check exec_check;
        struct op_ready ready;
        struct op_wait_start wait_start;
        struct op_fix_stdio fix_stdio;
        struct op_bounding bounding;
        struct op_ids ids;
        struct op_caps caps;
        struct op_seccomp seccomp;
        struct op_exec exec;
    };
};

enum plan_flag {
    SETNS_TRY = 1,
    SETNS_RETRY = 2,
    RLIMIT_RAISE = 1,
    CLONE_LAST = 1,
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
    MSG_SOURCE,        /* number: op index; MSG_GO carries the tree of a bind mount */
    MSG_REST           /* to init. number: how many files will follow those that it carries; the first of all is the part, the others its files */
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
