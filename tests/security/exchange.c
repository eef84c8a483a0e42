/* exchange ONE OTHER: exchanges two names as fast as it can, and counts that in the file that is its stdin. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

int main(int argc, char **argv) {
    volatile unsigned long *count = mmap(0, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, 0, 0);

    if (argc != 3 || count == MAP_FAILED)
        return 2;
    for (;;)
        *count += renameat2(AT_FDCWD, argv[1], AT_FDCWD, argv[2], RENAME_EXCHANGE) == 0;
}
