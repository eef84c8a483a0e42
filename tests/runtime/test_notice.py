"""The dim line of what takes longer than a second: on a person's terminal, and nowhere else."""

import os
import time

import pytest
from harness import Terminal
from screen import Screen

DIM = "\x1b[2m"


@pytest.fixture
def slow(bundle, tmp_path):
    """A bundle with a hook that runs until a file is there; and that file."""
    go = tmp_path / "go"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"while ! [ -e {go} ]; do sleep 0.1; done"]}
    return bundle("echo the program").set("hooks.createRuntime", [{"path": "/bin/true"}, hook]).write(), go


def on_terminal(run, b, *flags, environment=("TERM=xterm",)):
    command = run.command(*flags, "run", "--bundle", b.directory, run.new_id())
    return Terminal(["/usr/bin/env", "-u", "NO_COLOR", *environment, *command])


def test_a_hook_that_runs_long(run, slow):
    """It comes after a second, tells how long it has been, and goes without a trace."""
    b, go = slow
    began = time.monotonic()
    terminal = on_terminal(run, b)
    line = terminal.expect("runs for 1 s")
    assert time.monotonic() - began >= 1
    assert DIM in line
    terminal.expect("runs for 2 s")
    go.touch()
    assert terminal.wait() == 0
    screen = Screen(80, 24)
    screen.feed(line)
    assert screen.lines[0] == "hook createRuntime[1] /bin/sh runs for 1 s"
    screen.feed(terminal.text)
    assert [line for line in screen.lines if line] == ["the program"]


@pytest.mark.parametrize("flags, environment", [([], ["TERM=xterm", "NO_COLOR=1"]), ([], ["TERM=dumb"]), (["--log", "/dev/null"], ["TERM=xterm"])])
def test_terminals_without_it(flags, environment, run, slow):
    b, go = slow
    terminal = on_terminal(run, b, *flags, environment=environment)
    began = time.monotonic()
    while time.monotonic() < began + 1.5:
        terminal._read(0.1)
    go.touch()
    assert terminal.wait() == 0
    assert terminal.text == "the program\r\n"


def test_pipes_and_files_get_nothing(bundle):
    b = bundle("true").set("hooks.createRuntime", [{"path": "/bin/sleep", "args": ["sleep", "1.5"]}])
    assert b.run(env=os.environ | {"TERM": "xterm"}).err == ""


def test_a_hook_that_fails_and_one_that_is_too_slow(run, bundle):
    """The error stands where the line was."""
    b = bundle("true").set("hooks.createRuntime", [{"path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 2}]).write()
    terminal = on_terminal(run, b)
    assert terminal.wait() == 1
    assert "runs for 1 s" in terminal.text
    screen = Screen(400, 24)
    screen.feed(terminal.text)
    (line,) = [line for line in screen.lines if line]
    assert line.startswith("pyrun run failed: ") and line.endswith("/bin/sleep did not end within 2 s (timeout) and was killed")
