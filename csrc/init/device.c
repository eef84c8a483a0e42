/* Nodes, directories and symlinks in the root, each made in a parent directory that is held by fd (CVE-2026-41579). */
#include "init.h"

#include <string.h>
#include <sys/sysmacros.h>

static int chmod_fd(int fd, mode_t mode) {
    char name[32];

    if (syscall(NR_FCHMODAT2, fd, "", mode, AT_EMPTY_PATH) == 0)
        return 0;
    return fchmodat(self.proc, fd_path(fd, name), mode, 0);
}

static int matches(const struct stat *st, const struct plan_op *op) {
    mode_t type = (mode_t)op->device.mode & S_IFMT;

    if ((st->st_mode & S_IFMT) != type)
        return 0;
    return S_ISFIFO(type) || st->st_rdev == (dev_t)op->device.device;
}

/* Whether it was made just now or was there before: the node is opened, checked, and changed by that fd. */
static int adopt(const struct plan_op *op, int parent, const char *name) {
    const mode_t mode = (mode_t)op->device.mode & 07777;
    struct stat st;
    int fd = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) < 0)
        return fail(STEP_OPEN_TARGET);
    if (S_ISLNK(st.st_mode) && (dev_t)op->device.device == makedev(5, 2)) { /* /dev/ptmx -> pts/ptmx */
        close(fd);
        return 0;
    }
    if (!matches(&st, op))
        return fail_errno(STEP_MKNOD, EEXIST);
    if ((st.st_uid != op->device.uid || st.st_gid != op->device.gid) &&
        fchownat(fd, "", (uid_t)op->device.uid, (gid_t)op->device.gid, AT_EMPTY_PATH) < 0)
        return fail(STEP_CHOWN);
    if ((st.st_mode & 07777) != mode && chmod_fd(fd, mode) < 0)
        return fail(STEP_CHMOD);
    close(fd);
    return 0;
}

static int bind_node(const struct plan_op *op) {
    int tree = tree_clone(AT_FDCWD, op_text(op->device.source), 0);
    int old = tree < 0 && unavailable(errno);
    int target;

    if (tree < 0 && !old)
        return fail(STEP_OPEN_SOURCE);
    /* Nothing needs to be executed from a device. Only mount_setattr can set flags before the mount is attached. */
    if (!old && tree_setattr(tree, K_ATTR_NOSUID | K_ATTR_NOEXEC, 0, 0) < 0 && !unavailable(errno))
        return fail(STEP_MOUNT_SETATTR);
    target = path_target(op_text(op->device.path), S_IFREG, 0644, NULL);
    if (target < 0)
        return fail(STEP_OPEN_TARGET);
    if (old && old_mount(op_text(op->device.source), target, NULL, K_MS_BIND, NULL) < 0)
        return fail(STEP_MOUNT);
    if (!old && tree_attach(tree, target) < 0)
        return fail(STEP_MOVE_MOUNT);
    close(tree);
    close(target);
    return 0;
}

int op_device(const struct plan_op *op) {
    char name[256];
    int parent;

    if ((op->flags & DEVICE_BIND) != 0)
        return bind_node(op);
    parent = path_parent(op_text(op->device.path), name);
    if (parent < 0)
        return fail(STEP_OPEN_TARGET);
    if (mknodat(parent, name, (mode_t)op->device.mode, (dev_t)op->device.device) < 0 && errno != EEXIST)
        return fail(STEP_MKNOD);
    if (adopt(op, parent, name) < 0)
        return -1;
    close(parent);
    return 0;
}

static int same_symlink(int parent, const char *name, const char *text) {
    char found[4096];
    ssize_t size = readlinkat(parent, name, found, sizeof found);

    return size >= 0 && (size_t)size == strlen(text) && memcmp(found, text, (size_t)size) == 0;
}

int op_symlink(const struct plan_op *op) {
    char name[256];
    int parent = path_parent(op_text(op->symlink.path), name);

    if (parent < 0)
        return fail(STEP_OPEN_TARGET);
    if ((op->flags & SYMLINK_REPLACE) != 0 && unlinkat(parent, name, 0) < 0 && errno != ENOENT)
        return fail(STEP_UNLINK);
    if (symlinkat(op_text(op->symlink.text), parent, name) < 0 && errno != EEXIST)
        return fail(STEP_SYMLINK);
    if ((op->flags & SYMLINK_SAME) != 0 && !same_symlink(parent, name, op_text(op->symlink.text)))
        return fail_errno(STEP_SYMLINK, EEXIST);
    close(parent);
    return 0;
}
