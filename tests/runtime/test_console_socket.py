"""--console-socket: the master of a container's pty goes to whoever listens; and its words when it is missing."""

import array
import fcntl
import json
import os
import struct
import termios

import pytest
from console import Listener

NO_SOCKET = "cannot allocate tty if runc will detach without setting console socket"
NO_TERMINAL = "cannot use console socket if pyrun will not detach or allocate tty"


@pytest.fixture
def listener(tmp_path):
    one = Listener(tmp_path / "console.sock")
    yield one
    one.close()


def test_create(bundle, listener):
    c = bundle("tty; read x; echo got $x; exit 4", terminal=True).create("--console-socket", listener.path)
    listener.master()
    c.start()
    listener.read("/dev/pts/0")
    os.write(listener.fd, b"this\n")
    listener.read("got this")
    assert c.wait() == 4


def test_run_detached(bundle, listener):
    c = bundle("echo a; echo b; echo hello", terminal=True).detached("--console-socket", listener.path)
    listener.master().read("a\r\nb\r\nhello\r\n")
    assert c.wait() == 0


def test_size_before_the_program_runs(bundle, listener):
    b = bundle("stty size", terminal=True).set("process.consoleSize", {"height": 12, "width": 34})
    b.detached("--console-socket", listener.path)
    listener.master().read("12 34")
    size = array.array("H", [0] * 4)
    fcntl.ioctl(listener.fd, termios.TIOCGWINSZ, size)
    assert size[:2].tolist() == [12, 34]


def test_the_listener_may_set_the_size(bundle, listener):
    c = bundle("stty size", terminal=True).create("--console-socket", listener.path)
    listener.master()
    fcntl.ioctl(listener.fd, termios.TIOCSWINSZ, struct.pack("4H", 21, 43, 0, 0))
    c.start()
    listener.read("21 43")


def test_nothing_of_ours_holds_the_terminal(bundle, listener):
    """When the program has gone, the reader is told."""
    c = bundle("true", terminal=True).create("--console-socket", listener.path)
    listener.master()
    c.start()
    c.wait()
    with pytest.raises(OSError):
        os.read(listener.fd, 1)


def test_exec(bundle, listener, run):
    c = bundle("sleep 100").detached()
    run("exec", "--detach", "--tty", "--console-socket", listener.path, c.id, "sh", "-c", "tty; read x; echo got $x")
    listener.master().read("/dev/pts/0")
    os.write(listener.fd, b"this\n")
    listener.read("got this")


def test_exec_of_a_short_command(bundle, listener, run):
    """Its output waits in the pty until somebody reads."""
    c = bundle("sleep 100").detached()
    run("exec", "-d", "-t", "--console-socket", listener.path, c.id, "echo", "hi")
    listener.master().read("hi")


def test_exec_with_console_size(bundle, listener, run, tmp_path):
    c = bundle("sleep 100").detached()
    process = {"args": ["stty", "size"], "cwd": "/", "env": ["PATH=/bin"], "terminal": True, "consoleSize": {"height": 10, "width": 110}}
    (tmp_path / "process.json").write_text(json.dumps(process))
    run("exec", "-d", "-p", tmp_path / "process.json", "--console-socket", listener.path, c.id)
    listener.master().read("10 110")


def test_a_long_path(bundle, tmp_path):
    """Longer than a socket's address can be (108 bytes)."""
    directory = tmp_path / ("d" * 120)
    directory.mkdir()
    one = Listener(directory / "console.sock")
    c = bundle("echo hello", terminal=True).detached("--console-socket", one.path)
    one.master().read("hello")
    c.wait()
    one.close()


def test_nobody_listens(bundle, run, tmp_path):
    b = bundle("true", terminal=True)
    for path in (tmp_path / "nothing", "/no/such/directory/socket"):
        error = b.call("create", "--console-socket", path, code=1).err
        assert f"--console-socket {path}: " in error
        assert run("list", "-q").out == ""


@pytest.mark.parametrize("command", [("create",), ("run", "--detach")])
def test_a_terminal_without_socket(bundle, run, command):
    assert NO_SOCKET in bundle("true", terminal=True).call(*command, code=1).err
    assert run("list", "-q", code=None).out == ""


def test_exec_of_a_terminal_without_socket(bundle, run):
    c = bundle("sleep 100").detached()
    assert NO_SOCKET in run("exec", "-d", "-t", c.id, "true", code=255).err


@pytest.mark.parametrize("terminal, command", [(False, ("create",)), (False, ("run",)), (True, ("run",))])
def test_a_socket_without_use(bundle, listener, terminal, command):
    assert NO_TERMINAL in bundle("true", terminal=terminal).call(*command, "--console-socket", listener.path, code=1).err


def test_exec_of_a_socket_without_use(bundle, listener, run):
    c = bundle("sleep 100").detached()
    for flags in ((), ("-d",), ("-t",)):
        assert NO_TERMINAL in run("exec", *flags, "--console-socket", listener.path, c.id, "true", code=255).err
