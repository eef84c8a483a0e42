/* A signal ends init as it ends other programs. Handlers are needed for that: for pid 1 of a pid namespace the kernel ignores
 * signals that have the default action. execve makes handlers default for the user's program. */
#include "init.h"

#include <signal.h>

/* Signals without the handler: those that cannot be caught, those of a fault (they end even pid 1), and those that by default
 * stop a process or are ignored. */
#define BIT(n) (1ULL << (n))
static const uint64_t spared = BIT(SIGKILL) | BIT(SIGSTOP) | BIT(SIGILL) | BIT(SIGTRAP) | BIT(SIGBUS) | BIT(SIGFPE) | BIT(SIGSEGV) |
                               BIT(SIGSYS) | BIT(SIGCHLD) | BIT(SIGCONT) | BIT(SIGTSTP) | BIT(SIGTTIN) | BIT(SIGTTOU) | BIT(SIGURG) |
                               BIT(SIGWINCH);

/* SA_RESETHAND has made the action default and SA_NODEFER keeps the signal unblocked, so kill() ends a process that is not pid 1,
 * with the status of the signal. pid 1 goes on to _exit. */
static void end(int number) {
    kill(getpid(), number);
    leave(128 + number);
}

static void nothing(int number) {
    (void)number;
}

void signals_init(void) {
    struct sigaction action = {.sa_handler = end, .sa_flags = (int)(SA_RESETHAND | SA_NODEFER)};

    for (int number = 1; number < 64; number++)
        if ((spared & BIT(number)) == 0)
            sigaction(number, &action, NULL);
    action.sa_handler = nothing;
    action.sa_flags = SA_RESTART;
    sigaction(SIGPIPE, &action, NULL); /* a write to a runtime that has gone fails with EPIPE and does not end init */
}
