/* Init ends on a signal as any program would. As pid 1 of its namespace it would not: there the kernel drops signals
 * whose action is the default one. Handlers need no reset before the user's program: execve makes them default. */
#include "init.h"

#include <signal.h>

/* Not ended by: what cannot be caught, what faults raise (the kernel ends even pid 1 with those), what stops or is
 * ignored by default. */
#define BIT(n) (1ULL << (n))
static const uint64_t spared = BIT(SIGKILL) | BIT(SIGSTOP) | BIT(SIGILL) | BIT(SIGTRAP) | BIT(SIGBUS) | BIT(SIGFPE) | BIT(SIGSEGV) |
                               BIT(SIGSYS) | BIT(SIGCHLD) | BIT(SIGCONT) | BIT(SIGTSTP) | BIT(SIGTTIN) | BIT(SIGTTOU) | BIT(SIGURG) |
                               BIT(SIGWINCH);

/* The handler is one-shot and does not block its signal: kill() ends an ordinary process here, with the right status. */
static void end(int number) {
    kill(getpid(), number);
    _exit(128 + number);
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
    sigaction(SIGPIPE, &action, NULL); /* a write to a runtime that is gone shall be an error */
}
