/* Mounts that are copies of others: binds, masks, read-only paths; and the flags of what is mounted already. */
#include "init.h"

#include <string.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

/* The type that a missing target is made with. fstat can fail, since a FUSE mount may refuse every user but its own, root included;
 * then it is a directory, unless the runtime has set BIND_TARGET_FILE. */
static mode_t target_type(const struct plan_op *op, int tree) {
    struct stat st;
    int result = tree >= 0 ? fstat(tree, &st) : stat(op_text(op->bind.source), &st);

    if ((op->flags & BIND_TARGET_FILE) != 0)
        return S_IFREG;
    return result == 0 && !S_ISDIR(st.st_mode) ? S_IFREG : S_IFDIR;
}

/* A directory cannot be mounted on a file, nor a file on a directory. mount(2) gives ENOTDIR for it, move_mount only EINVAL, so
 * it is checked here. */
static int bind_target(const struct plan_op *op, int tree) {
    const mode_t type = target_type(op, tree);
    int target = -1;
    struct stat st;

    if ((op->flags & BIND_TARGET_NOFOLLOW) != 0)
        target = path_open_symlink(op_text(op->bind.target));
    if (target < 0)
        target = path_target(op_text(op->bind.target), type, 0755, NULL);
    if (target < 0)
        return fail(STEP_OPEN_TARGET);
    if (hides_proc(op_text(op->bind.target), target))
        return fail_errno(STEP_INSIDE_PROC, EPERM);
    if (fstat(target, &st) == 0 && S_ISDIR(st.st_mode) != S_ISDIR(type))
        return fail_errno(STEP_MOVE_MOUNT, ENOTDIR);
    return target;
}

static int ask_idmap(int tree) {
    if (send_message(MSG_IDMAP, self.index, 0, tree) < 0)
        return fail(STEP_SOCKET);
    return await_go(self.index);
}

/* For a file system without idmapped mounts the kernel gives a plain EINVAL. The type of the file system is reported with it. */
static int idmap(const struct plan_op *op, int tree) {
    struct k_mount_attr attr = {.set = K_ATTR_IDMAP, .userns_fd = (uint64_t)op_fd(op->bind.userns)};
    unsigned flags = AT_EMPTY_PATH | ((op->flags & BIND_IDMAP_RECURSIVE) != 0 ? K_AT_RECURSIVE : 0);
    char detail[32];
    struct statfs fs;

    if ((op->flags & BIND_IDMAP_ASKED) != 0)
        return ask_idmap(tree);
    if (op_fd(op->bind.userns) < 0 || sys_mount_setattr(tree, flags, &attr) == 0)
        return 0;
    int error = errno;
    if (fstatfs(tree, &fs) == 0) {
        put_number(put_text(detail, detail + sizeof detail, "idmap:"), detail + sizeof detail, (unsigned long)fs.f_type, 10);
        add_detail(detail);
    }
    return fail_errno(STEP_MOUNT_SETATTR, error);
}

/* EPERM of mount_setattr has two causes: a flag to clear is locked by a user namespace, or a seccomp filter refuses the call. It is
 * the first if the same call without flags succeeds. */
static int is_locked(const struct plan_op *op, int tree) {
    struct k_mount_attr named = {.set = op->bind.attr_set, .clear = op->bind.attr_named};

    return op->bind.attr_named != 0 && sys_mount_setattr(tree, AT_EMPTY_PATH, &named) < 0 && errno == EPERM && tree_changes_detached(tree);
}

/* A tree that comes as an fd was cloned by the runtime, outside the user namespace, so the kernel has not locked its flags:
 * tree_restrictions() takes the place of that. */
static int bind_new(const struct plan_op *op, int tree) {
    const int given = op->bind.tree.slot >= 0 || (op->flags & BIND_SOURCE_ASKED) != 0;
    const int times = (op->bind.attr_named & K_ATTR_ATIME) != 0;
    uint64_t clear = op->bind.attr_clear;
    int late = !tree_changes_detached(tree); /* mount(2) can change them, but only when they are attached */
    int target = bind_target(op, tree);

    if (target < 0)
        return -1;
    if (idmap(op, tree) < 0)
        return -1;
    if (given ? tree_restricts(tree, op->bind.attr_set, op->bind.attr_named, times) : is_locked(op, tree))
        return fail_errno(STEP_MOUNT_SETATTR, EPERM);
    if (given)
        clear &= ~(tree_restrictions(tree) | (times ? 0 : K_ATTR_ATIME | K_ATTR_NODIRATIME));
    if (tree_setattr(tree, op->bind.attr_set_below, op->bind.attr_clear_below, 1) < 0)
        return fail(STEP_MOUNT_SETATTR);
    if (!late && tree_setattr(tree, op->bind.attr_set, clear, 0) < 0) {
        if (!unavailable(errno))
            return fail(STEP_MOUNT_SETATTR);
        late = 1;
    }
    if (!late && tree_propagation(tree, op->bind.propagation) < 0)
        return fail(STEP_MOUNT_SETATTR);
    if (tree_attach(tree, target) < 0)
        return fail(STEP_MOVE_MOUNT);
    /* The runtime could not make it a slave: what is mounted on it here must not come to the host. */
    if (late && given && old_mount(NULL, tree, NULL, K_MS_SLAVE | K_MS_REC, NULL) < 0)
        return fail(STEP_MOUNT);
    if (late && (op->bind.attr_set | clear) != 0 && tree_remount(tree, op->bind.attr_set, clear) < 0)
        return fail(STEP_MOUNT_SETATTR);
    if (is_root(target) && root_cover(tree) < 0)
        return -1;
    close(target);
    return tree;
}

/* By mount(2), which returns no fd: the new mount is found by looking the target up again. */
static int bind_old(const struct plan_op *op) {
    unsigned long recursive = (op->flags & BIND_RECURSIVE) != 0 ? K_MS_REC : 0;
    int target = bind_target(op, -1);
    int top;

    if (target < 0)
        return -1;
    if (op_fd(op->bind.userns) >= 0 || (op->bind.attr_set_below | op->bind.attr_clear_below) != 0 ||
        (op->flags & (BIND_SOURCE_NOFOLLOW | BIND_TARGET_NOFOLLOW | BIND_IDMAP_ASKED)) != 0)
        return fail_errno(STEP_MOUNT_SETATTR, ENOSYS); /* mount(2) cannot do these. To leave them out would mean, say, a writable mount */
    if (old_mount(op_text(op->bind.source), target, NULL, K_MS_BIND | recursive, NULL) < 0)
        return fail(STEP_MOUNT);
    top = top_open(op_text(op->bind.target), target);
    if (top < 0)
        return fail(STEP_OPEN_TARGET);
    if ((op->bind.attr_set | op->bind.attr_clear) != 0 && tree_remount(top, op->bind.attr_set, op->bind.attr_clear) < 0)
        return fail(STEP_MOUNT);
    if (is_root(target) && root_cover(top) < 0)
        return -1;
    close(target);
    return top;
}

/* Only a procfs may be mounted on /proc: programs write to files there (attr/exec, say) and must reach the kernel (CVE-2019-16884). */
static int is_proc(int mount) {
    struct statfs fs;

    return fstatfs(mount, &fs) == 0 && fs.f_type == K_PROC_SUPER_MAGIC;
}

static int clone_source(const struct plan_op *op) {
    int recursive = (op->flags & BIND_RECURSIVE) != 0;

    return (op->flags & BIND_SOURCE_NOFOLLOW) != 0 ? tree_clone_symlink(op_text(op->bind.source), recursive)
                                                   : tree_clone(AT_FDCWD, op_text(op->bind.source), recursive);
}

/* A mount of what init can reach itself. */
static int bind_own(const struct plan_op *op) {
    int tree = clone_source(op);

    if (tree >= 0)
        return bind_new(op, tree);
    return unavailable(errno) ? bind_old(op) : fail(STEP_OPEN_TREE);
}

/* A mount of what the runtime has cloned. */
static int bind_given(const struct plan_op *op) {
    int tree = op_fd(op->bind.tree);

    if ((op->flags & BIND_SOURCE_ASKED) != 0) {
        if (send_message(MSG_SOURCE, self.index, 0, -1) < 0)
            return fail(STEP_SOCKET);
        tree = await_go_fd(self.index);
        if (tree < 0)
            return -1;
    }
    return tree < 0 ? fail_errno(STEP_OPEN_TREE, EBADF) : bind_new(op, tree);
}

int op_bind(const struct plan_op *op) {
    int mount = op->bind.tree.slot >= 0 || (op->flags & BIND_SOURCE_ASKED) != 0 ? bind_given(op) : bind_own(op);

    if (mount < 0)
        return -1;
    if (strcmp(op_text(op->bind.target), "/proc") == 0 && !is_proc(mount))
        return fail_errno(STEP_INSIDE_PROC, EPERM);
    /* Once more: attaching a mount to a shared one makes it shared. */
    if (tree_propagation(mount, op->bind.propagation) < 0)
        return fail(STEP_MOUNT_SETATTR);
    if (view_keep(op_text(op->bind.target), mount) < 0)
        return fail(STEP_DUP);
    if (op->bind.tree.slot < 0)
        close(mount);
    return 0;
}

int op_setattr(const struct plan_op *op) {
    int fd = path_open(op_text(op->setattr.target), 0);

    if (fd < 0)
        return fail(STEP_OPEN_TARGET);
    if (tree_set_attached(fd, op->setattr.attr_set, op->setattr.attr_clear) < 0 || tree_propagation(fd, op->setattr.propagation) < 0)
        return fail(STEP_MOUNT_SETATTR);
    close(fd);
    return 0;
}

/* Bind-mounts what the fd `source` names on what `target` names. */
static int cover(int source, int target, int recursive) {
    char name[32];
    int tree = tree_clone(source, "", recursive);

    if (tree < 0)
        return unavailable(errno) ? old_mount(fd_path(source, name), target, NULL, K_MS_BIND | (recursive ? K_MS_REC : 0), NULL) : -1;
    if (tree_attach(tree, target) < 0)
        return -1;
    close(tree);
    return 0;
}

/* By the container's /dev/null, after a check that it is one: an image may have put anything there (CVE-2025-31133). */
static int mask_with_null(int target) {
    struct stat st;

    if (self.mask_file < 0) {
        self.mask_file = path_open("/dev/null", 0);
        if (self.mask_file < 0 || fstat(self.mask_file, &st) < 0)
            return fail(STEP_NOT_DEVNULL);
        if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
            return fail_errno(STEP_NOT_DEVNULL, ENODEV);
    }
    return cover(self.mask_file, target, 0) < 0 ? fail(STEP_MOVE_MOUNT) : 0;
}

#define EMPTY_ATTR (K_ATTR_RDONLY | K_ATTR_NOSUID | K_ATTR_NODEV | K_ATTR_NOEXEC)
#define EMPTY_FLAGS (K_MS_RDONLY | K_MS_NOSUID | K_MS_NODEV | K_MS_NOEXEC)

static int mount_empty(const char *path, int target) {
    int fs = fs_open("tmpfs");

    if (fs < 0 && !unavailable(errno))
        return fail(STEP_FSOPEN);
    if (fs < 0) {
        if (old_mount("tmpfs", target, "tmpfs", EMPTY_FLAGS, "nr_inodes=2") < 0)
            return fail(STEP_MOUNT);
        self.mask_dir = path_open(path, 0);
        return self.mask_dir < 0 ? fail(STEP_OPEN_TARGET) : 0;
    }
    if (fs_set(fs, "source", "tmpfs") < 0 || fs_set(fs, "nr_inodes", "2") < 0 || fs_set(fs, "ro", NULL) < 0 || fs_create(fs) < 0 ||
        (self.mask_dir = fs_mount(fs, EMPTY_ATTR)) < 0)
        return -1;
    close(fs);
    return tree_attach(self.mask_dir, target) < 0 ? fail(STEP_MOVE_MOUNT) : 0;
}

/* Making a file system costs much more time than a bind mount, so all masked directories share one empty tmpfs. */
static int mask_with_empty(const char *path, int target) {
    if (self.mask_dir < 0)
        return mount_empty(path, target);
    return cover(self.mask_dir, target, 0) < 0 ? fail(STEP_MOVE_MOUNT) : 0;
}

int op_mask(const struct plan_op *op) {
    struct stat st;
    int target = view_path_open(op_text(op->mask.path));

    if (target < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : fail(STEP_OPEN_TARGET);
    if (fstat(target, &st) < 0)
        return fail(STEP_STAT);
    if (is_root(target))
        return fail_errno(STEP_MOUNT, EBUSY);
    if ((S_ISDIR(st.st_mode) ? mask_with_empty(op_text(op->mask.path), target) : mask_with_null(target)) < 0)
        return -1;
    close(target);
    return 0;
}

static int readonly_new(int tree, int target) {
    if (tree_setattr(tree, K_ATTR_RDONLY, 0, 0) < 0)
        return fail(STEP_MOUNT_SETATTR);
    return tree_attach(tree, target) < 0 ? fail(STEP_MOVE_MOUNT) : 0;
}

static int readonly_old(const char *path, int target) {
    int top;

    if (cover(target, target, 1) < 0)
        return fail(STEP_MOUNT);
    top = path_open(path, 0);
    if (top < 0)
        return fail(STEP_OPEN_TARGET);
    if (tree_remount(top, K_ATTR_RDONLY, 0) < 0)
        return fail(STEP_MOUNT);
    close(top);
    return 0;
}

/* Bound with all mounts below it: without them, what they cover would be visible. Their own flags stay. */
int op_readonly(const struct plan_op *op) {
    int target = view_path_open(op_text(op->readonly.path));
    int tree, result;

    if (target < 0)
        return errno == ENOENT ? 0 : fail(STEP_OPEN_TARGET);
    if (is_root(target)) /* a mount of its own already */
        return tree_set_attached(target, K_ATTR_RDONLY, 0) < 0 ? fail(STEP_MOUNT_SETATTR) : 0;
    tree = tree_clone(target, "", 1);
    if (tree < 0 && !unavailable(errno))
        return fail(STEP_OPEN_TREE);
    result = tree >= 0 ? readonly_new(tree, target) : -1;
    if (tree < 0 || (result < 0 && unavailable(self.error)))
        result = readonly_old(op_text(op->readonly.path), target);
    close(tree);
    close(target);
    return result;
}
