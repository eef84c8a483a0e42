/* init: the static program that carries out a plan (csrc/plan.h). One process, one thread, no heap.
 *
 * Conventions: an op returns 0, or -1 after fail(), which keeps errno and the step for MSG_ERROR. Init ends after the first
 * error, so an op that fails cleans nothing up; an op that succeeds closes what it opened. */
#ifndef INIT_H
#define INIT_H

#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "../plan.h"

struct init {
    const struct plan_header *plan;
    const struct plan_op *ops;
    const char *strings;
    uint32_t index;          /* of the current op */
    int timed;               /* MSG_TIMING is wanted */
    int table[PLAN_MAX_FDS]; /* slot -> fd, -1 once closed */
    int out;                 /* where messages go: the control socket, later the accepted start connection */
    int start_unread;        /* the byte that came on it has not been read */
    int proc;                /* O_PATH fd of the host's /proc, -1 if there is none */
    int proc_kept;           /* proc stays open until execve (cloexec_from needs it) */
    int root;                /* O_PATH fd of what is "/" for paths in the root, -1: not opened yet */
    int views[2];            /* what is mounted on /proc and on /sys, -1: nothing yet */
    int mask_file, mask_dir; /* mounts that later masks are clones of, -1: none yet */
    int born_in_cgroup;      /* OP_CLONE has made this process in its cgroup: CGROUP_JOIN_BORN has nothing to do */
    uint64_t setns_pending;  /* kinds (CLONE_NEW*) whose setns waits for SETNS_RETRY */
    int chdir_pending;       /* OP_CHDIR met EACCES */
    enum plan_step step;     /* of MSG_ERROR, as error and detail */
    int error;
    char detail[PLAN_DETAIL];
};

extern struct init self;

typedef int op_function(const struct plan_op *op);

/* An operand of an op, which plan.h declares as a member of its struct: the text ("" for none) or the first of the strings, the
 * data (NULL for none), the fd in a slot (-1 for none). */
#define op_text(operand) (self.strings + (operand).at)
#define op_data(operand) ((operand).at != 0 ? (const void *)op_text(operand) : NULL)
/* The op with this number, which must be in the current part of the plan; the number after its last op. */
#define op_at(number) (&self.ops[(number) - self.plan->first_op])
#define plan_end() (self.plan->first_op + self.plan->op_count)
/* Of a part, in bytes. */
#define plan_size(plan) (sizeof *(plan) + (uint64_t)(plan)->op_count * sizeof(struct plan_op) + (plan)->string_size)
#define op_fd(operand) ((operand).slot < 0 ? -1 : self.table[(operand).slot])

/* plan_table.c, which the build makes of plan.h: what runs each op, and what verify.c holds its record to */
enum operand_kind { PLAN_TEXT, PLAN_OPTIONAL, PLAN_LIST, PLAN_STRINGS, PLAN_BYTES, PLAN_GIDS, PLAN_FILTER, PLAN_FD, PLAN_OPTIONAL_FD };
struct operand {
    unsigned char at; /* its place in struct plan_op */
    unsigned char kind;
};
struct op_type {
    op_function *run;
    const struct operand *operands;
    unsigned operand_count;
    uint16_t flags; /* those allowed */
};
extern const struct op_type op_types[OP_COUNT];

/* verify.c */
int verify_plan(const void *data, size_t size, uint32_t first_op);

/* main.c: a plan, or a part of one, from a file; becomes the current one */
int map_plan(int fd, uint32_t first_op);

/* barrier.c */
int read_start(void);

/* message.c */
int fail(enum plan_step step);
int fail_errno(enum plan_step step, int error);
int fail_path(enum plan_step step, const char *path);
void add_detail(const char *text);
int send_message(uint32_t type, uint32_t number, int32_t value, int passed_fd);
int await_go(uint32_t number);
int await_go_fd(uint32_t number);
int await_rest(int files[PLAN_PASSED], uint32_t *more);
void send_timing(uint64_t begin);
uint64_t now(void);
void report_and_exit(uint32_t index) __attribute__((noreturn));
void leave(int code) __attribute__((noreturn));

/* text.c: in place of snprintf */
char *put_text(char *at, const char *end, const char *text);
char *put_number(char *at, const char *end, unsigned long number, unsigned base);
int get_number(const char *text);

/* proc.c: the host's procfs. fd_path: "self/fd/N", to be used relative to self.proc */
void proc_init(void);
void proc_uncover(void);
int proc_open(const char *path, int flags);
int proc_write(const char *path, const char *value);
int proc_write_own(const char *path, const char *value);
int proc_open_fd(int fd, int flags);
const char *fd_path(int fd, char buffer[32]);
int cloexec_from(int first);

/* path.c: paths in the root, always to an O_PATH fd; 0 or an fd, or -1 and errno */
int root_fd(void);
void root_reset(void);
int is_root(int fd);
int root_cover(int mount);
int top_open(const char *path, int target);
int path_open(const char *path, int flags);
int path_open_plain(const char *path);
int path_open_symlink(const char *path);
int path_target(const char *path, mode_t type, mode_t mode, int *made);
int path_parent(const char *path, char name[256]);

/* view.c: the kernel's own file systems in the root */
int hides_proc(const char *path, int target);
int view_keep(const char *path, int mount);
int view_path_open(const char *path);
void views_close(void);
int unavailable(int error);

/* tree.c: mounts as fds */
int tree_clone(int dir, const char *path, int recursive);
int tree_clone_symlink(const char *path, int recursive);
int tree_attach(int tree, int target);
int tree_changes_detached(int tree);
int tree_setattr(int tree, uint64_t set, uint64_t clear, int recursive);
int tree_remount(int tree, uint64_t set, uint64_t clear);
uint64_t tree_restrictions(int tree);
int tree_restricts(int tree, uint64_t set, uint64_t clear, int times);
int tree_set_attached(int tree, uint64_t set, uint64_t clear);
int tree_propagation(int tree, uint64_t flags);
int old_mount(const char *source, int target, const char *type, unsigned long flags, const char *data);

/* fscontext.c */
int fs_open(const char *type);
int fs_option(int fs, const char *option);
int fs_set(int fs, const char *key, const char *value);
int fs_create(int fs);
int fs_mount(int fs, uint64_t attr);

/* copy.c */
int copy_tree(int from, int to);

/* nopivot.c */
int unmount_kernel_views(void);

/* namespace.c: setresgid, setresuid */
int set_ids(uint64_t uid, uint64_t gid);

/* home.c: "HOME=…" for the environment, NULL if OP_HOME was not in the plan */
const char *home_text(void);

/* exec.c: the part of OP_EXEC that is done before a seccomp filter is on */
int exec_prepare(void);

/* signals.c */
void signals_init(void);

op_function op_setns, op_oom_score_adj, op_rlimit, op_clone, op_rest, op_barrier, op_dumpable, op_cgroup_join, op_unshare, op_timens,
    op_setid, op_setsid, op_keyring, op_propagation, op_lo_up, op_hostname, op_domainname, op_root, op_mount, op_bind, op_setattr,
    op_device, op_symlink, op_mask, op_readonly, op_console, op_ctty, op_pivot, op_chroot, op_mkdir, op_sysctl, op_proc_write, op_scheduler,
    op_ioprio, op_affinity, op_mempolicy, op_personality, op_umask, op_chdir, op_chdir_check, op_home, op_exec_check, op_ready,
    op_wait_start, op_close, op_fix_stdio, op_bounding, op_ids, op_caps, op_no_new_privs, op_seccomp, op_exec;

#endif
