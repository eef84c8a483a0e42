/* The root file system: it is bound, entered, and the host's is unmounted. */
#include "init.h"

#include <string.h>

int op_propagation(const struct plan_op *op) {
    return sys_mount(NULL, "/", NULL, op->n[0], NULL) < 0 ? fail(STEP_MOUNT) : 0;
}

static int same_file(int a, int b) {
    struct stat x, y;

    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Makes the mount private that `dir` lies on. Propagation can be set only at the root of a mount (EINVAL elsewhere), so this goes
 * up until it succeeds. */
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

/* pivot_root needs a mount point, so the root file system is bound onto itself. Only with mount(2) the path is used twice; it is
 * the host's, not the container's. */
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

/* chroot to the working directory; root_fd() is "/" afterwards. */
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

/* pivot_root(".", ".") mounts the old root on top of the new one (pivot_root(2)), so it needs no directory for it. The old root is
 * made a slave first: otherwise unmounting it would propagate to the host. */
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
