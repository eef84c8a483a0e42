/* Plans: one that csrc/init/verify.c lets pass holds nothing that its ops would read outside of it. */
#include "fuzz.h"

static volatile uint32_t sink;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    return 0;
}

static size_t read_text(const char *text) {
    const size_t size = strlen(text);

    sink += (uint32_t)size;
    return size;
}

static void read_list(const char *text) {
    while (*text != '\0')
        text += read_text(text) + 1;
}

static void read_data(const struct plan_bytes *bytes, unsigned unit) {
    const unsigned char *data = op_data(*bytes);

    must(data != NULL || bytes->size == 0);
    must((uintptr_t)data % 8 == 0 && bytes->size % unit == 0);
    for (uint32_t i = 0; i < bytes->size; i++)
        sink += data[i];
}

static void read_fd(int32_t slot, int32_t least) {
    must(slot >= least && slot < self.plan->fd_count && slot < PLAN_MAX_FDS);
}

/* What the ops do with their operands. */
static void read_operand(const struct plan_op *op, const struct operand *operand) {
    const void *value = (const char *)op + operand->at;
    const struct plan_strings *strings = value;
    const char *text = self.strings + strings->at;

    switch ((enum operand_kind)operand->kind) {
    case PLAN_TEXT:
        must(read_text(text) > 0);
        break;
    case PLAN_OPTIONAL:
        read_text(text);
        break;
    case PLAN_LIST:
        read_list(text);
        break;
    case PLAN_STRINGS:
        for (uint32_t i = 0; i < strings->count; i++)
            text += read_text(text) + 1;
        break;
    case PLAN_BYTES:
        read_data(value, 1);
        break;
    case PLAN_GIDS:
        read_data(value, sizeof(uint32_t));
        break;
    case PLAN_FILTER:
        read_data(value, 8);
        break;
    case PLAN_FD:
        read_fd(*(const int32_t *)value, 0);
        break;
    case PLAN_OPTIONAL_FD:
        read_fd(*(const int32_t *)value, -1);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (verify_plan(data, size, 0) < 0)
        return 0;
    for (self.index = 0; self.index < plan_end(); self.index++) {
        const struct plan_op *op = op_at(self.index);
        const struct op_type *type = &op_types[op->op];
        must(type->run != NULL && (op->flags & ~type->flags) == 0);
        for (unsigned i = 0; i < type->operand_count; i++)
            read_operand(op, &type->operands[i]);
    }
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed) {
    size = LLVMFuzzerMutate(data, size, max);
    mend_header(data, size, 0, seed);
    return size;
}
