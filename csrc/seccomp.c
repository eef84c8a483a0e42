/* libseccomp's tables of system calls, and what the kernel's seccomp(2) can do. */

#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "seccomp.h"

int native_seccomp_numbers(uint32_t arch, const char *names, size_t count, int32_t *numbers) {
    /* Every architecture has read(2): if this one has not, libseccomp does not know the architecture. */
    if (seccomp_syscall_resolve_name_arch(arch, "read") == __NR_SCMP_ERROR)
        return -EINVAL;
    for (size_t i = 0; i < count; i++, names += strlen(names) + 1)
        numbers[i] = seccomp_syscall_resolve_name_arch(arch, names);
    return 0;
}

int native_seccomp_name(uint32_t arch, int number, char *name, size_t room) {
    char *found = seccomp_syscall_resolve_num_arch(arch, number);
    int result = !found ? -ENOENT : strlen(found) >= room ? -ENAMETOOLONG : 0;

    if (!result)
        strcpy(name, found);
    free(found);
    return result;
}

static uint32_t run(const struct sock_filter *filter, size_t count, const struct seccomp_data *data) {
    uint32_t word = 0;

    for (size_t at = 0; at < count; at++) {
        const struct sock_filter *one = &filter[at];
        const uint32_t operand = one->k;
        int holds;
        switch (one->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            if (operand > sizeof *data - sizeof word)
                return 0;
            memcpy(&word, (const char *)data + operand, sizeof word);
            continue;
        case BPF_ALU | BPF_AND | BPF_K:
            word &= operand;
            continue;
        case BPF_JMP | BPF_JA:
            at += operand;
            continue;
        case BPF_RET | BPF_K:
            return operand;
        case BPF_JMP | BPF_JEQ | BPF_K:
            holds = word == operand;
            break;
        case BPF_JMP | BPF_JGT | BPF_K:
            holds = word > operand;
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            holds = word >= operand;
            break;
        default:
            return 0;
        }
        at += holds ? one->jt : one->jf;
    }
    return 0;
}

uint32_t native_seccomp_answer(const void *filter, size_t size, const char *name, const uint64_t args[6]) {
    struct seccomp_data data = {.nr = seccomp_syscall_resolve_name(name), .arch = seccomp_arch_native()};

    memcpy(data.args, args, sizeof data.args);
    return run(filter, size / sizeof(struct sock_filter), &data);
}

uint32_t native_seccomp_arch(void) {
    return seccomp_arch_native();
}

int native_seccomp_version(void) {
    const struct scmp_version *version = seccomp_version();

    return (int)(version->major << 16 | version->minor << 8 | version->micro);
}

int native_seccomp_flags(unsigned flags) {
    /* The kernel checks the flags first, then reads the program. With NULL for it, EFAULT means that the flags are supported. */
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, NULL) < 0 && errno == EFAULT;
}

int native_seccomp_action(uint32_t action) {
    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}
