"""$NOTIFY_SOCKET: a service manager hears READY=1 when the container says so, and not before; nothing ever hangs.

busybox has no program that sends datagrams to a unix socket, so the containers' program is a small one in C.
"""

import array
import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import time

import pytest
from harness import until
from looks import one_line, user_namespace

INSIDE = "/run/notify/notify.sock"


@pytest.fixture(scope="session")
def say(tmp_path_factory):
    """A static program: `say MESSAGE` sends it to $NOTIFY_SOCKET; `say --barrier` waits until a BARRIER=1 is answered."""
    path = tmp_path_factory.mktemp("say") / "say"
    source = pathlib.Path(__file__).with_name("say.c")
    subprocess.run(["gcc", "-O2", "-static", "-o", path, source], check=True)
    return path


@pytest.fixture
def speaker(bundle, say):
    """`speaker(script)`: a bundle whose shell has the program."""

    def make(script):
        b = bundle(script)
        (b.rootfs / "bin/say").write_bytes(say.read_bytes())
        (b.rootfs / "bin/say").chmod(0o755)
        return b

    return make


class Manager:
    """What a service manager has: the socket behind $NOTIFY_SOCKET."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(10)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.env = {**os.environ, "NOTIFY_SOCKET": address}

    def next(self):
        """The next message (str) and the fds that came with it."""
        room = socket.CMSG_SPACE(4 * array.array("i").itemsize)
        data, control, _, _ = self.socket.recvmsg(4096, room)
        fds = array.array("i")
        for _, _, raw in control:
            fds.frombytes(raw)
        return data.decode(), list(fds)

    def silent(self):
        self.socket.settimeout(0.2)
        try:
            return self.next() is None
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(10)


@pytest.fixture
def listen():
    """`listen(address)`: a Manager at a path or an abstract address (@name)."""
    managers = []

    def make(address):
        managers.append(Manager(address))
        return managers[-1]

    yield make
    for one in managers:
        one.socket.close()


@pytest.fixture
def manager(listen, tmp_path):
    return listen(str(tmp_path / "notify"))


def background(b, command, *args, env):
    return subprocess.Popen(b.runner.command(command, *args), env=env, stdin=subprocess.DEVNULL)


def test_run_in_the_foreground(speaker, manager):
    """Its main process is the runtime, which ends with the container and hands signals on."""
    b = speaker("say STATUS=begun; say READY=1; sleep 100").write()
    runtime = background(b, "run", "--bundle", b.directory, b.runner.new_id(), env=manager.env)
    assert manager.next() == (f"READY=1\nMAINPID={runtime.pid}", [])
    assert manager.silent()
    runtime.send_signal(signal.SIGKILL)
    runtime.wait()


def test_run_in_the_foreground_without_a_word(speaker, manager):
    b = speaker("exit 3")
    b.run(env=manager.env, code=3)
    assert manager.silent()


def test_said_and_gone_at_once(speaker, manager):
    speaker("say READY=1; exit 4").run(env=manager.env, code=4)
    assert manager.next()[0].startswith("READY=1\n")


def test_run_detached_waits_for_ready_and_for_the_barrier(speaker, manager, tmp_path):
    b = speaker("while ! [ -e /tmp/go ]; do sleep 0.02; done; say READY=1; sleep 100").write()
    name, pid_file = b.runner.new_id(), tmp_path / "pid"
    runtime = background(b, "run", "--detach", "--pid-file", pid_file, "--bundle", b.directory, name, env=manager.env)
    until(pid_file.exists)
    assert manager.silent()
    assert runtime.poll() is None
    assert b.runner("state", name).out  # the container is not locked meanwhile
    (b.rootfs / "tmp/go").touch()
    assert manager.next() == (f"READY=1\nMAINPID={pid_file.read_text()}", [])
    message, (fd,) = manager.next()
    assert message == "BARRIER=1"
    assert runtime.poll() is None
    os.close(fd)
    assert runtime.wait(10) == 0


def test_a_barrier_that_nobody_answers(speaker, manager):
    started = time.monotonic()
    c = speaker("say READY=1; sleep 100").detached(env=manager.env)
    assert 4 < time.monotonic() - started < 15
    assert "no answer to BARRIER=1" in c.err


def test_start_waits_for_ready(speaker, manager):
    c = speaker("sleep 0.3; say READY=1; sleep 100").create(env=manager.env)
    assert manager.silent()
    start = background(c.bundle, "start", c.id, env=manager.env)
    assert manager.next() == (f"READY=1\nMAINPID={c.pid}", [])
    os.close(manager.next()[1][0])
    assert start.wait(10) == 0
    assert c.status() == "running"


@pytest.mark.parametrize("command", ["run", "start"])
def test_ended_without_a_word(speaker, manager, command):
    b = speaker("say STATUS=no; say NOTREADY=1; exit 1")
    if command == "run":
        c = b.detached(env=manager.env, timeout=10)
    else:
        c = b.create(env=manager.env)
        c.start(env=manager.env, timeout=10)
    assert manager.silent()
    assert c.wait() == 1


def test_a_signal_ends_the_wait_alone(speaker, manager, tmp_path):
    b = speaker("sleep 100").write()
    name, pid_file = b.runner.new_id(), tmp_path / "pid"
    runtime = background(b, "run", "--detach", "--pid-file", pid_file, "--bundle", b.directory, name, env=manager.env)
    until(pid_file.exists)
    until(lambda: "running" in b.runner("state", name).out)
    until(lambda: b.runner("pause", name, code=None).code == 0)
    b.runner("resume", name)
    runtime.terminate()
    assert runtime.wait(10) == -signal.SIGTERM
    assert "running" in b.runner("state", name).out


def test_nobody_behind_the_socket(speaker, tmp_path):
    result = speaker("say READY=1").run(env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "nobody")})
    assert f"NOTIFY_SOCKET {tmp_path}/nobody: connect: no such file or directory" in result.err


def test_nobody_reads_the_socket(speaker, manager):
    """Its queue is full: the container runs, and there is a warning when the patience is over."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other, contextlib.suppress(BlockingIOError):
        other.setblocking(False)
        while True:
            other.sendto(b"STATUS=busy", manager.env["NOTIFY_SOCKET"])
    result = speaker("say READY=1; echo done").run(env=manager.env)
    assert result.out == "done\n"
    assert f"NOTIFY_SOCKET {manager.env['NOTIFY_SOCKET']}: nobody reads it" in one_line(result)


def test_an_abstract_socket(speaker, listen, token):
    manager = listen(f"@{token}")
    speaker("say READY=1").run(env=manager.env)
    assert manager.next()[0].startswith("READY=1\n")


def test_a_socket_with_a_long_path(speaker, listen, tmp_path, monkeypatch):
    directory = tmp_path / ("d" * 120)
    directory.mkdir()
    monkeypatch.chdir(directory)
    manager = listen("notify")
    speaker("say READY=1").run(env={**os.environ, "NOTIFY_SOCKET": f"{directory}/notify"})
    assert manager.next()[0].startswith("READY=1\n")


def test_what_the_container_says_of_pids_stays_inside(speaker, manager):
    """A service manager would watch, and kill, the process that it is told."""
    speaker("say 'MAINPID=1\nREADY=1\nFDSTORE=1'").run(env=manager.env)
    message, fds = manager.next()
    assert "MAINPID=1\n" not in f"{message}\n" and "FDSTORE" not in message and not fds
    assert manager.silent()


def test_a_barrier_of_the_container_is_answered(speaker, manager):
    speaker("say --barrier; say READY=1; say --barrier || true").run(env=manager.env)
    assert manager.next()[0].startswith("READY=1\n")


def test_as_another_user_on_a_read_only_root(speaker, manager):
    b = speaker("say READY=1").set("process.user", {"uid": 1000, "gid": 1000}).set("root.readonly", True)
    (b.rootfs / "run/notify").mkdir()
    b.run(env=manager.env)
    assert manager.next()[0].startswith("READY=1\n")


def test_in_a_user_namespace(speaker, manager):
    user_namespace(speaker("say READY=1")).run(env=manager.env)
    assert manager.next()[0].startswith("READY=1\n")


def test_without_it_the_container_knows_nothing(bundle):
    env = {key: value for key, value in os.environ.items() if key != "NOTIFY_SOCKET"}
    b = bundle("echo ${NOTIFY_SOCKET-none}; ls -d /run/notify || true")
    assert b.run(env=env).out == "none\n"


def test_path_inside(bundle, manager):
    assert bundle("echo $NOTIFY_SOCKET; test -S $NOTIFY_SOCKET").run(env=manager.env).out == f"{INSIDE}\n"
