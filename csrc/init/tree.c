/* Mounts as fds, by open_tree, mount_setattr and move_mount; or by mount(2) where those are missing. */
#include "init.h"

#include <sys/vfs.h>

static const struct {
    uint64_t attr;
    unsigned long ms;
    unsigned long st;
} flags_table[] = {
    {K_ATTR_RDONLY, K_MS_RDONLY, K_ST_RDONLY},
    {K_ATTR_NOSUID, K_MS_NOSUID, K_ST_NOSUID},
    {K_ATTR_NODEV, K_MS_NODEV, K_ST_NODEV},
    {K_ATTR_NOEXEC, K_MS_NOEXEC, K_ST_NOEXEC},
    {K_ATTR_NODIRATIME, K_MS_NODIRATIME, K_ST_NODIRATIME},
    {K_ATTR_NOSYMFOLLOW, K_MS_NOSYMFOLLOW, K_ST_NOSYMFOLLOW},
};
#define FLAGS (sizeof flags_table / sizeof flags_table[0])

/* The MOUNT_ATTR_* that the mount has, without those of access times. */
static uint64_t present_attr(int fd) {
    struct statfs fs;
    uint64_t attr = 0;

    if (fstatfs(fd, &fs) < 0)
        return 0;
    for (size_t i = 0; i < FLAGS; i++)
        if (((unsigned long)fs.f_flags & flags_table[i].st) != 0)
            attr |= flags_table[i].attr;
    return attr;
}

static unsigned long present_atime(int fd) {
    struct statfs fs;

    if (fstatfs(fd, &fs) < 0)
        return 0;
    if ((fs.f_flags & K_ST_NOATIME) != 0)
        return K_MS_NOATIME;
    return (fs.f_flags & K_ST_RELATIME) != 0 ? K_MS_RELATIME : K_MS_STRICTATIME;
}

static unsigned long atime_to_ms(uint64_t attr) {
    switch (attr & K_ATTR_ATIME) {
    case K_ATTR_NOATIME:
        return K_MS_NOATIME;
    case K_ATTR_STRICTATIME:
        return K_MS_STRICTATIME;
    default:
        return K_MS_RELATIME;
    }
}

/* The restrictions of the host's mount that a container in a user namespace must not lift. The kernel locks them on a tree that is
 * cloned inside the namespace; on one that the runtime cloned outside, init has to keep them. */
uint64_t tree_restrictions(int tree) {
    return present_attr(tree) & (K_ATTR_RDONLY | K_ATTR_NOSUID | K_ATTR_NODEV | K_ATTR_NOEXEC);
}

/* Would clearing `clear` lift one of them, or, if `times`, would the access times of `set` differ from the present ones? */
int tree_restricts(int tree, uint64_t set, uint64_t clear, int times) {
    if ((tree_restrictions(tree) & clear) != 0)
        return 1;
    return times && (atime_to_ms(set) != present_atime(tree) || ((set ^ present_attr(tree)) & K_ATTR_NODIRATIME) != 0);
}

static unsigned long attr_to_ms(uint64_t attr) {
    unsigned long ms = 0;

    for (size_t i = 0; i < FLAGS; i++)
        if ((attr & flags_table[i].attr) != 0)
            ms |= flags_table[i].ms;
    return ms;
}

/* mount(2) on what the fd `target` names, by its path relative to the host's procfs (the container may have no /proc). The working
 * directory may be changed for it: nothing depends on it before OP_CHDIR. */
int old_mount(const char *source, int target, const char *type, unsigned long flags, const char *data) {
    char name[32];
    int result;

    if (fchdir(self.proc) < 0)
        return -1;
    result = sys_mount(source, fd_path(target, name), type, flags, data);
    int error = errno;
    if (chdir("/") < 0)
        return -1;
    errno = error;
    return result;
}

static int clone(int dir, const char *path, int recursive, unsigned flags) {
    return sys_open_tree(dir, path, K_OPEN_TREE_CLONE | K_OPEN_TREE_CLOEXEC | flags | (recursive ? K_AT_RECURSIVE : 0));
}

/* A detached copy of the mount at a path; with "" as path, of the one that the fd `dir` names. */
int tree_clone(int dir, const char *path, int recursive) {
    return clone(dir, path, recursive, AT_EMPTY_PATH);
}

int tree_clone_symlink(const char *path, int recursive) {
    return clone(AT_FDCWD, path, recursive, AT_SYMLINK_NOFOLLOW);
}

int tree_attach(int tree, int target) {
    return (int)syscall(NR_MOVE_MOUNT, tree, "", target, "", K_MOVE_MOUNT_F_EMPTY_PATH | K_MOVE_MOUNT_T_EMPTY_PATH);
}

/* Can mounts be changed before they are attached? Linux before 5.12 has no mount_setattr, and a seccomp filter may refuse it. Any
 * detached mount will do to ask the kernel, once. */
int tree_changes_detached(int tree) {
    static int no_setattr = -1;
    struct k_mount_attr nothing = {.set = 0};

    if (no_setattr < 0)
        no_setattr = sys_mount_setattr(tree, AT_EMPTY_PATH, &nothing) < 0 && unavailable(errno);
    return !no_setattr;
}

/* Flags that a user namespace inherited are locked: clearing one fails the whole call with EPERM. The call is then repeated without
 * those, so the mount is more restricted than asked for, never less. */
int tree_setattr(int tree, uint64_t set, uint64_t clear, int recursive) {
    unsigned flags = AT_EMPTY_PATH | (recursive ? K_AT_RECURSIVE : 0);
    struct k_mount_attr attr = {.set = set, .clear = clear};

    if ((set | clear) == 0 || sys_mount_setattr(tree, flags, &attr) == 0)
        return 0;
    if (errno != EPERM || clear == 0)
        return -1;
    attr.clear = recursive ? 0 : clear & ~(present_attr(tree) | K_ATTR_ATIME);
    attr.set = (clear & K_ATTR_ATIME) != 0 ? set & ~(uint64_t)K_ATTR_ATIME : set;
    return sys_mount_setattr(tree, flags, &attr);
}

/* Flags of an attached mount, by mount(2). That replaces all flags, so those that the mount has are passed again. */
int tree_remount(int tree, uint64_t set, uint64_t clear) {
    uint64_t present = present_attr(tree);
    unsigned long atime = (clear & K_ATTR_ATIME) != 0 ? atime_to_ms(set) : present_atime(tree);
    unsigned long flags = K_MS_REMOUNT | K_MS_BIND;

    if (old_mount(NULL, tree, NULL, flags | attr_to_ms((present & ~clear) | set) | atime, NULL) == 0)
        return 0;
    if (errno != EPERM)
        return -1;
    return old_mount(NULL, tree, NULL, flags | attr_to_ms(present | set) | present_atime(tree), NULL);
}

/* Flags of an attached mount, by mount_setattr or, without it, mount(2). */
int tree_set_attached(int tree, uint64_t set, uint64_t clear) {
    if (tree_setattr(tree, set, clear, 0) == 0)
        return 0;
    return unavailable(errno) ? tree_remount(tree, set, clear) : -1;
}

/* MS_SLAVE and MS_SHARED may be wanted together, in this order. */
int tree_propagation(int tree, uint64_t flags) {
    static const unsigned long types[] = {K_MS_PRIVATE, K_MS_SLAVE, K_MS_SHARED, K_MS_UNBINDABLE};
    const unsigned long rec = flags & K_MS_REC;

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct k_mount_attr attr = {.propagation = types[i]};
        if ((flags & types[i]) == 0)
            continue;
        if (sys_mount_setattr(tree, AT_EMPTY_PATH | (rec ? K_AT_RECURSIVE : 0), &attr) == 0)
            continue;
        if (!unavailable(errno) || old_mount(NULL, tree, NULL, types[i] | rec, NULL) < 0)
            return -1;
    }
    return 0;
}
