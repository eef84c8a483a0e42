/* start.h: memfds, and the start of init from one. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "start.h"

extern const unsigned char init_image[];
extern const unsigned long init_image_size;

/* Numbers from 424 on are the same on every architecture. */
enum { NR_FSOPEN = 430, NR_FSCONFIG = 431, NR_FSMOUNT = 432, NR_CLOSE_RANGE = 436, NR_MOUNT_SETATTR = 442 };
enum { CLOEXEC_RANGE = 4, PLAIN_MEMFD = 0x08, EXECUTABLE_MEMFD = 0x10, MAX_FILES = 4096 };

/* --- memfds -------------------------------------------------------------------------------------------------------- */

static int write_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            data += n;
            size -= (size_t)n;
        }
    }
    return 0;
}

/* With the sysctl vm.memfd_noexec=1 a memfd is executable only with MFD_EXEC, a flag that kernels before 6.3 refuse. */
static int make_memfd(const char *name, unsigned flags) {
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);

    if (fd < 0 && errno == EINVAL && flags != 0)
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd < 0 ? -errno : fd;
}

static int sealed_memfd(const char *name, unsigned flags, const void *data, size_t size) {
    int fd = make_memfd(name, flags);
    int error;

    if (fd < 0)
        return fd;
    error = write_all(fd, data, size);
    if (error == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        error = -errno;
    if (error == 0)
        return fd;
    close(fd);
    return error;
}

/* The root of a tmpfs that is mounted nowhere and goes with its last file. It takes CAP_SYS_ADMIN, and Linux 5.2. */
static int private_tmpfs(void) {
    int fs = (int)syscall(NR_FSOPEN, "tmpfs", 1 /* FSOPEN_CLOEXEC */);
    int dir = -1;

    if (fs >= 0 && syscall(NR_FSCONFIG, fs, 6 /* FSCONFIG_CMD_CREATE */, NULL, NULL, 0) == 0)
        dir = (int)syscall(NR_FSMOUNT, fs, 1 /* FSMOUNT_CLOEXEC */, 2 | 4 /* MOUNT_ATTR_NOSUID, NODEV */);
    if (fs >= 0)
        close(fs);
    return dir;
}

/* A file without a name (O_EXCL: it cannot get one), open for reading alone. */
static int nameless_file(int dir, const char *path, const void *data, size_t size) {
    int writer = openat(dir, path, O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0500);
    char name[32];
    int reader = -1;

    if (writer < 0)
        return -errno;
    snprintf(name, sizeof name, "/proc/self/fd/%d", writer);
    if (write_all(writer, data, size) == 0)
        reader = open(name, O_RDONLY | O_CLOEXEC);
    close(writer);
    return reader < 0 ? -EIO : reader;
}

static int in_private_tmpfs(const void *data, size_t size) {
    const uint64_t read_only[4] = {1 /* MOUNT_ATTR_RDONLY */};
    int dir = private_tmpfs();
    int fd;

    if (dir < 0)
        return -ENOSYS;
    fd = nameless_file(dir, ".", data, size);
    if (fd >= 0 && syscall(NR_MOUNT_SETATTR, dir, "", AT_EMPTY_PATH, read_only, sizeof read_only) < 0) {
        close(fd);
        fd = -ENOSYS;
    }
    close(dir);
    return fd;
}

/* For the caller without CAP_SYS_ADMIN: wherever a file may be executed. The file is of this one start: who writes to it inside
 * the container, once init has left it, changes nothing that anybody else runs. */
static int in_shared_directory(const void *data, size_t size) {
    const char *const directories[] = {getenv("XDG_RUNTIME_DIR"), "/dev/shm", "/tmp", "/var/tmp"};
    struct statvfs fs;

    for (size_t i = 0; i < sizeof directories / sizeof directories[0]; i++) {
        if (directories[i] == NULL || statvfs(directories[i], &fs) < 0 || (fs.f_flag & ST_NOEXEC) != 0)
            continue;
        int fd = nameless_file(AT_FDCWD, directories[i], data, size);
        if (fd >= 0)
            return fd;
    }
    return -EACCES;
}

/* A copy of data that nobody can change: a sealed memfd; or, where there is none to be had (vm.memfd_noexec is 2, a seccomp
 * filter around us), a file without a name. Of the errors the memfd's is told. */
static int private_copy(const char *name, unsigned flags, const void *data, size_t size) {
    int memory = sealed_memfd(name, flags, data, size);
    int fd = memory;

    if (fd < 0)
        fd = in_private_tmpfs(data, size);
    if (fd < 0)
        fd = in_shared_directory(data, size);
    return fd < 0 ? memory : fd;
}

int native_memfd(const char *name, const void *data, size_t size) {
    return private_copy(name, PLAIN_MEMFD, data, size);
}

/* --- starting init ------------------------------------------------------------------------------------------------- */

struct kernel_dirent {
    uint64_t ino;
    int64_t next;
    unsigned short size;
    unsigned char type;
    char name[];
};

/* For kernels without close_range, or without its flag CLOSE_RANGE_CLOEXEC (before 5.11). */
static int cloexec_listed(int first) {
    _Alignas(struct kernel_dirent) char entries[2048];
    int dir = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    long size;

    if (dir < 0)
        return -errno;
    while ((size = syscall(SYS_getdents64, dir, entries, sizeof entries)) > 0)
        for (long at = 0; at < size;) {
            const struct kernel_dirent *entry = (const void *)(entries + at);
            int fd = 0;
            for (const char *digit = entry->name; *digit >= '0' && *digit <= '9'; digit++)
                fd = fd * 10 + (*digit - '0');
            if (entry->name[0] != '.' && fd >= first)
                fcntl(fd, F_SETFD, FD_CLOEXEC);
            at += entry->size;
        }
    if (size < 0)
        size = -errno;
    close(dir);
    return (int)size;
}

int native_cloexec(int first) {
    if (syscall(NR_CLOSE_RANGE, first, ~0U, CLOEXEC_RANGE) == 0)
        return 0;
    return cloexec_listed(first);
}

struct start {
    int image;
    int *files; /* what becomes 0, 1, 2, 3 … in init; -1: /dev/null */
    int count;
    char first[12];
    volatile int error;
};

/* Moves *fd to a number >= count if it is below: dup2 to 0 .. count-1 would overwrite it before it is used. */
static int move_up(int *fd, int count) {
    if (*fd >= count)
        return 0;
    *fd = *fd < 0 ? open("/dev/null", O_RDWR | O_CLOEXEC) : *fd;
    *fd = *fd < 0 ? -1 : fcntl(*fd, F_DUPFD_CLOEXEC, count);
    return *fd < 0 ? -errno : 0;
}

static int place_files(struct start *start) {
    int error = move_up(&start->image, start->count);

    for (int i = 0; error == 0 && i < start->count; i++)
        error = move_up(&start->files[i], start->count);
    for (int i = 0; error == 0 && i < start->count; i++)
        if (dup2(start->files[i], i) < 0)
            error = -errno;
    return error < 0 ? error : native_cloexec(start->count);
}

/* By the system call: glibc's sigaction() refuses the signals 32 and 33, and a caller that was started by glibc's posix_spawn (by
 * make, say) has them ignored. */
static void reset_signals(void) {
    const unsigned long action[4] = {(unsigned long)SIG_DFL}; /* the kernel's struct sigaction: handler, flags, restorer, mask */
    sigset_t none;

    for (int number = 1; number < NSIG; number++)
        syscall(SYS_rt_sigaction, number, action, NULL, sizeof(unsigned long));
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Runs in the child. It shares the parent's memory (CLONE_VM); the parent sleeps until execve or _exit (CLONE_VFORK). */
static int start_init(void *arg) {
    struct start *start = arg;
    char *argv[] = {"pyrun:init", start->first, NULL};
    char *env[] = {NULL};
    char path[32];

    reset_signals();
    start->error = place_files(start);
    if (start->error == 0) {
        syscall(SYS_execveat, start->image, "", argv, env, AT_EMPTY_PATH);
        snprintf(path, sizeof path, "/proc/self/fd/%d", start->image);
        execve(path, argv, env);
        start->error = -errno;
    }
    _exit(127);
}

static int spawn(struct start *start) {
    _Alignas(16) char stack[16384];
    sigset_t all, kept;
    int pid;

    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &kept); /* a handler in the child would run in the parent's memory */
    pid = clone(start_init, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, start);
    if (pid < 0)
        pid = -errno;
    sigprocmask(SIG_SETMASK, &kept, NULL);
    if (pid < 0 || start->error == 0)
        return pid;
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return start->error;
}

int native_spawn(const int *stdio, const int *fds, int count, int keep) {
    if (count < 0 || keep < 0 || keep > count || count > MAX_FILES)
        return -EINVAL;
    int files[3 + count];
    struct start start = {.files = files, .count = 3 + count};
    int pid;

    memcpy(files, stdio, 3 * sizeof(int));
    memcpy(files + 3, fds, (size_t)count * sizeof(int));
    snprintf(start.first, sizeof start.first, "%d", 3 + keep);
    start.image = private_copy("pyrun-init", EXECUTABLE_MEMFD, init_image, init_image_size);
    if (start.image < 0)
        return start.image;
    int image = start.image;
    pid = spawn(&start);
    close(image);
    return pid;
}
