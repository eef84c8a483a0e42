/* OP_HOME: the home directory of a user id, from the container's own /etc/passwd. The file is the image's: it may be
 * of any size and hold anything, so it is read through a small buffer, and only so far. */
#include "init.h"

#include <string.h>

#define PASSWD_MAX (16 << 20)
#define PREFIX (sizeof "HOME=" - 1)

static char home[PREFIX + 4096]; /* empty until OP_HOME */

const char *home_text(void) {
    return home[0] != '\0' ? home : NULL;
}

enum { UID_FIELD = 2, HOME_FIELD = 5 };

struct entry {
    int field;
    int uid_ok; /* the uid's field is a number so far */
    uint64_t uid;
    size_t size; /* of the home collected */
};

/* Takes one byte of the file. At the end of a line: 1 if the line is the entry of `uid` and its home fits the buffer. */
static int take_byte(struct entry *entry, char byte, uint64_t uid) {
    if (byte == '\n') {
        int found =
            entry->field >= HOME_FIELD && entry->uid_ok && entry->uid == uid && entry->size > 0 && PREFIX + entry->size < sizeof home;
        if (!found)
            memset(entry, 0, sizeof *entry);
        return found;
    }
    if (byte == ':') {
        entry->field++;
    } else if (entry->field == UID_FIELD) {
        entry->uid_ok = byte >= '0' && byte <= '9' && entry->uid <= UINT32_MAX;
        entry->uid = entry->uid_ok ? entry->uid * 10 + (uint64_t)(byte - '0') : UINT64_MAX;
    } else if (entry->field == HOME_FIELD) {
        if (PREFIX + entry->size < sizeof home - 1)
            home[PREFIX + entry->size] = byte;
        entry->size++;
    }
    return 0;
}

/* Only a regular file is opened: reading a FIFO or a device could block init for ever. */
static int open_passwd(void) {
    struct stat st;
    int node = path_open("/etc/passwd", 0);
    int file = -1;

    if (node >= 0 && fstat(node, &st) == 0 && S_ISREG(st.st_mode))
        file = proc_open_fd(node, O_RDONLY | O_NONBLOCK);
    close(node);
    return file;
}

static int find_home(int passwd, uint64_t uid) {
    struct entry entry = {0};
    char bytes[4096];
    ssize_t size;

    for (size_t left = PASSWD_MAX; left > 0; left -= (size_t)size) {
        size = read(passwd, bytes, left < sizeof bytes ? left : sizeof bytes);
        if (size <= 0)
            break;
        for (ssize_t i = 0; i < size; i++)
            if (take_byte(&entry, bytes[i], uid)) {
                home[PREFIX + entry.size] = '\0';
                return 1;
            }
    }
    if (!take_byte(&entry, '\n', uid)) /* the last line may have no newline */
        return 0;
    home[PREFIX + entry.size] = '\0';
    return 1;
}

int op_home(const struct plan_op *op) {
    int passwd = open_passwd();

    put_text(home, home + sizeof home, "HOME=");
    if (!find_home(passwd, op->home.uid))
        put_text(home + PREFIX, home + sizeof home, "/");
    close(passwd);
    return 0;
}
