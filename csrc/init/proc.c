/* The host's procfs, opened when init starts. What init writes there cannot go to a file of the container that pretends to be one
 * of /proc (CVE-2019-16884, CVE-2025-52881). Relative to it, "self/fd/N" is a path of an fd for mount(2) and open(2), even
 * after pivot_root and in a container without /proc. */
#include "init.h"

#include <string.h>
#include <sys/prctl.h>
#include <sys/vfs.h>

/* A procfs that is mounted nowhere, so that nothing can lie on its files. -1 where the caller may not have one: on an old
 * kernel, or in a user namespace that sees none that is whole. */
static int proc_detached(void) {
    int fs = fs_open("proc");
    int mount = -1;

    if (fs >= 0 && sys_fsconfig(fs, K_FSCONFIG_CMD_CREATE, NULL, NULL) == 0)
        mount = (int)syscall(NR_FSMOUNT, fs, K_FSMOUNT_CLOEXEC, K_ATTR_NOSUID | K_ATTR_NODEV | K_ATTR_NOEXEC);
    close(fs);
    return mount;
}

static void use_detached(void) {
    int fd = proc_detached();

    if (fd < 0)
        return;
    close(self.proc);
    self.proc = fd;
}

/* The caller's /proc serves, and takes no time to make, unless it is none or can't be written to. */
void proc_init(void) {
    struct statfs fs;
    int fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0 && fstatfs(fd, &fs) == 0 && fs.f_type == K_PROC_SUPER_MAGIC)
        self.proc = fd;
    if (self.proc < 0 || (fs.f_flags & K_ST_RDONLY) != 0)
        use_detached();
}

const char *fd_path(int fd, char buffer[32]) {
    put_number(put_text(buffer, buffer + 32, "self/fd/"), buffer + 32, (unsigned long)fd, 10);
    return buffer;
}

/* For kernels without openat2: the file must have the same st_dev as procfs, else something is mounted over it. */
static int open_checked(const char *path, int flags) {
    struct stat proc, file;
    int fd = openat(self.proc, path, flags | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &file) < 0 || fstat(self.proc, &proc) < 0)
        return -1;
    if (file.st_dev != proc.st_dev) {
        errno = EXDEV;
        return -1;
    }
    return fd;
}

/* Opens a file of procfs; fails (EXDEV) if something is mounted over it. */
int proc_open(const char *path, int flags) {
    struct k_open_how how = {
        .flags = (uint64_t)(flags | O_CLOEXEC),
        .resolve = K_RESOLVE_BENEATH | K_RESOLVE_NO_XDEV | K_RESOLVE_NO_MAGICLINKS,
    };
    int fd;

    if (self.proc < 0) {
        errno = ENOENT;
        return -1;
    }
    fd = (int)syscall(NR_OPENAT2, self.proc, path, &how, sizeof how);
    if (fd < 0 && unavailable(errno))
        fd = open_checked(path, flags);
    return fd;
}

/* The path in procfs of the file that OP_SYSCTL names. */
static int sysctl_file(const struct plan_op *op, char *path, size_t room) {
    const char *end = path + room;

    if (strstr(op_text(op->sysctl.path), "..") != NULL) /* no sysctl has such a name; the rest of procfs must not be reached */
        return fail_errno(STEP_OPEN, EINVAL);
    if (put_text(put_text(path, end, "sys/"), end, op_text(op->sysctl.path)) + 1 == end)
        return fail_errno(STEP_OPEN, ENAMETOOLONG);
    return 0;
}

/* Does something that the caller has mounted lie over a sysctl of the plan, a read-only /proc/sys of a container for instance? */
static int is_covered(const struct plan_op *op) {
    char path[512];
    int fd;

    if (op->op != OP_SYSCTL || sysctl_file(op, path, sizeof path) < 0)
        return 0;
    fd = proc_open(path, O_PATH);
    if (fd < 0)
        return errno == EXDEV;
    close(fd);
    return 0;
}

/* While init still has the rights of the caller. */
void proc_uncover(void) {
    for (uint32_t i = self.plan->first_op; i < plan_end(); i++)
        if (is_covered(op_at(i))) {
            use_detached();
            return;
        }
}

int proc_write(const char *path, const char *value) {
    int fd = proc_open(path, O_WRONLY);

    if (fd < 0)
        return fail(STEP_OPEN);
    if (write(fd, value, strlen(value)) < 0)
        return fail(STEP_WRITE);
    close(fd);
    return 0;
}

/* An fd to read or write what the O_PATH `fd` names. */
int proc_open_fd(int fd, int flags) {
    char name[32];

    return openat(self.proc, fd_path(fd, name), flags | O_CLOEXEC);
}

static int cloexec_listed(int first) {
    _Alignas(struct k_dirent) char entries[1024];
    long size;
    int dir = proc_open("self/fd", O_RDONLY | O_DIRECTORY);

    if (dir < 0)
        return -1;
    while ((size = syscall(SYS_getdents64, dir, entries, sizeof entries)) > 0)
        for (long at = 0; at < size;) {
            const struct k_dirent *entry = (const void *)(entries + at);
            if (entry->name[0] != '.' && get_number(entry->name) >= first)
                fcntl(get_number(entry->name), F_SETFD, FD_CLOEXEC);
            at += entry->size;
        }
    close(dir);
    return (int)size;
}

/* Sets close-on-exec on every open fd from `first` on. Kernels without close_range, or without its flag CLOEXEC (before 5.11), need
 * the list in procfs, which must stay open for it. */
int cloexec_from(int first) {
    if (syscall(NR_CLOSE_RANGE, first, ~0U, K_CLOSE_RANGE_CLOEXEC) == 0)
        return 0;
    self.proc_kept = 1;
    return cloexec_listed(first);
}

/* While init is not dumpable, its files in /proc/self belong to the host's root. An init that is not root there has to be dumpable
 * for the moment of opening them. */
int proc_write_own(const char *path, const char *value) {
    int written = proc_write(path, value);

    if (written == 0 || self.error != EACCES)
        return written;
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    written = proc_write(path, value);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    return written;
}

int op_oom_score_adj(const struct plan_op *op) {
    return proc_write_own("self/oom_score_adj", op_text(op->oom_score_adj.score));
}

int op_sysctl(const struct plan_op *op) {
    char path[512];

    return sysctl_file(op, path, sizeof path) < 0 ? -1 : proc_write(path, op_text(op->sysctl.value));
}

int op_proc_write(const struct plan_op *op) {
    const char *preferred = op_text(op->proc_write.preferred);

    if (*preferred != '\0') {
        if (proc_write(preferred, op_text(op->proc_write.value)) == 0)
            return 0;
        if (self.step != STEP_OPEN || self.error != ENOENT)
            return -1;
    }
    return proc_write(op_text(op->proc_write.path), op_text(op->proc_write.value));
}
