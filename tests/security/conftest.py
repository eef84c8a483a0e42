"""What the attacks have in common: a place on the host that must stay as it is."""

import ctypes
import os
import threading
import time

import pytest
from looks import tree

LIBC = ctypes.CDLL(None)
AT_FDCWD, RENAME_EXCHANGE = -100, 2


class Victim:
    """A directory of the host with a file and a directory in it. `unchanged()` says whether anybody has touched it."""

    def __init__(self, path):
        self.path = path
        (path / "dir").mkdir(parents=True)
        (path / "file").write_text("of the host\n")
        (path / "file").chmod(0o640)
        self.before = tree(path)

    def unchanged(self):
        return tree(self.path) == self.before and (self.path / "file").read_text() == "of the host\n" and not os.path.ismount(self.path)


@pytest.fixture
def victim(tmp_path):
    return Victim(tmp_path / "victim")


class Swapper:
    """Exchanges two names as fast as it can, as a container that shares a volume does."""

    def __init__(self, one, other):
        self.one, self.other, self.count, self.ran, self.stop = str(one), str(other), 0, 0, False
        self.thread = threading.Thread(target=self._swap)

    def _swap(self):
        one, other = os.fsencode(self.one), os.fsencode(self.other)
        while not self.stop:
            LIBC.renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE)
            self.count += 1

    def rounds(self, seconds, enough=lambda: True):
        """0, 1, … for so many seconds, and longer where the machine is so busy that there were too few rounds or swaps to tell anything."""
        begin = time.monotonic()
        while (passed := time.monotonic() - begin) < seconds or (passed < 60 and not (self.ran > 5 and self.count > 100 and enough())):
            yield self.ran
            self.ran += 1
        assert self.ran > 5 and self.count > 100 and enough()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop = True
        self.thread.join()


@pytest.fixture
def swapper():
    return Swapper


@pytest.fixture
def own_binary(run, tmp_path):
    """The runtime as a copy of its own, so that an attack that works ruins nothing. Returns its path."""
    with open(run.program, "rb") as file:
        data = file.read()
    copy = tmp_path / "runtime"
    copy.write_bytes(data)
    copy.chmod(0o755)
    run.program = str(copy)
    return copy
