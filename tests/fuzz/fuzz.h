/* What the programs of this directory share. Each has a LLVMFuzzerTestOneInput, for libFuzzer or standalone.c. */
#ifndef FUZZ_H
#define FUZZ_H

#include "init.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);

/* init_calls.c */
extern jmp_buf init_ended;
extern struct init_map {
    void *at;
    size_t size;
} init_map;

static inline void must(int right) {
    if (!right)
        abort();
}

/* Nearly all changes of a plan would be refused for its header alone, so that is mostly made right again. */
static inline void mend_header(uint8_t *data, size_t size, uint32_t first_op, unsigned seed) {
    struct plan_header header;
    size_t area;

    if (size <= sizeof header || seed % 16 == 0)
        return;
    memcpy(&header, data, sizeof header);
    area = size - sizeof header;
    if (header.op_count > (area - 1) / sizeof(struct plan_op))
        header.op_count = (uint32_t)((area - 1) / sizeof(struct plan_op));
    area -= header.op_count * sizeof(struct plan_op);
    header.magic = PLAN_MAGIC;
    header.version = PLAN_VERSION;
    header.first_op = first_op;
    header.flags &= PLAN_TIMED;
    header.string_size = (uint32_t)area;
    if (header.fd_count < 2 || header.fd_count > PLAN_MAX_FDS)
        header.fd_count = (uint16_t)(2 + seed / 16 % 8);
    memcpy(data, &header, sizeof header);
    data[size - area] = data[size - 1] = 0;
}

#endif
