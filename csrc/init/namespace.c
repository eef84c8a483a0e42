/* Namespaces are joined, made and given names; the container's first process is cloned. */
#include "init.h"

#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/vfs.h>

#define NAMESPACES                                                                                                                         \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | (int)K_CLONE_NEWTIME)

/* setns needs CAP_SYS_ADMIN in the user namespace that owns the target. If that is the user namespace to be joined, it must be
 * joined first; if it is the host's, the target must be entered before. Which it is, is not known, so the plan tries before
 * (SETNS_TRY) and again after it (SETNS_RETRY). */
int op_setns(const struct plan_op *op) {
    if ((op->flags & SETNS_RETRY) != 0 && (self.setns_pending & op->setns.namespaces) == 0)
        return 0;
    self.setns_pending &= ~op->setns.namespaces;
    if (setns(op_fd(op->setns.file), (int)op->setns.namespaces) < 0) {
        if ((op->flags & SETNS_TRY) == 0 || errno != EPERM)
            return fail(STEP_SETNS);
        self.setns_pending |= op->setns.namespaces;
    }
    root_reset(); /* another mount namespace has another "/" */
    return 0;
}

int op_unshare(const struct plan_op *op) {
    return unshare((int)op->unshare.namespaces) < 0 ? fail(STEP_UNSHARE) : 0;
}

/* Offsets can be set only while no process is in a time namespace. unshare puts only later children into it, so this process sets
 * the offsets first and enters it then. */
int op_timens(const struct plan_op *op) {
    struct statfs fs;
    int fd;

    if (unshare((int)K_CLONE_NEWTIME) < 0)
        return fail(STEP_UNSHARE);
    if (op->timens.offsets.at != 0 && proc_write_own("self/timens_offsets", op_text(op->timens.offsets)) < 0)
        return -1;
    fd = openat(self.proc, "self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstatfs(fd, &fs) < 0)
        return fail(STEP_OPEN);
    if (fs.f_type != K_NSFS_MAGIC)
        return fail_errno(STEP_OPEN, EINVAL);
    if (setns(fd, (int)K_CLONE_NEWTIME) < 0)
        return fail(STEP_SETNS);
    close(fd);
    return 0;
}

/* In clone(2) the bit of CLONE_NEWTIME is part of the exit signal, so the time namespace is made by unshare. */
static long clone_old(unsigned long flags) {
    if ((flags & K_CLONE_NEWTIME) != 0 && unshare((int)K_CLONE_NEWTIME) < 0)
        return -1;
    return syscall(SYS_clone, (flags & ~K_CLONE_NEWTIME) | SIGCHLD, 0, 0, 0, 0);
}

/* Makes the child in its cgroup (CLONE_INTO_CGROUP). Moving a process into one takes a lock that waits for all forks and exits of
 * the machine. If this fails for any reason, OP_CGROUP_JOIN moves the child and reports its own error. */
static long clone_into(const struct plan_op *op, unsigned long flags) {
    struct k_clone_args args = {.flags = flags | K_CLONE_INTO_CGROUP, .cgroup = (uint64_t)op_fd(op->clone.cgroup)};
    long pid = op->clone.cgroup.slot < 0 ? -1 : syscall(NR_CLONE3, &args, sizeof args);

    self.born_in_cgroup = pid == 0;
    return pid;
}

static long clone_new(const struct plan_op *op, unsigned long flags) {
    struct k_clone_args args = {.flags = flags};
    long pid = clone_into(op, flags);

    if (pid < 0)
        pid = syscall(NR_CLONE3, &args, K_CLONE_ARGS_SIZE_1);
    return pid < 0 && unavailable(errno) ? clone_old(flags) : pid;
}

/* CLONE_PARENT: the child's parent is the runtime, not this process; the kernel then takes over this process's exit signal. */
int op_clone(const struct plan_op *op) {
    const unsigned long flags = (unsigned long)op->clone.namespaces | K_CLONE_PARENT;
    long pid;

    if ((op->clone.namespaces & ~(uint64_t)(unsigned)NAMESPACES) != 0)
        return fail_errno(STEP_CLONE, EINVAL);
    pid = (op->flags & CLONE_LAST) != 0 ? clone_old(flags) : clone_new(op, flags);
    if (pid < 0)
        return fail(STEP_CLONE);
    if (pid > 0)
        leave(0);
    root_reset();
    return send_message(MSG_CHILD, 0, 0, -1) < 0 ? fail(STEP_SOCKET) : 0;
}

int op_dumpable(const struct plan_op *op) {
    return prctl(PR_SET_DUMPABLE, op->dumpable.value, 0, 0, 0) < 0 ? fail(STEP_PRCTL) : 0;
}

int op_cgroup_join(const struct plan_op *op) {
    if ((op->flags & CGROUP_JOIN_BORN) != 0 && self.born_in_cgroup)
        return 0;
    return write(op_fd(op->cgroup_join.file), "0", 1) < 0 ? fail(STEP_WRITE) : 0;
}

int set_ids(uint64_t uid, uint64_t gid) {
    if (syscall(SYS_setresgid, gid, gid, gid) < 0)
        return fail(STEP_SETGID);
    return syscall(SYS_setresuid, uid, uid, uid) < 0 ? fail(STEP_SETUID) : 0;
}

int op_setid(const struct plan_op *op) {
    return set_ids(op->setid.uid, op->setid.gid);
}

int op_setsid(const struct plan_op *op) {
    (void)op;
    return setsid() < 0 ? fail(STEP_SETSID) : 0;
}

/* Without keyrings in the kernel, or without the right or the quota for one, the container keeps the caller's. */
int op_keyring(const struct plan_op *op) {
    if (syscall(SYS_keyctl, K_KEYCTL_JOIN_SESSION_KEYRING, op->keyring.name.at != 0 ? op_text(op->keyring.name) : NULL, 0, 0, 0) >= 0)
        return 0;
    return errno == ENOSYS || errno == EACCES || errno == EPERM || errno == EDQUOT ? 0 : fail(STEP_KEYCTL);
}

int op_lo_up(const struct plan_op *op) {
    struct ifreq lo = {.ifr_name = "lo"};
    int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    (void)op;
    if (sock < 0)
        return fail(STEP_SOCKET);
    if (ioctl(sock, SIOCGIFFLAGS, &lo) < 0)
        return fail(STEP_IOCTL);
    lo.ifr_flags |= IFF_UP;
    if (ioctl(sock, SIOCSIFFLAGS, &lo) < 0)
        return fail(STEP_IOCTL);
    close(sock);
    return 0;
}

int op_hostname(const struct plan_op *op) {
    return sethostname(op_text(op->hostname.name), strlen(op_text(op->hostname.name))) < 0 ? fail(STEP_SETHOSTNAME) : 0;
}

int op_domainname(const struct plan_op *op) {
    return setdomainname(op_text(op->domainname.name), strlen(op_text(op->domainname.name))) < 0 ? fail(STEP_SETDOMAINNAME) : 0;
}
