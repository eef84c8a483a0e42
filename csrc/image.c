#define _GNU_SOURCE
#define Py_BUILD_CORE 1
#include <Python.h>
#include <internal/pycore_runtime.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image.h"

int image_awake;

/* --- memory of the image ------------------------------------------------------------------------------------------ */

#define MEMORY_SIZE (8UL << 20)
#define PAGE 4096UL

/* .lbss is the last of the data sections, so the image ends where the used part of this memory does. */
static _Alignas(PAGE) char memory[MEMORY_SIZE] __attribute__((section(".lbss")));
static size_t memory_used;

static void *cut(size_t size) {
    if (memory_used + size > MEMORY_SIZE)
        return NULL;
    memory_used += size;
    return memory + memory_used - size;
}

static int in_image(const void *address) {
    return (const char *)address >= memory && (const char *)address < memory + MEMORY_SIZE;
}

/* Sizes are rounded up to 4 to 8 times a power of two, so that a freed block fits later requests of about its size. */
struct block {
    size_t size;        /* with the header */
    struct block *next; /* while it is free */
};
#define HEADER 16 /* 16, so that the memory behind it has malloc's alignment */
#define CLASSES 256
static struct block *free_blocks[CLASSES];

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *address, size_t size);
void __real_free(void *address);

static struct block *block_of(void *address) {
    return (struct block *)((char *)address - HEADER);
}

/* The list of free blocks that *size belongs to; rounds *size up to their size. */
static struct block **class_of(size_t *size) {
    size_t step = HEADER, row = 0;
    while (step * 8 < *size)
        step *= 2, row++;
    *size = (*size + step - 1) & -step;
    return &free_blocks[row * 8 + *size / step - 1];
}

static void *take(size_t size) {
    size += HEADER;
    struct block **list = class_of(&size), *block = *list;
    if (block)
        *list = block->next;
    else if (!(block = cut(size)))
        return NULL;
    block->size = size;
    return (char *)block + HEADER;
}

/* The linker (--wrap) sends every call of malloc, calloc, realloc and free in the executable here; calls inside libc are not
 * affected. In a process that began with an image all goes on to libc, but for blocks of the image: libc must not free those. */

void *__wrap_malloc(size_t size) {
    return image_awake ? __real_malloc(size) : take(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    if (image_awake)
        return __real_calloc(count, size);
    void *fresh = take(count * size);
    return fresh ? memset(fresh, 0, count * size) : NULL;
}

void __wrap_free(void *address) {
    if (!in_image(address)) {
        __real_free(address);
    } else if (!image_awake) {
        struct block *block = block_of(address), **list = class_of(&block->size);
        block->next = *list;
        *list = block;
    }
}

void *__wrap_realloc(void *address, size_t size) {
    if (address && !in_image(address))
        return __real_realloc(address, size);
    void *fresh = __wrap_malloc(size);
    if (address && fresh) {
        size_t old = block_of(address)->size - HEADER;
        memcpy(fresh, address, old < size ? old : size);
        __wrap_free(address);
    }
    return fresh;
}

/* Python's arenas: the memory of the image first, also in the process that began with it; then mmap. */

static void *arena_take(void *context, size_t size) {
    memory_used = (memory_used + PAGE - 1) & -PAGE;
    void *arena = cut(size);
    if (!arena)
        arena = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return arena == MAP_FAILED ? NULL : arena;
}

static void arena_free(void *context, void *arena, size_t size) {
    if (!in_image(arena))
        munmap(arena, size);
}

void image_prepare(void) {
    PyObjectArenaAllocator allocator = {NULL, arena_take, arena_free};
    PyObject_SetArenaAllocator(&allocator);
}

/* --- writing, waking ----------------------------------------------------------------------------------------------- */

extern char __data_start[];

/* The three places where CPython keeps the id of its thread. It sets the same ones after fork(). */
static void set_thread(unsigned long ident, unsigned long native) {
    PyThreadState *thread = _PyThreadState_UncheckedGet();
    _PyRuntime.main_thread = ident;
    thread->thread_id = ident;
    thread->native_thread_id = native;
}

void image_write(void) {
    set_thread(0, 0);
    image_awake = 1;
    for (const char *at = __data_start, *end = memory + memory_used; at < end;) {
        ssize_t written = write(1, at, end - at);
        if (written < 0)
            _exit(1);
        at += written;
    }
    close(1);
    char byte;
    _exit(read(0, &byte, 1) != 0);
}

void image_wake(void) {
    struct _gilstate_runtime_state *gilstate = &_PyRuntime.gilstate;
    set_thread(PyThread_get_thread_ident(), PyThread_get_thread_native_id());
    /* The image holds a key that pthread_key_create gave to the seed's process; this process needs its own. */
    gilstate->autoTSSkey = (Py_tss_t)Py_tss_NEEDS_INIT;
    if (PyThread_tss_create(&gilstate->autoTSSkey) != 0 || PyThread_tss_set(&gilstate->autoTSSkey, _PyThreadState_UncheckedGet()) != 0)
        Py_FatalError("no thread-specific storage");
}
