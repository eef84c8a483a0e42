"""What the attacks have in common: a place on the host that must stay as it is."""

import functools
import mmap
import os
import pathlib
import subprocess
import sys
import time

import pytest
from looks import tree


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
    """Exchanges two names as fast as the kernel can, as a container that shares a volume does. ran: the rounds, count: the swaps till now."""

    def __init__(self, program, one, other):
        self.command, self.ran = [program, one, other], 0
        self.file = os.memfd_create("swaps")
        os.truncate(self.file, mmap.PAGESIZE)
        self.swaps = mmap.mmap(self.file, mmap.PAGESIZE)

    @property
    def count(self):
        return int.from_bytes(self.swaps[:8], sys.byteorder)

    def rounds(self, seconds, enough=lambda: True):
        """0, 1, … for so many seconds, and longer where the machine is so busy that there were too few rounds or swaps to tell anything."""
        begin = time.monotonic()
        while (passed := time.monotonic() - begin) < seconds or (passed < 60 and not (self.ran > 5 and self.count > 100 and enough())):
            yield self.ran
            self.ran += 1
        assert self.ran > 5 and self.count > 100 and enough()

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=self.file)
        os.close(self.file)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """compiled("NAME"): the path of the program that NAME.c beside this file is."""

    @functools.cache
    def compile(name):
        path = tmp_path_factory.mktemp(name) / name
        subprocess.run(["gcc", "-O2", "-static", "-o", path, pathlib.Path(__file__).with_name(f"{name}.c")], check=True)
        return path

    return compile


@pytest.fixture
def swapper(compiled):
    return functools.partial(Swapper, compiled("exchange"))


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
