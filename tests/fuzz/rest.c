/* Messages with files, and the part of a plan that they bring: op_rest takes it or says what is wrong, and never reads beyond.
 *
 * An input: how many messages (1 to 4); of each how many files, flags, and the number in it; what is left is the part of the plan. */
#include "fuzz.h"

#include <sys/mman.h>
#include <sys/socket.h>

enum { MOST_MESSAGES = 4, SHORT = 1, ODD_TYPE = 2, NO_SEAL = 4, FEWER_FILES = 70 };

/* The plan's first part: the op that waits for the rest. */
static struct {
    struct plan_header header;
    struct plan_op op;
    char strings[8];
} first = {.header = {.magic = PLAN_MAGIC, .version = PLAN_VERSION, .op_count = 1, .string_size = 8, .fd_count = 2}, .op = {.op = OP_REST}};

static int some_file; /* every file but the part; what is open above it belongs to one input */

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    some_file = open("/dev/null", O_RDWR | O_CLOEXEC);
    must(some_file >= 0);
    return 0;
}

static void send_part(int sock, int part, const uint8_t *about) {
    struct plan_msg msg = {.type = (about[1] & ODD_TYPE) != 0 ? about[1] : MSG_REST, .number = about[2]};
    const int count = about[0] % FEWER_FILES;
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(FEWER_FILES * sizeof(int))];
    } control;
    int files[FEWER_FILES] = {part};
    struct iovec data = {&msg, (about[1] & SHORT) != 0 ? about[1] % sizeof msg : sizeof msg};
    struct msghdr packet = {.msg_iov = &data, .msg_iovlen = 1};

    for (int i = 1; i < count; i++)
        files[i] = some_file;
    if (count > 0) {
        memset(&control, 0, sizeof control);
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
        memcpy(CMSG_DATA(&control.header), files, (size_t)count * sizeof(int));
        packet.msg_control = &control;
        packet.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
    }
    must(sendmsg(sock, &packet, MSG_NOSIGNAL) >= 0);
}

static void try(void) {
    if (setjmp(init_ended) != 0 || op_rest(&first.op) < 0)
        return;
    must(self.plan->first_op == 1 && self.index == 0);
    for (int slot = 2; slot < self.plan->fd_count; slot++)
        must(fcntl(self.table[slot], F_GETFD) == FD_CLOEXEC);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const int count = size > 0 ? 1 + data[0] % MOST_MESSAGES : 0;
    const size_t head = 1 + 3 * (size_t)count;
    int pair[2], part;

    if (size < head || count == 0)
        return 0;
    part = memfd_create("part", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    must(part >= 0 && write(part, data + head, size - head) == (ssize_t)(size - head));
    must((data[2] & NO_SEAL) != 0 || fcntl(part, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK) == 0);
    must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    for (int i = 0; i < count; i++)
        send_part(pair[0], part, data + 1 + 3 * i);
    close(pair[0]);
    self.out = pair[1];
    must(verify_plan(&first, sizeof first, 0) == 0);
    self.index = 0;
    try();
    if (init_map.at != NULL && init_map.at != MAP_FAILED)
        munmap(init_map.at, init_map.size);
    init_map.at = NULL;
    must(close_range((unsigned)some_file + 1, ~0U, 0) == 0);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed) {
    size_t head;

    size = LLVMFuzzerMutate(data, size, max);
    head = size > 0 ? 1 + 3 * (size_t)(1 + data[0] % MOST_MESSAGES) : 1;
    if (size > head)
        mend_header(data + head, size - head, 1, seed);
    return size;
}
