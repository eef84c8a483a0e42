/* The root file system: it is bound, entered, and the host's is unmounted. */
#include "init.h"

#include <string.h>

int op_propagation(const struct plan_op *op) {
    return sys_mount(NULL, "/", NULL, op->propagation.propagation, NULL) < 0 ? fail(STEP_MOUNT) : 0;
}

static int same_file(int a, int b) {
    struct stat x, y;

    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Sets the propagation of the mount that `dir` lies on. That can be done only at the root of a mount (EINVAL elsewhere), so this goes
 * up until it succeeds. */
static int set_mount_propagation(int dir, uint64_t propagation) {
    int at = fcntl(dir, F_DUPFD_CLOEXEC, 0);

    while (at >= 0) {
        if (tree_propagation(at, propagation) == 0) {
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
    const char *path = op_text(op->root.path);
    int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int tree;

    if (dir < 0)
        return fail(STEP_OPEN);
    if ((op->flags & ROOT_UNBOUND) != 0) {
        root_reset();
        self.root = dir;
        return 0;
    }
    if (op->root.parent_propagation != 0 && set_mount_propagation(dir, op->root.parent_propagation) < 0)
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

/* The id of the mount that an fd lies in, -1 if it is not to be had. */
static int mount_id(int fd) {
    static const char key[] = "mnt_id:\t";
    char name[64], text[512];
    const char *found;
    ssize_t size;
    int info;

    put_number(put_text(name, name + sizeof name, "self/fdinfo/"), name + sizeof name, (unsigned long)fd, 10);
    info = proc_open(name, O_RDONLY);
    if (info < 0)
        return -1;
    size = read(info, text, sizeof text - 1);
    close(info);
    text[size > 0 ? size : 0] = '\0';
    found = strstr(text, key);
    if (found == NULL)
        return -1;
    text[strcspn(found, "\n") + (size_t)(found - text)] = '\0';
    return get_number(found + sizeof key - 1);
}

/* Is it the root itself, and no other mount of the same directory? */
int is_root(int fd) {
    return same_file(fd, root_fd()) && mount_id(fd) == mount_id(root_fd());
}

/* What is mounted on the root becomes the root: later paths would lead below it, and it would never be seen. */
int root_cover(int mount) {
    int root = fcntl(mount, F_DUPFD_CLOEXEC, 0);

    if (root < 0)
        return fail(STEP_DUP);
    views_close();
    root_reset();
    self.root = root;
    return 0;
}

/* What lies on top at `path` after something was mounted on `target`, which was found there. */
int top_open(const char *path, int target) {
    char root[4096], name[32];
    ssize_t size;

    if (!is_root(target))
        return path_open(path, 0);
    size = readlinkat(self.proc, fd_path(target, name), root, sizeof root - 1);
    if (size < 0)
        return -1;
    root[size] = '\0';
    return open(root, O_PATH | O_CLOEXEC);
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
    if (tree_propagation(root_fd(), K_MS_SLAVE) < 0) /* pivot_root refuses a shared one, which a mount on it may be */
        return fail(STEP_MOUNT_SETATTR);
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

int op_mkdir(const struct plan_op *op) {
    int dir = path_target(op_text(op->mkdir.path), S_IFDIR, 0755, NULL);

    if (dir < 0 && errno != EACCES) /* the user may be allowed what root is not: OP_CHDIR will see */
        return fail(STEP_MKDIR);
    close(dir);
    return 0;
}

int op_chroot(const struct plan_op *op) {
    if (fchdir(op->chroot.root.slot >= 0 ? op_fd(op->chroot.root) : root_fd()) < 0)
        return fail(STEP_CHDIR);
    return enter_here();
}
