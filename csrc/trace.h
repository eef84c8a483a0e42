/* ptrace(2), for `pyrun trace`. Returns a value >= 0, or -errno. */

/* As the kernel has it: what PTRACE_PEEK… reads goes to *data. */
long native_ptrace(long request, int pid, uintptr_t address, uintptr_t data);

/* Reads a string out of the memory of a process, up to its NUL, an unreadable page or `room`; returns its length. */
int native_trace_string(int pid, uintptr_t address, char *text, size_t room);

/* What is traced. Most stops are for calls that need only be counted: native_trace() does that, and lets the thread go on. */
struct trace {
    int signals;   /* a signalfd (native_signalfd()); -1 after native_trace_forward() */
    int go_on;     /* PTRACE_CONT, where a filter stops the calls; PTRACE_SYSCALL, where each call stops twice */
    uint32_t arch; /* AUDIT_ARCH_* of the calls that are counted here, and the first number that is not */
    uint32_t end;
    uint32_t turns;         /* of native_trace() */
    uint64_t delivered[65]; /* signals, which go on to the thread that they are for */
    uint64_t born[2];       /* new processes and threads, which with a filter are counted here, and go on */
    uint64_t *counts;       /* for each number */
    const uint8_t *told;    /* for each number: whether Python shall see the call too */
    uint8_t *counted;       /* 65,536 bytes, for pids modulo that: whether the call that the thread is in is done with here */
};

/* What happened to a thread: `status` is waitpid's. At a system call `call` is 1 (it begins), 2 (it ends) or 3 (it begins, and a filter
 * has said so, with `data`). */
struct trace_stop {
    int pid, status, call;
    uint32_t arch, data;
    uint64_t number, arguments[6];
    int64_t result;
};

/* The next stop or end that Python shall see: 1. 0: there is none, without `wait`; with it, a signal has come, whose number is in
 * status. 2, without `wait`: there may be more, but there were many. -ECHILD: nothing is traced. */
int native_trace(struct trace *trace, int wait, struct trace_stop *stop);

/* From here on the signals that we get go on to a process, by a handler, and native_trace() waits for nothing but stops. */
int native_trace_forward(int pid);
