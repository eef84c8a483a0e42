"""Sockets whose owner reads nothing: each command says so when its patience is over, in one line, and leaves nothing; a signal ends its wait."""

import contextlib
import pathlib
import signal
import socket
import subprocess

import pytest
from harness import until
from ptrace.syscall import SYSCALL_NAMES
from seccomp_model import profile, rule


@pytest.fixture
def full(tmp_path):
    """Path of a listening socket where so many wait already that no more may."""
    path = str(tmp_path / "full.sock")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket(socket.AF_UNIX))
        server.bind(path)
        server.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect(path)
        yield path


@pytest.fixture
def commands(bundle, full):
    """Name -> words of a command that has to do with that socket; and a container that is not concerned."""
    plain, container = bundle("sleep 100"), bundle("sleep 100").detached()
    terminal = bundle("true", terminal=True)
    asking = bundle("true").set("linux.seccomp", profile("ALLOW", rule("NOTIFY", "mkdir"), listenerPath=full))
    run = container.runner

    def making(b, command, *flags):
        return run.command(*command.split(), "--bundle", b.write().directory, *flags, run.new_id())

    return {
        "console of create": making(terminal, "create", "--console-socket", full),
        "console of run": making(terminal, "run --detach", "--console-socket", full),
        "console of exec": run.command("exec", "--tty", "--detach", "--console-socket", full, container.id, "true"),
        "pidfd of create": making(plain, "create", "--pidfd-socket", full),
        "pidfd of exec": run.command("exec", "--detach", "--pidfd-socket", full, container.id, "sleep", "100"),
        "agent of run": making(asking, "run"),
    }, container


def started(commands):
    return {
        name: subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for name, words in commands.items()
    }


def calls(pid):
    """Name of the system call that a process is in, '' for none."""
    number = pathlib.Path(f"/proc/{pid}/syscall").read_text().split()[0]
    return SYSCALL_NAMES.get(int(number), "") if number.isdigit() else ""


def ended(running, container, leftovers):
    """Name -> (exit code, what was said) of each; they left nothing."""
    said = {name: (process.communicate(timeout=40)[1], process.returncode) for name, process in running.items()}
    assert container.status() == "running" and container.runner("ps", container.id).out.count("sleep") == 1
    container.delete("--force")
    assert not leftovers()
    return said


def test_patience(commands, leftovers):
    words, container = commands
    for name, (line, code) in ended(started(words), container, leftovers).items():
        assert code in (1, 255) and line.count("\n") == 1 and "full.sock" in line and "timed out" in line, (name, line)


def test_signal(commands, leftovers):
    words, container = commands
    running = started(words)
    for process in running.values():
        until(lambda pid=process.pid: calls(pid) == "connect")
        process.send_signal(signal.SIGTERM)
    for name, (line, code) in ended(running, container, leftovers).items():
        assert code == 143 and line.count("\n") == 1 and "interrupted by signal 15" in line, (name, line, code)


def test_criu(bundle, tmp_path, leftovers):
    """It was started and says nothing: a signal ends the wait and criu, which was asked for nothing yet, and the container runs on."""
    container = bundle("sleep 100").detached()
    criu = tmp_path / "criu"
    begun = tmp_path / "begun"
    criu.write_text(f"#!/bin/sh\necho $$ >{begun}.part\nmv {begun}.part {begun}\ncat <&3 >/dev/null\nsleep 100\n")
    criu.chmod(0o755)
    command = container.runner.command("checkpoint", "--image-path", tmp_path / "images", container.id)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environ) as process:
        until(begun.exists)
        process.send_signal(signal.SIGTERM)
        line = process.communicate(timeout=20)[1]
    assert (process.returncode, line) == (128 + signal.SIGTERM, "pyrun: interrupted by signal 15\n")
    assert not pathlib.Path("/proc", begun.read_text().strip()).exists()
    assert container.status() == "running"
    container.delete("--force")
    assert not leftovers()
