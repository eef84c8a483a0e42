/* /proc and /sys of the container. What protects them is put on what was mounted there, by fd: whoever shares the root file
 * system may exchange the directory that carries the mount for a symlink meanwhile, and a path would lead past it
 * (CVE-2019-19921). */
#include "init.h"

#include <string.h>
#include <sys/vfs.h>

static const char *const places[] = {"/proc", "/sys"};
#define PLACES (sizeof places / sizeof places[0])

/* Remembers a mount if it lies on one of the places; of several the last one is on top. */
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

/* path_open(), but what lies below /proc and /sys is looked up in the mount that is there. */
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

/* Is `target`, found at `path`, a file of procfs without being named so? Then a symlink of the image has led there, and
 * what is mounted would pass for the kernel's (CVE-2019-16884). */
int hides_proc(const char *path, int target) {
    struct statfs fs;

    if (strncmp(path, "/proc", 5) == 0 && (path[5] == '/' || path[5] == '\0'))
        return 0;
    return fstatfs(target, &fs) == 0 && fs.f_type == K_PROC_SUPER_MAGIC;
}
