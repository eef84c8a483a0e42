"""checkpoint --lazy-pages: the memory stays where it is until whoever restores asks for it; and what comes in between."""

import os
import pathlib
import re
import signal
import socket
import subprocess

import pytest
from checkpoints import COUNTER, TALKER, counted, free_port, goes_on, gone, needs, needs_criu, needs_tcp, restore, said, talks_on
from harness import until

assert needs_criu
pytestmark = pytest.mark.usefixtures("needs_criu")
CAP_SYS_RESOURCE = 24
PIPES = 4 << 20  # bytes that criu wants a pipe to hold


@pytest.fixture
def needs_lazy():
    needs("uffd-noncoop")
    capable = 1 << CAP_SYS_RESOURCE & int(re.search(r"CapEff:\s+(\w+)", pathlib.Path("/proc/self/status").read_text())[1], 16)
    if not capable and int(pathlib.Path("/proc/sys/fs/pipe-max-size").read_text()) < PIPES:
        pytest.skip("without CAP_SYS_RESOURCE criu cannot have pipes as large as it wants (/proc/sys/fs/pipe-max-size)")


class Lazy:
    """A `checkpoint --lazy-pages` that waits for whoever takes the pages, at `port`."""

    def __init__(self, c, *flags):
        self.port = free_port()
        self.images, self.work = c.bundle.directory / "images", c.bundle.directory / "work"
        self.log = c.runner.directory / "lazy.err"
        status, status_fd = os.pipe()
        words = ["checkpoint", "--lazy-pages", "--page-server", f"127.0.0.1:{self.port}", "--status-fd", str(status_fd),
                 "--image-path", self.images, "--work-path", self.work, *flags, c.id]  # fmt: skip
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(c.runner.command(*words), pass_fds=[status_fd], stderr=log)
        os.close(status_fd)
        assert os.read(status, 1) == b"\0", self.log.read_text()
        os.close(status)


def test_memory_can_follow(bundle, needs_lazy):
    b = bundle(COUNTER)
    first = b.detached()
    goes_on(b)
    lazy = Lazy(first)
    before = counted(b)
    words = ["--address", "127.0.0.1", "--port", lazy.port, "-D", lazy.images, "-W", lazy.work]
    pages = subprocess.Popen(["criu", "lazy-pages", "--page-server", *words])
    until((lazy.work / "lazy-pages.socket").exists)
    c = restore(b, "--lazy-pages", "--work-path", lazy.work)
    assert goes_on(b)[0] >= before
    assert pages.wait(30) == 0 and lazy.process.wait(30) == 0
    assert c.status() == "running"


@pytest.fixture
def talker(bundle, needs_lazy):
    """A container with a connection, and what it has said before it was saved."""
    needs_tcp()
    b = bundle(TALKER)
    c = b.detached()
    until(lambda: len(said(b)) > 3)
    return c


def works_on(c):
    """Its connection, and those that are made."""
    assert c.status() == "running"
    talks_on(c.bundle)
    assert c.exec("sh", "-c", "nc -l -p 5001 -e echo here & sleep 0.2; nc -w 5 127.0.0.1 5001 </dev/null").out == "here\n"


@pytest.mark.parametrize("paused", [False, True])
def test_a_signal_gives_up(talker, paused):
    if paused:
        talker.runner("pause", talker.id)
    lazy = Lazy(talker, "--tcp-established")
    lazy.process.send_signal(signal.SIGTERM)
    assert lazy.process.wait(30) == 128 + signal.SIGTERM
    assert lazy.log.read_text() == "pyrun: interrupted by signal 15\n"
    if paused:
        assert talker.status() == "paused"
        talker.runner("resume", talker.id)
    works_on(talker)
    again = Lazy(talker, "--tcp-established").process
    again.terminate()
    assert again.wait(30) == 128 + signal.SIGTERM
    works_on(talker)


def test_pages_that_cannot_be_sent(talker):
    lazy = Lazy(talker, "--tcp-established")
    with socket.create_connection(("127.0.0.1", int(lazy.port))) as taker:
        taker.send(b"x")  # no whole request
    assert lazy.process.wait(30) == 1
    (line,) = lazy.log.read_text().splitlines()
    assert line.startswith("pyrun: criu failed") and "dump.log" in line
    works_on(talker)


def ended(pid):
    stat = pathlib.Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize("killed", [False, True])
def test_a_container_that_is_deleted_meanwhile(bundle, run, needs_lazy, killed):
    """criu holds its processes, whether or not the `checkpoint` that has started it still lives."""
    b = bundle(COUNTER)
    c = b.detached()
    goes_on(b)
    lazy = Lazy(c)
    criu = pathlib.Path(f"/proc/{lazy.process.pid}/task/{lazy.process.pid}/children").read_text().strip()
    assert pathlib.Path(f"/proc/{criu}/comm").read_text() == "criu\n"
    if killed:
        lazy.process.kill()
        lazy.process.wait()
    c.delete("--force")
    assert gone(run, c.id)
    until(lambda: ended(criu), what="criu has ended")
    assert lazy.process.wait(30) == (-signal.SIGKILL if killed else 1)
