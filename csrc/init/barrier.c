/* Where init waits: for the runtime, and for the start of the user's program. */
#include "init.h"

#include <sys/mman.h>
#include <poll.h>
#include <sys/socket.h>

enum { PATIENCE = 1000, PAUSE = 100 }; /* ms */

int op_barrier(const struct plan_op *op) {
    if (send_message(MSG_BARRIER, (uint32_t)op->barrier.number, 0, -1) < 0)
        return fail(STEP_SOCKET);
    return await_go((uint32_t)op->barrier.number);
}

/* The first file of all is the part itself, which needs no slot. The others fill the slots that it adds, in the order in which they come. */
int op_rest(const struct plan_op *op) {
    const uint32_t number = self.index;
    const struct plan_header *done = self.plan;
    uint32_t slot = self.plan->fd_count, more = 1;
    int part = -1;

    (void)op;
    while (more > 0) {
        int files[PLAN_PASSED];
        int count = await_rest(files, &more);
        if (count < 0)
            return -1;
        for (int i = 0; i < count; i++)
            if (part < 0)
                part = files[i];
            else if (slot < PLAN_MAX_FDS)
                self.table[slot++] = files[i];
            else
                return fail_errno(STEP_PROTOCOL, EPROTO);
    }
    if (map_plan(part, number + 1) < 0)
        return -1;
    close(part);
    munmap((void *)done, plan_size(done)); /* init may wait for days, and this part's memory with it */
    if (slot != self.plan->fd_count)
        return fail_errno(STEP_PROTOCOL, EPROTO);
    self.index = number;
    proc_uncover();
    return 0;
}

static void close_fd(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static int procfs_needed(void) {
    for (uint32_t i = self.index + 1; i < plan_end(); i++)
        if (op_at(i)->op == OP_SYSCTL || op_at(i)->op == OP_PROC_WRITE)
            return 1;
    return self.proc_kept;
}

/* Those that are opened as they are needed, and kept. */
static void close_kept(void) {
    root_reset();
    close_fd(&self.mask_file);
    close_fd(&self.mask_dir);
    views_close();
}

/* The runtime may end after this, and init waits, maybe for days. Files left open would show in /proc/PID/fd and keep what they
 * name (a mount, say) in use. */
int op_ready(const struct plan_op *op) {
    if (send_message(MSG_READY, self.index, 0, -1) < 0)
        return fail(STEP_SOCKET);
    if (await_go(self.index) < 0)
        return -1;
    for (int slot = 0; slot < PLAN_MAX_FDS; slot++)
        if (slot != op->ready.kept.slot)
            close_fd(&self.table[slot]);
    self.out = -1;
    close_kept();
    if (!procfs_needed())
        close_fd(&self.proc);
    return 0;
}

/* Before the process that will be the program is cloned into the container: whoever may trace it there finds no file in it that it
 * would not have as the program. */
int op_close(const struct plan_op *op) {
    (void)op;
    if (exec_prepare() < 0) /* it may need procfs */
        return -1;
    for (int slot = 0; slot < PLAN_MAX_FDS; slot++)
        if (self.table[slot] != self.out)
            close_fd(&self.table[slot]);
    close_kept();
    close_fd(&self.proc);
    return 0;
}

/* A connection that is closed without a byte does not count: its `start` was killed or has given up, or somebody only looked.
 * One that stays silent must not keep others from starting the container. */
static int is_start(int connection) {
    struct pollfd one = {.fd = connection, .events = POLLIN | POLLRDHUP};

    return poll(&one, 1, PATIENCE) == 1 && one.revents == POLLIN;
}

/* What passes: connections that were broken off, and a machine that is short of memory or of files. */
static int passes(int error) {
    return error == ECONNABORTED || error == ENOMEM || error == ENOBUFS || error == ENFILE;
}

/* The byte is read as late as can be, right before seccomp and execve. A socket that is closed while there is something to read
 * gives its peer ECONNRESET and not the end of file. So `start` can tell an init that died here from the program of a container,
 * even if the parent has reaped it by then. */
int read_start(void) {
    char byte;

    if (self.start_unread && read(self.out, &byte, 1) != 1)
        return fail(STEP_READ);
    self.start_unread = 0;
    return 0;
}

int op_wait_start(const struct plan_op *op) {
    for (;;) {
        int connection = accept4(op_fd(op->wait_start.socket), NULL, NULL, SOCK_CLOEXEC);
        if (connection < 0) {
            if (!passes(errno))
                return fail(STEP_SOCKET);
            poll(NULL, 0, PAUSE);
            continue;
        }
        if (is_start(connection)) {
            self.out = connection;
            self.start_unread = 1;
            close_fd(&self.table[op->wait_start.socket.slot]);
            return 0;
        }
        close(connection);
    }
}
