/* A state.json as `list` reads it: of one of the known form all that is taken lies in the text, in its order, and its cgroups are the host's. */
#include "running.c"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    return 0;
}

static void must(int right) {
    if (!right)
        abort();
}

static void known(const char *text, size_t size, const struct span parts[PARTS]) {
    struct work work = {0};
    char file[PATH_MAX];
    const char *at = text;

    for (int i = 0; i < PARTS; i++) {
        must(parts[i].from > at && parts[i].size > 0);
        at = parts[i].from + parts[i].size;
    }
    must(at < text + size);
    if (freezer_file(parts[PATHS], file) > 0)
        must(strncmp(file, "/sys/fs/cgroup/", 15) == 0 && strstr(file, "/../") == NULL);
    says(parts[ID], "box");
    tell(&work, parts);
    must(work.error == 0 && work.size > 0 && memchr(work.lines, '\n', work.size) == NULL);
    free(work.lines);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct span parts[PARTS];
    char *text = malloc(size + 1);

    must(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    const char *end = take_end(take(text, FORM, parts));
    if (end != NULL && *end == '\0')
        known(text, size, parts);
    free(text);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed) {
    (void)seed;
    return LLVMFuzzerMutate(data, size, max);
}
