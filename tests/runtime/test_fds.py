"""What a program gets besides stdio: sockets of $LISTEN_FDS, --preserve-fds; and where its pidfd and its terminal go."""

import array
import os
import socket
import subprocess
import threading

import pytest
from harness import until

DIGITS = "ls /proc/self/fd | tr '\\n' ' '"  # ls has one more open: the directory


def with_fds(count, directory, first=3):
    """`preexec_fn` that opens files from fd `first` on: each says which it is."""
    for number in range(first, first + count):
        (directory / f"fd{number}").write_text(f"file {number}\n")

    def prepare():
        for number in range(first, first + count):
            fd = os.open(directory / f"fd{number}", os.O_RDONLY)
            os.dup2(fd, number + 300)
            os.close(fd)
        for number in range(first, first + count):
            os.dup2(number + 300, number)
            os.close(number + 300)

    return {"preexec_fn": prepare, "close_fds": False}


def listen_env(count, **more):
    return {**os.environ, "LISTEN_FDS": str(count), **more}


@pytest.fixture
def activated(run, tmp_path):
    """The runtime is started as a service manager does it: $LISTEN_PID is its pid."""
    wrapper = tmp_path / "activated"
    wrapper.write_text(f'#!/bin/sh\nLISTEN_PID=$$ exec {run.program} "$@"\n')
    wrapper.chmod(0o755)
    run.program = str(wrapper)


@pytest.mark.usefixtures("activated")
def test_what_create_adds_is_not_for_exec(bundle, tmp_path):
    c = bundle("env; sleep 100").create(env=listen_env(2, NOTIFY_SOCKET=str(tmp_path / "none")), **with_fds(2, tmp_path))
    c.start()
    until(lambda: "NOTIFY_SOCKET=" in c.out and "LISTEN_FDS=2" in c.out)
    names = [line.partition("=")[0] for line in c.exec("env", env=listen_env(2, NOTIFY_SOCKET=str(tmp_path / "none"))).out.splitlines()]
    assert not {"LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET"} & set(names)


@pytest.mark.parametrize("count", [1, 3, 20, 200])
@pytest.mark.usefixtures("activated")
def test_listen_fds(bundle, tmp_path, count):
    script = f'echo $LISTEN_PID $LISTEN_FDS; for n in $(seq 3 {count + 2}); do cat /proc/self/fd/$n; done'
    result = bundle(script).set("process.rlimits", []).run(env=listen_env(count), **with_fds(count, tmp_path))
    assert result.out == f"1 {count}\n" + "".join(f"file {number}\n" for number in range(3, count + 3))


@pytest.mark.usefixtures("activated")
def test_listen_fds_through_create_and_start(bundle, tmp_path):
    c = bundle("echo $LISTEN_PID $LISTEN_FDS $LISTEN_FDNAMES; cat <&4").create(
        env=listen_env(2, LISTEN_FDNAMES="web:admin"), **with_fds(2, tmp_path)
    )
    c.start()
    assert c.wait() == 0
    assert c.out == "1 2 web:admin\nfile 4\n"


@pytest.mark.usefixtures("activated")
def test_a_socket_answers_from_inside(bundle):
    """Socket activation: the caller's socket, in whose queue a client waits already."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        fd = server.fileno()
        b = bundle("readlink /proc/self/fd/3; sed -n 2p /proc/net/tcp || true")
        out = b.run(env=listen_env(1), close_fds=False, preexec_fn=lambda: os.dup2(fd, 3)).out
        assert out.startswith("socket:[")
        assert client.getpeername() == server.getsockname()


def test_sockets_that_were_meant_for_another(bundle, tmp_path):
    """An engine that was started by its socket leaves the variables in the environment: its sockets are not the container's."""
    script = "echo ${LISTEN_FDS-none}; ls /proc/self/fd"
    for pid in ({}, {"LISTEN_PID": "1"}):
        out = bundle(script).run(env=listen_env(2, **pid), **with_fds(2, tmp_path)).out
        assert out.split() == ["none", "0", "1", "2", "3"]
    bundle("true").run(env=listen_env(2, LISTEN_PID="1"))


@pytest.mark.usefixtures("activated")
def test_exec_gets_no_sockets(bundle, tmp_path):
    """They are the program's that was started with them."""
    c = bundle("sleep 100").detached()
    assert c.exec("ls", "/proc/self/fd", env=listen_env(2), **with_fds(2, tmp_path)).out.split() == ["0", "1", "2", "3"]


@pytest.mark.usefixtures("activated")
def test_a_socket_that_is_not_open(bundle):
    assert "LISTEN_FDS 1: fd 3 is not open" in bundle().call("run", env=listen_env(1), code=1).err


@pytest.mark.usefixtures("activated")
def test_listen_fds_and_preserved_ones(bundle, tmp_path):
    script = "cat <&3; cat <&4; cat <&5; echo $LISTEN_FDS"
    result = bundle(script).run("--preserve-fds", 2, env=listen_env(1), **with_fds(3, tmp_path))
    assert result.out == "file 3\nfile 4\nfile 5\n1\n"


def test_nothing_more_than_was_asked_for(bundle, tmp_path):
    """Of ten open files the program gets the two that were promised."""
    b = bundle(DIGITS)
    assert b.run("--preserve-fds", 2, **with_fds(10, tmp_path)).out.split() == ["0", "1", "2", "3", "4", "5"]
    assert b.run(**with_fds(10, tmp_path)).out.split() == ["0", "1", "2", "3"]


@pytest.mark.parametrize("command", ["run", "exec"])
def test_preserve_fds(bundle, tmp_path, command):
    words = ["sh", "-c", f"cat <&3; cat <&4; {DIGITS}"]
    options = with_fds(4, tmp_path)
    if command == "run":
        out = bundle(words).run("--preserve-fds=2", **options).out
    else:
        c = bundle("sleep 100").detached()
        out = c.exec(*words, flags=["--preserve-fds=2"], **options).out
    assert out == "file 3\nfile 4\n0 1 2 3 4 5 "


@pytest.mark.parametrize("command", ["run", "exec"])
def test_an_fd_that_is_not_open(bundle, command):
    if command == "run":
        assert "--preserve-fds 1: fd 3 is not open" in bundle().run("--preserve-fds", 1, code=1).err
        return
    c = bundle("sleep 100").detached()
    assert "--preserve-fds 1: fd 3 is not open" in c.exec("true", flags=["--preserve-fds", "1"], code=255).err


# --- sockets that something is sent to


class Receiver(threading.Thread):
    """A listening stream socket at a path of any length; takes one connection and one message with one fd."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path, self.data, self.fd = path, b"", -1
        here = os.open(path.parent, os.O_PATH)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(f"/proc/self/fd/{here}/{path.name}")  # no path is too long that way
        os.close(here)
        self.socket.listen()
        self.socket.settimeout(20)
        self.start()

    def run(self):
        with self.socket, self.socket.accept()[0] as connection:
            self.data, control, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4))
            self.fd = array.array("i", control[0][2])[0]

    def take(self):
        self.join(20)
        assert self.fd >= 0, f"{self.path}: nothing came"
        return self.fd


@pytest.fixture(params=["short", "long"])
def socket_path(tmp_path, request):
    """A path; the long one has more than the 108 bytes of sun_path (unix(7))."""
    directory = tmp_path if request.param == "short" else tmp_path / ("d" * 100) / ("e" * 100)
    directory.mkdir(parents=True, exist_ok=True)
    return directory / "socket"


def pid_of(pidfd):
    with open(f"/proc/self/fdinfo/{pidfd}") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("Pid:"))


@pytest.mark.parametrize("command", ["create", "run"])
def test_pidfd_of_the_container(bundle, socket_path, command):
    receiver = Receiver(socket_path)
    b = bundle("sleep 100")
    c = (b.create if command == "create" else b.detached)("--pidfd-socket", socket_path)
    with os.fdopen(receiver.take()) as pidfd:
        assert pid_of(pidfd.fileno()) == c.pid


def test_pidfd_of_an_exec(bundle, socket_path, tmp_path):
    c = bundle("sleep 100").detached()
    receiver = Receiver(socket_path)
    c.exec("sleep", "99", flags=["--detach", "--pid-file", tmp_path / "pid", "--pidfd-socket", socket_path])
    with os.fdopen(receiver.take()) as pidfd:
        assert pid_of(pidfd.fileno()) == int((tmp_path / "pid").read_text()) != c.pid


@pytest.mark.parametrize("command", ["create", "exec"])
def test_console_socket(bundle, socket_path, command):
    """The master of the pty arrives: what the program prints can be read from it."""
    receiver = Receiver(socket_path)
    if command == "create":
        c = bundle("tty; sleep 100", terminal=True).create("--console-socket", socket_path)
        c.start()
    else:
        c = bundle("sleep 100").detached()
        c.exec("sh", "-c", "tty; sleep 100", flags=["--tty", "--detach", "--console-socket", socket_path])
    with os.fdopen(receiver.take(), "r+b", buffering=0) as master:
        assert receiver.data == b"/dev/ptmx"
        assert master.readline() == b"/dev/pts/0\r\n"


@pytest.mark.parametrize("flag", ["--pidfd-socket", "--console-socket"])
def test_nobody_listens(bundle, socket_path, flag):
    b = bundle("sleep 100", terminal=flag == "--console-socket")
    result = b.call("create", flag, socket_path, code=1)
    assert f"{flag} {socket_path}: " in result.err and "no such file or directory" in result.err


def test_fds_of_the_runtime_stay_away_from_a_created_container(bundle, tmp_path):
    """What waits for `start` holds stdio, what was asked for, and what init itself needs; never more of the caller's files."""
    c = bundle("sleep 100").create("--preserve-fds", 1, **with_fds(5, tmp_path))
    held = [os.readlink(f"/proc/{c.pid}/fd/{number}") for number in os.listdir(f"/proc/{c.pid}/fd")]
    assert [path for path in held if path.startswith(f"{tmp_path}/fd")] == [f"{tmp_path}/fd3"]
    c.start()
    assert subprocess.check_output(["ls", f"/proc/{c.pid}/fd"], text=True).split() == ["0", "1", "2", "3"]
