/* native.h: sockets, terminals and the system calls that Python has no built-in for. */
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
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <termios.h>
#include <unistd.h>

#include "plan.h"
#include "native.h"

/* Numbers from 424 on are the same on every architecture. */
enum { NR_OPEN_TREE = 428, NR_PIDFD_GETFD = 438, NR_MOUNT_SETATTR = 442 };
enum { MAX_PASSED = PLAN_PASSED, PATIENCE = 10 /* s */ };

static int result(long value) {
    return value < 0 ? -errno : (int)value;
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
    return result(sendmsg(sock, &packet, MSG_NOSIGNAL));
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

/* Waits until there is something to read: 0, or -errno. */
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

/* The address of a socket NAME in a directory, through /proc/self/fd since sun_path takes 108 bytes only; or, with AT_FDCWD, of an
 * abstract socket: @NAME (unix(7)). Returns its length. */
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

typedef int attach_function(int sock, const struct sockaddr *address, socklen_t length);

/* The file that bind makes takes its permissions from the socket (and the umask): it is the owner's alone from the start. */
static int bind_private(int sock, const struct sockaddr *address, socklen_t length) {
    return fchmod(sock, 0600) < 0 ? -1 : bind(sock, address, length);
}

/* The limit is the kernel's, for connect and for what is sent later: EAGAIN when it is over. */
static int connect_patiently(int sock, const struct sockaddr *address, socklen_t length) {
    const struct timeval limit = {.tv_sec = PATIENCE};

    return setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0 ? -1 : connect(sock, address, length);
}

static int named_socket(int dirfd, const char *name, int type, attach_function *attach) {
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
    int sock = named_socket(dirfd, name, type, bind_private);

    if (sock < 0 || (type & 0xf) == SOCK_DGRAM || listen(sock, 16) == 0)
        return sock;
    int error = -errno;
    close(sock);
    return error;
}

int native_connect(int dirfd, const char *name, int type) {
    return named_socket(dirfd, name, type, connect_patiently);
}

/* --- system calls -------------------------------------------------------------------------------------------------- */

/* A socket belongs to the network namespace it was made in, so this enters the other one for a moment. If the way back fails,
 * the process ends: it must not go on in a container's namespace. */
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

int native_exchange(const char *one, const char *other) {
    return result(renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE));
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

enum { STATE = 3, FLAGS = 9, START = 22, EXIT_CODE = 52 }; /* of proc_pid_stat(5), where fields are counted from 1 */
enum { STAT_SIZE = 1024 };

/* The process's status from its state on. NULL: there is none (*error is ESRCH), or it cannot be read. The name before that may hold
 * spaces and parentheses. */
static const char *read_stat(int pid, char text[STAT_SIZE], int *error) {
    ssize_t size = -1;
    int fd;

    snprintf(text, STAT_SIZE, "/proc/%d/stat", pid);
    fd = open(text, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        size = read(fd, text, STAT_SIZE - 1);
    *error = size >= 0 || errno == ENOENT ? ESRCH : errno;
    if (fd >= 0)
        close(fd);
    text[size > 0 ? size : 0] = '\0';
    const char *name_end = strrchr(text, ')');
    return name_end == NULL || strspn(name_end, ") ") != 2 ? NULL : name_end + 2;
}

static unsigned long long stat_number(const char *field, int number) {
    for (int at = STATE; at < number && field != NULL; at++)
        field = strchr(field + 1, ' ');
    return field == NULL ? 0 : strtoull(field, NULL, 10);
}

long long native_process_start(int pid) {
    char text[STAT_SIZE];
    int error;
    const char *stat = read_stat(pid, text, &error);

    if (stat == NULL)
        return error == ESRCH ? 0 : -error;
    return strchr("ZXx", *stat) != NULL ? 0 : (long long)stat_number(stat, START);
}

/* The kernel sets PF_FORKNOEXEC in a process that is cloned and takes it away in execve, before it closes files there. */
int native_executed(int pid, int *status) {
    enum { PF_FORKNOEXEC = 0x40 };
    char text[STAT_SIZE];
    int error;
    const char *stat = read_stat(pid, text, &error);

    *status = stat == NULL ? 0 : (int)stat_number(stat, EXIT_CODE);
    return stat == NULL ? -error : (stat_number(stat, FLAGS) & PF_FORKNOEXEC) == 0;
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

/* What is typed there is for the container, ^C too. OPOST stays: this terminal puts in the carriage returns. */
int native_tty_raw(int fd, void *saved) {
    struct termios settings;
    tcflag_t output;

    if (tcgetattr(fd, &settings) < 0)
        return -errno;
    memcpy(saved, &settings, sizeof settings);
    output = settings.c_oflag;
    cfmakeraw(&settings);
    settings.c_oflag = output;
    return result(tcsetattr(fd, TCSANOW, &settings));
}

int native_tty_no_carriage_returns(int fd) {
    struct termios settings;

    if (tcgetattr(fd, &settings) < 0)
        return -errno;
    settings.c_oflag &= ~(tcflag_t)ONLCR;
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
