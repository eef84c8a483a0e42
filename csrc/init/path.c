/* Paths in the root. Each function gives an O_PATH fd of something below the root fd; no symlink, no ".." and no rename by somebody
 * else meanwhile leads out of it. The caller uses the fd and never the path a second time (CVE-2021-30465).
 *
 * The kernel does this with openat2(RESOLVE_IN_ROOT). walk() does it component by component, for kernels without openat2 and to
 * make what is missing. It reads a symlink's text and walks that too, in place of letting the kernel follow it. */
#include "init.h"

#include <limits.h>
#include <string.h>

#define MAX_SYMLINKS 40  /* as many as the kernel follows */
#define MAX_ATTEMPTS 128 /* when somebody else changes the path at the same time */

/* Does the error mean that the system call is missing (old kernel) or refused by a seccomp filter around the runtime? */
int unavailable(int error) {
    return error == ENOSYS || error == EPERM;
}

void root_reset(void) {
    if (self.root >= 0)
        close(self.root);
    self.root = -1;
}

int root_fd(void) {
    if (self.root < 0)
        self.root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return self.root;
}

static int fail_with(int error) {
    errno = error;
    return -1;
}

struct walk {
    int fd;            /* of the component reached so far */
    mode_t make, mode; /* S_IFDIR, S_IFREG: the last component is made if missing, its parents too; 0: nothing is */
    int made;          /* whether the last component was missing and has been made */
    int symlinks;
    char done[PATH_MAX]; /* the path from the root to fd, free of symlinks and ".." */
    char rest[PATH_MAX]; /* what is left to walk */
};

static void step_to(struct walk *w, int fd) {
    close(w->fd);
    w->fd = fd;
}

static int restart(struct walk *w) {
    int fd = fcntl(root_fd(), F_DUPFD_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    step_to(w, fd);
    return 0;
}

/* For "..": walks from the root again, to the path so far without its last component. openat("..") would not be safe: if somebody
 * has moved the directory out of the root meanwhile, its ".." is outside too. */
static int step_up(struct walk *w) {
    char *slash = strrchr(w->done, '/');

    if (slash != NULL)
        *slash = '\0';
    if (restart(w) < 0)
        return -1;
    for (char *at = w->done; *at != '\0';) {
        char *name = at + 1;
        char *next = strchrnul(name, '/');
        char kept = *next;
        *next = '\0';
        int fd = openat(w->fd, name, O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC);
        *next = kept;
        if (fd < 0)
            return -1;
        step_to(w, fd);
        at = next;
    }
    return 0;
}

/* Puts the symlink's text before the rest of the path. */
static int follow(struct walk *w, int link) {
    size_t rest = strlen(w->rest);
    char text[PATH_MAX];
    ssize_t size = readlinkat(link, "", text, sizeof text);

    close(link);
    if (size < 0)
        return -1;
    if (size == 0 || ++w->symlinks > MAX_SYMLINKS)
        return fail_with(size == 0 ? ENOENT : ELOOP);
    if ((size_t)size + 1 + rest >= sizeof w->rest)
        return fail_with(ENAMETOOLONG);
    memmove(w->rest + size + 1, w->rest, rest + 1);
    memcpy(w->rest, text, (size_t)size);
    w->rest[size] = '/';
    if (text[0] != '/')
        return 0;
    w->done[0] = '\0';
    return restart(w);
}

static int make_missing(struct walk *w, const char *name, int last) {
    int result;

    if (last && w->make == S_IFREG)
        result = mknodat(w->fd, name, S_IFREG | w->mode, 0); /* never open(O_CREAT): CVE-2024-45310 */
    else
        result = mkdirat(w->fd, name, last ? w->mode : 0755);
    if (result < 0)
        return errno == EEXIST ? 0 : -1; /* made by somebody else meanwhile: the caller opens and checks it */
    w->made = last;
    return 0;
}

static int open_component(struct walk *w, const char *name, int last) {
    for (int attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        int fd = openat(w->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0 || errno != ENOENT || w->make == 0)
            return fd;
        if (make_missing(w, name, last) < 0)
            return -1;
    }
    return fail_with(EAGAIN);
}

static int step(struct walk *w, const char *name, int last) {
    size_t done = strlen(w->done);
    struct stat st;
    int fd;

    if (strcmp(name, ".") == 0)
        return 0;
    if (strcmp(name, "..") == 0)
        return step_up(w);
    fd = open_component(w, name, last);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -1;
    if (S_ISLNK(st.st_mode))
        return follow(w, fd);
    if (done + 1 + strlen(name) >= sizeof w->done)
        return fail_with(ENAMETOOLONG);
    w->done[done] = '/';
    strcpy(w->done + done + 1, name);
    step_to(w, fd);
    return 0;
}

/* Moves the next component from the rest to `name`: 1, or 0 if there is none, or -1 and errno. */
static int next_name(struct walk *w, char name[NAME_MAX + 1]) {
    char *from = w->rest + strspn(w->rest, "/");
    size_t size = strcspn(from, "/");

    if (size > NAME_MAX)
        return fail_with(ENAMETOOLONG);
    memcpy(name, from, size);
    name[size] = '\0';
    from += size;
    from += strspn(from, "/");
    memmove(w->rest, from, strlen(from) + 1);
    return size > 0;
}

static int close_failed(int fd) {
    int error = errno;

    close(fd);
    return fail_with(error);
}

static int walk(const char *path, mode_t make, mode_t mode, int *made) {
    char name[NAME_MAX + 1];
    struct walk w;
    int more;

    w.make = make;
    w.mode = mode;
    w.made = w.symlinks = 0;
    w.done[0] = '\0';
    if (strlen(path) >= sizeof w.rest)
        return fail_with(ENAMETOOLONG);
    strcpy(w.rest, path);
    w.fd = fcntl(root_fd(), F_DUPFD_CLOEXEC, 0);
    if (w.fd < 0)
        return -1;
    do {
        more = next_name(&w, name);
        if (more > 0 && step(&w, name, w.rest[0] == '\0') < 0)
            more = -1;
    } while (more > 0);
    if (more < 0)
        return close_failed(w.fd);
    if (made != NULL)
        *made = w.made;
    return w.fd;
}

static int open_in_root(const char *path, int flags, uint64_t resolve) {
    struct k_open_how how = {
        .flags = (uint64_t)(O_PATH | O_CLOEXEC | flags),
        .resolve = K_RESOLVE_IN_ROOT | K_RESOLVE_NO_MAGICLINKS | resolve,
    };
    int fd;

    for (int attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        fd = (int)syscall(NR_OPENAT2, root_fd(), path, &how, sizeof how);
        if (fd >= 0 || errno != EAGAIN) /* EAGAIN: a rename happened during the look-up of a ".." */
            break;
    }
    return fd;
}

/* flags: O_DIRECTORY or 0 */
int path_open(const char *path, int flags) {
    struct stat st;
    int fd = open_in_root(path, flags, 0);

    if (fd >= 0 || !unavailable(errno))
        return fd;
    fd = walk(path, 0, 0, NULL);
    if (fd < 0 || (flags & O_DIRECTORY) == 0)
        return fd;
    if (fstat(fd, &st) < 0)
        return close_failed(fd);
    if (S_ISDIR(st.st_mode))
        return fd;
    close(fd);
    return fail_with(ENOTDIR);
}

/* The same, but no component may be a symlink: ELOOP. */
int path_open_plain(const char *path) {
    int fd = open_in_root(path, 0, K_RESOLVE_NO_SYMLINKS);
    char name[NAME_MAX + 1];

    if (fd >= 0 || !unavailable(errno))
        return fd;
    fd = fcntl(root_fd(), F_DUPFD_CLOEXEC, 0);
    for (path += strspn(path, "/"); fd >= 0 && *path != '\0'; path += strspn(path, "/")) {
        size_t size = strcspn(path, "/");
        struct stat st;
        int next;
        if (size > NAME_MAX)
            return fail_with(ENAMETOOLONG);
        memcpy(name, path, size);
        name[size] = '\0';
        next = openat(fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        close(fd);
        if (next >= 0 && (strcmp(name, "..") == 0 || fstat(next, &st) < 0 || S_ISLNK(st.st_mode)))
            return fail_with(ELOOP);
        fd = next;
        path += size;
    }
    return fd;
}

/* What lies at `path`, which may be a symlink; ENOENT if nothing does. Its parents are made. */
int path_open_symlink(const char *path) {
    char name[256];
    int parent = path_parent(path, name);
    int fd;

    if (parent < 0)
        return -1;
    fd = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return close_failed(parent);
    close(parent);
    return fd;
}

/* What lies at `path`; if nothing does, a directory (S_IFDIR) or an empty file (S_IFREG) of this mode is made, with
 * its parents (0755), and *made set. A symlink to nowhere is followed inside the root. */
int path_target(const char *path, mode_t type, mode_t mode, int *made) {
    int fd = path_open(path, 0);

    if (made != NULL)
        *made = 0;
    if (fd >= 0 || errno != ENOENT)
        return fd;
    return walk(path, type, mode, made);
}

/* The directory that holds `path`, made if missing, and the last component's name, which is not looked at. */
int path_parent(const char *path, char name[256]) {
    char parent[PATH_MAX];
    const char *last = strrchr(path, '/');

    last = last == NULL ? path : last + 1;
    if (*last == '\0' || strcmp(last, ".") == 0 || strcmp(last, "..") == 0)
        return fail_with(EINVAL);
    if (strlen(last) > NAME_MAX || (size_t)(last - path) >= sizeof parent)
        return fail_with(ENAMETOOLONG);
    strcpy(name, last);
    memcpy(parent, path, (size_t)(last - path));
    parent[last - path] = '\0';
    if (parent[0] == '\0')
        strcpy(parent, "/");
    return path_target(parent, S_IFDIR, 0755, NULL);
}
