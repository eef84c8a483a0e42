/* /proc and /sys of the container. Masks and read-only mounts in them are put there through fds of these two mounts, not by path:
 * a container that shares the root file system could meanwhile replace the directory /proc by a symlink, and the path would
 * lead elsewhere (CVE-2019-19921). */
#include "init.h"

#include <string.h>
#include <sys/vfs.h>

static const char *const places[] = {"/proc", "/sys"};
#define PLACES (sizeof places / sizeof places[0])

/* Keeps an fd of a mount on /proc or /sys. The last one counts: it covers earlier ones. */
int view_keep(const char *path, int mount) {
    for (size_t i = 0; i < PLACES; i++) {
        if (strcmp(path, places[i]) != 0)
            continue;
        if (self.views[i] >= 0)
            close(self.views[i]);
        self.views[i] = fcntl(mount, F_DUPFD_CLOEXEC, 0);
        return self.views[i] < 0 ? -1 : 0;
    }
    return 0;
}

/* path_open(), but paths below /proc and /sys are looked up in the kept mount. */
int view_path_open(const char *path) {
    for (size_t i = 0; i < PLACES; i++) {
        size_t size = strlen(places[i]);
        if (self.views[i] < 0 || strncmp(path, places[i], size) != 0 || path[size] != '/')
            continue;
        int root = self.root;
        self.root = self.views[i];
        int fd = path_open(path + size, 0);
        self.root = root;
        return fd;
    }
    return path_open(path, 0);
}

void views_close(void) {
    for (size_t i = 0; i < PLACES; i++) {
        if (self.views[i] >= 0)
            close(self.views[i]);
        self.views[i] = -1;
    }
}

/* Is `target` in procfs although its `path` is not below /proc? Then a symlink of the image led there, and a mount on it would
 * replace a file of the kernel's (CVE-2019-16884). */
int hides_proc(const char *path, int target) {
    struct statfs fs;

    if (strncmp(path, "/proc", 5) == 0 && (path[5] == '/' || path[5] == '\0'))
        return 0;
    return fstatfs(target, &fs) == 0 && fs.f_type == K_PROC_SUPER_MAGIC;
}
