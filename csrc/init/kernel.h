/* The kernel's constants and structs that init uses and that musl's and glibc's headers do not both declare (musl comes without
 * <linux/…>). System calls from number 424 on have the same number on every architecture. */
#ifndef INIT_KERNEL_H
#define INIT_KERNEL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    NR_OPEN_TREE = 428,
    NR_MOVE_MOUNT = 429,
    NR_FSOPEN = 430,
    NR_FSCONFIG = 431,
    NR_FSMOUNT = 432,
    NR_CLONE3 = 435,
    NR_CLOSE_RANGE = 436,
    NR_OPENAT2 = 437,
    NR_MOUNT_SETATTR = 442,
    NR_FCHMODAT2 = 452
};

/* openat2 */
#define K_RESOLVE_NO_XDEV 0x01
#define K_RESOLVE_NO_MAGICLINKS 0x02
#define K_RESOLVE_NO_SYMLINKS 0x04
#define K_RESOLVE_BENEATH 0x08
#define K_RESOLVE_IN_ROOT 0x10

struct k_open_how {
    uint64_t flags, mode, resolve;
};

/* mounts */
#define K_AT_RECURSIVE 0x8000
#define K_OPEN_TREE_CLONE 1
#define K_OPEN_TREE_CLOEXEC O_CLOEXEC
#define K_MOVE_MOUNT_F_EMPTY_PATH 0x04
#define K_MOVE_MOUNT_T_EMPTY_PATH 0x40
#define K_FSOPEN_CLOEXEC 1
#define K_FSMOUNT_CLOEXEC 1
#define K_FSCONFIG_SET_FLAG 0
#define K_FSCONFIG_SET_STRING 1
#define K_FSCONFIG_CMD_CREATE 6
#define K_FSCONFIG_STRING_MAX 255

#define K_ATTR_RDONLY 0x01
#define K_ATTR_NOSUID 0x02
#define K_ATTR_NODEV 0x04
#define K_ATTR_NOEXEC 0x08
#define K_ATTR_ATIME 0x70
#define K_ATTR_NOATIME 0x10
#define K_ATTR_STRICTATIME 0x20
#define K_ATTR_NODIRATIME 0x80
#define K_ATTR_IDMAP 0x100000
#define K_ATTR_NOSYMFOLLOW 0x200000

struct k_mount_attr {
    uint64_t set, clear, propagation, userns_fd;
};

#define K_MS_RDONLY 0x1UL
#define K_MS_NOSUID 0x2UL
#define K_MS_NODEV 0x4UL
#define K_MS_NOEXEC 0x8UL
#define K_MS_REMOUNT 0x20UL
#define K_MS_NOSYMFOLLOW 0x100UL
#define K_MS_NOATIME 0x400UL
#define K_MS_NODIRATIME 0x800UL
#define K_MS_BIND 0x1000UL
#define K_MS_MOVE 0x2000UL
#define K_MS_REC 0x4000UL
#define K_MS_UNBINDABLE 0x20000UL
#define K_MS_PRIVATE 0x40000UL
#define K_MS_SLAVE 0x80000UL
#define K_MS_SHARED 0x100000UL
#define K_MS_RELATIME 0x200000UL
#define K_MS_STRICTATIME 0x1000000UL
#define K_MNT_DETACH 2

/* statfs: f_flags and f_type */
#define K_ST_RDONLY 0x1
#define K_ST_NOSUID 0x2
#define K_ST_NODEV 0x4
#define K_ST_NOEXEC 0x8
#define K_ST_NOATIME 0x400
#define K_ST_NODIRATIME 0x800
#define K_ST_RELATIME 0x1000
#define K_ST_NOSYMFOLLOW 0x2000
#define K_PROC_SUPER_MAGIC 0x9fa0
#define K_NSFS_MAGIC 0x6e736673
#define K_DEVPTS_SUPER_MAGIC 0x1cd1

/* processes */
#define K_CLONE_NEWTIME 0x80UL
#define K_CLONE_PARENT 0x8000UL
#define K_CLONE_INTO_CGROUP 0x200000000ULL

struct k_clone_args {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};
#define K_CLONE_ARGS_SIZE_1 64 /* without the last three: Linux 5.3 */

#define K_CLOSE_RANGE_CLOEXEC 4
#define K_KEYCTL_JOIN_SESSION_KEYRING 1
#define K_IOPRIO_WHO_PROCESS 1
#define K_SECCOMP_SET_MODE_FILTER 1
#define K_SECCOMP_FLAG_NEW_LISTENER 8UL
#define K_PR_SET_NO_NEW_PRIVS 38
#define K_PR_CAP_AMBIENT 47
#define K_PR_CAP_AMBIENT_RAISE 2
#define K_PR_CAP_AMBIENT_CLEAR_ALL 4
#define K_CAPABILITY_VERSION_3 0x20080522

struct k_cap_header {
    uint32_t version;
    int pid;
};

struct k_cap_data {
    uint32_t effective, permitted, inheritable;
};

struct k_sock_fprog {
    unsigned short length;
    const void *filter;
};

/* terminals */
#define K_TIOCGPTPEER 0x5441

/* getdents64 */
struct k_dirent {
    uint64_t ino;
    int64_t next;
    unsigned short size;
    unsigned char type;
    char name[];
};

static inline int sys_mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data) {
    return (int)syscall(SYS_mount, source, target, type, flags, data);
}

static inline int sys_open_tree(int dir, const char *path, unsigned flags) {
    return (int)syscall(NR_OPEN_TREE, dir, path, flags);
}

static inline int sys_mount_setattr(int fd, unsigned flags, const struct k_mount_attr *attr) {
    return (int)syscall(NR_MOUNT_SETATTR, fd, "", flags, attr, sizeof *attr);
}

static inline int sys_fsconfig(int fd, unsigned command, const char *key, const char *value) {
    return (int)syscall(NR_FSCONFIG, fd, command, key, value, 0);
}

#endif
