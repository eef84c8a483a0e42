/* trace: traces whatever appears in its pid namespace, as early as it can. speak: and sends false messages on its socket. stop: sends it
 * SIGSTOP. kill: SIGKILL. Prints a line for each that was pyrun's init when that was done to it; of one that it traces, what it gets by it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
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

/* "Name=value" for some lines of its /proc/PID/status. */
static void print_status(int pid) {
    static const char *const names[] = {"Uid:", "CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:", "NoNewPrivs:", "Seccomp:"};
    char path[32], text[4096], value[32];

    snprintf(path, sizeof path, "/proc/%d/status", pid);
    look(path, text, sizeof text);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *line = strstr(text, names[i]);
        if (line != NULL && sscanf(line + strlen(names[i]), "%31s", value) == 1)
            printf(" %s%s", names[i], value);
    }
}

static void print_files(int pid) {
    char path[300], target[256];
    const struct dirent *entry;
    DIR *files;

    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    files = opendir(path);
    while (files != NULL && (entry = readdir(files)) != NULL) {
        ssize_t size;
        snprintf(path, sizeof path, "/proc/%d/fd/%s", pid, entry->d_name);
        size = readlink(path, target, sizeof target - 1);
        if (size > 0)
            printf(" %s=%.*s", entry->d_name, (int)size, target);
    }
    if (files != NULL)
        closedir(files);
}

/* Each kind of message of csrc/plan.h, from a process that is not the one that should send it. */
static void speak(int pid) {
    int socket = (int)syscall(SYS_pidfd_getfd, (int)syscall(SYS_pidfd_open, pid, 0), 3, 0);
    unsigned words[32] = {0, pid % 2 ? ~0U : 0, 7, 3};

    for (words[0] = pid % 13; words[0] < 13; words[0] += 1 + pid % 3) {
        memset(words + 4, 0x1b, 112);
        send(socket, words, sizeof words, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
}

static int speaks;

static void trace(int pid) {
    int seen = 0, traced;

    do {
        traced = ptrace(PTRACE_SEIZE, pid, 0, 0) == 0;
        seen |= is_init(pid);
    } while (!traced && is_init(pid));
    if (traced && ptrace(PTRACE_INTERRUPT, pid, 0, 0) == 0 && waitpid(pid, NULL, __WALL) == pid) {
        if (is_init(pid)) {
            printf("traced");
            print_status(pid);
            print_files(pid);
            printf("\n");
            if (speaks)
                speak(pid);
        }
        ptrace(PTRACE_DETACH, pid, 0, 0);
    } else if (seen) {
        printf("refused %d\n", pid);
    }
}

/* A zombie has the name that it died with. */
static void send_signal(int pid, int number, const char *done) {
    int sent = kill(pid, number) == 0;

    if (is_init(pid))
        printf("%s %d\n", sent ? done : "refused", pid);
}

static void stop(int pid) {
    send_signal(pid, SIGSTOP, "stopped");
}

static void end(int pid) {
    send_signal(pid, SIGKILL, "killed");
}

int main(int argc, char **argv) {
    int last = getpid();

    speaks = argc == 2 && strcmp(argv[1], "speak") == 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("ready");
    for (int now = last; argc == 2; now = newest())
        while (last < now)
            (strcmp(argv[1], "stop") == 0 ? stop : strcmp(argv[1], "kill") == 0 ? end : trace)(++last);
    return 2;
}
