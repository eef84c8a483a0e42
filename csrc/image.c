#define _GNU_SOURCE
#include <Python.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "image.h"

int image_awake;
static int seeding;

/* --- memory of the image ------------------------------------------------------------------------------------------ */

#define PAGE 4096UL

/* By image.ld. The memory is the last of the data sections, so the image ends where the used part of it does. */
extern char image_start[], image_memory[], image_memory_end[];
/* How much of it there is: for the seed all, for the process that begins with the image what the seed has used. */
static size_t memory_size, memory_used;

static void *cut(size_t size) {
    if (size > memory_size - memory_used)
        return NULL;
    memory_used += size;
    return image_memory + memory_used - size;
}

static int in_image(const void *address) {
    return (const char *)address >= image_memory && (const char *)address < image_memory + memory_size;
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

/* The linker (--wrap) sends every call of malloc, calloc, realloc and free in the executable here. In a process that began with
 * an image all goes on to libc, but for blocks of the image: libc must not free those. */

void *__wrap_malloc(size_t size) {
    return seeding ? take(size) : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    if (!seeding)
        return __real_calloc(count, size);
    void *fresh = take(count * size);
    return fresh ? memset(fresh, 0, count * size) : NULL;
}

void __wrap_free(void *address) {
    if (!in_image(address)) {
        __real_free(address);
    } else if (seeding) {
        struct block *block = block_of(address), **list = class_of(&block->size);
        memset(address, 0, block->size - HEADER); /* no addresses, names … of this machine stay in what nobody uses */
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

/* Python's arenas: the memory of the image, then mmap. */

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
    else if (seeding)
        memset(arena, 0, size);
}

static char *small(size_t size) {
    char *block = PyObject_Malloc(size);
    if (!block)
        Py_FatalError("no memory");
    return memset(block, 0, size); /* what was there before is of the build's machine */
}

/* Fills up what is free in Python's pools, so that the awake process takes its small objects from new ones, one after the other,
 * and does not copy a page of the image for each. 16 to 512: the sizes of small objects (obmalloc.c). */
static void fill_pools(void) {
    size_t used = memory_used;
    while (memory_used == used)
        small(512);
    for (size_t size = 16; size <= 512; size += 16)
        while (small(size) < image_memory + used)
            ;
}

/* --- objects of the image ------------------------------------------------------------------------------------------ */

#if PY_VERSION_HEX >= 0x030C0000
/* From Python 3.12 on objects can be immortal: their references are not counted, so a command that only looks at an object of the
 * image does not copy the page it is on. All are made so, what the collector knows and what that holds: none ends before the process. */
#if PY_VERSION_HEX >= 0x030E0000
#define IMMORTAL (3LL << 30)
#else
#define IMMORTAL UINT_MAX
#endif
static PyObject **found; /* a stack of those that may hold others */

static int make_immortal(PyObject *object, void *unused) {
    if (Py_REFCNT(object) < 1LL << 31) {
        Py_SET_REFCNT(object, IMMORTAL);
        *found++ = object;
    }
    return 0;
}

static int from_collector(PyObject *object, void *unused) {
    make_immortal(object, NULL);
    return 1; /* go on */
}

static void make_all_immortal(void) {
    size_t size = 64 << 20;
    PyObject **stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED)
        Py_FatalError("no memory");
    found = stack;
    PyUnstable_GC_VisitObjects(from_collector, NULL);
    while (found > stack) {
        PyObject *object = *--found;
        if (PyCode_Check(object)) { /* the collector knows none */
            make_immortal(((PyCodeObject *)object)->co_consts, NULL);
            make_immortal(((PyCodeObject *)object)->co_names, NULL);
        } else if (PyObject_IS_GC(object)) {
            Py_TYPE(object)->tp_traverse(object, make_immortal, NULL);
        }
    }
    found = NULL;
    munmap(stack, size);
}
#else
static void make_all_immortal(void) {
}
#endif

/* --- what Python knows of the process ------------------------------------------------------------------------------- */

static PyThreadState *thread;

/* The main thread is called 1, here and in the seed: what Python keeps under a thread's name stays true. Every other thread has
 * the name that libc gives it, an address. */
#define MAIN_THREAD 1
static pthread_t main_thread;

pthread_t __real_pthread_self(void);
pthread_t __wrap_pthread_self(void) {
    pthread_t self = __real_pthread_self();
    return self == main_thread ? MAIN_THREAD : self;
}

/* Python 3.14 asks where its thread's stack is. In the seed that is all that could be a stack; image_wake() says where it is. */
int __real_pthread_getattr_np(pthread_t thread, pthread_attr_t *attributes);
int __wrap_pthread_getattr_np(pthread_t thread, pthread_attr_t *attributes) {
    if (!seeding)
        return __real_pthread_getattr_np(thread == MAIN_THREAD ? main_thread : thread, attributes);
    int fault = pthread_attr_init(attributes);
    return fault ? fault : pthread_attr_setstack(attributes, (void *)(1UL << 20), 1UL << 46);
}

#if PY_VERSION_HEX >= 0x030E0100
static void set_stack(void) {
    struct rlimit limit;
    size_t size = 8 << 20;
    if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur < size)
        size = limit.rlim_cur;
    if (PyUnstable_ThreadState_SetStackProtection(thread, (char *)&limit - size, size) < 0)
        PyErr_Clear(); /* less than Python thinks it needs: it goes without that check */
}
#else
static void set_stack(void) {
}
#endif

/* Values of thread-specific storage lie in libc: those of the seed's main thread are noted, and set again. */
#define KEYS 8
static struct key {
    pthread_key_t number;
    void (*destructor)(void *value);
    const void *value;
} keys[KEYS];
static size_t key_count;

int __real_pthread_key_create(pthread_key_t *key, void (*destructor)(void *));
int __wrap_pthread_key_create(pthread_key_t *key, void (*destructor)(void *)) {
    int fault = __real_pthread_key_create(key, destructor);
    if (seeding && !fault) {
        if (key_count == KEYS)
            Py_FatalError("too many keys");
        keys[key_count++] = (struct key){*key, destructor, NULL};
    }
    return fault;
}

int __real_pthread_setspecific(pthread_key_t key, const void *value);
int __wrap_pthread_setspecific(pthread_key_t number, const void *value) {
    for (size_t i = 0; seeding && i < key_count; i++)
        if (keys[i].number == number)
            keys[i].value = value;
    return __real_pthread_setspecific(number, value);
}

/* The kernel's number of the seed's thread would make each image another one. */
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...) {
    if (seeding && number == SYS_gettid)
        return 0;
    va_list list;
    long words[6];
    va_start(list, number);
    for (size_t i = 0; i < 6; i++)
        words[i] = va_arg(list, long);
    va_end(list);
    return __real_syscall(number, words[0], words[1], words[2], words[3], words[4], words[5]);
}

/* In a static executable gcc's start code makes known how functions are unwound. From GCC 13 on that looks at each of them, and so reads
 * half a megabyte in every start. What ends a thread looks for it by the program headers just as well (--eh-frame-hdr). */
void __wrap___register_frame_info(const void *begin, void *object) {
}

static PyObject *set_signal, *ignore, *environment;
static PyOS_sighandler_t interrupt; /* Python's handler of SIGINT */

static PyObject *find(const char *module, const char *name) {
    PyObject *found = PyImport_ImportModule(module);
    if (!found || !(found = PyObject_GetAttrString(found, name)))
        Py_FatalError(name);
    return found;
}

static void find_all(void) {
    set_signal = find("_signal", "signal");
    ignore = find("_signal", "SIG_IGN");
    environment = find("posix", "environ");
    interrupt = PyOS_getsig(SIGINT);
}

/* What importing _signal does, done again for this process: signals that the caller ignores are marked as ignored, SIGINT becomes
 * KeyboardInterrupt. */
static void set_signals(void) {
    for (int number = 1; number <= SIGSYS; number++) {
        if (PyOS_getsig(number) == SIG_IGN) {
            PyObject *old = PyObject_CallFunction(set_signal, "iO", number, ignore);
            if (!old)
                Py_FatalError("no memory");
            Py_DECREF(old);
        } else if (number == SIGINT) {
            PyOS_setsig(SIGINT, interrupt);
        }
    }
    signal(SIGPIPE, SIG_IGN); /* as Python does: writing to a closed pipe gives EPIPE instead of ending the process */
}

/* posix.environ, which is what os.environ has too. The seed leaves it empty. */
static void set_environment(void) {
    for (char **entry = environ; entry && *entry; entry++) {
        const char *equals = strchr(*entry, '=');
        if (!equals)
            continue;
        PyObject *name = PyBytes_FromStringAndSize(*entry, equals - *entry), *value = PyBytes_FromString(equals + 1);
        /* of equal names the first counts, as for getenv */
        if (!name || !value || !PyDict_SetDefault(environment, name, value))
            Py_FatalError("no memory");
        Py_XDECREF(name);
        Py_XDECREF(value);
    }
}

/* --- writing, waking ----------------------------------------------------------------------------------------------- */

/* While the seed runs, small objects begin as zeroes: what was there before is of this machine (times of files, say), and part of it
 * would stay where an object does not use all of its block. */
static PyMemAllocatorEx usual[2];

static void *clean_malloc(void *allocator, size_t size) {
    PyMemAllocatorEx *next = allocator;
    void *fresh = next->malloc(next->ctx, size);
    return fresh ? memset(fresh, 0, size) : NULL;
}

static void set_allocators(int clean) {
    static const PyMemAllocatorDomain domains[2] = {PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};
    for (size_t i = 0; i < 2; i++) {
        PyMemAllocatorEx allocator;
        if (clean)
            PyMem_GetAllocator(domains[i], &usual[i]);
        allocator = usual[i];
        if (clean)
            allocator.ctx = &usual[i], allocator.malloc = clean_malloc; /* the others do not look at ctx */
        PyMem_SetAllocator(domains[i], &allocator);
    }
}

void image_prepare(void) {
    seeding = 1;
    memory_size = image_memory_end - image_memory; // cppcheck-suppress subtractPointers  # both are the linker's, of one segment
    main_thread = __real_pthread_self();
    PyObjectArenaAllocator allocator = {NULL, arena_take, arena_free};
    PyObject_SetArenaAllocator(&allocator);
    set_allocators(1);
}

void image_write(void) {
    find_all();
    make_all_immortal();
    set_allocators(0);
    fill_pools();
    memory_used = memory_size = (memory_used + PAGE - 1) & -PAGE;
    thread = PyThreadState_Get();
    /* Frames that have ended have left addresses of the C stack. */
    memset(thread->datastack_top, 0, (thread->datastack_limit - thread->datastack_top) * sizeof *thread->datastack_top);
    PyEval_SaveThread();
    seeding = 0, image_awake = 1, main_thread = 0;
    for (const char *at = image_start, *end = image_memory + memory_used; at < end;) {
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
    main_thread = __real_pthread_self();
    for (size_t i = 0; i < key_count; i++) {
        pthread_key_t number;
        do { /* some may have been taken before the seed noted them */
            if (__real_pthread_key_create(&number, keys[i].destructor))
                Py_FatalError("no thread-specific storage");
        } while (number < keys[i].number);
        if (number != keys[i].number || __real_pthread_setspecific(number, keys[i].value))
            Py_FatalError("no thread-specific storage");
    }
    PyEval_RestoreThread(thread);
    set_stack();
    set_signals();
    set_environment();
}
