/* peak FILE COMMAND…: runs COMMAND and writes two sizes in KiB to FILE: the peak of all that it had in memory (VmHWM), and what of it
 * was its own when it ended (RssAnon and RssShmem: the rest are pages of files, which others share). See proc_pid_status(5).
 * In C since the kernel counts the memory of a process before its execve too: here that is next to nothing. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static long peak, own;

static void look(pid_t pid) {
    char path[64], line[256];
    long size;

    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "r");
    if (!file)
        exit(126);
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "VmHWM: %ld", &size) == 1)
            peak = size;
        if (sscanf(line, "RssAnon: %ld", &size) == 1 || sscanf(line, "RssShmem: %ld", &size) == 1)
            own += size;
    }
    fclose(file);
}

int main(int argc, char **argv) {
    int status, at_exit = SIGTRAP | PTRACE_EVENT_EXIT << 8;
    if (argc < 3)
        return 127;
    pid_t pid = fork();
    if (pid == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        execvp(argv[2], argv + 2);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0 || ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL) < 0)
        return 126;
    for (long signal = 0; WIFSTOPPED(status); signal = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status)) {
        if (status >> 8 == at_exit)
            look(pid);
        if (ptrace(PTRACE_CONT, pid, NULL, (void *)signal) < 0 || waitpid(pid, &status, 0) < 0)
            return 126;
    }
    FILE *file = fopen(argv[1], "w");
    if (!file || fprintf(file, "%ld %ld\n", peak, own) < 0 || fclose(file) != 0)
        return 126;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
