/* What Python calls in the extension. csrc/build.py gives this file, after plan.h, to cffi.
 * Every function returns a value >= 0, or -errno. All fds made here are CLOEXEC. */

/* A pair of SOCK_SEQPACKET sockets; fds[0] receives credentials. */
int native_socketpair(int fds[2]);

/* One packet (or one piece of a stream) with up to `count` fds. MSG_NOSIGNAL. A signal: -EINTR, as below. */
int native_send(int sock, const void *data, size_t size, const int *fds, int count);

/* Receives one packet; *count is the room in fds before, the number received after; *pid is the sender's, 0 if it sent none.
 * timeout in milliseconds, -1 for none: -ETIMEDOUT. A signal: -EINTR (Python runs its handler and calls again).
 * Returns the bytes received, 0 at EOF. */
int native_recv(int sock, void *data, size_t size, int *fds, int *count, int *pid, int timeout);

/* AF_UNIX sockets named relative to a directory fd, through /proc/self/fd, so that no path is too long (108 bytes);
 * with AT_FDCWD, @name is an abstract one. type: SOCK_STREAM …
 * A listening one is for its owner alone (0600). One that connects waits 10 s at most, for the connection (a full backlog) and
 * for room to send: -EAGAIN. A signal: -EINTR. */
int native_listen(int dirfd, const char *name, int type);
int native_connect(int dirfd, const char *name, int type);

/* A NETLINK_ROUTE socket of a network namespace (an fd of it), -1 for the caller's. */
int native_netlink(int netns);

int native_pidfd_getfd(int pidfd, int fd);
/* Makes each of two files the other (RENAME_EXCHANGE of rename(2)). */
int native_exchange(const char *one, const char *other);
int native_open_tree(int dirfd, const char *path, unsigned flags);

/* Sets the propagation (MS_SLAVE …) of a detached mount and of those below it. */
int native_propagation(int tree, unsigned long propagation);

/* Maps the ids of a detached mount, of those below it too if `recursive`, as the user namespace has them (mount_setattr(2)). */
int native_idmap(int tree, int recursive, int userns);
unsigned long long native_file_system(int fd); /* f_type of statfs(2); 0: unknown */

/* Start time of a live process in clock ticks since boot (proc_pid_stat(5), field 22); 0 if it is gone or a zombie, -errno where that
 * cannot be found out. */
long long native_process_start(int pid);

/* Whether a process that was cloned has executed a program: 1, 0, -ESRCH if there is no such process any more, or another
 * -errno. *status: how a zombie ended, as of waitpid(2), 0 where the caller may not see that. */
int native_executed(int pid, int *status);

/* Effective, permitted, inheritable, bounding capabilities of the caller, as masks. */
int native_capabilities(unsigned long long out[4]);

/* PR_SET_CHILD_SUBREAPER, PR_SET_DUMPABLE … : prctl(option, arg). */
int native_prctl(int option, unsigned long arg);

/* Terminal: raw mode with the old settings kept in `saved` (64 bytes), and back; size as rows << 16 | columns. */
int native_tty_raw(int fd, void *saved);
int native_tty_no_carriage_returns(int fd);
int native_tty_restore(int fd, const void *saved);
int native_tty_get_size(int fd);
int native_tty_set_size(int fd, int rows, int columns);

/* A signalfd for every signal that can be caught (and blocks them), CLOEXEC and NONBLOCK. native_read_signal: number, or -EAGAIN. */
int native_signalfd(void);
int native_read_signal(int fd);
