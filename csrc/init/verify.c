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

static int blob(const struct plan_op *op, uint32_t at, const struct op_type *type, uint32_t size) {
    if (at == 0)
        return op->len == 0;
    return at % 8 == 0 && op->len <= size - at && op->len % type->unit == 0 && op->len / type->unit <= type->most;
}

static int operand(const struct plan_op *op, int i, const struct op_type *type, uint32_t size) {
    uint32_t at = op->s[i];

    if (at >= size)
        return 0;
    switch (type->operands[i]) {
    case TEXT:
        return self.strings[at] != '\0';
    case LIST:
        return ended_list(at, size);
    case BLOB:
        return blob(op, at, type, size);
    case COUNTED_0:
        return counted_strings(at, op->n[0], size);
    case COUNTED_1:
        return counted_strings(at, op->n[1], size);
    default:
        return 1;
    }
}

static int slot(int32_t number, uint32_t count) {
    return number >= -1 && number < (int32_t)count;
}

static int record(const struct plan_op *op, const struct plan_header *plan, int last) {
    if (op->op == OP_NONE || op->op >= OP_COUNT)
        return 0;
    const struct op_type *type = &op_types[op->op];
    if ((op->flags & ~type->flags) != 0 || !slot(op->fd, plan->fd_count) || !slot(op->fd2, plan->fd_count))
        return 0;
    if (type->fd && op->fd < 0)
        return 0;
    for (int i = 0; i < 4; i++)
        if (!operand(op, i, type, plan->string_size))
            return 0;
    if (op->op == OP_BIND && op->fd < 0 && op->s[0] == 0)
        return 0;
    return op->op != OP_EXEC || (last && op->n[0] > 0); /* nothing can follow a program */
}

static int header(const struct plan_header *plan, size_t size) {
    if (size < sizeof *plan || plan->magic != PLAN_MAGIC || plan->version != PLAN_VERSION || (plan->flags & ~(uint32_t)PLAN_TIMED) != 0)
        return 0;
    if (plan->fd_count < 2 || plan->fd_count > PLAN_MAX_FDS || plan->string_size == 0)
        return 0;
    return size == sizeof *plan + (uint64_t)plan->op_count * sizeof(struct plan_op) + plan->string_size;
}

/* Checks the plan and points self at it; the index of a bad record is left in self.index (UINT32_MAX: the header). */
int verify_plan(const void *data, size_t size) {
    const struct plan_header *plan = data;

    self.index = UINT32_MAX;
    if (!header(plan, size))
        return fail_errno(STEP_VERIFY, EINVAL);
    self.plan = plan;
    self.ops = (const struct plan_op *)(plan + 1);
    self.strings = (const char *)(self.ops + plan->op_count);
    if (self.strings[0] != '\0' || self.strings[plan->string_size - 1] != '\0')
        return fail_errno(STEP_VERIFY, EINVAL);
    for (self.index = 0; self.index < plan->op_count; self.index++)
        if (!record(&self.ops[self.index], plan, self.index + 1 == plan->op_count))
            return fail_errno(STEP_VERIFY, EINVAL);
    return 0;
}
