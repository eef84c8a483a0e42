"""Others connect to the sockets by which pyrun is told to start a container, and to which it sends a terminal."""

import contextlib
import errno
import os
import socket
import subprocess

import pytest
from console import Listener
from harness import until
from looks import one_line, open_to_all


@pytest.fixture
def created(bundle):
    return open_to_all(bundle("sleep 100")).create(umask=0)


@pytest.fixture
def connect(run, created):
    """Opens a connection to the start socket, as its owner."""
    sockets, directory = [], os.open(run.root / created.id, os.O_PATH)

    def make():
        sockets.append(socket.socket(socket.AF_UNIX))
        sockets[-1].connect(f"/proc/self/fd/{directory}/start.sock")
        return sockets[-1]

    yield make
    for one in sockets:
        one.close()
    os.close(directory)


def starts(container):
    container.start()
    assert container.status() == "running"


def as_nobody(directory, path):
    """errno of a connection that another user attempts from this directory, 0 if it is made."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    error = 255
    try:
        os.chdir(directory)
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        with socket.socket(socket.AF_UNIX) as one:
            error = one.connect_ex(path)
    finally:
        os._exit(error)


def test_another_user(created, run):
    """By the socket's name, and by init's own files."""
    files = [f"/proc/{created.pid}/fd/{number}" for number in os.listdir(f"/proc/{created.pid}/fd")]
    assert {as_nobody(run.root / created.id, path) for path in ("start.sock", *files)} == {errno.EACCES}
    assert created.status() == "created"
    starts(created)


def test_the_container_itself(bundle, run):
    """In the host's network namespace it sees the socket's path, and no more of it."""
    b = bundle("sleep 100")
    b.config["linux"]["namespaces"].remove({"type": "network"})
    container = b.create()
    path = f"{run.root}/{container.id}/start.sock"
    script = f"grep -c {container.id} /proc/net/unix; ls {path} /proc/1/fd/3; ls -d /proc/1/root{path} /proc/1/cwd{path}"
    assert container.exec("sh", "-c", script, code=None).out in ("0\n", "1\n")
    assert container.status() == "created"
    starts(container)


def test_silent_and_broken_connections(created, connect):
    """What ends without a byte is no start; one that is silent is forgotten after a second."""
    for _ in range(20):
        connect().close()
    assert created.status() == "created"
    silent = [connect() for _ in range(2)]
    starts(created)
    assert all(one.recv(1) == b"" for one in silent)


def test_garbage(created, connect):
    """Any byte of the owner's is a start, and no other byte is anything at all."""
    connect().send(os.urandom(4096))
    until(lambda: created.status() == "running")
    assert "already running" in one_line(created.start(code=1))
    assert created.exec("echo", "well").out == "well\n"


def test_start_of_many_at_once(created, run):
    """One starts it; each other one says that it runs."""
    commands = [subprocess.Popen(run.command("start", created.id), stderr=subprocess.PIPE, text=True) for _ in range(6)]
    said = [(command.communicate(timeout=20)[1], command.returncode) for command in commands]
    assert sorted(code for _, code in said) == [0, 1, 1, 1, 1, 1]
    assert all("already running" in line and line.count("\n") == 1 for line, code in said if code)


@pytest.mark.parametrize("what", ["fifo", "file", "directory", "datagrams", "link to none", "link to itself"])
def test_a_console_socket_that_is_none(what, bundle, tmp_path, leftovers):
    path = tmp_path / "console.sock"
    if what == "fifo":
        os.mkfifo(path)
    elif what == "file":
        path.touch()
    elif what == "directory":
        path.mkdir()
    elif what == "datagrams":
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server, contextlib.chdir(tmp_path):
            server.bind(path.name)
    else:
        path.symlink_to("none" if what == "link to none" else path.name)
    line = one_line(bundle("true", terminal=True).call("create", "--console-socket", path, code=1, timeout=10))
    assert f"--console-socket {path}: " in line
    assert not leftovers()


def test_a_console_socket_whose_owner_hangs_up_and_talks(bundle, tmp_path, leftovers):
    """It is told nothing that it may go on with, and what it says is not listened to."""
    listener = Listener(tmp_path / "console.sock")
    b = bundle("tty; sleep 100", terminal=True).write()
    container = b.runner.new_id()
    words = b.runner.command("create", "--bundle", b.directory, "--console-socket", listener.path, container)
    command = subprocess.Popen(words, stderr=subprocess.PIPE)
    connection, _ = listener.server.accept()
    connection.send(b"\0" * 4096)
    connection.close()
    said = command.communicate(timeout=20)[1].decode()
    assert command.returncode in (0, 1) and said.count("\n") == command.returncode
    b.runner("delete", "--force", container)
    listener.close()
    assert not leftovers()
