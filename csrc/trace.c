/* trace.h: the stops of traced threads. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "native.h"
#include "trace.h"

enum { CONT = 7, GET_SYSCALL_INFO = 0x420e, CALL_STOP = SIGTRAP | 0x80, FILTER_EVENT = 7 };
enum { FORK_EVENT = 1, VFORK_EVENT, CLONE_EVENT, STOP_EVENT = 128, PAGE = 4096, TURNS = 256 };
enum { BEGINS = 1, ENDS = 2, FILTERED = 3 };

/* The kernel's struct ptrace_syscall_info. */
struct call_info {
    uint8_t op;
    uint8_t pad[3];
    uint32_t arch;
    uint64_t instruction_pointer, stack_pointer;
    uint64_t words[7]; /* number and arguments, or the result */
    uint32_t data;
};

long native_ptrace(long request, int pid, uintptr_t address, uintptr_t data) {
    long value = syscall(SYS_ptrace, request, pid, address, data);

    return value < 0 ? -errno : value;
}

int native_trace_string(int pid, uintptr_t address, char *text, size_t room) {
    for (size_t size = 0; size < room;) {
        size_t part = PAGE - (address + size) % PAGE; /* what cannot be read begins with a page */
        if (part > room - size)
            part = room - size;
        const struct iovec here = {text + size, part}, there = {(void *)(address + size), part};
        ssize_t got = process_vm_readv(pid, &here, 1, &there, 1, 0);
        if (got <= 0)
            return size > 0 ? (int)size : -errno;
        const char *end = memchr(text + size, '\0', (size_t)got);
        if (end != NULL)
            return (int)(end - text);
        size += (size_t)got;
    }
    return (int)room;
}

/* Whether a thread, stopped by a signal or by an event that needs no look where a filter stops the calls, is on its way again. */
static int went_on(struct trace *trace, const struct trace_stop *stop) {
    const int event = stop->status >> 16, number = WSTOPSIG(stop->status);
    const int beginning = event == STOP_EVENT && number == SIGTRAP;

    if (event == 0) {
        trace->delivered[number % 65]++;
        native_ptrace(trace->go_on, stop->pid, 0, (uintptr_t)number);
        return 1;
    }
    if (trace->go_on != CONT || !(beginning || event == FORK_EVENT || event == VFORK_EVENT || event == CLONE_EVENT))
        return 0;
    if (!beginning)
        trace->born[event == CLONE_EVENT]++;
    native_ptrace(CONT, stop->pid, 0, 0);
    return 1;
}

/* The same for one that is stopped at a system call. */
static int passed(const struct trace *trace, struct trace_stop *stop) {
    uint8_t *counted = &trace->counted[stop->pid & 0xffff];
    struct call_info info;

    if (native_ptrace(GET_SYSCALL_INFO, stop->pid, sizeof info, (uintptr_t)&info) < 0)
        return 1; /* killed meanwhile, of which waitpid will tell */
    stop->call = info.op;
    stop->arch = info.arch;
    stop->number = info.words[0];
    stop->result = (int64_t)info.words[0];
    memcpy(stop->arguments, info.words + 1, sizeof stop->arguments);
    stop->data = info.op == FILTERED ? info.data : 0;
    if (info.op != ENDS) {
        const int known = info.arch == trace->arch && stop->number < trace->end;
        if (known)
            trace->counts[stop->number]++;
        *counted = known && stop->data == 0 && !trace->told[stop->number];
    }
    if (!*counted)
        return 0;
    native_ptrace(trace->go_on, stop->pid, 0, 0);
    return 1;
}

static volatile sig_atomic_t program;

static void pass_on(int number) {
    const int error = errno;

    if (program > 0)
        kill((pid_t)program, number);
    errno = error;
}

/* Of a stop no SIGCHLD comes then (SA_NOCLDSTOP), and none has to be read: a third of the time of a stop. */
int native_trace_forward(int pid) {
    struct sigaction action = {.sa_flags = SA_RESTART | SA_NOCLDSTOP};

    program = pid;
    sigfillset(&action.sa_mask);
    for (int number = 1; number < NSIG; number++) {
        const int ours = number == SIGCHLD || number == SIGWINCH || number == SIGURG;
        action.sa_handler = ours ? SIG_DFL : number == SIGPIPE ? SIG_IGN : pass_on;
        sigaction(number, &action, NULL); /* fails for KILL and STOP, and for the C library's own */
    }
    sigemptyset(&action.sa_mask);
    return sigprocmask(SIG_SETMASK, &action.sa_mask, NULL) < 0 ? -errno : 0;
}

int native_trace(struct trace *trace, int wait, struct trace_stop *stop) {
    struct pollfd signals = {trace->signals, POLLIN, 0};

    for (;;) {
        if (trace->signals >= 0 && ++trace->turns % TURNS == 0) { /* however many stops there are, others come to their turn */
            if (!wait)
                return 2;
            stop->status = native_read_signal(trace->signals);
            if (stop->status > 0 && stop->status != SIGCHLD)
                return 0;
        }
        stop->call = 0;
        stop->pid = waitpid(-1, &stop->status, __WALL | (trace->signals >= 0 ? WNOHANG : 0));
        if (stop->pid < 0)
            return -errno;
        if (stop->pid > 0) {
            const int reason = stop->status >> 8;
            if (!WIFSTOPPED(stop->status)) {
                if (stop->pid == program)
                    program = 0; /* its pid can be another one's now */
                return 1;
            }
            if (reason == CALL_STOP || reason == (SIGTRAP | FILTER_EVENT << 8) ? !passed(trace, stop) : !went_on(trace, stop))
                return 1;
            continue;
        }
        if (!wait)
            return 0;
        poll(&signals, 1, -1);
        stop->status = native_read_signal(trace->signals);
        if (stop->status > 0 && stop->status != SIGCHLD)
            return 0;
    }
}
