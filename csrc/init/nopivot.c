/* Without pivot_root the host's mounts stay in the container's mount namespace, covered by its root. The kernel lets a user namespace
 * mount a new proc or sysfs only if its mount namespace has one that is not covered anywhere. The host's would count, and
 * the container could get a proc without masks. So every proc and sysfs of the host is unmounted. */
#include "init.h"

#include <string.h>

struct line {
    char text[8192];
    size_t size; /* of what is in text */
    size_t used; /* of it, the current line with its end */
};

/* The next line of a file, NUL in place of its newline; NULL at the end. A line longer than the buffer is cut off, which does no
 * harm: the mount point is one of its first fields. */
static char *next_line(int fd, struct line *line) {
    char *end;

    memmove(line->text, line->text + line->used, line->size - line->used);
    line->size -= line->used;
    line->used = 0;
    while ((end = memchr(line->text, '\n', line->size)) == NULL && line->size < sizeof line->text) {
        ssize_t n = read(fd, line->text + line->size, sizeof line->text - line->size);
        if (n <= 0)
            return NULL;
        line->size += (size_t)n;
    }
    if (end == NULL)
        end = line->text + line->size - 1;
    *end = '\0';
    line->used = (size_t)(end - line->text) + 1;
    return line->text;
}

/* mountinfo writes space, tab, newline and backslash as \ooo. */
static void unescape(char *text) {
    char *to = text;

    while (*text != '\0') {
        if (text[0] == '\\' && text[1] != '\0' && text[2] != '\0' && text[3] != '\0') {
            *to++ = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
            text += 4;
        } else {
            *to++ = *text++;
        }
    }
    *to = '\0';
}

/* The n-th field (from 0), with a NUL in place of the space behind it. */
static char *field(char *line, int n) {
    while (n-- > 0) {
        line = strchr(line, ' ');
        if (line == NULL)
            return NULL;
        line++;
    }
    char *end = strchr(line, ' ');
    if (end != NULL)
        *end = '\0';
    return line;
}

/* The mount point of a proc or sysfs, NULL for other mounts. */
static char *kernel_view(char *line) {
    char *type = strstr(line, " - ");

    if (type == NULL || (strncmp(type, " - proc ", 8) != 0 && strncmp(type, " - sysfs ", 9) != 0))
        return NULL;
    line = field(line, 4);
    if (line != NULL)
        unescape(line);
    return line;
}

static int below(const char *path, const char *root) {
    size_t size = strlen(root);

    return strncmp(path, root, size) == 0 && (path[size] == '/' || path[size] == '\0');
}

/* A mount that a user namespace inherited cannot be unmounted (EINVAL, EPERM). An empty tmpfs over it is as good: a proc that is
 * covered does not count. */
static int unmount_view(const char *path) {
    if (sys_mount(NULL, path, NULL, K_MS_SLAVE | K_MS_REC, NULL) < 0 && errno != EINVAL && errno != ENOENT)
        return fail_path(STEP_MOUNT, path);
    if (syscall(SYS_umount2, path, K_MNT_DETACH) == 0 || errno == ENOENT)
        return 0;
    if (errno != EINVAL && errno != EPERM)
        return fail_path(STEP_UMOUNT, path);
    return sys_mount("tmpfs", path, "tmpfs", 0, NULL) < 0 ? fail_path(STEP_MOUNT, path) : 0;
}

/* Unmounts every proc and sysfs that does not lie in the root. */
int unmount_kernel_views(void) {
    char root[4096], name[32];
    struct line line;
    char *text;
    ssize_t size = readlinkat(self.proc, fd_path(root_fd(), name), root, sizeof root - 1);
    int mounts = proc_open("self/mountinfo", O_RDONLY);

    if (size < 0 || mounts < 0)
        return fail(STEP_OPEN);
    root[size] = '\0';
    line.size = line.used = 0;
    while ((text = next_line(mounts, &line)) != NULL) {
        const char *path = kernel_view(text);
        if (path != NULL && !below(path, root) && unmount_view(path) < 0)
            return -1;
    }
    close(mounts);
    return 0;
}
