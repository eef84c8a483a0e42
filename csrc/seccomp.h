/* Seccomp: what libseccomp and the kernel know. The program of a filter is made in Python (pyrun/seccomp_program.py). */

/* The number of each system call on an architecture (SCMP_ARCH_*), for `count` names, each with its NUL. -1: libseccomp does not
 * know the name; another negative number: one of libseccomp's __PNR_*, the architecture has no such call of its own.
 * -EINVAL: libseccomp does not know the architecture. */
int native_seccomp_numbers(uint32_t arch, const char *names, size_t count, int32_t *numbers);

/* The other way round: writes the name of a system call. -ENOENT: the number has none; -ENAMETOOLONG: it needs more than `room`. */
int native_seccomp_name(uint32_t arch, int number, char *name, size_t room);

/* What a filter (struct sock_filter[]) says to a system call of this machine: SECCOMP_RET_* with its data. The kernel's answer where
 * the filter is one of pyrun/plan/seccomp_program.py, which has no other instructions; 0, SECCOMP_RET_KILL_THREAD, for another one. */
uint32_t native_seccomp_answer(const void *filter, size_t size, const char *name, const uint64_t args[6]);

/* SCMP_ARCH_* of this machine. */
uint32_t native_seccomp_arch(void);

/* libseccomp's version: major << 16 | minor << 8 | micro. */
int native_seccomp_version(void);

/* 1 if the kernel's seccomp(2) takes these SECCOMP_FILTER_FLAG_*, else 0. */
int native_seccomp_flags(unsigned flags);

/* 1 if the kernel knows this SECCOMP_RET_*, else 0. */
int native_seccomp_action(uint32_t action);
