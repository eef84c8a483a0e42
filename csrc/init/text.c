/* Text without stdio. The put_ functions cut off at the end of the buffer, always write a NUL and return its place. */
#include "init.h"

char *put_text(char *at, const char *end, const char *text) {
    while (*text != '\0' && at + 1 < end)
        *at++ = *text++;
    *at = '\0';
    return at;
}

char *put_number(char *at, const char *end, unsigned long number, unsigned base) {
    char digits[sizeof number * 8 + 1];
    char *first = digits + sizeof digits - 1;

    *first = '\0';
    do
        *--first = (char)('0' + number % base);
    while ((number /= base) > 0);
    return put_text(at, end, first);
}

/* The decimal number at the start of a text; 0 if there is none or it does not fit an int. */
int get_number(const char *text) {
    long number = 0;

    for (; *text >= '0' && *text <= '9' && number <= INT32_MAX; text++)
        number = number * 10 + (*text - '0');
    return number <= INT32_MAX ? (int)number : 0;
}
