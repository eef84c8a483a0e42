/* native.h: the start of init, sockets, terminals and the system calls that Python has no built-in for. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <linux/netlink.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "plan.h"
#include "native.h"

extern const unsigned char init_image[];
extern const unsigned long init_image_size;

/* Numbers from 424 on are the same on every architecture. */
enum { NR_OPEN_TREE = 428, NR_CLOSE_RANGE = 436, NR_PIDFD_GETFD = 438, NR_MOUNT_SETATTR = 442 };
enum { CLOEXEC_RANGE = 4, EXECUTABLE_MEMFD = 0x10, MAX_PASSED = 64, MAX_FILES = 4096 };

static int result(long value) {
    return value < 0 ? -errno : (int)value;
}

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

/* vm.memfd_noexec may make memfds not executable unless they are asked to be; kernels before 6.3 do not know how to ask. */
static int make_memfd(const char *name, unsigned flags) {
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);

    if (fd < 0 && errno == EINVAL && flags != 0)
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return result(fd);
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

int native_memfd(const char *name, const void *data, size_t size) {
    return sealed_memfd(name, 0, data, size);
}

/* --- starting init ------------------------------------------------------------------------------------------------- */

struct kernel_dirent {
    uint64_t ino;
    int64_t next;
    unsigned short size;
    unsigned char type;
    char name[];
};

/* For kernels without close_range, or (before 5.11) without its CLOEXEC flag. */
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
    close(dir);
    return 0;
}

/* What the caller of the runtime left open never reaches a program. */
static int cloexec_from(int first) {
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

/* Moves what a later dup2 would overwrite out of the way: no source is below `count` afterwards. */
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
    return error < 0 ? error : cloexec_from(start->count);
}

/* By the system call: glibc's sigaction() refuses 32 and 33, which its own posix_spawn (make's, say) leaves ignored. */
static void reset_signals(void) {
    const unsigned long action[4] = {(unsigned long)SIG_DFL}; /* the kernel's struct sigaction: handler, flags, restorer, mask */
    sigset_t none;

    for (int number = 1; number < NSIG; number++)
        syscall(SYS_rt_sigaction, number, action, NULL, sizeof(unsigned long));
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The child, in the memory of the parent, which sleeps until execve or _exit (CLONE_VFORK). */
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
    sigprocmask(SIG_BLOCK, &all, &kept); /* no handler of ours shall run in the child */
    pid = result(clone(start_init, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, start));
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
    start.image = sealed_memfd("pyrun-init", EXECUTABLE_MEMFD, init_image, init_image_size);
    if (start.image < 0)
        return start.image;
    int image = start.image;
    pid = spawn(&start);
    close(image);
    return pid;
}

/* --- sockets ------------------------------------------------------------------------------------------------------- */

int native_socketpair(int fds[2]) {
    const int on = 1;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    if (setsockopt(fds[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0)
        return 0;
    int error = -errno;
    close(fds[0]);
    close(fds[1]);
    return error;
}

int native_send(int sock, const void *data, size_t size, const int *fds, int count) {
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(MAX_PASSED * sizeof(int))];
    } control = {0};
    struct iovec piece = {(void *)(uintptr_t)data, size};
    struct msghdr packet = {.msg_iov = &piece, .msg_iovlen = 1};
    ssize_t n;

    if (count < 0 || count > MAX_PASSED)
        return -EINVAL;
    if (count > 0) {
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
        memcpy(CMSG_DATA(&control.header), fds, (size_t)count * sizeof(int));
        packet.msg_control = &control;
        packet.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
    }
    do
        n = sendmsg(sock, &packet, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return result(n);
}

/* Takes at most `room` of the fds that came along and closes the others. Returns how many it took. */
static int take_fds(const struct cmsghdr *header, int *fds, int room, int taken) {
    size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);

    for (size_t i = 0; i < count; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
        if (taken < room)
            fds[taken++] = fd;
        else
            close(fd);
    }
    return taken;
}

static void read_control(struct msghdr *packet, int *fds, int *count, int *pid) {
    int taken = 0;

    *pid = 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(packet); header != NULL; header = CMSG_NXTHDR(packet, header)) {
        if (header->cmsg_level != SOL_SOCKET)
            continue;
        if (header->cmsg_type == SCM_RIGHTS)
            taken = take_fds(header, fds, *count, taken);
        if (header->cmsg_type == SCM_CREDENTIALS) {
            struct ucred sender;
            memcpy(&sender, CMSG_DATA(header), sizeof sender);
            *pid = sender.pid;
        }
    }
    *count = taken;
}

/* Until there is something to read. */
static int await_input(int sock, int timeout) {
    struct pollfd one = {.fd = sock, .events = POLLIN};
    int n;

    if (timeout < 0)
        return 0;
    n = poll(&one, 1, timeout);
    return n == 0 ? -ETIMEDOUT : result(n);
}

int native_recv(int sock, void *data, size_t size, int *fds, int *count, int *pid, int timeout) {
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(MAX_PASSED * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
    } control;
    struct iovec piece = {data, size};
    struct msghdr packet = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t n;
    int error = await_input(sock, timeout);

    if (error < 0)
        return error;
    n = recvmsg(sock, &packet, MSG_CMSG_CLOEXEC);
    if (n < 0)
        return -errno;
    read_control(&packet, fds, count, pid);
    return (int)n;
}

/* A name in a directory, however long the directory's own path is; or, without a directory, an abstract one: @name (unix(7)).
 * Returns the address's length. */
static int socket_address(int dirfd, const char *name, struct sockaddr_un *address) {
    int size;

    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (dirfd == AT_FDCWD || name[0] == '/')
        size = snprintf(address->sun_path, sizeof address->sun_path, "%s", name);
    else
        size = snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s", dirfd, name);
    if (size >= (int)sizeof address->sun_path)
        return -ENAMETOOLONG;
    if (dirfd == AT_FDCWD && name[0] == '@') {
        address->sun_path[0] = 0;
        return (int)offsetof(struct sockaddr_un, sun_path) + size;
    }
    return (int)sizeof *address;
}

static int named_socket(int dirfd, const char *name, int type, int (*attach)(int, const struct sockaddr *, socklen_t)) {
    struct sockaddr_un address;
    int length = socket_address(dirfd, name, &address);
    int sock, error;

    if (length < 0)
        return length;
    sock = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (sock < 0)
        return -errno;
    if (attach(sock, (const struct sockaddr *)&address, (socklen_t)length) == 0)
        return sock;
    error = -errno;
    close(sock);
    return error;
}

int native_listen(int dirfd, const char *name, int type) {
    int sock = named_socket(dirfd, name, type, bind);

    if (sock < 0 || (type & 0xf) == SOCK_DGRAM || listen(sock, 16) == 0)
        return sock;
    int error = -errno;
    close(sock);
    return error;
}

int native_connect(int dirfd, const char *name, int type) {
    return named_socket(dirfd, name, type, connect);
}

/* --- system calls -------------------------------------------------------------------------------------------------- */

/* A socket stays in the network namespace it was made in. The caller is back in its own before this returns, or ends. */
static int netlink_in(int netns, int own) {
    int sock;

    if (setns(netns, CLONE_NEWNET) < 0)
        return -errno;
    sock = result(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    if (setns(own, CLONE_NEWNET) < 0)
        abort();
    return sock;
}

int native_netlink(int netns) {
    int own, sock;

    if (netns < 0)
        return result(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (own < 0)
        return -errno;
    sock = netlink_in(netns, own);
    close(own);
    return sock;
}

int native_pidfd_getfd(int pidfd, int fd) {
    return result(syscall(NR_PIDFD_GETFD, pidfd, fd, 0));
}

int native_open_tree(int dirfd, const char *path, unsigned flags) {
    return result(syscall(NR_OPEN_TREE, dirfd, path, flags | O_CLOEXEC));
}

int native_propagation(int tree, unsigned long propagation) {
    const uint64_t attr[4] = {0, 0, propagation, 0};

    return result(syscall(NR_MOUNT_SETATTR, tree, "", AT_EMPTY_PATH | 0x8000 /* AT_RECURSIVE */, attr, sizeof attr));
}

int native_idmap(int tree, int recursive, int userns) {
    const uint64_t attr[4] = {0x00100000 /* MOUNT_ATTR_IDMAP */, 0, 0, (uint64_t)userns}; /* set, clear, propagation, userns_fd */

    return result(syscall(NR_MOUNT_SETATTR, tree, "", AT_EMPTY_PATH | (recursive ? 0x8000 /* AT_RECURSIVE */ : 0), attr, sizeof attr));
}

unsigned long long native_file_system(int fd) {
    struct statfs fs;

    return fstatfs(fd, &fs) < 0 ? 0 : (unsigned long long)fs.f_type;
}

unsigned long long native_process_start(int pid) {
    enum { STATE = 3, START = 22 }; /* counted from 1, as in the man page; the name, 2, may hold spaces and parentheses */
    char text[1024];
    ssize_t size = 0;
    int fd;

    snprintf(text, sizeof text, "/proc/%d/stat", pid);
    fd = open(text, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        size = read(fd, text, sizeof text - 1);
        close(fd);
    }
    text[size > 0 ? size : 0] = '\0';
    const char *field = strrchr(text, ')');
    if (field == NULL || strspn(field, ") ") != 2 || strchr("ZXx", field[2]) != NULL)
        return 0;
    for (int number = STATE - 1; number < START && field != NULL; number++)
        field = strchr(field + 1, ' ');
    return field == NULL ? 0 : strtoull(field, NULL, 10);
}

int native_capabilities(unsigned long long out[4]) {
    struct {
        uint32_t version;
        int pid;
    } header = {0x20080522, 0};
    uint32_t data[2][3]; /* low and high halves of effective, permitted, inheritable */

    if (syscall(SYS_capget, &header, data) < 0)
        return -errno;
    for (int set = 0; set < 3; set++)
        out[set] = (unsigned long long)data[1][set] << 32 | data[0][set];
    out[3] = 0;
    for (int cap = 0; cap < 64; cap++)
        if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) > 0)
            out[3] |= 1ULL << cap;
    return 0;
}

int native_prctl(int option, unsigned long arg) {
    return result(prctl(option, arg, 0, 0, 0));
}

/* --- terminals ----------------------------------------------------------------------------------------------------- */

_Static_assert(sizeof(struct termios) <= 64, "native.h promises that 64 bytes hold a terminal's settings");

int native_tty_raw(int fd, void *saved) {
    struct termios settings;

    if (tcgetattr(fd, &settings) < 0)
        return -errno;
    memcpy(saved, &settings, sizeof settings);
    cfmakeraw(&settings);
    /* What comes out still gets its carriage returns here: the container's terminal has ONLCR off. */
    settings.c_oflag |= OPOST;
    return result(tcsetattr(fd, TCSANOW, &settings));
}

int native_tty_restore(int fd, const void *saved) {
    struct termios settings;

    memcpy(&settings, saved, sizeof settings);
    return result(tcsetattr(fd, TCSANOW, &settings));
}

int native_tty_get_size(int fd) {
    struct winsize size;

    if (ioctl(fd, TIOCGWINSZ, &size) < 0)
        return -errno;
    return (size.ws_row & 0x7fff) << 16 | size.ws_col;
}

int native_tty_set_size(int fd, int rows, int columns) {
    const struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};

    return result(ioctl(fd, TIOCSWINSZ, &size));
}

/* --- signals ------------------------------------------------------------------------------------------------------- */

int native_signalfd(void) {
    sigset_t all;

    sigfillset(&all);
    if (sigprocmask(SIG_SETMASK, &all, NULL) < 0)
        return -errno;
    return result(signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK));
}

int native_read_signal(int fd) {
    struct signalfd_siginfo info;
    ssize_t n = read(fd, &info, sizeof info);

    if (n < 0)
        return -errno;
    return n == (ssize_t)sizeof info ? (int)info.ssi_signo : -EIO;
}
