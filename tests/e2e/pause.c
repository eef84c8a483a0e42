/* What a pod's namespaces are kept open by. The first process of a pid namespace gets no signal that it does not handle. */
#include <signal.h>
#include <unistd.h>

static void end(int number) {
    (void)number;
    _exit(0);
}

int main(void) {
    signal(SIGINT, end);
    signal(SIGTERM, end);
    signal(SIGCHLD, SIG_IGN); /* in a shared pid namespace others' orphans are its children, and none stays a zombie */
    for (;;)
        pause();
}
