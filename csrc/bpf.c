/* bpf(2) for device rules: load, attach, replace. */

#define _GNU_SOURCE
#include <errno.h>
#include <linux/bpf.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bpf.h"

/* The kernel attaches at most this many programs of one type to a cgroup. */
#define MAX_PROGRAMS 64

static int bpf(int command, union bpf_attr *attr) {
    int result = (int)syscall(SYS_bpf, command, attr, sizeof *attr);
    return result < 0 ? -errno : result;
}

static int load(const void *insns, size_t count) {
    union bpf_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
    attr.expected_attach_type = BPF_CGROUP_DEVICE;
    attr.insns = (uintptr_t)insns;
    attr.insn_cnt = (uint32_t)count;
    attr.license = (uintptr_t)"Dual MIT/GPL";
    int program = bpf(BPF_PROG_LOAD, &attr);
    if (program != -EPERM)
        return program;

    /* Before 5.11 programs counted as locked memory. */
    struct rlimit old, all = {RLIM_INFINITY, RLIM_INFINITY};
    if (getrlimit(RLIMIT_MEMLOCK, &old) < 0 || setrlimit(RLIMIT_MEMLOCK, &all) < 0)
        return program;
    program = bpf(BPF_PROG_LOAD, &attr);
    setrlimit(RLIMIT_MEMLOCK, &old);
    return program;
}

/* The ids of the programs attached to this cgroup itself. */
static int query(int cgroup_fd, uint32_t *ids) {
    union bpf_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.query.target_fd = (uint32_t)cgroup_fd;
    attr.query.attach_type = BPF_CGROUP_DEVICE;
    attr.query.prog_ids = (uintptr_t)ids;
    attr.query.prog_cnt = MAX_PROGRAMS;
    int result = bpf(BPF_PROG_QUERY, &attr);
    return result < 0 ? result : (int)attr.query.prog_cnt;
}

static int open_program(uint32_t id) {
    union bpf_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.prog_id = id;
    return bpf(BPF_PROG_GET_FD_BY_ID, &attr);
}

/* replaced: fd of the program that is replaced, or -1: the new one is added. */
static int attach(int cgroup_fd, int program, int replaced) {
    union bpf_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.target_fd = (uint32_t)cgroup_fd;
    attr.attach_bpf_fd = (uint32_t)program;
    attr.attach_type = BPF_CGROUP_DEVICE;
    attr.attach_flags = BPF_F_ALLOW_MULTI;
    if (replaced >= 0) {
        attr.attach_flags |= BPF_F_REPLACE;
        attr.replace_bpf_fd = (uint32_t)replaced;
    }
    return bpf(BPF_PROG_ATTACH, &attr);
}

static int detach(int cgroup_fd, int program) {
    union bpf_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.target_fd = (uint32_t)cgroup_fd;
    attr.attach_bpf_fd = (uint32_t)program;
    attr.attach_type = BPF_CGROUP_DEVICE;
    return bpf(BPF_PROG_DETACH, &attr);
}

int native_bpf_device_attach(int cgroup_fd, const void *insns, size_t count) {
    uint32_t ids[MAX_PROGRAMS];
    int old[MAX_PROGRAMS];
    int old_count = query(cgroup_fd, ids);
    if (old_count < 0)
        return old_count;
    int program = load(insns, count);
    if (program < 0)
        return program;
    for (int i = 0; i < old_count; i++)
        old[i] = open_program(ids[i]);

    int result = -EINVAL;
    if (old_count == 1 && old[0] >= 0)
        result = attach(cgroup_fd, program, old[0]);
    /* Before 5.6, or with several attached: the new program is added, then the old ones are detached. Meanwhile all of them
     * must allow an access. An old one that a security module does not let us open stays: it can only forbid more. */
    if (result == -EINVAL) {
        result = attach(cgroup_fd, program, -1);
        for (int i = 0; i < old_count && result >= 0; i++)
            if (old[i] >= 0)
                result = detach(cgroup_fd, old[i]);
    }
    for (int i = 0; i < old_count; i++)
        if (old[i] >= 0)
            close(old[i]);
    close(program);
    return result;
}
