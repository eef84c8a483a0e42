/* OP_CONSOLE: a new pty. Its slave is taken from the master by TIOCGPTPEER and used by that fd, never by a name in
 * /dev/pts that somebody could swap (CVE-2025-52565). */
#include "init.h"

#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

static int is_ptmx(int fd, int on_devpts) {
    struct statfs fs;
    struct stat st;

    if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
        return 0;
    if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(5, 2))
        return 0;
    return !on_devpts || fs.f_type == K_DEVPTS_SUPER_MAGIC;
}

/* An image may have put anything in this place, and opening a device can have effects: it is checked by an O_PATH fd first. */
static int open_master(const char *in_root) {
    int on_devpts = *in_root != '\0';
    int node = on_devpts ? path_open(in_root, 0) : open("/dev/ptmx", O_PATH | O_CLOEXEC);
    int master;

    if (node < 0)
        return fail(STEP_OPEN);
    if (!is_ptmx(node, on_devpts))
        return fail_errno(STEP_OPEN, ENODEV);
    master = proc_open_fd(node, O_RDWR | O_NOCTTY);
    if (master < 0)
        return fail(STEP_OPEN);
    close(node);
    return master;
}

static int open_slave(int master) {
    int unlock = 0;
    int slave;

    if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
        return fail(STEP_IOCTL);
    slave = ioctl(master, K_TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    return slave < 0 ? fail(STEP_IOCTL) : slave;
}

/* All else stays as the kernel made it: ONLCR is on, and whoever has the far end gets CR LF. */
static int set_up(const struct plan_op *op, int slave) {
    const struct winsize size = {.ws_row = (unsigned short)op->console.rows, .ws_col = (unsigned short)op->console.columns};
    struct stat st;

    if ((op->console.rows != 0 || op->console.columns != 0) && ioctl(slave, TIOCSWINSZ, &size) < 0)
        return fail(STEP_IOCTL);
    if (fstat(slave, &st) < 0)
        return fail(STEP_STAT);
    /* the group stays as devpts has it: its gid may not be mapped */
    if (st.st_uid != op->console.uid && fchown(slave, (uid_t)op->console.uid, (gid_t)-1) < 0)
        return fail(STEP_CHOWN);
    return 0;
}

/* The file that the console is mounted on. A symlink in its place is removed: following it would let the image choose what the
 * mount covers (CVE-2026-88264). */
static int open_place(const char *path) {
    char name[256];
    struct stat st;
    int parent = path_parent(path, name);
    int place;

    if (parent < 0)
        return fail(STEP_OPEN_TARGET);
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode) && unlinkat(parent, name, 0) < 0)
        return fail(STEP_UNLINK);
    if (mknodat(parent, name, S_IFREG | 0600, 0) < 0 && errno != EEXIST)
        return fail(STEP_MKNOD);
    place = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (place < 0)
        return fail(STEP_OPEN_TARGET);
    close(parent);
    return place;
}

static int bind_slave(int slave, const char *path) {
    char name[32];
    int place = open_place(path);
    int tree;

    if (place < 0)
        return -1;
    tree = tree_clone(slave, "", 0);
    if (tree < 0 && !unavailable(errno))
        return fail(STEP_OPEN_TREE);
    if (tree >= 0 && tree_attach(tree, place) < 0)
        return fail(STEP_MOVE_MOUNT);
    if (tree < 0 && old_mount(fd_path(slave, name), place, NULL, K_MS_BIND, NULL) < 0)
        return fail(STEP_MOUNT);
    close(tree);
    close(place);
    return 0;
}

int op_console(const struct plan_op *op) {
    int master = open_master(op_text(op->console.ptmx));
    int slave;

    if (master < 0 || (slave = open_slave(master)) < 0 || set_up(op, slave) < 0)
        return -1;
    if (op->console.bind.at != 0 && bind_slave(slave, op_text(op->console.bind)) < 0)
        return -1;
    if (send_message(MSG_CONSOLE, self.index, 0, master) < 0)
        return fail(STEP_SOCKET);
    if (await_go(self.index) < 0)
        return -1;
    close(master);
    for (int fd = 0; fd < 3; fd++)
        if (dup2(slave, fd) < 0)
            return fail(STEP_DUP);
    close(slave);
    return 0;
}

int op_ctty(const struct plan_op *op) {
    (void)op;
    return ioctl(0, TIOCSCTTY, 0) < 0 ? fail(STEP_IOCTL) : 0;
}
