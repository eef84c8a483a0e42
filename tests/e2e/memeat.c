/* memeat MIB: takes so much memory, writes to all of it, and says ok. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    size_t size = argc > 1 ? (size_t)atol(argv[1]) << 20 : 0;
    char *volatile memory = malloc(size);

    if (!memory)
        return 1;
    memset(memory, 1, size);
    puts("ok");
    return 0;
}
