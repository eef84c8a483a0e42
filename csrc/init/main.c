/* Start, and the loop over the plan's ops. */
#include "init.h"

#include <sys/mman.h>
#include <sys/prctl.h>

struct init self = {.proc = -1, .root = -1, .views = {-1, -1}, .mask_file = -1, .mask_dir = -1};

/* A plan in a file that others could open for writing: a copy of it that is ours alone. */
static void *read_plan(int fd, size_t size) {
    char *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t got = 0;

    while (data != MAP_FAILED && got < size) {
        ssize_t n = pread(fd, data + got, size - got, (off_t)got);
        if (n <= 0)
            return MAP_FAILED;
        got += (size_t)n;
    }
    return data;
}

/* Only a plan that nobody can write to or cut short any more can be trusted to stay what verify_plan saw. Without memfds it
 * comes in a file without a name (csrc/start.c), which has no seals. */
int map_plan(int fd, uint32_t first_op) {
    const int sealed = F_SEAL_WRITE | F_SEAL_SHRINK;
    int seals = fcntl(fd, F_GET_SEALS);
    struct stat st;
    void *data;

    self.index = UINT32_MAX;
    if (fstat(fd, &st) < 0)
        return fail(STEP_STAT);
    if (seals < 0 || (seals & sealed) != sealed)
        seals = 0;
    if ((seals == 0 && (st.st_nlink != 0 || (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY)) || st.st_size <= 0)
        return fail_errno(STEP_VERIFY, EINVAL);
    data = seals != 0 ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0) : read_plan(fd, (size_t)st.st_size);
    if (data == MAP_FAILED)
        return fail(STEP_OPEN);
    return verify_plan(data, (size_t)st.st_size, first_op);
}

static void fill_table(int first) {
    for (int slot = 0; slot < PLAN_MAX_FDS; slot++)
        self.table[slot] = slot < (int)self.plan->fd_count ? first + slot : -1;
}

int main(int argc, char **argv) {
    const int first = argc > 1 ? get_number(argv[1]) : 0;

    if (first < 3 || first > INT32_MAX - PLAN_MAX_FDS)
        return 1;
    self.out = first;
    signals_init();
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) { /* CVE-2016-9962: before anything of a container can look at this process */
        fail(STEP_PRCTL);
        report_and_exit(UINT32_MAX);
    }
    prctl(PR_SET_NAME, "pyrun:init", 0, 0, 0); /* for people */
    umask(0);
    proc_init();
    if (cloexec_from(first) < 0) {
        fail(STEP_OPEN);
        report_and_exit(UINT32_MAX);
    }
    if (map_plan(first + 1, 0) < 0)
        report_and_exit(self.index);
    fill_table(first);
    proc_uncover();
    self.timed = (self.plan->flags & PLAN_TIMED) != 0;
    for (self.index = 0; self.index < plan_end(); self.index++) {
        const struct plan_op *op = op_at(self.index);
        const uint64_t begin = self.timed ? now() : 0;
        /* OP_READY closes the control socket, and after OP_SECCOMP the profile may kill init for a write. */
        if (op->op == OP_READY || op->op == OP_SECCOMP)
            self.timed = 0;
        if (op_types[op->op].run(op) < 0)
            report_and_exit(self.index);
        if (self.timed)
            send_timing(begin);
    }
    return 0;
}
