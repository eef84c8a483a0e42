/* MOUNT_TMPCOPYUP: fills a new tmpfs, which nobody else can reach yet, with a copy of a directory of the image. The image
 * is not trusted: every step is by fd, no symlink is followed, depth is bounded. */
#include "init.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/xattr.h>

#define MAX_DEPTH 128
#define XATTR_NAMES 4096
#define XATTR_VALUE 4096

static char *scratch; /* XATTR_NAMES + XATTR_VALUE bytes */

static int copy_directory(int from, int to, int depth);

/* Attributes that the tmpfs does not support, or that a user namespace may not set, are left out. */
static void copy_xattrs(int from, int to) {
    char *value = scratch + XATTR_NAMES;
    ssize_t size = flistxattr(from, scratch, XATTR_NAMES);

    for (const char *name = scratch; name < scratch + size; name += strlen(name) + 1) {
        ssize_t length = fgetxattr(from, name, value, XATTR_VALUE);
        if (length >= 0)
            fsetxattr(to, name, value, (size_t)length, 0);
    }
}

/* If the owner has no id in the user namespace, the copy belongs to init's user; then it must not be setuid or setgid. */
static int set_owner(int to, const char *name, const struct stat *st) {
    mode_t mode = st->st_mode & 07777;

    if (fchownat(to, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0) {
        if (errno != EINVAL && errno != EPERM)
            return fail_path(STEP_CHOWN, name);
        mode &= ~(mode_t)(S_ISUID | S_ISGID);
    }
    if (!S_ISLNK(st->st_mode) && fchmodat(to, name, mode, 0) < 0) /* a file made just now, so no symlink */
        return fail_path(STEP_CHMOD, name);
    return 0;
}

static int set_times(int to, const char *name, const struct stat *st) {
    const struct timespec times[2] = {st->st_atim, st->st_mtim};

    return utimensat(to, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? fail_path(STEP_COPY, name) : 0;
}

static int copy_file(int from, int to, const char *name) {
    int source = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    int target = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    ssize_t copied;

    if (source < 0 || target < 0)
        return fail_path(STEP_OPEN, name);
    do
        copied = sendfile(target, source, NULL, 0x7ffff000);
    while (copied > 0 || (copied < 0 && errno == EINTR));
    if (copied < 0)
        return fail_path(STEP_COPY, name);
    copy_xattrs(source, target);
    close(source);
    close(target);
    return 0;
}

static int copy_symlink(int from, int to, const char *name) {
    char text[4096];
    ssize_t size = readlinkat(from, name, text, sizeof text - 1);

    if (size < 0)
        return fail_path(STEP_READ, name);
    text[size] = '\0';
    return symlinkat(text, to, name) < 0 ? fail_path(STEP_SYMLINK, name) : 0;
}

static int copy_subdirectory(int from, int to, const char *name, int depth) {
    int source = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int target;

    if (source < 0)
        return fail_path(STEP_OPEN, name);
    if (mkdirat(to, name, 0700) < 0)
        return fail_path(STEP_MKDIR, name);
    target = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (target < 0)
        return fail_path(STEP_OPEN, name);
    copy_xattrs(source, target);
    if (copy_directory(source, target, depth + 1) < 0)
        return -1;
    close(source);
    close(target);
    return 0;
}

static int copy_entry(int from, int to, const char *name, int depth) {
    struct stat st;
    int result;

    if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return fail_path(STEP_STAT, name);
    if (S_ISDIR(st.st_mode))
        result = copy_subdirectory(from, to, name, depth);
    else if (S_ISREG(st.st_mode))
        result = copy_file(from, to, name);
    else if (S_ISLNK(st.st_mode))
        result = copy_symlink(from, to, name);
    else
        result = mknodat(to, name, st.st_mode, st.st_rdev) < 0 ? fail_path(STEP_MKNOD, name) : 0;
    if (result < 0 || set_owner(to, name, &st) < 0)
        return -1;
    return set_times(to, name, &st);
}

static int copy_directory(int from, int to, int depth) {
    _Alignas(struct k_dirent) char entries[1024];
    long size;

    if (depth > MAX_DEPTH)
        return fail_errno(STEP_COPY, ELOOP);
    while ((size = syscall(SYS_getdents64, from, entries, sizeof entries)) > 0)
        for (long at = 0; at < size;) {
            const struct k_dirent *entry = (const void *)(entries + at);
            at += entry->size;
            if (strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0)
                continue;
            if (copy_entry(from, to, entry->name, depth) < 0)
                return -1;
        }
    return size < 0 ? fail(STEP_READ) : 0;
}

/* Copies what the directory `from` holds into the directory `to`; both may be O_PATH. */
int copy_tree(int from, int to) {
    const size_t room = XATTR_NAMES + XATTR_VALUE;
    int source = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int target = openat(to, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (source < 0 || target < 0)
        return fail(STEP_OPEN);
    scratch = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (scratch == MAP_FAILED)
        return fail(STEP_COPY);
    copy_xattrs(source, target);
    if (copy_directory(source, target, 0) < 0)
        return -1;
    munmap(scratch, room);
    close(source);
    close(target);
    return 0;
}
