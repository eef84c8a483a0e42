"""The runtime is killed at every system call at which something could be half done.

After SIGKILL `delete --force` removes whatever there is; SIGTERM undoes by itself what was begun.
"""

import signal

import pytest
from stepper import Stepper

# The first of these is where a command begins to change something; before it, Python starts and the config is read.
BEGINNINGS = {"mkdir", "flock", "pidfd_open"}
EARLY_STRIDE = 40


@pytest.fixture
def step(run):
    """A function: starts the command under a Stepper."""
    return lambda *args: Stepper(run.command(*args), run.directory / "stepped.out", run.directory / "stepped.err")


def points(calls, stride=1):
    """Numbers of the system calls to stop at."""
    begin = next(index for index, name in enumerate(calls) if name in BEGINNINGS)
    return [*range(0, begin, EARLY_STRIDE), *range(begin, len(calls), stride)]


def commands(bundle, run):
    """command -> (arguments, what comes before it), each with an id of its own."""
    sleeper, ender = bundle("sleep 100").write(), bundle("true").write()

    def made(*args):
        return (*args, sleeper.create().id)

    return {
        "create": lambda: ("create", "--bundle", sleeper.directory, run.new_id()),
        "run": lambda: ("run", "--bundle", ender.directory, run.new_id()),
        "run --detach": lambda: ("run", "--detach", "--bundle", sleeper.directory, run.new_id()),
        "start": lambda: made("start"),
        "delete": lambda: made("delete", "--force"),
    }


def sweep(command, step, run, leftovers, number, after, stride=1):
    """Runs the command once for each point and ends it there. after(arguments, exit code) -> lines of what is wrong."""
    args = command()
    calls = step(*args).calls()
    run("delete", "--force", args[-1])
    report = []
    for point in points(calls, stride):
        args = command()
        process = step(*args)
        if not process.run_to(point):
            run("delete", "--force", args[-1])
            continue  # a little shorter this time
        found = after(args, process.end_with(number)) + leftovers()
        if found:
            report.append(f"{signal.Signals(number).name} at {point} {calls[point]}: {'; '.join(found)}")
    assert not report, "\n".join(report)


@pytest.mark.parametrize("name", ["create", "run", "run --detach", "start", "delete"])
def test_a_killed_command_leaves_nothing_that_delete_does_not_find(name, bundle, run, step, leftovers):
    def delete(args, code):
        deleted = run("delete", "--force", args[-1], code=None)
        return [f"delete: {deleted.err}"] if deleted.code or deleted.err else []

    sweep(commands(bundle, run)[name], step, run, leftovers, signal.SIGKILL, delete)


@pytest.mark.parametrize("name", ["create", "run", "run --detach"])
def test_a_terminated_command_undoes_what_it_began(name, bundle, run, step, leftovers):
    def check(args, code):
        if code == 0 and name != "run":  # it was complete before the signal came
            run("delete", "--force", args[-1])
        error = (run.directory / "stepped.err").read_text()
        if code == 128 + signal.SIGTERM:
            return [] if (error.count("\n") == 1 and "interrupted by signal 15" in error) or name == "run" else [f"it said {error!r}"]
        return [] if code in (0, -signal.SIGTERM) else [f"exit code {code}: {error}"]

    sweep(commands(bundle, run)[name], step, run, leftovers, signal.SIGTERM, check, stride=2)


def test_a_container_whose_start_was_killed_is_running(bundle, run, step):
    """The start socket's file is left, but init does not listen on it any more."""
    container = bundle("sleep 100").create()
    calls = step("start", container.id).calls()
    container.delete("--force")
    container = bundle("sleep 100").create()
    process = step("start", container.id)
    assert process.run_to(len(calls) - calls[::-1].index("unlink") - 1)
    process.end_with(signal.SIGKILL)
    assert container.status() == "running"
    assert "cannot start an already running container" in container.start(code=1).err
