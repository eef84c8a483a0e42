/* /etc/passwd of an image: OP_HOME finds what a plain reading of all of it finds. */
#include "fuzz.h"

static int passwd;

/* The working directory is one of this run's own, and serves as the root. */
int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    proc_init();
    must(mkdir("etc", 0700) == 0);
    passwd = open("etc/passwd", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    self.root = open(".", O_PATH | O_CLOEXEC);
    must(passwd >= 0 && self.root >= 0);
    return 0;
}

/* The end of the field at `from`: the next colon, or the end of the line. */
static const char *field_end(const char *from, const char *end) {
    const char *colon = memchr(from, ':', (size_t)(end - from));

    return colon != NULL ? colon : end;
}

/* The home in a line, whose size is left in `size`; NULL if the line is not one of this user. */
static const char *home_in(const char *line, const char *end, uint64_t uid, size_t *size) {
    const char *from = line, *to = field_end(from, end);
    uint64_t number = 0;

    for (int field = 0; field < 5; field++) {
        if (field == 2) {
            if (from == to)
                return NULL; /* no number */
            for (const char *digit = from; digit < to; digit++) {
                if (*digit < '0' || *digit > '9' || number > UINT32_MAX)
                    return NULL;
                number = number * 10 + (uint64_t)(*digit - '0');
            }
            if (number != uid)
                return NULL;
        }
        if (to == end)
            return NULL;
        from = to + 1;
        to = field_end(from, end);
    }
    *size = (size_t)(to - from);
    return *size > 0 && *size < 4096 ? from : NULL;
}

/* The uid is in the first four bytes, the file in the others. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct plan_op op = {.op = OP_HOME};
    const char *at = (const char *)data + 4, *end = (const char *)data + size, *wanted = NULL;
    size_t wanted_size = 0;
    uint32_t uid;

    if (size < 4)
        return 0;
    memcpy(&uid, data, sizeof uid);
    op.home.uid = uid;
    must(ftruncate(passwd, 0) == 0 && pwrite(passwd, at, size - 4, 0) == (ssize_t)size - 4);
    must(op_home(&op) == 0);
    while (wanted == NULL && at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at)), *line_end = newline != NULL ? newline : end;
        wanted = home_in(at, line_end, uid, &wanted_size);
        at = line_end + 1;
    }
    const char *found = home_text();
    must(found != NULL && strncmp(found, "HOME=", 5) == 0);
    found += 5;
    must(wanted == NULL ? strcmp(found, "/") == 0 : memcmp(found, wanted, wanted_size) == 0 && found[wanted_size] == '\0');
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed) {
    (void)seed;
    return LLVMFuzzerMutate(data, size, max);
}
