/* inotify-logger DIRECTORY LOG: appends a line to LOG for each thing that happens in DIRECTORY:
 *     2026-01-31T12:00:00Z CREATE,ISDIR name
 * A byte of a name that is not printable ASCII is written as \xNN, so that a line is always one event. Ends with 0 on SIGTERM and SIGINT. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

static const struct {
    uint32_t bit;
    const char *name;
} events[] = {
    {IN_ACCESS, "ACCESS"},
    {IN_MODIFY, "MODIFY"},
    {IN_ATTRIB, "ATTRIB"},
    {IN_CLOSE_WRITE, "CLOSE_WRITE"},
    {IN_CLOSE_NOWRITE, "CLOSE_NOWRITE"},
    {IN_OPEN, "OPEN"},
    {IN_MOVED_FROM, "MOVED_FROM"},
    {IN_MOVED_TO, "MOVED_TO"},
    {IN_CREATE, "CREATE"},
    {IN_DELETE, "DELETE"},
    {IN_DELETE_SELF, "DELETE_SELF"},
    {IN_MOVE_SELF, "MOVE_SELF"},
    {IN_UNMOUNT, "UNMOUNT"},
    {IN_Q_OVERFLOW, "Q_OVERFLOW"},
    {IN_IGNORED, "IGNORED"},
    {IN_ISDIR, "ISDIR"},
};

static volatile sig_atomic_t ended;

static void end(int signal) {
    (void)signal;
    ended = 1;
}

static void die(const char *what) {
    fprintf(stderr, "inotify-logger: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void print_event(FILE *log, const struct inotify_event *event) {
    char when[sizeof "2026-01-31T12:00:00Z"];
    time_t now = time(NULL);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    fputs(when, log);
    char separator = ' ';
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        if (event->mask & events[i].bit) {
            fprintf(log, "%c%s", separator, events[i].name);
            separator = ',';
        }
    }
    fputc(' ', log);
    for (const char *c = event->len ? event->name : ""; *c; c++)
        fprintf(log, *c > ' ' && *c < 127 && *c != '\\' ? "%c" : "\\x%02x", (unsigned char)*c);
    fputc('\n', log);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fputs("usage: inotify-logger DIRECTORY LOG\n", stderr);
        return 2;
    }
    /* The signals are let through while ppoll waits and at no other time, so that none is missed and no line cut. */
    sigset_t handled, none;
    sigemptyset(&none);
    sigemptyset(&handled);
    sigaddset(&handled, SIGTERM);
    sigaddset(&handled, SIGINT);
    sigprocmask(SIG_BLOCK, &handled, NULL);
    struct sigaction action = {.sa_handler = end};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);

    FILE *log = fopen(argv[2], "ae");
    if (!log)
        die(argv[2]);
    int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (watch < 0)
        die("inotify_init1");
    if (inotify_add_watch(watch, argv[1], IN_ALL_EVENTS | IN_ONLYDIR) < 0)
        die(argv[1]);
    printf("watching %s\n", argv[1]);
    fflush(stdout);

    struct pollfd poll = {.fd = watch, .events = POLLIN};
    while (!ended) {
        if (ppoll(&poll, 1, NULL, &none) < 0) {
            if (errno == EINTR)
                continue;
            die("ppoll");
        }
        char buffer[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
        ssize_t size = read(watch, buffer, sizeof buffer);
        if (size < 0)
            die("read");
        const struct inotify_event *event;
        for (const char *here = buffer; here < buffer + size; here += sizeof *event + event->len) {
            event = (const struct inotify_event *)here;
            print_event(log, event);
            if (event->mask & IN_IGNORED)
                ended = 1; /* the directory is gone */
        }
        if (fflush(log) != 0)
            die(argv[2]);
    }
    return 0;
}
