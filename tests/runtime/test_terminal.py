"""Terminals: `run` and `exec --tty` in the foreground, as a person in front of a shell sees them."""

import fcntl
import os
import pathlib
import pty
import select
import signal
import struct
import subprocess
import termios
import time

import pytest
from harness import until


def set_size(fd, rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))


def in_terminal(b, *flags, size=(33, 99)):
    """`run` with a terminal of this size."""
    t = b.terminal(*flags)
    set_size(t.fd, *size)
    return t


@pytest.mark.arm64
@pytest.mark.kernels
def test_a_shell(bundle):
    t = bundle(["sh"], terminal=True).terminal()
    t.expect("#")
    t.send("echo $((6*7)); exit 3\n").expect("42")
    assert t.wait() == 3


@pytest.mark.arm64
def test_size_and_its_change(bundle):
    t = bundle("trap 'stty size' WINCH; stty size; echo go; while :; do read x && exit 4; done", terminal=True).terminal()
    t.expect("go")
    set_size(t.fd, 41, 123)
    t.expect("41 123")
    t.send("\n")
    assert t.wait() == 4


def test_size_at_the_start(bundle, run):
    """Not set later: the program's first look sees it."""
    b = bundle(["stty", "size"], terminal=True).write()
    master, slave = pty.openpty()
    set_size(slave, 51, 132)
    for _ in range(3):
        process = subprocess.Popen(run.command("run", "--bundle", b.directory, run.new_id()), stdin=slave, stdout=slave, stderr=slave)
        assert process.wait(20) == 0
        assert os.read(master, 1000).decode().split() == ["51", "132"]
    os.close(master)
    os.close(slave)


def test_console_size_of_the_config(bundle):
    b = bundle(["stty", "size"], terminal=True).set("process.consoleSize", {"height": 17, "width": 71})
    t = in_terminal(b)
    t.expect("17 71")
    assert t.wait() == 0


@pytest.mark.arm64
def test_control_c_reaches_the_program(bundle):
    t = bundle("trap 'echo caught; exit 5' INT; echo go; while :; do sleep 0.05; done", terminal=True).terminal()
    t.expect("go")
    t.send("\x03").expect("caught")
    assert t.wait() == 5


def test_control_d_ends_a_shell(bundle):
    t = bundle(["cat"], terminal=True).terminal()
    t.send("line\n").expect("line\r\nline\r\n")
    t.send("\x04")
    assert t.wait() == 0


def test_signals_are_forwarded(bundle):
    t = bundle("trap 'echo caught; exit 6' TERM; echo go; while :; do sleep 0.05; done", terminal=True).terminal()
    t.expect("go")
    os.kill(t.pid, signal.SIGTERM)
    t.expect("caught")
    assert t.wait() == 6


@pytest.mark.parametrize("script", ["exit 0", "kill -9 $$", "echo go; while :; do sleep 0.05; done"])
def test_the_callers_terminal_is_restored(bundle, run, script):
    b = bundle(script, terminal=True).write()
    b.config["linux"]["namespaces"].remove({"type": "pid"})
    b.write()
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    process = subprocess.Popen(run.command("run", "--bundle", b.directory, run.new_id()), stdin=slave, stdout=slave, stderr=slave)
    if "go" in script:
        until(lambda: termios.tcgetattr(slave)[3] != before[3])
        os.read(master, 100)
        assert not termios.tcgetattr(slave)[3] & (termios.ICANON | termios.ECHO)
        process.send_signal(signal.SIGTERM)
    process.wait(20)
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


@pytest.fixture
def seated():
    """Arguments for Popen: the process has a terminal, /dev/tty, whatever its stdio is."""
    master, slave = pty.openpty()
    set_size(slave, 47, 111)
    yield {"start_new_session": True, "preexec_fn": lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0)}
    os.close(master)
    os.close(slave)


@pytest.fixture
def run_with(run, seated):
    """run_with(bundle): `run` with stdout in a pipe; the terminal is /dev/tty alone. Returns the CompletedProcess."""

    def call(b, stdin=subprocess.DEVNULL, **popen):
        b.write()
        command = run.command("run", "--bundle", b.directory, run.new_id())
        return subprocess.run(command, stdin=stdin, capture_output=True, timeout=20, check=False, **(popen or seated))

    return call


def test_input_from_null(bundle, run_with):
    result = run_with(bundle(["sh", "-c", "tty; stty size; cat; echo end"], terminal=True))
    assert result.stdout == b"/dev/pts/0\n47 111\nend\n"
    assert result.returncode == 0


@pytest.mark.parametrize("number", [0, 1, 2])
def test_one_of_stdio_is_the_terminal(bundle, run, tmp_path, number):
    b = bundle("stty size > /size; echo one; echo two", terminal=True).write()
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    set_size(slave, 39, 121)
    with open(os.devnull, "w+") as null:
        stdio = [null, null, null]
        stdio[number] = slave
        process = subprocess.Popen(
            run.command("run", "--bundle", b.directory, run.new_id()), stdin=stdio[0], stdout=stdio[1], stderr=stdio[2], start_new_session=True
        )
        assert process.wait(20) == 0
    assert (b.rootfs / "size").read_text() == "39 121\n"
    assert termios.tcgetattr(slave) == before
    if number == 1:
        assert os.read(master, 100) == b"one\r\ntwo\r\n"
    os.close(master)
    os.close(slave)


def test_no_terminal_at_all(bundle, run, run_with, leftovers):
    """An error at once: nobody would have the master."""
    result = run_with(bundle("true", terminal=True), start_new_session=True)
    assert result.returncode == 1
    assert result.stderr.startswith(b"pyrun run failed: process.terminal: open /dev/tty: no such device or address")
    assert leftovers() == []
    c = bundle("sleep 100").detached()
    result = c.exec("true", flags=["-t"], start_new_session=True, code=255)
    assert result.err.startswith("pyrun: exec failed: process.terminal: open /dev/tty: no such device or address")


@pytest.mark.parametrize("text", ["", "one\n", "one\ntwo\n", "no end of line", "one\nno end"])
def test_input_from_a_pipe(bundle, run, seated, text):
    """Its end is the end of the terminal's input."""
    b = bundle("stty -echo; echo go; cat; echo '|end'", terminal=True).write()
    command = run.command("run", "--bundle", b.directory, run.new_id())
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **seated)
    assert process.stdout.read(3) == b"go\n"
    out, _ = process.communicate(text.encode(), timeout=20)
    assert out.decode() == f"{text}|end\n"
    assert process.returncode == 0


def test_the_last_bytes_are_not_lost(bundle, run_with):
    for size in (1, 4095, 70000, 300000):
        b = bundle(f"dd if=/dev/zero bs={size} count=1 2>/dev/null | tr '\\000' x; printf 'the end'", terminal=True)
        out = run_with(b).stdout
        assert len(out) == size + 7
        assert out.endswith(b"xthe end")


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fill(pipe):
    """Waits until nothing more can be written to a pipe, and closes it: the container has it too."""
    until(lambda: not select.select([], [pipe], [], 0)[1], what="the pipe is full")
    os.close(pipe)


def test_a_slow_reader(bundle, run, seated):
    """Nobody spins while nobody reads, nothing piles up, and a signal still gets through."""
    b = bundle("yes", terminal=True).write()
    read_end, write_end = os.pipe()
    command = run.command("run", "--bundle", b.directory, run.new_id())
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=write_end, **seated)
    fill(write_end)
    before = cpu_seconds(process.pid)
    time.sleep(0.5)  # what it does in this time is measured
    assert cpu_seconds(process.pid) - before < 0.1
    status = dict(line.split(":") for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines())
    assert int(status["RssAnon"].split()[0]) < 20000
    run("kill", command[-1], "KILL")
    while os.read(read_end, 65536):
        pass
    assert process.wait(20) == 137
    os.close(read_end)


def test_a_reader_that_goes_away(bundle, run, seated):
    b = bundle("yes", terminal=True).write()
    command = " ".join(map(str, run.command("run", "--bundle", b.directory, run.new_id())))
    script = f"{command} </dev/null | head -3; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["timeout", "--foreground", "-s", "KILL", "10", "bash", "-c", script], capture_output=True, check=False, **seated)
    assert done.stdout == b"y\ny\ny\n1\n"  # of `yes`, whose terminal was hung up
    assert done.stderr == b""


# --- what the program sees


def test_carriage_returns_come_of_the_callers_terminal(bundle, run_with):
    """So that there are none in a file or a pipe, as with runc (test_console_socket.py has the other case)."""
    result = run_with(bundle("stty -a; echo line", terminal=True))
    assert b" -onlcr" in result.stdout
    assert result.stdout.endswith(b"\nline\n") and b"\r" not in result.stdout


def test_lines_are_whole_on_the_callers_terminal(bundle):
    t = bundle("echo one; echo two", terminal=True).terminal()
    t.expect("one\r\ntwo\r\n")
    assert t.wait() == 0


def test_the_console(bundle):
    script = "test -c /dev/console && echo here > /dev/console; test -t 0 && test -t 1 && test -t 2 && echo all"
    t = bundle(script, terminal=True).terminal()
    t.expect("here\r\n")
    t.expect("all\r\n")
    assert t.wait() == 0


def test_it_is_the_controlling_terminal(bundle):
    t = bundle("echo through > /dev/tty; ps -o pid,tty", terminal=True).terminal()
    t.expect("through")
    assert t.wait() == 0


@pytest.mark.parametrize("uid", [0, 1000])
def test_owner(bundle, run_with, uid):
    b = bundle("stat -L -c '%u %g %a' /dev/console /proc/self/fd/0; echo x > $(tty)", terminal=True)
    b.set("process.user", {"uid": uid, "gid": uid})
    result = run_with(b)
    assert result.stdout.decode().splitlines() == [f"{uid} 5 620", f"{uid} 5 620", "x"]


def test_without_a_terminal_there_is_no_console(bundle):
    assert bundle("test -e /dev/console; echo $?; tty").run(code=1).out == "1\nnot a tty\n"


def test_a_read_only_root(bundle, run_with):
    b = bundle("test -c /dev/console && echo yes; touch /x", terminal=True).set("root.readonly", True)
    out = run_with(b).stdout.decode()
    assert out.startswith("yes\n")
    assert "Read-only" in out


def test_a_read_only_root_without_dev(bundle, run_with):
    """No /dev of its own: /dev/console is made before the root becomes read-only."""
    b = bundle("test -c /dev/console && echo yes; touch /x", terminal=True).set("root.readonly", True)
    b.config["mounts"] = [one for one in b.config["mounts"] if not one["destination"].startswith("/dev")]
    b.mount("/dev/pts", type="devpts", source="devpts", options=["newinstance", "ptmxmode=0666", "mode=0620", "gid=5"])
    (b.rootfs / "dev/pts").mkdir()
    out = run_with(b).stdout.decode()
    assert out.startswith("yes\n"), out


def test_no_devpts_mount(bundle, run_with):
    """An error that says what is missing; never a hang."""
    b = bundle("echo works", terminal=True)
    b.config["mounts"] = [one for one in b.config["mounts"] if one["destination"] != "/dev/pts"]
    result = run_with(b)
    assert result.returncode == 1
    assert b"process.terminal: open /dev/pts/ptmx: no such file or directory (mount a devpts on /dev/pts)" in result.stderr


def test_console_is_a_symlink_of_the_image(bundle, run_with, tmp_path):
    """CVE-2026-88264: nothing of the host, or of the image's choice, gets covered or written."""
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    b = bundle("cat /target; echo; test -c /dev/console && echo fine", terminal=True)
    b.config["mounts"] = [one for one in b.config["mounts"] if not one["destination"].startswith("/dev")]
    b.mount("/dev/pts", type="devpts", source="devpts", options=["newinstance", "ptmxmode=0666"])
    (b.rootfs / "dev/pts").mkdir()
    (b.rootfs / "target").write_text("inside")
    for target in ("/target", str(victim)):
        (b.rootfs / "dev/console").unlink(missing_ok=True)
        (b.rootfs / "dev/console").symlink_to(target)
        out = run_with(b).stdout.decode()
        assert out == "inside\nfine\n"
        assert victim.read_text() == "untouched"


# --- exec


@pytest.fixture
def running(bundle):
    return bundle("sleep 100").detached()


@pytest.mark.arm64
@pytest.mark.kernels
def test_exec_of_a_shell(running):
    t = running.exec_terminal("sh")
    t.expect("#")
    t.send("tty; exit 7\n").expect("/dev/pts/0")
    assert t.wait() == 7


def test_exec_size_and_owner(running):
    script = "until [ \"$(stty size)\" = '27 81' ]; do sleep 0.01; done; stat -L -c '%u %g' /proc/self/fd/0"
    t = running.exec_terminal("sh", "-c", script, flags=("-u", "1000"))
    set_size(t.fd, 27, 81)
    t.expect("1000 5")
    assert t.wait() == 0


def test_exec_without_input(running, seated):
    result = subprocess.run(
        running.runner.command("exec", "-t", running.id, "sh", "-c", "stty size; tty"),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=20, **seated,
    )  # fmt: skip
    assert result.stdout.splitlines() == ["47 111", "/dev/pts/0"]
    assert result.returncode == 0


def test_the_lines_of_exec_are_whole_too(running, seated):
    t = running.exec_terminal("sh", "-c", "echo a; echo b")
    t.expect("a\r\nb\r\n")
    assert t.wait() == 0
    command = running.runner.command("exec", "-t", running.id, "sh", "-c", "echo a; echo b")
    assert subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=20, **seated).stdout == b"a\nb\n"


def test_exec_keeps_the_consoles_of_others(bundle):
    t = bundle("echo go; read x; exit 3", terminal=True).terminal()
    t.expect("go")
    out = bundle("true").runner("exec", t.id, "sh", "-c", "test -t 0; echo $?; ls /dev/pts").out
    assert out.split() == ["1", "0", "ptmx"]
    t.send("\n")
    assert t.wait() == 3


@pytest.mark.parametrize("noticed", [True, False])
def test_a_signal_ends_the_wait_for_a_reader(noticed, bundle, run, seated):
    """The container has ended, its last output waits for a reader that does not come: a signal is enough to leave.

    noticed: whether the command knows of the end when the signal comes.
    """
    b = bundle("yes", terminal=True).write()
    read_end, write_end = os.pipe()
    command = run.command("run", "--bundle", b.directory, run.new_id())
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=write_end, **seated)
    fill(write_end)
    if not noticed:
        process.send_signal(signal.SIGSTOP)
    run("kill", command[-1], "KILL")
    until(lambda: '"stopped"' in run("state", command[-1]).out)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    assert process.wait(10) == 137
    os.close(read_end)
