"""Whoever listens on a console socket."""

import os
import select
import socket


class Listener:
    """A console socket at a path; master(): the fd that was sent."""

    def __init__(self, path):
        self.path = path
        self.server = socket.socket(socket.AF_UNIX)
        directory = os.open(path.parent, os.O_PATH)
        self.server.bind(f"/proc/self/fd/{directory}/{path.name}")
        os.close(directory)
        self.server.listen()
        self.fd = -1

    def master(self):
        self.server.settimeout(10)
        connection, _ = self.server.accept()
        data, fds, _, _ = socket.recv_fds(connection, 4096, 4)
        assert len(fds) == 1
        assert data == b"/dev/ptmx"
        assert connection.recv(1) == b""
        connection.close()
        (self.fd,) = fds
        return self

    def read(self, text):
        seen = ""
        while text not in seen:
            assert select.select([self.fd], [], [], 10)[0], f"no {text!r} in {seen!r}"
            try:
                data = os.read(self.fd, 4096)
            except OSError:
                break
            seen += data.decode()
        assert text in seen
        return seen

    def close(self):
        self.server.close()
        if self.fd >= 0:
            os.close(self.fd)
