/* Turns the rules of a seccomp profile into a BPF program with libseccomp, and puts a short program of our own before it
 * that answers ENOSYS for system calls younger than the profile. */

#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "seccomp.h"

#define X32_BIT 0x40000000u
#define ARM_PRIVATE 0x0f0000u
/* Bounds libseccomp's work, see size_is_sane. */
#define MAX_GENERATED 65535u
/* libseccomp's search tree pays beyond this many rules; up to 2.5.4 it is wrong for none at all. */
#define TREE_FROM 32

/* --- ENOSYS ---------------------------------------------------------------------------------------------------------
 *
 * libc tries the newest system call first and falls back to an older one when it gets ENOSYS, and only then. A profile
 * that was written before the call existed answers with its default action, EPERM, and the program fails (clone3,
 * faccessat2, …). Linux gives out numbers in rising order, so a number above the highest one that the profile names
 * is one its author could not know: ENOSYS is what a kernel of that time would have said. */

/* Some numbers lie apart from the row that new system calls are added to, and say nothing about the profile's age:
 * x32 has its own at 512…547 and shares the row below with x86_64; ARM has private ones from 0x0f0000 on.
 * Where the row ends for an architecture, or 0 where nothing follows it. */
static uint32_t row_end(uint32_t arch)
{
    return arch == SCMP_ARCH_X32 ? X32_BIT + 512 : arch == SCMP_ARCH_ARM ? ARM_PRIVATE : 0;
}

/* The highest number that the profile names, in the row and at all; -1 for none. (Of calls that an architecture lacks,
 * libseccomp gives a negative number.) */
static void highest_numbers(const struct native_seccomp_profile *profile, uint32_t arch, int *in_row, int *at_all)
{
    uint32_t end = row_end(arch);
    const char *name = profile->names;

    *in_row = *at_all = -1;
    for (uint32_t i = 0; i < profile->name_count; i++, name += strlen(name) + 1) {
        int number = seccomp_syscall_resolve_name_arch(arch, name);
        if (number > *at_all)
            *at_all = number;
        if (number > *in_row && (!end || (uint32_t)number < end))
            *in_row = number;
    }
}

/* Jump targets inside the part of one architecture, resolved when it is complete. */
enum { HERE = 0, NEXT_ARCH = 253, FILTER = 254, ENOSYS_RETURN = 255 };

static struct sock_filter jump(uint16_t kind, uint32_t value, uint8_t yes, uint8_t no)
{
    return (struct sock_filter)BPF_JUMP(BPF_JMP | kind | BPF_K, value, yes, no);
}

static struct sock_filter load(size_t offset)
{
    return (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset);
}

static uint8_t distance(uint8_t target, int from, int count)
{
    switch (target) {
    case NEXT_ARCH:     return count - from - 1;
    case ENOSYS_RETURN: return count - from - 2;
    case FILTER:        return count - from - 3;
    default:            return target;
    }
}

/* The part for one architecture: at most 10 instructions. Returns how many; 0 if the profile names nothing that it has. */
static int enosys_part(const struct native_seccomp_profile *profile, uint32_t arch, struct sock_filter *code)
{
    int in_row, at_all, count = 0;

    highest_numbers(profile, arch, &in_row, &at_all);
    if (at_all < 0)
        return 0;

    code[count++] = load(offsetof(struct seccomp_data, arch));
    /* SCMP_ARCH_* is the kernel's AUDIT_ARCH_*, but x32 is libseccomp's invention: the kernel tells it from x86_64 by a
     * bit in the number. */
    code[count++] = jump(BPF_JEQ, arch == SCMP_ARCH_X32 ? AUDIT_ARCH_X86_64 : arch, HERE, NEXT_ARCH);
    code[count++] = load(offsetof(struct seccomp_data, nr));
    if (arch == SCMP_ARCH_X86_64)
        code[count++] = jump(BPF_JSET, X32_BIT, NEXT_ARCH, HERE);
    if (arch == SCMP_ARCH_X32)
        code[count++] = jump(BPF_JSET, X32_BIT, HERE, NEXT_ARCH);
    /* s390 passes numbers above 255 in a register, with 0 in the instruction; a number the kernel does not know stays 0.
     * The real call 0, setup, was gone before containers came. */
    if (arch == SCMP_ARCH_S390 || arch == SCMP_ARCH_S390X)
        code[count++] = jump(BPF_JEQ, 0, ENOSYS_RETURN, HERE);
    code[count++] = jump(BPF_JGT, at_all, ENOSYS_RETURN, HERE);
    if (row_end(arch) && in_row >= 0) {
        code[count++] = jump(BPF_JGE, row_end(arch), FILTER, HERE);
        code[count++] = jump(BPF_JGT, in_row, ENOSYS_RETURN, HERE);
    }
    code[count++] = (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, 0);
    code[count++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);

    for (int i = 0; i < count; i++) {
        code[i].jt = distance(code[i].jt, i, count);
        code[i].jf = distance(code[i].jf, i, count);
    }
    return count;
}

/* The whole program for profile->archs and the native architecture; it falls through to what follows it. */
static int enosys_program(const struct native_seccomp_profile *profile, struct sock_filter *code, int room)
{
    uint32_t native = seccomp_arch_native();
    int count = 0;

    for (uint32_t i = 0; i <= profile->arch_count; i++) {
        /* The native one comes first: nearly all calls are its own. */
        uint32_t arch = i ? profile->archs[i - 1] : native;
        if (i && arch == native)
            continue;
        if (count + 10 > room)
            return -E2BIG;
        count += enosys_part(profile, arch, code + count);
    }
    /* The only unconditional jumps in it are those to the filter. */
    for (int i = 0; i < count; i++)
        if (code[i].code == (BPF_JMP | BPF_JA))
            code[i].k = count - i - 1;
    return count;
}

/* --- libseccomp ----------------------------------------------------------------------------------------------------- */

/* Until 2.6.1 libseccomp counts generated instructions in 16 bits, overruns its heap past that (GHSA-2hqh-5c36-grrm), and
 * has a loop over the rules for each rule. The kernel takes 4096 instructions. So what cannot come near that is turned away
 * first; the factors are the longest code of one rule: three comparisons of four instructions for each condition, twice
 * where sockets and IPC have a second, multiplexed entry. */
static int size_is_sane(const struct native_seccomp_profile *profile)
{
    uint64_t generated = 0;

    for (uint32_t i = 0; i < profile->rule_count; i++)
        generated += 8 + 24 * (uint64_t)profile->rules[i].count;
    return generated * (profile->arch_count + 1) <= MAX_GENERATED;
}

static int add_archs(scmp_filter_ctx filter, struct native_seccomp_profile *profile)
{
    for (uint32_t i = 0; i < profile->arch_count; i++) {
        int error = seccomp_arch_add(filter, profile->archs[i]);
        if (error && error != -EEXIST) {
            profile->bad_arch = i;
            return error;
        }
    }
    return 0;
}

static void resolve_names(struct native_seccomp_profile *profile)
{
    const char *name = profile->names;

    for (uint32_t i = 0; i < profile->name_count; i++, name += strlen(name) + 1) {
        int number = seccomp_syscall_resolve_name(name);
        profile->numbers[i] = number == __NR_SCMP_ERROR ? NATIVE_SECCOMP_UNKNOWN : number;
    }
}

static int add_rule(scmp_filter_ctx filter, const struct native_seccomp_profile *profile, const struct native_seccomp_rule *rule)
{
    struct scmp_arg_cmp conditions[6];

    if (rule->count > 6)
        return -EINVAL;
    for (uint32_t i = 0; i < rule->count; i++) {
        const struct native_seccomp_condition *from = &profile->conditions[rule->first + i];
        conditions[i] = (struct scmp_arg_cmp){from->index, from->op, from->value, from->value_two};
    }
    return seccomp_rule_add_array(filter, rule->action, profile->numbers[rule->name], rule->count, conditions);
}

static int add_rules(scmp_filter_ctx filter, struct native_seccomp_profile *profile)
{
    int added = 0;

    if (!size_is_sane(profile))
        return -E2BIG;
    for (uint32_t i = 0; i < profile->rule_count; i++) {
        const struct native_seccomp_rule *rule = &profile->rules[i];
        int error;
        /* libseccomp refuses a rule that changes nothing; profiles do have them. */
        if (profile->numbers[rule->name] == NATIVE_SECCOMP_UNKNOWN || rule->action == profile->default_action)
            continue;
        error = add_rule(filter, profile, rule);
        if (error) {
            profile->bad_rule = i;
            return error;
        }
        added++;
    }
    return added > TREE_FROM ? seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2) : 0;
}

/* The program as bytes. libseccomp before 2.6 can only write it to a file. */
static int export_program(scmp_filter_ctx filter, void *out, size_t room)
{
#if SCMP_VER_MAJOR > 2 || (SCMP_VER_MAJOR == 2 && SCMP_VER_MINOR >= 6)
    size_t size = room;
    int error = seccomp_export_bpf_mem(filter, out, &size);

    return error == -ERANGE ? -E2BIG : error ? error : (int)size;
#else
    int fd = memfd_create("seccomp", MFD_CLOEXEC), error;
    off_t size;

    if (fd < 0)
        return -errno;
    error = seccomp_export_bpf(filter, fd);
    size = lseek(fd, 0, SEEK_END);
    if (!error && (size < 0 || (size_t)size > room))
        error = size < 0 ? -errno : -E2BIG;
    if (!error && pread(fd, out, size, 0) != size)
        error = -EIO;
    close(fd);
    return error ? error : (int)size;
#endif
}

/* Both programs, one after the other. */
static int write_programs(scmp_filter_ctx filter, const struct native_seccomp_profile *profile, struct sock_filter *code, size_t room)
{
    int first = profile->enosys ? enosys_program(profile, code, room) : 0;
    int rest = first < 0 ? first : export_program(filter, code + first, (room - first) * sizeof *code);

    return rest < 0 ? rest : first * (int)sizeof *code + rest;
}

int native_seccomp_compile(struct native_seccomp_profile *profile, void *out, size_t room)
{
    scmp_filter_ctx filter = seccomp_init(profile->default_action);
    size_t instructions = room / sizeof(struct sock_filter);
    int result;

    profile->bad_arch = profile->bad_rule = -1;
    if (!filter)
        return -EOPNOTSUPP;
    resolve_names(profile);
    result = add_archs(filter, profile);
    if (!result)
        result = add_rules(filter, profile);
    if (!result)
        result = write_programs(filter, profile, out, instructions < BPF_MAXINSNS ? instructions : BPF_MAXINSNS);
    seccomp_release(filter);
    return result;
}

/* --- what there is -------------------------------------------------------------------------------------------------- */

int native_seccomp_flags(unsigned flags)
{
    /* The flags are looked at before the program: without one, EFAULT means that they are fine. */
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, NULL) < 0 && errno == EFAULT;
}

int native_seccomp_version(void)
{
    const struct scmp_version *version = seccomp_version();

    return version->major << 16 | version->minor << 8 | version->micro;
}
