/* trace: traces whatever appears in its pid namespace, as early as it can. stop: sends it SIGSTOP. Prints a line for each that was
 * pyrun's init when that was done to it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static int look(const char *path, char *text, int size) {
    int fd = open(path, O_RDONLY);
    int got = fd < 0 ? -1 : (int)read(fd, text, (size_t)size - 1);

    close(fd);
    text[got > 0 ? got : 0] = '\0';
    return got;
}

static int newest(void) {
    char text[128];

    look("/proc/loadavg", text, sizeof text);
    return atoi(strrchr(text, ' ') + 1);
}

static int is_init(int pid) {
    char path[32], name[32];

    snprintf(path, sizeof path, "/proc/%d/comm", pid);
    look(path, name, sizeof name);
    return strcmp(name, "pyrun:init\n") == 0;
}

static void trace(int pid) {
    int seen = 0, traced;

    do {
        traced = ptrace(PTRACE_SEIZE, pid, 0, 0) == 0;
        seen |= is_init(pid);
    } while (!traced && is_init(pid));
    if (traced && ptrace(PTRACE_INTERRUPT, pid, 0, 0) == 0 && waitpid(pid, NULL, __WALL) == pid) {
        if (is_init(pid))
            printf("traced %d\n", pid);
        ptrace(PTRACE_DETACH, pid, 0, 0);
    } else if (seen) {
        printf("refused %d\n", pid);
    }
}

static void stop(int pid) {
    int stopped = kill(pid, SIGSTOP) == 0;

    if (is_init(pid))
        printf("%s %d\n", stopped ? "stopped" : "refused", pid);
}

int main(int argc, char **argv) {
    int last = getpid();

    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("ready");
    for (int now = last; argc == 2; now = newest())
        while (last < now)
            (strcmp(argv[1], "stop") == 0 ? stop : trace)(++last);
    return 2;
}
