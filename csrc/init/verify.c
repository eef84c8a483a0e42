/* Holds a plan to csrc/plan.h once, before its first op runs, so that no op has to check its record again: the plan
 * lies in a sealed memfd and cannot change afterwards. */
#include "init.h"

#include <string.h>

/* Are there `count` strings from `at` on? Any byte sequence in the area ends in a NUL, for the area's last byte is one. */
static int counted_strings(uint32_t at, uint64_t count, uint32_t size) {
    for (; count > 0; count--) {
        if (at >= size)
            return 0;
        at += (uint32_t)strlen(self.strings + at) + 1;
    }
    return 1;
}

/* Does a run of strings from `at` on end with an empty one inside the area? */
static int ended_list(uint32_t at, uint32_t size) {
    while (at < size && self.strings[at] != '\0')
        at += (uint32_t)strlen(self.strings + at) + 1;
    return at < size;
}

/* Binary data: the size of an element, and how many there may be at most. */
static const struct {
    uint32_t unit, most;
} limits[] = {
    [PLAN_BYTES] = {1, 8192},  /* a CPU or node mask of 65536 bits is the largest */
    [PLAN_GIDS] = {4, 65536},  /* NGROUPS_MAX */
    [PLAN_FILTER] = {8, 4096}, /* BPF_MAXINSNS */
};

static int data(const struct plan_bytes *bytes, enum operand_kind kind, uint32_t size) {
    const uint32_t unit = limits[kind].unit;

    if (bytes->at == 0)
        return bytes->size == 0;
    return bytes->at % 8 == 0 && bytes->at < size && bytes->size <= size - bytes->at && bytes->size % unit == 0 &&
           bytes->size / unit <= limits[kind].most;
}

static int slot(int32_t number, int least) {
    return number >= least && number < (int32_t)self.plan->fd_count;
}

static int operand(const struct plan_op *op, const struct operand *operand) {
    const void *value = (const char *)op + operand->at;
    const uint32_t size = self.plan->string_size, at = *(const uint32_t *)value;

    switch ((enum operand_kind)operand->kind) {
    case PLAN_TEXT:
        return at < size && self.strings[at] != '\0';
    case PLAN_OPTIONAL:
        return at < size;
    case PLAN_LIST:
        return ended_list(at, size);
    case PLAN_STRINGS:
        return counted_strings(at, ((const struct plan_strings *)value)->count, size);
    case PLAN_BYTES:
    case PLAN_GIDS:
    case PLAN_FILTER:
        return data(value, (enum operand_kind)operand->kind, size);
    case PLAN_FD:
        return slot(*(const int32_t *)value, 0);
    case PLAN_OPTIONAL_FD:
        return slot(*(const int32_t *)value, -1);
    }
    return 0;
}

static int record(const struct plan_op *op, int last) {
    const struct op_type *type;

    if (op->op == OP_NONE || op->op >= OP_COUNT)
        return 0;
    type = &op_types[op->op];
    if ((op->flags & ~type->flags) != 0)
        return 0;
    for (unsigned i = 0; i < type->operand_count; i++)
        if (!operand(op, &type->operands[i]))
            return 0;
    if (op->op == OP_BIND && op->bind.tree.slot < 0 && op->bind.source.at == 0)
        return 0;
    if (op->op == OP_EXEC && op->exec.argv.count == 0)
        return 0;
    return last || (op->op != OP_EXEC && op->op != OP_REST); /* nothing can follow a program, and in this part nothing the rest */
}

static int header(const struct plan_header *plan, size_t size, uint32_t first_op) {
    if (size < sizeof *plan || plan->first_op != first_op || plan->magic != PLAN_MAGIC || plan->version != PLAN_VERSION ||
        (plan->flags & ~PLAN_TIMED) != 0)
        return 0;
    if (plan->fd_count < 2 || plan->fd_count > PLAN_MAX_FDS || plan->string_size == 0)
        return 0;
    return size == plan_size(plan);
}

/* Checks the plan and points self at it; the index of a bad record is left in self.index (UINT32_MAX: the header). */
int verify_plan(const void *data, size_t size, uint32_t first_op) {
    const struct plan_header *plan = data;

    self.index = UINT32_MAX;
    if (!header(plan, size, first_op))
        return fail_errno(STEP_VERIFY, EINVAL);
    self.plan = plan;
    self.ops = (const struct plan_op *)(plan + 1);
    self.strings = (const char *)(self.ops + plan->op_count);
    if (self.strings[0] != '\0' || self.strings[plan->string_size - 1] != '\0')
        return fail_errno(STEP_VERIFY, EINVAL);
    for (self.index = first_op; self.index < plan_end(); self.index++)
        if (!record(op_at(self.index), self.index + 1 == plan_end()))
            return fail_errno(STEP_VERIFY, EINVAL);
    return 0;
}
