/* The image: the memory of a Python that has started and has imported all that pyrun carries, kept in the executable.
 *
 * The linker makes a seed. Run once by the build, it starts Python, imports, and writes its own data segment to a file;
 * csrc/image.py puts that in the place of the seed's data segment, and the result is build/pyrun. When that is started,
 * everything is there already, at the same addresses (it is no PIE for that reason), and each page is read from the page
 * cache when it is touched: a process start costs about what it costs for a C program.
 *
 * This works only if nothing in the data segment points out of it. While the seed runs, malloc and Python's arenas
 * take their memory from it (image.c); csrc/image.py looks at every word written and refuses one that looks like
 * an address of libc's data, the heap or the stack. What Python knows of the process is made true again by image_wake(). */

extern int image_awake;   /* whether this process began with an image */
void image_prepare(void); /* before Python starts: makes its memory come from the data segment */
void image_write(void);   /* writes the data segment to stdout, waits for the end of stdin, exits */
void image_wake(void);    /* the first thing to do in a process that began with an image */
