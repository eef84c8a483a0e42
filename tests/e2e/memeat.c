/* memeat MIB: takes so much memory, writes to all of it, and says ok. */
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    size_t size = argc > 1 ? (size_t)atol(argv[1]) << 20 : 0;
    volatile char *memory = malloc(size);

    if (!memory)
        return 1;
    for (size_t at = 0; at < size; at += 4096)
        memory[at] = 1;
    puts("ok");
    return 0;
}
