"""init is killed at any of its system calls before the program runs: the command says so, and nothing is left."""

import json
import os
import pathlib
import signal
import subprocess

import pytest
from harness import until
from ptrace.binding import ptrace_detach
from stepper import Follower, Stepper

KILLED = "init ended before the program began: signal 9 (killed)"
STRIDE = 23


@pytest.fixture
def follow(run):
    """A function: runs the command and kills init at the system call of a number; returns the Follower and what was said."""

    def follow(point, *args):
        process = Follower(run.command(*args), run.directory / "followed.out", run.directory / "followed.err")
        process.killed = process.kill_at(point)
        process.err = (run.directory / "followed.err").read_text()
        return process

    return follow


def sweep(follow, make, fault):
    """make() -> arguments. fault(args, Follower) -> what is wrong ('' if nothing)."""
    point, killed = 1, True
    while killed:
        args = make()
        process = follow(point, *args)
        wrong, killed = fault(args, process), process.killed
        assert not wrong, f"at {point}: {wrong}: exit code {process.code}: {process.err}"
        point += STRIDE
    assert point > 3 * STRIDE


@pytest.mark.parametrize("command", ["create", "run", "run --detach"])
def test_of_a_new_container(command, bundle, run, follow, leftovers, tmp_path):
    sleeper, pid_file = bundle("true" if command == "run" else "sleep 100").write(), tmp_path / "pid"

    def fault(args, process):
        if process.code == 0:
            # Nothing was killed, or a container that had been created.
            if process.killed and (command != "create" or json.loads(run("state", args[-1]).out)["status"] != "stopped"):
                return "no error"
            pid_file.unlink()
            run("delete", "--force", args[-1])
            return ""
        found = leftovers() + (["pid file"] if pid_file.exists() else [])
        if found or not process.killed or process.code != 1:
            return f"left: {found}"
        return "" if process.err.count("\n") == 1 and KILLED in process.err else "words"

    sweep(follow, lambda: (*command.split(), "--bundle", sleeper.directory, "--pid-file", pid_file, run.new_id()), fault)


@pytest.mark.parametrize("flags", [[], ["--detach"]])
def test_of_exec(flags, bundle, run, follow, leftovers, tmp_path):
    container, pid_file = bundle("sleep 100").detached(), tmp_path / "exec.pid"
    before = set(leftovers())

    def fault(args, process):
        if not process.killed:
            return "" if process.code == 0 else "an error"
        if pid_file.exists() or process.code != 255:
            return f"pid file: {pid_file.exists()}"
        return "" if process.err.count("\n") == 1 and KILLED in process.err else "words"

    sweep(follow, lambda: ("exec", *flags, "--pid-file", pid_file, container.id, "true"), fault)
    assert set(leftovers()) == before and container.status() == "running"


def test_of_start(bundle, run):
    """The start byte has been sent, and the program does not run yet. Whoever is the parent reaps init later."""
    points, reached = 2, True  # the first two are of accept, which the tracer has interrupted
    while reached:
        container = bundle("sleep 100").create()
        init = Stepper.attach(container.pid)
        with subprocess.Popen(run.command("start", container.id), stderr=subprocess.PIPE, text=True) as start:
            reached = init.run_to(points)
            if reached:
                os.kill(container.pid, signal.SIGKILL)
            else:
                ptrace_detach(container.pid)
            said = start.communicate(timeout=20)[1]
        assert start.returncode == (1 if reached else 0), f"at {points}: {said}"
        if reached:
            assert said.count("\n") == 1 and KILLED in said, f"at {points}"
            container.wait()
            assert container.status() == "stopped"
            container.delete()
        points += 9
    assert points > 8


def test_of_start_when_the_parent_has_reaped_it(bundle, run):
    """Nobody can ask /proc any more: but init had not read the start, which is its last call before execve."""
    container = bundle(["/bin/sleep", "100"]).create()
    init = Stepper.attach(container.pid)
    with subprocess.Popen(run.command("start", container.id)):
        *before, last = init.calls()
        ptrace_detach(container.pid)
    assert last == "execve"
    for point in (*range(2, len(before) - 1, 9), len(before) - 1):
        container = bundle(["/bin/sleep", "100"]).create()
        init = Stepper.attach(container.pid)
        with subprocess.Popen(run.command("start", container.id), stderr=subprocess.PIPE, text=True) as start:
            assert init.run_to(point)
            os.kill(start.pid, signal.SIGSTOP)
            until(lambda stat=pathlib.Path(f"/proc/{start.pid}/stat"): ") T " in stat.read_text())
            assert init.end_with(signal.SIGKILL) == -signal.SIGKILL
            os.kill(start.pid, signal.SIGCONT)
            said = start.communicate(timeout=20)[1]
        assert start.returncode == 1, f"at {before[point]}, call {point}"
        assert said == "pyrun: unable to start container process: init ended before the program began\n"
        assert container.status() == "stopped"
