/* The root file system: bound, entered, the old one gone. */
#include "init.h"

#include <string.h>

int op_propagation(const struct plan_op *op) {
    return sys_mount(NULL, "/", NULL, op->n[0], NULL) < 0 ? fail(STEP_MOUNT) : 0;
}

static int same_file(int a, int b) {
    struct stat x, y;

    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Propagation can be set at the root of a mount alone (EINVAL elsewhere), so go up until it can. */
static int make_mount_private(int dir) {
    int at = fcntl(dir, F_DUPFD_CLOEXEC, 0);

    while (at >= 0) {
        if (tree_propagation(at, K_MS_PRIVATE) == 0) {
            close(at);
            return 0;
        }
        if (errno != EINVAL)
            return fail(STEP_MOUNT_SETATTR);
        int up = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (up >= 0 && same_file(at, up))
            return fail_errno(STEP_MOUNT_SETATTR, EINVAL);
        close(at);
        at = up;
    }
    return fail(STEP_OPEN);
}

/* pivot_root wants a mount: the tree is bound onto itself. The path is the host's and is used once more only where
 * mount(2) must do it. */
int op_root(const struct plan_op *op) {
    const char *path = op_text(op, 0);
    int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int tree;

    if (dir < 0)
        return fail(STEP_OPEN);
    if ((op->flags & ROOT_UNBOUND) != 0) {
        root_reset();
        self.root = dir;
        return 0;
    }
    if ((op->flags & ROOT_PRIVATE_PARENT) != 0 && make_mount_private(dir) < 0)
        return -1;
    tree = tree_clone(dir, "", 1);
    if (tree >= 0) {
        if (tree_attach(tree, dir) < 0)
            return fail(STEP_MOVE_MOUNT);
    } else {
        char name[32];
        if (!unavailable(errno))
            return fail(STEP_OPEN_TREE);
        if (old_mount(fd_path(dir, name), dir, NULL, K_MS_BIND | K_MS_REC, NULL) < 0)
            return fail(STEP_MOUNT);
        tree = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (tree < 0)
            return fail(STEP_OPEN);
    }
    close(dir);
    root_reset();
    self.root = tree;
    return 0;
}

/* chroot to where we are. Paths in the root start at "/" from now on. */
static int enter_here(void) {
    if (chroot(".") < 0)
        return fail(STEP_CHROOT);
    if (chdir("/") < 0)
        return fail(STEP_CHDIR);
    root_reset();
    return 0;
}

static int move_root(void) {
    if (unmount_kernel_views() < 0)
        return -1;
    if (fchdir(root_fd()) < 0)
        return fail(STEP_CHDIR);
    if (sys_mount(".", "/", NULL, K_MS_MOVE, NULL) < 0)
        return fail(STEP_MOUNT);
    return enter_here();
}

/* pivot_root(".", ".") stacks the old root on the new one at "/", so that no directory for it is needed. It is made a
 * slave before it goes: its unmounting shall not reach the host. */
int op_pivot(const struct plan_op *op) {
    int old;

    if ((op->flags & PIVOT_MOVE) != 0)
        return move_root();
    old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (old < 0)
        return fail(STEP_OPEN);
    if (fchdir(root_fd()) < 0)
        return fail(STEP_CHDIR);
    if (syscall(SYS_pivot_root, ".", ".") < 0)
        return fail(STEP_PIVOT_ROOT);
    if (fchdir(old) < 0)
        return fail(STEP_CHDIR);
    if (sys_mount(NULL, ".", NULL, K_MS_SLAVE | K_MS_REC, NULL) < 0)
        return fail(STEP_MOUNT);
    if (syscall(SYS_umount2, ".", K_MNT_DETACH) < 0)
        return fail(STEP_UMOUNT);
    if (chdir("/") < 0)
        return fail(STEP_CHDIR);
    close(old);
    root_reset();
    return 0;
}

int op_chroot(const struct plan_op *op) {
    if (fchdir(op->fd >= 0 ? op_fd(op->fd) : root_fd()) < 0)
        return fail(STEP_CHDIR);
    return enter_here();
}
