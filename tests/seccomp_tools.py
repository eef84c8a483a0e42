"""What tests of seccomp need: a filter over the runtime itself, and an agent for notifications (seccomp_unotify(2))."""

import array
import ctypes
import errno
import fcntl
import json
import os
import socket
import struct
import threading

from seccomp_model import native

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 38, 22, 2
RET_ALLOW, RET_ERRNO = 0x7FFF0000, 0x00050000
LOAD, JUMP_EQUAL, JUMP_SET, RETURN = 0x20, 0x15, 0x45, 0x06
FLAGS_AT = 24  # where struct seccomp_data has its second argument
# The one that mkdir(1) makes: newer architectures have no mkdir.
MKDIR = "mkdir" if native("mkdir") >= 0 else "mkdirat"
# struct seccomp_notif (80 bytes) and struct seccomp_notif_resp (24 bytes)
NOTIF_RECV, NOTIF_SEND = 0xC0502100, 0xC0182101
FLAG_CONTINUE = 1


def refuse(numbers, error):
    """A preexec_fn: from now on these system calls fail with `error`."""
    program = [(LOAD, 0, 0, 0)]
    for number in numbers:
        program += [(JUMP_EQUAL, 0, 1, number), (RETURN, 0, 0, RET_ERRNO | error)]
    return _filter([*program, (RETURN, 0, 0, RET_ALLOW)])


def refuse_filter_flags(flags):
    """A preexec_fn: from now on no filter can be installed with one of these flags; asking whether they are known (which is to
    give no filter, and EFAULT means yes) gives what it always does.
    """
    return _filter(
        [
            (LOAD, 0, 0, 0),
            (JUMP_EQUAL, 0, 3, native("seccomp")),
            (LOAD, 0, 0, FLAGS_AT),
            (JUMP_SET, 0, 1, flags),
            (RETURN, 0, 0, RET_ERRNO | errno.EFAULT),
            (RETURN, 0, 0, RET_ALLOW),
        ]
    )


def _filter(program):
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in program))

    def install():
        descriptor = struct.pack("=H6xQ", len(program), ctypes.addressof(code))
        assert LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
        assert LIBC.prctl(PR_SET_SECCOMP, MODE_FILTER, descriptor, 0, 0) == 0

    return install


class Agent:
    """Listens at a path; lets every system call it is asked about continue, and counts them in `calls` (by number).

    states: what came with each listener (decoded).
    """

    def __init__(self, path):
        self.states, self.calls = [], {}
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen()
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join(5)
        self.socket.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                data, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(4))
                while more := connection.recv(65536):  # the sender closes when it has sent everything
                    data += more
            self.states.append(json.loads(data))
            fds = array.array("i")
            fds.frombytes(ancillary[0][2])
            threading.Thread(target=self._answer, args=(fds[0],), daemon=True).start()

    def _answer(self, listener):
        while True:
            request = bytearray(80)
            try:
                fcntl.ioctl(listener, NOTIF_RECV, request)
                ident, number = struct.unpack_from("=Q8xi", request)
                self.calls[number] = self.calls.get(number, 0) + 1
                fcntl.ioctl(listener, NOTIF_SEND, bytearray(struct.pack("=QqiI", ident, 0, 0, FLAG_CONTINUE)))
            except OSError:  # the process is gone, or was when we answered
                os.close(listener)
                return
