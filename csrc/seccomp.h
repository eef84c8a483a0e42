/* Seccomp: a profile's rules in flat form in, a classic BPF program out. csrc/build.py gives this file to cffi. */

#define NATIVE_SECCOMP_UNKNOWN 0x7fffffff

/* One condition: argument `index` of the system call, compared as SCMP_CMP_* `op` says. MASKED_EQ: value is the mask. */
struct native_seccomp_condition {
    uint32_t index;
    uint32_t op;
    uint64_t value;
    uint64_t value_two;
};

/* If all of conditions[first .. first+count-1] hold for the system call name number `name`: action. */
struct native_seccomp_rule {
    uint32_t name;
    uint32_t action;
    uint32_t first;
    uint32_t count;
};

struct native_seccomp_profile {
    uint32_t default_action;
    uint32_t enosys;          /* 1: system calls newer than all the names get ENOSYS */
    uint32_t arch_count;
    uint32_t name_count;
    uint32_t rule_count;
    int32_t bad_arch;         /* out: the element of archs at fault, -1 for none */
    int32_t bad_rule;         /* out: the element of rules at fault, -1 for none */
    const uint32_t *archs;    /* SCMP_ARCH_*, beside the native one */
    const char *names;        /* name_count strings, each with its NUL */
    int32_t *numbers;         /* out, name_count: number on the native architecture, or NATIVE_SECCOMP_UNKNOWN */
    const struct native_seccomp_rule *rules;
    const struct native_seccomp_condition *conditions;
};

/* Writes struct sock_filter[] to out and returns its size in bytes, or -errno: what libseccomp says of bad_arch or bad_rule;
 * with neither set, -EOPNOTSUPP: the default action is unknown here, -E2BIG: more than `room` bytes. */
int native_seccomp_compile(struct native_seccomp_profile *profile, void *out, size_t room);

/* 1 if the kernel's seccomp(2) takes these SECCOMP_FILTER_FLAG_*, else 0. */
int native_seccomp_flags(unsigned flags);

/* libseccomp's version: major << 16 | minor << 8 | micro. */
int native_seccomp_version(void);
