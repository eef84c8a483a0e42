/* say MESSAGE: sends it to $NOTIFY_SOCKET, as sd_notify(3) does. say --barrier: BARRIER=1 with the end of a pipe, and waits
 * until the receiver has closed it. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int deliver(const char *text, const int *fd) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec piece = {(void *)text, strlen(text)};
    struct msghdr message = {.msg_name = &address, .msg_namelen = sizeof address, .msg_iov = &piece, .msg_iovlen = 1};
    const char *path = getenv("NOTIFY_SOCKET");
    int sock = socket(AF_UNIX, SOCK_DGRAM, 0);

    if (!path || sock < 0)
        return -1;
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    if (fd) {
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.header), fd, sizeof(int));
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
    }
    return (int)sendmsg(sock, &message, 0);
}

static int barrier(void) {
    int ends[2];

    if (pipe(ends) < 0 || deliver("BARRIER=1", &ends[1]) < 0)
        return 1;
    close(ends[1]);
    return poll(&(struct pollfd){.fd = ends[0]}, 1, 5000) == 1 ? 0 : 1;
}

int main(int argc, char **argv) {
    if (argc != 2)
        return 2;
    if (strcmp(argv[1], "--barrier") == 0)
        return barrier();
    if (deliver(argv[1], NULL) < 0) {
        perror("say");
        return 1;
    }
    return 0;
}
