/* Messages to the runtime, and fail(): how every op reports an error. */
#include "init.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

int fail_errno(enum plan_step step, int error) {
    self.step = step;
    self.error = error;
    return -1;
}

int fail(enum plan_step step) {
    return fail_errno(step, errno);
}

int fail_path(enum plan_step step, const char *path) {
    int error = errno;

    add_detail(path);
    return fail_errno(step, error);
}

/* The first call counts: it is nearest to the cause. */
void add_detail(const char *text) {
    if (self.detail[0] == '\0')
        put_text(self.detail, self.detail + sizeof self.detail, text);
}

/* By write(2), not send(2): after OP_SECCOMP the container's filter applies here too, and hardly any profile refuses write.
 * SIGPIPE is harmless: signals.c catches it. No signal interrupts a call of init: the handlers end it or restart the call. So
 * EINTR can only come from the filter, for ever, and is an error like others. */
static int send_whole(const void *data, size_t size) {
    const char *at = data;

    while (size > 0) {
        ssize_t n = write(self.out, at, size);
        if (n <= 0)
            return -1;
        at += n;
        size -= (size_t)n;
    }
    return 0;
}

static int send_with_fd(const struct plan_msg *msg, int passed_fd) {
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec data = {(void *)(uintptr_t)msg, sizeof *msg};
    struct msghdr packet = {.msg_iov = &data, .msg_iovlen = 1};

    memset(&control, 0, sizeof control);
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.header), &passed_fd, sizeof passed_fd);
    packet.msg_control = &control;
    packet.msg_controllen = sizeof control;
    return sendmsg(self.out, &packet, MSG_NOSIGNAL) == (ssize_t)sizeof *msg ? 0 : -1;
}

/* passed_fd: sent along, -1 for none */
int send_message(uint32_t type, uint32_t number, int32_t value, int passed_fd) {
    struct plan_msg msg = {.type = type, .number = number, .value = value};

    return passed_fd < 0 ? send_whole(&msg, sizeof msg) : send_with_fd(&msg, passed_fd);
}

/* CLOCK_REALTIME is the same in every time namespace; CLOCK_MONOTONIC is not. */
uint64_t now(void) {
    struct timespec time;

    clock_gettime(CLOCK_REALTIME, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* Of the op that has just run. If it cannot be sent there is one figure less. */
void send_timing(uint64_t begin) {
    const uint64_t times[2] = {begin, now()};
    struct plan_msg msg = {.type = MSG_TIMING, .number = self.index};

    memcpy(msg.detail, times, sizeof times);
    send_whole(&msg, sizeof msg);
}

/* Waits for MSG_GO with this number. If the runtime has gone, init just ends: there is nobody to send an error to. */
int await_go(uint32_t number) {
    struct plan_msg msg = {0};
    size_t got = 0;

    while (got < sizeof msg) {
        ssize_t n = read(self.out, (char *)&msg + got, sizeof msg - got);
        if (n < 0)
            return fail(STEP_READ);
        if (n == 0)
            leave(1);
        got += (size_t)n;
    }
    if (msg.type != MSG_GO || msg.number != number)
        return fail_errno(STEP_PROTOCOL, EPROTO);
    return 0;
}

/* A message, and the fds that come with it: returns how many. */
static int receive(struct plan_msg *msg, int files[PLAN_PASSED]) {
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(PLAN_PASSED * sizeof(int))];
    } control;
    struct iovec data = {msg, sizeof *msg};
    struct msghdr packet = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t n;

    do
        n = recvmsg(self.out, &packet, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        leave(1);
    if ((packet.msg_flags & MSG_CTRUNC) != 0)
        return fail_errno(STEP_OPEN, EMFILE);
    const struct cmsghdr *header = CMSG_FIRSTHDR(&packet);
    if (n != (ssize_t)sizeof *msg || header == NULL || header->cmsg_type != SCM_RIGHTS)
        return fail_errno(STEP_PROTOCOL, EPROTO);
    const size_t size = header->cmsg_len - CMSG_LEN(0);
    memcpy(files, CMSG_DATA(header), size);
    return (int)(size / sizeof(int));
}

/* await_go(); returns the fd that comes along. */
int await_go_fd(uint32_t number) {
    struct plan_msg msg = {0};
    int files[PLAN_PASSED];

    if (receive(&msg, files) < 0)
        return -1;
    return msg.type == MSG_GO && msg.number == number ? files[0] : fail_errno(STEP_PROTOCOL, EPROTO);
}

/* Waits for MSG_REST. Returns how many files came; more: how many are still to come. */
int await_rest(int files[PLAN_PASSED], uint32_t *more) {
    struct plan_msg msg = {0};
    const int count = receive(&msg, files);

    if (count >= 0 && msg.type != MSG_REST)
        return fail_errno(STEP_PROTOCOL, EPROTO);
    *more = msg.number;
    return count;
}

void report_and_exit(uint32_t index) {
    struct plan_msg msg = {.type = MSG_ERROR, .number = index, .value = self.error, .step = self.step};

    memcpy(msg.detail, self.detail, sizeof msg.detail);
    send_whole(&msg, sizeof msg); /* if that fails nobody can be told; that init ended without a word says as much */
    leave(1);
}

/* The container's seccomp profile may refuse every call that ends a process, and libc's _exit would try for ever. A trap
 * ends even pid 1 of a namespace. */
void leave(int code) {
    syscall(SYS_exit_group, code);
    syscall(SYS_exit, code);
    __builtin_trap();
}
