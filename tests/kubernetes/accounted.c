/* Runs PROGRAM with its own arguments, and appends a line to LOG: the command, the microseconds of CPU, the KiB of its largest memory
 * and the microseconds it took. What is no descendant of PROGRAM when it ends, as a container is not, does not count. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *const COMMANDS[] = {"create", "start", "exec", "kill", "delete", "state", "update", "ps", "pause", "resume", "features"};

static const char *command(char **words) {
    for (char **word = words; *word; word++)
        for (size_t n = 0; n < sizeof COMMANDS / sizeof *COMMANDS; n++)
            if (!strcmp(*word, COMMANDS[n]))
                return COMMANDS[n];
    return "other";
}

static long micros(struct timeval time) {
    return time.tv_sec * 1000000L + time.tv_usec;
}

int main(int argc, char **argv) {
    struct timespec begin, end;
    struct rusage used;
    char line[128];
    int status, fd, length;

    clock_gettime(CLOCK_MONOTONIC, &begin);
    pid_t child = fork();
    if (child == 0) {
        execv(PROGRAM, argv);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &used) != child)
        return 126;
    clock_gettime(CLOCK_MONOTONIC, &end);
    length = snprintf(line, sizeof line, "%s %ld %ld %ld\n", argc > 1 ? command(argv + 1) : "other",
                      micros(used.ru_utime) + micros(used.ru_stime), used.ru_maxrss,
                      (end.tv_sec - begin.tv_sec) * 1000000L + (end.tv_nsec - begin.tv_nsec) / 1000);
    fd = open(LOG, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, line, (size_t)length) != length)
        return 125;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
