/* What Python calls to start init. Returns and fds are as in native.h. */

/* Starts init from its sealed memfd, as a child of the caller. Its 0, 1, 2 are stdio[0..2] (-1: /dev/null); fds[i] becomes its fd 3 + i.
 * The first `keep` of them are the files of the user's program, the others are the plan's table: control socket, plan, ….
 * Signals: all unblocked, dispositions default. Empty environment. Returns the pid. */
int native_spawn(const int *stdio, const int *fds, int count, int keep);

/* What the caller of the runtime left open from this fd on never reaches a program. */
int native_cloexec(int first);

/* A sealed memfd holding data; where there is none to be had, a file without a name that is open for reading alone. */
int native_memfd(const char *name, const void *data, size_t size);
