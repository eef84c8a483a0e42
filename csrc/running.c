/* running.h: state.json, the process's start time, the freezer and the start socket of containers, one after the other. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plan.h"
#include "native.h"
#include "running.h"

enum { TEXT = 16384, NAME = 1024, MANY = 32 /* containers for which a second thread is worth its start */ };

struct span {
    const char *from;
    int size;
};

/* pyrun/container/record.py:BLANK as it is written, with ' for ": # is a number, $ a string, ? true or false, @ a list of strings, % an
 * object whose values are strings, and & one whose values are such lists. */
static const char FORM[] = "{'version':2,'plan':#,'id':$,'ociVersion':$,'bundle':$,'rootfs':$,'annotations':%,'created':$,'pid':#,"
                           "'startTime':#,'bootId':$,'creating':false,'mask':#,'notes':&,'rdt':@,'stdio':@,'hooks':@,'keyring':?,"
                           "'cgroup':{'paths':%,'claimed':?";

/* What varies in it, in that order. */
enum {
    PLAN,
    ID,
    OCI_VERSION,
    BUNDLE,
    ROOTFS,
    ANNOTATIONS,
    CREATED,
    PID,
    START_TIME,
    BOOT_ID,
    MASK,
    NOTES,
    RDT,
    STDIO,
    HOOKS,
    KEYRING,
    PATHS,
    CLAIMED,
    PARTS
};

/* What follows: a cgroup of the file system's, or one that systemd has made. */
static const char *const ENDS[] = {"}}", ",'systemd':[$,?]}}"};
static const char ID_CHARACTERS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-.";

/* --- a text of a known form. Each function gives the place behind what it has taken, NULL if that is something else ------------------- */

static const char *number(const char *at) {
    size_t size = strspn(at, "0123456789");

    return size == 0 || size > 18 || (*at == '0' && size > 1) ? NULL : at + size;
}

/* Printable ASCII without an escape: what it says is what is written. */
static const char *string(const char *at) {
    if (*at++ != '"')
        return NULL;
    while (*at >= ' ' && *at <= '~' && *at != '"' && *at != '\\')
        at++;
    return *at == '"' ? at + 1 : NULL;
}

/* What stands between brackets, with commas. */
static const char *listed(const char *at, const char *brackets, const char *(*one)(const char *)) {
    if (*at++ != brackets[0])
        return NULL;
    if (*at == brackets[1])
        return at + 1;
    for (;;) {
        at = one(at);
        if (at == NULL || *at != ',')
            return at != NULL && *at == brackets[1] ? at + 1 : NULL;
        at++;
    }
}

static const char *strings(const char *at) {
    return listed(at, "[]", string);
}

static const char *key(const char *at) {
    at = string(at);
    return at == NULL || *at != ':' ? NULL : at + 1;
}

static const char *string_member(const char *at) {
    at = key(at);
    return at == NULL ? NULL : string(at);
}

static const char *list_member(const char *at) {
    at = key(at);
    return at == NULL ? NULL : strings(at);
}

static const char *word(const char *at) {
    return strncmp(at, "true", 4) == 0 ? at + 4 : strncmp(at, "false", 5) == 0 ? at + 5 : NULL;
}

static const char *part(const char *at, char kind) {
    switch (kind) {
    case '#':
        return number(at);
    case '$':
        return string(at);
    case '@':
        return strings(at);
    case '%':
        return listed(at, "{}", string_member);
    case '&':
        return listed(at, "{}", list_member);
    case '?':
        return word(at);
    default:
        return *at == (kind == '\'' ? '"' : kind) ? at + 1 : NULL;
    }
}

/* parts: NULL, or room for those of the form that vary. */
static const char *take(const char *at, const char *form, struct span *parts) {
    for (; at != NULL && *form != '\0'; form++) {
        const char *from = at;
        at = part(at, *form);
        if (parts != NULL && at != NULL && strchr("#$?@%&", *form) != NULL)
            *parts++ = (struct span){from, (int)(at - from)};
    }
    return at;
}

static const char *take_end(const char *at) {
    const char *end = NULL;

    for (size_t i = 0; at != NULL && end == NULL && i < sizeof ENDS / sizeof *ENDS; i++)
        end = take(at, ENDS[i], NULL);
    return end;
}

/* --- strings, which have their quotes -------------------------------------------------------------------------------------------------- */

static int says(struct span one, const char *text) {
    size_t size = strlen(text);

    return (size_t)one.size == size + 2 && memcmp(one.from + 1, text, size) == 0;
}

/* A cgroup where those of every host are: pyrun/cgroup/__init__.py:is_state() knows others too. */
static int is_usual(struct span path) {
    char whole[PATH_MAX];

    if (path.size > (int)sizeof whole)
        return 0;
    snprintf(whole, sizeof whole, "%.*s/", path.size - 2, path.from + 1);
    if (strncmp(whole, "/sys/fs/cgroup/", 15) != 0)
        return 0;
    return strstr(whole, "//") == NULL && strstr(whole, "/./") == NULL && strstr(whole, "/../") == NULL;
}

/* The file that says whether the container's cgroup is frozen: 1, 0 if there is none, -1 if one of the paths is an odd one. */
static int freezer_file(struct span paths, char file[PATH_MAX]) {
    struct span name, path;
    int found = 0, count = 0;

    for (const char *at = paths.from + 1; *at != '}'; at = path.from + path.size, at += *at == ',') {
        name = (struct span){at, (int)(string(at) - at)};
        path.from = name.from + name.size + 1;
        path.size = (int)(string(path.from) - path.from);
        if (!is_usual(path))
            return -1;
        count++;
        /* cgroup v2, if it is the only one: on a hybrid host the freezer is v1's. */
        int unified = says(name, "") && count == 1 && path.from[path.size] == '}';
        const char *last = unified ? "cgroup.freeze" : "freezer.self_freezing";
        if (unified || says(name, "freezer"))
            found = snprintf(file, PATH_MAX, "%.*s/%s", path.size - 2, path.from + 1, last);
    }
    return found >= PATH_MAX ? -1 : found > 0;
}

/* --- a container ----------------------------------------------------------------------------------------------------------------------- */

/* Reads state.json, if it is a file of root's: whether it is all there. */
static int read_state(int root, const char *name, char text[TEXT]) {
    char path[NAME + sizeof "/state.json"];
    struct stat about;
    ssize_t size = -1;
    int fd;

    snprintf(path, sizeof path, "%s/state.json", name);
    fd = openat(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return 0;
    if (fstat(fd, &about) == 0 && S_ISREG(about.st_mode) && about.st_uid == 0)
        size = read(fd, text, TEXT - 1);
    close(fd);
    if (size <= 0 || size == TEXT - 1 || size != about.st_size)
        return 0;
    text[size] = '\0';
    return memchr(text, '\0', (size_t)size) == NULL;
}

static int is_alive(const struct span parts[PARTS], const char *boot_id) {
    long long pid = atoll(parts[PID].from), start = atoll(parts[START_TIME].from);

    if (pid <= 0 || pid > 1 << 22 || start == 0 || native_process_start((int)pid) != start)
        return 0;
    return says(parts[BOOT_ID], boot_id) || says(parts[BOOT_ID], "") || *boot_id == '\0';
}

static int is_frozen(struct span paths) {
    char file[PATH_MAX], said[2] = "1";
    int has = freezer_file(paths, file), fd;

    if (has <= 0)
        return has;
    fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    if (read(fd, said, sizeof said) != sizeof said)
        said[0] = '?';
    close(fd);
    return said[0] != '0';
}

static int has_start_socket(int root, const char *name) {
    char path[NAME + sizeof "/start.sock"];

    snprintf(path, sizeof path, "%s/start.sock", name);
    return faccessat(root, path, F_OK, 0) == 0 || errno != ENOENT;
}

static int runs(int root, const char *name, const char *boot_id, char text[TEXT], struct span parts[PARTS]) {
    if (strlen(name) > NAME || *name == '.' || name[strspn(name, ID_CHARACTERS)] != '\0' || !read_state(root, name, text))
        return 0;
    const char *end = take_end(take(text, FORM, parts));
    if (end == NULL || *end != '\0' || !says(parts[ID], name))
        return 0;
    return is_alive(parts, boot_id) && is_frozen(parts[PATHS]) == 0 && !has_start_socket(root, name);
}

/* --- many of them ---------------------------------------------------------------------------------------------------------------------- */

struct work {
    int root, count;
    const char *names, *boot_id;
    char *lines;
    size_t size, room;
    int error;
};

static void add(struct work *work, const char *text, size_t size) {
    if (work->size + size > work->room) {
        size_t room = 2 * (work->size + size) + TEXT;
        char *more = work->error == 0 ? realloc(work->lines, room) : NULL;
        if (more == NULL) {
            work->error = -ENOMEM;
            return;
        }
        work->lines = more;
        work->room = room;
    }
    memcpy(work->lines + work->size, text, size);
    work->size += size;
}

/* As pyrun/container/state.py:Container.public(). */
static void tell(struct work *work, const struct span parts[PARTS]) {
    static const struct {
        const char *before;
        int part;
    } MEMBERS[] = {{"{\"ociVersion\":", OCI_VERSION},
                   {",\"id\":", ID},
                   {",\"pid\":", PID},
                   {",\"status\":\"running\",\"bundle\":", BUNDLE},
                   {",\"rootfs\":", ROOTFS},
                   {",\"created\":", CREATED},
                   {",\"annotations\":", ANNOTATIONS}};

    for (size_t i = 0; i < sizeof MEMBERS / sizeof *MEMBERS; i++) {
        struct span value = parts[MEMBERS[i].part];
        if (MEMBERS[i].part == ANNOTATIONS && value.size == 2 /* {} */)
            continue;
        add(work, MEMBERS[i].before, strlen(MEMBERS[i].before));
        add(work, value.from, (size_t)value.size);
    }
    add(work, ",\"owner\":\"root\"}", 16);
}

static void *look(void *argument) {
    struct work *work = argument;
    struct span parts[PARTS];
    char text[TEXT];

    for (int i = 0; i < work->count; i++) {
        if (runs(work->root, work->names, work->boot_id, text, parts))
            tell(work, parts);
        add(work, "\n", 1);
        work->names += strlen(work->names) + 1;
    }
    return NULL;
}

/* The second half by another thread: the time goes into small files of the kernel, one after the other. */
long native_running(int root, const char *names, int count, const char *boot_id, char **lines) {
    struct work first = {.root = root, .names = names, .boot_id = boot_id, .count = count < MANY ? count : count / 2}, second = first;
    pthread_t thread;
    int alone;

    for (int i = 0; i < first.count; i++)
        second.names += strlen(second.names) + 1;
    second.count = count - first.count;
    alone = second.count == 0 || pthread_create(&thread, NULL, look, &second) != 0;
    look(&first);
    if (alone)
        look(&second);
    else
        pthread_join(thread, NULL);
    add(&first, second.lines == NULL ? "" : second.lines, second.size);
    free(second.lines);
    *lines = first.lines;
    if (first.error == 0 && second.error == 0)
        return (long)first.size;
    free(first.lines);
    return -ENOMEM;
}

void native_running_free(char *lines) {
    free(lines);
}
