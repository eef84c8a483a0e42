/* The last steps: seccomp and execve. Once the filter is on, it may refuse any system call of init, so everything possible is
 * done before that. */
#include "init.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

static char **argv_list, **env_list;

/* Fills in pointers to `count` strings that lie one after the other; returns where the next pointer goes. */
static char **point_at(char **list, const char *text, uint64_t count) {
    for (; count > 0; count--) {
        *list++ = (char *)(uintptr_t)text;
        text += strlen(text) + 1;
    }
    return list;
}

/* Makes argv and env, and sets close-on-exec on all files that the user's program does not get. verify.c has checked that OP_EXEC
 * is the last op and that its counts fit the string area. */
int exec_prepare(void) {
    const struct plan_op *op = op_at(plan_end() - 1);
    size_t room;

    if (op->op != OP_EXEC || argv_list != NULL)
        return 0;
    room = ((size_t)op->exec.argv.count + op->exec.env.count + 3) * sizeof(char *);
    argv_list = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (argv_list == MAP_FAILED)
        return fail(STEP_EXECVE);
    env_list = point_at(argv_list, op_text(op->exec.argv), op->exec.argv.count) + 1;
    *point_at(env_list, op_text(op->exec.env), op->exec.env.count) = (char *)(uintptr_t)home_text();
    return cloexec_from((int)op->exec.first_closed) < 0 ? fail(STEP_EXECVE) : read_start();
}

/* Errors of execve after which the next directory of PATH is tried, as execvp does. */
static int try_next(int error) {
    return error == ENOENT || error == ENOTDIR || error == EACCES || error == ESTALE || error == ENODEV || error == ETIMEDOUT;
}

/* As execvp: after EACCES the search goes on, and EACCES is reported if nothing is found. Signals need no reset: execve makes
 * handlers default, and init was started with an empty mask and nothing ignored. */
int op_exec(const struct plan_op *op) {
    int denied = 0;

    if (exec_prepare() < 0)
        return -1;
    for (const char *path = op_text(op->exec.candidates); *path != '\0'; path += strlen(path) + 1) {
        execve(path, argv_list, env_list);
        if (!try_next(errno))
            return fail_path(STEP_EXECVE, path);
        denied |= errno == EACCES;
    }
    return fail_errno(STEP_EXECVE, denied ? EACCES : errno);
}

/* So that a missing program fails `create` and not only `start`. Whether this user may execute it is left to execve; a file
 * without any x bit can be executed by nobody. */
int op_exec_check(const struct plan_op *op) {
    int denied = 0;

    for (const char *path = op_text(op->exec_check.candidates); *path != '\0'; path += strlen(path) + 1) {
        struct stat st;
        if (stat(path, &st) == 0) {
            if (S_ISREG(st.st_mode) && (st.st_mode & 0111) != 0)
                return 0;
            denied = 1;
        } else if (!try_next(errno)) {
            return fail_path(STEP_EXECVE, path);
        } else {
            denied |= errno == EACCES;
        }
    }
    return fail_errno(STEP_EXECVE, denied ? EACCES : ENOENT);
}

int op_no_new_privs(const struct plan_op *op) {
    (void)op;
    return prctl(K_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? fail(STEP_PRCTL) : 0;
}

/* The listener's number goes to the runtime, which copies the fd out of this process (pidfd_getfd). After the filter is on only
 * write and read are called here. execve closes the listener. */
int op_seccomp(const struct plan_op *op) {
    const struct k_sock_fprog program = {(unsigned short)(op->seccomp.filter.size / 8), op_text(op->seccomp.filter)};
    const int notify = (op->flags & SECCOMP_NOTIFY) != 0;
    const uint64_t flags = op->seccomp.filter_flags | (notify ? K_SECCOMP_FLAG_NEW_LISTENER : 0);
    long result;

    if (exec_prepare() < 0)
        return -1;
    result = syscall(SYS_seccomp, K_SECCOMP_SET_MODE_FILTER, flags, &program);
    if (result < 0 && errno == ENOSYS && flags == 0)
        result = prctl(PR_SET_SECCOMP, 2 /* SECCOMP_MODE_FILTER */, &program, 0, 0);
    if (result < 0)
        return fail(STEP_SECCOMP);
    if (!notify)
        return 0;
    if (send_message(MSG_SECCOMP, self.index, (int32_t)result, -1) < 0)
        return fail(STEP_SOCKET);
    return await_go(self.index);
}
