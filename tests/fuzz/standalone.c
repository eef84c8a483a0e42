/* In the place of libFuzzer, for a compiler that has none: the same seed gives the same inputs, so a result does not vary by luck.
 *
 *     PROGRAM -seed=N -runs=N DIRECTORY               changes the files in the directory at random; says how many inputs there were
 *     PROGRAM -seed=N -max_total_time=N DIRECTORY     the same, for so many seconds */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

enum { ROOM = 8192, SEEDS = 8192, ROUND = 1000 };

static struct {
    uint8_t *data;
    size_t size;
} seeds[SEEDS];
static int seed_count;
static uint64_t state;

static uint32_t chance(uint32_t below) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % below;
}

/* One change: a byte, a word, a piece of a seed put in, a piece taken out or doubled. */
static size_t change(uint8_t *data, size_t size, size_t max) {
    static const uint32_t odd[] = {0, 1, 0x7f, 0x80, 0xff, 0x100, 0x7fffffff, 0x80000000, 0xffffffff};
    const size_t at = size > 0 ? chance((uint32_t)size) : 0;
    size_t piece = size > 0 ? 1 + chance((uint32_t)(size - at < 32 ? size - at : 32)) : 0;

    switch (chance(size > 0 ? 6 : 1)) {
    case 0: { /* of a seed */
        const int seed = (int)chance((uint32_t)seed_count);
        const size_t from = seeds[seed].size > 0 ? chance((uint32_t)seeds[seed].size) : 0;
        piece = seeds[seed].size - from < 64 ? seeds[seed].size - from : 64;
        if (size + piece > max)
            return size;
        memmove(data + at + piece, data + at, size - at);
        memcpy(data + at, seeds[seed].data + from, piece);
        return size + piece;
    }
    case 1:
        memmove(data + at, data + at + piece, size - at - piece);
        return size - piece;
    case 2:
        if (size + piece > max)
            return size;
        memmove(data + at + piece, data + at, size - at);
        return size + piece;
    case 3:
        if (size - at >= sizeof odd[0])
            memcpy(data + at, &odd[chance(sizeof odd / sizeof odd[0])], sizeof odd[0]);
        return size;
    case 4:
        data[at] ^= (uint8_t)(1 << chance(8));
        return size;
    default:
        data[at] = (uint8_t)chance(256);
        return size;
    }
}

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max) {
    for (uint32_t left = 1 + chance(4); left > 0; left--)
        size = change(data, size, max);
    return size;
}

static void read_seeds(const char *path) {
    DIR *directory = opendir(path);
    struct dirent *entry;

    while (directory != NULL && (entry = readdir(directory)) != NULL && seed_count < SEEDS) {
        char name[4096];
        FILE *file;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        file = entry->d_name[0] != '.' ? fopen(name, "rb") : NULL;
        if (file == NULL)
            continue;
        seeds[seed_count].data = malloc(ROOM);
        seeds[seed_count].size = fread(seeds[seed_count].data, 1, ROOM / 2, file);
        seed_count++;
        fclose(file);
    }
    if (directory != NULL)
        closedir(directory);
}

/* In a block of exactly its size, so that a byte too far is seen. */
static void try(const uint8_t *data, size_t size) {
    uint8_t *exact = malloc(size > 0 ? size : 1);

    memcpy(exact, data, size);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

int main(int argc, char **argv) {
    static uint8_t data[ROOM];
    unsigned long runs = 0, seed = 1, seconds = 0, run = 0;
    time_t begin;

    LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++)
        if (sscanf(argv[i], "-runs=%lu", &runs) != 1 && sscanf(argv[i], "-seed=%lu", &seed) != 1 &&
            sscanf(argv[i], "-max_total_time=%lu", &seconds) != 1)
            read_seeds(argv[i]);
    if (seed_count == 0)
        return 2;
    state = seed * 0x9e3779b97f4a7c15 + 1;
    for (int i = 0; i < seed_count; i++)
        try(seeds[i].data, seeds[i].size);
    begin = time(NULL);
    for (; seconds > 0 ? run % ROUND > 0 || time(NULL) < begin + (time_t)seconds : run < runs; run++) {
        const int from = (int)chance((uint32_t)seed_count);
        size_t size = seeds[from].size;
        memcpy(data, seeds[from].data, size);
        size = LLVMFuzzerCustomMutator(data, size, sizeof data, chance(UINT32_MAX));
        try(data, size);
    }
    printf("%lu inputs\n", run + (unsigned long)seed_count);
    return 0;
}
