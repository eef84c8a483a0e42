/* init is compiled with -Dmain=init_main -Dsyscall=init_syscall -Dmmap=init_mmap: what would end it goes back to the target, and
 * what it has mapped can be taken back. */
#include "fuzz.h"

#include <stdarg.h>
#include <sys/mman.h>

jmp_buf init_ended;
struct init_map init_map;

long init_syscall(long number, ...) {
    va_list list;
    long word[5]; /* no call of init has more */

    if (number == SYS_exit_group)
        longjmp(init_ended, 1);
    va_start(list, number);
    for (int i = 0; i < 5; i++)
        word[i] = va_arg(list, long);
    va_end(list);
    return syscall(number, word[0], word[1], word[2], word[3], word[4]);
}

void *init_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset) {
    init_map.size = size;
    init_map.at = mmap(address, size, protection, flags, fd, offset);
    return init_map.at;
}
