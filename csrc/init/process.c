/* The attributes of the user's process. */
#include "init.h"

#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>

int op_rlimit(const struct plan_op *op) {
    uint64_t wanted[2] = {op->rlimit.soft, op->rlimit.hard}, present[2];

    if ((op->flags & RLIMIT_RAISE) != 0) {
        if (syscall(SYS_prlimit64, 0, op->rlimit.resource, NULL, present) < 0)
            return fail(STEP_SETRLIMIT);
        if (present[1] >= op->rlimit.hard)
            return 0;
        wanted[0] = present[0];
    }
    return syscall(SYS_prlimit64, 0, op->rlimit.resource, wanted, NULL) < 0 ? fail(STEP_SETRLIMIT) : 0;
}

int op_scheduler(const struct plan_op *op) {
    return syscall(SYS_sched_setattr, 0, op_data(op->scheduler.attributes), 0) < 0 ? fail(STEP_SCHED_SETATTR) : 0;
}

int op_ioprio(const struct plan_op *op) {
    return syscall(SYS_ioprio_set, K_IOPRIO_WHO_PROCESS, 0, op->ioprio.priority) < 0 ? fail(STEP_IOPRIO_SET) : 0;
}

int op_affinity(const struct plan_op *op) {
    return syscall(SYS_sched_setaffinity, 0, op->affinity.cpus.size, op_data(op->affinity.cpus)) < 0 ? fail(STEP_SCHED_SETAFFINITY) : 0;
}

int op_mempolicy(const struct plan_op *op) {
    if (op->mempolicy.bits > (uint64_t)op->mempolicy.nodes.size * 8)
        return fail_errno(STEP_SET_MEMPOLICY, EINVAL);
    return syscall(SYS_set_mempolicy, op->mempolicy.policy, op_data(op->mempolicy.nodes), op->mempolicy.bits) < 0 ? fail(STEP_SET_MEMPOLICY)
                                                                                                                  : 0;
}

int op_personality(const struct plan_op *op) {
    return personality((unsigned long)op->personality.persona) < 0 ? fail(STEP_PERSONALITY) : 0;
}

int op_umask(const struct plan_op *op) {
    umask((mode_t)op->umask.mask);
    return 0;
}

/* getcwd(2) gives "(unreachable)…" for a directory outside the root, which a path like /proc/self/fd/7 can lead to
 * (CVE-2024-21626). */
static int check_inside(void) {
    char path[4096];

    if (syscall(SYS_getcwd, path, sizeof path) < 0)
        return fail(STEP_GETCWD);
    return path[0] == '/' ? 0 : fail_errno(STEP_OUTSIDE_ROOT, ENOENT);
}

/* A directory may be closed to root (NFS with root_squash, FUSE) and open to the user, or the other way round. This is tried as
 * root; after EACCES, OP_CHDIR_CHECK tries again as the user. */
int op_chdir(const struct plan_op *op) {
    if (chdir(op_text(op->chdir.path)) == 0)
        return check_inside();
    if (errno != EACCES)
        return fail(STEP_CHDIR);
    self.chdir_pending = 1;
    return 0;
}

int op_chdir_check(const struct plan_op *op) {
    if (self.chdir_pending && chdir(op_text(op->chdir_check.path)) < 0)
        return fail(STEP_CHDIR);
    return check_inside();
}

/* Pipes as stdio are given to the container's user, so that it can open /dev/stdout again. Devices and files are the host's:
 * their owner stays. */
int op_fix_stdio(const struct plan_op *op) {
    struct stat st;

    for (int fd = 0; fd < 3; fd++) {
        if (fstat(fd, &st) < 0 || !S_ISFIFO(st.st_mode) || st.st_uid == op->fix_stdio.uid)
            continue;
        /* No errors: somebody else's pipe (EPERM), a uid without mapping (EINVAL), a FIFO on a read-only mount (EROFS). */
        if (fchown(fd, (uid_t)op->fix_stdio.uid, (gid_t)-1) < 0 && errno != EPERM && errno != EINVAL && errno != EROFS)
            return fail(STEP_CHOWN);
    }
    return 0;
}

/* Up to the last capability that the kernel knows: PR_CAPBSET_READ of the next one fails (EINVAL). */
int op_bounding(const struct plan_op *op) {
    for (unsigned long cap = 0; cap < 64; cap++) {
        int present = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);
        if (present < 0)
            return 0;
        if (present > 0 && (op->bounding.kept_caps >> cap & 1) == 0 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            return fail(STEP_PRCTL);
    }
    return 0;
}

static int get_caps(struct k_cap_data data[2]) {
    struct k_cap_header header = {.version = K_CAPABILITY_VERSION_3};

    return (int)syscall(SYS_capget, &header, data);
}

static int set_caps(const struct k_cap_data data[2]) {
    struct k_cap_header header = {.version = K_CAPABILITY_VERSION_3};

    return (int)syscall(SYS_capset, &header, data);
}

/* In a user namespace setgroups may be denied for ever (/proc/PID/setgroups, user_namespaces(7)). That is an error only if the
 * config has groups to set. */
static int set_groups(const struct plan_op *op) {
    if (syscall(SYS_setgroups, op->ids.gids.size / 4, op_data(op->ids.gids)) == 0)
        return 0;
    return errno == EPERM && op->ids.gids.size == 0 ? 0 : fail(STEP_SETGROUPS);
}

/* With PR_SET_KEEPCAPS a change from uid 0 to another keeps the permitted capabilities but clears the effective ones; they are set
 * again for the ops that follow. execve clears PR_SET_KEEPCAPS. */
int op_ids(const struct plan_op *op) {
    struct k_cap_data caps[2];

    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        return fail(STEP_PRCTL);
    if ((op->flags & IDS_NO_SETGROUPS) == 0 && set_groups(op) < 0)
        return -1;
    if (set_ids(op->ids.uid, op->ids.gid) < 0)
        return -1;
    if (get_caps(caps) < 0)
        return fail(STEP_CAPSET);
    caps[0].effective = caps[0].permitted;
    caps[1].effective = caps[1].permitted;
    return set_caps(caps) < 0 ? fail(STEP_CAPSET) : 0;
}

/* An ambient capability that cannot be raised is left out; the runtime has warned of it when it made the plan. */
int op_caps(const struct plan_op *op) {
    const struct k_cap_data caps[2] = {
        {(uint32_t)op->caps.effective, (uint32_t)op->caps.permitted, (uint32_t)op->caps.inheritable},
        {(uint32_t)(op->caps.effective >> 32), (uint32_t)(op->caps.permitted >> 32), (uint32_t)(op->caps.inheritable >> 32)},
    };

    if (set_caps(caps) < 0)
        return fail(STEP_CAPSET);
    if (prctl(K_PR_CAP_AMBIENT, K_PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
        return fail(STEP_PRCTL);
    for (unsigned long cap = 0; cap < 64; cap++)
        if ((op->caps.ambient >> cap & 1) != 0)
            prctl(K_PR_CAP_AMBIENT, K_PR_CAP_AMBIENT_RAISE, cap, 0, 0);
    return 0;
}
