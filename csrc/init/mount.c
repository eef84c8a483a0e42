/* OP_MOUNT: a new file system. With fsopen its options and flags are all set before it is attached and can be seen. */
#include "init.h"

#include <string.h>

#define DATA_MAX 4096 /* mount(2) takes at most one page of data */

static const char *next_text(const char *text) {
    return text + strlen(text) + 1;
}

/* /proc and /sys must lie where they seem to: a symlink there could put them, and everything that is masked or made
 * read-only below them, elsewhere (CVE-2019-19921, CVE-2023-27561). */
static int ordinary_dir(const char *path, int *made) {
    struct stat st;
    int fd = path_open_plain(path);

    *made = 0;
    if (fd < 0 && errno == ENOENT) {
        fd = path_target(path, S_IFDIR, 0755, made);
        if (fd >= 0) {
            close(fd);
            fd = path_open_plain(path);
        }
    }
    if (fd < 0)
        return fail(errno == ELOOP || errno == ENOTDIR ? STEP_ORDINARY_DIR : STEP_OPEN_TARGET);
    if (fstat(fd, &st) < 0)
        return fail(STEP_STAT);
    return S_ISDIR(st.st_mode) ? fd : fail_errno(STEP_ORDINARY_DIR, ENOTDIR);
}

static int open_target(const struct plan_op *op, int *made) {
    int fd;

    if ((op->flags & MOUNT_ORDINARY_DIR) != 0)
        return ordinary_dir(op_text(op->mount.target), made);
    fd = path_target(op_text(op->mount.target), S_IFDIR, 0755, made);
    if (fd < 0)
        return fail(STEP_OPEN_TARGET);
    return hides_proc(op_text(op->mount.target), fd) ? fail_errno(STEP_INSIDE_PROC, EPERM) : fd;
}

/* The value of the option "mode" for a tmpfs that gets the mode of its target; empty if the target was made just now. */
static int target_mode(const struct plan_op *op, int target, int made, char text[16]) {
    struct stat st;

    text[0] = '\0';
    if ((op->flags & MOUNT_TARGET_MODE) == 0 || made)
        return 0;
    if (fstat(target, &st) < 0)
        return fail(STEP_STAT);
    put_number(text, text + 16, st.st_mode & 07777, 8);
    return 0;
}

/* Copies the files of the target into the new tmpfs; the target's owner too, unless the options have uid= or gid=. */
static int copy_up(const struct plan_op *op, int target, int mount) {
    struct stat st;
    int owner_given = 0;

    for (const char *option = op_text(op->mount.options); *option != '\0'; option = next_text(option))
        owner_given |= strncmp(option, "uid=", 4) == 0 || strncmp(option, "gid=", 4) == 0;
    if (fstat(target, &st) < 0)
        return fail(STEP_STAT);
    if (!owner_given && fchownat(mount, "", st.st_uid, st.st_gid, AT_EMPTY_PATH) < 0 && errno != EINVAL && errno != EPERM)
        return fail(STEP_CHOWN);
    return copy_tree(target, mount);
}

/* fsconfig takes no string longer than 255 bytes; mount(2) takes a page. */
static int too_long(const struct plan_op *op) {
    for (const char *option = op_text(op->mount.options); *option != '\0'; option = next_text(option)) {
        const char *value = strchr(option, '=');
        if (value != NULL && strlen(value + 1) > K_FSCONFIG_STRING_MAX)
            return 1;
    }
    return 0;
}

/* The options as mount(2) wants them: joined with commas, the source apart. */
static int join_options(const struct plan_op *op, const char *mode, char data[DATA_MAX], const char **source) {
    char *at = data;

    *at = '\0';
    *source = "none";
    for (const char *option = op_text(op->mount.options); *option != '\0'; option = next_text(option)) {
        if (strncmp(option, "source=", 7) == 0) {
            *source = option + 7;
            continue;
        }
        at = put_text(put_text(at, data + DATA_MAX, at == data ? "" : ","), data + DATA_MAX, option);
    }
    if (*mode != '\0')
        at = put_text(put_text(at, data + DATA_MAX, at == data ? "mode=" : ",mode="), data + DATA_MAX, mode);
    return at + 1 < data + DATA_MAX ? 0 : fail_errno(STEP_MOUNT, E2BIG);
}

/* By mount(2), which returns no fd: the new mount is found by looking the target up again. */
static int mount_old(const struct plan_op *op, int target, const char *mode) {
    const int copies = (op->flags & MOUNT_TMPCOPYUP) != 0;
    unsigned long flags = op->mount.ms_flags & ~(copies ? K_MS_RDONLY : 0);
    char data[DATA_MAX];
    const char *source;
    int top;

    if (join_options(op, mode, data, &source) < 0)
        return -1;
    if (old_mount(source, target, op_text(op->mount.type), flags, data) < 0)
        return fail_path(STEP_MOUNT, op_text(op->mount.type));
    top = top_open(op_text(op->mount.target), target);
    if (top < 0)
        return fail(STEP_OPEN_TARGET);
    if (copies && copy_up(op, target, top) < 0)
        return -1;
    if (flags != op->mount.ms_flags && tree_set_attached(top, K_ATTR_RDONLY, 0) < 0)
        return fail(STEP_MOUNT_SETATTR);
    return top;
}

/* By fsopen. */
static int mount_new(const struct plan_op *op, int fs, int target, const char *mode) {
    const int copies = (op->flags & MOUNT_TMPCOPYUP) != 0;
    uint64_t attr = op->mount.attr_set & ~(uint64_t)(copies ? K_ATTR_RDONLY : 0);
    int mount;

    for (const char *option = op_text(op->mount.options); *option != '\0'; option = next_text(option))
        if (fs_option(fs, option) < 0)
            return -1;
    if (*mode != '\0' && fs_set(fs, "mode", mode) < 0)
        return -1;
    if (fs_create(fs) < 0 || (mount = fs_mount(fs, attr)) < 0)
        return -1;
    if (copies && copy_up(op, target, mount) < 0)
        return -1;
    if (tree_attach(mount, target) < 0)
        return fail(STEP_MOVE_MOUNT);
    if (attr != op->mount.attr_set && tree_set_attached(mount, K_ATTR_RDONLY, 0) < 0)
        return fail(STEP_MOUNT_SETATTR);
    return mount;
}

static int mount_on(const struct plan_op *op, int target, const char *mode) {
    int fs, mount;

    if (too_long(op))
        return mount_old(op, target, mode);
    fs = fs_open(op_text(op->mount.type));
    if (fs < 0)
        return unavailable(errno) ? mount_old(op, target, mode) : fail_path(STEP_FSOPEN, op_text(op->mount.type));
    mount = mount_new(op, fs, target, mode);
    close(fs);
    return mount;
}

int op_mount(const struct plan_op *op) {
    char mode[16];
    int made, mount;
    int target = open_target(op, &made);

    if (target < 0 || target_mode(op, target, made, mode) < 0)
        return -1;
    mount = mount_on(op, target, mode);
    if (mount < 0)
        return -1;
    if (tree_propagation(mount, op->mount.propagation) < 0)
        return fail(STEP_MOUNT_SETATTR);
    if (is_root(target) && root_cover(mount) < 0)
        return -1;
    if (view_keep(op_text(op->mount.target), mount) < 0)
        return fail(STEP_DUP);
    close(target);
    close(mount);
    return 0;
}
