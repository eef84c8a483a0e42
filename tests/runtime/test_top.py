"""pyrun top: its screen on a terminal, lines and JSON elsewhere."""

import fcntl
import json
import os
import signal
import struct
import subprocess
import termios
import time

import pytest
from harness import Terminal, read, until
from screen import Screen

HOME = "\x1b[H"
BUSY = ["sh", "-c", "while :; do :; done"]


class Top(Terminal):
    """`pyrun top` on a terminal of a size; `screen` is what that shows."""

    def __init__(self, run, *flags, columns=100, lines=12):
        super().__init__(["/bin/sh", "-c", 'read _; exec "$0" "$@"', *run.command("top", "--interval", "200ms", *flags)])
        self.settings = termios.tcgetattr(self.fd)
        self.screen = Screen(columns, lines)
        self.set_size(columns, lines)
        self.send("\n")
        self.expect("\n")

    def set_size(self, columns, lines):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, columns, lines):
        """A new size; returns the screen when it has been painted for that. What was painted for the old one may still come first."""
        self.set_size(columns, lines)
        self.text = ""
        until(lambda: self._read(1) and self.text.count(HOME) > 3)
        self.screen = Screen(columns, lines)
        self.text = self.screen.feed(HOME + self.text.rpartition(HOME)[2])
        return self.see(lambda screen: screen.lines[-1])

    def see(self, condition, timeout=20):
        """Reads until the screen is as wanted, and returns it."""
        end = time.monotonic() + timeout
        while not condition(self.screen):
            assert time.monotonic() < end and self._read(end - time.monotonic()), f"not seen: {self.screen.lines}"
            self.text = self.screen.feed(self.text)
        return self.screen

    def gone(self):
        """Waits for the end; the status of it, when the terminal is as it was."""
        until(self.ended)
        self.screen.feed(self.text)
        assert not self.screen.aside and not self.screen.hidden
        assert termios.tcgetattr(self.fd) == self.settings
        return os.waitpid(self.pid, 0)[1]

    def ended(self):
        self._read(0)  # whoever waits for its reader does not end
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)


@pytest.fixture
def two(bundle):
    """Two containers: a busy one, and one that sleeps."""
    return bundle(BUSY).detached(), bundle("sleep 1000").set("linux.resources.memory.limit", 64 << 20).detached()


def test_once(run, two):
    head, *lines = run("top", "--once").out.splitlines()
    assert head.split()[:7] == ["CONTAINER", "STATUS", "CPU", "%", "MEMORY", "LIMIT", "MEM"]
    busy, quiet = (line.split() for line in lines)
    assert (busy[0], busy[1]) == (two[0].id, "running")
    assert float(busy[2]) > 10 > float(quiet[2])
    assert quiet[4] == "64M" and busy[4] == "-"
    assert busy[6] == quiet[6] == "1"
    rows = json.loads(run("top", "--once", "--format", "json", "--sort", "name").out)
    assert [row["id"] for row in rows] == sorted(container.id for container in two)
    quiet = next(row for row in rows if row["id"] == two[1].id)
    assert quiet["status"] == "running" and quiet["pids"] == 1 and quiet["memoryLimit"] == 64 << 20
    assert 0 < quiet["memory"] < 64 << 20
    assert set(quiet["pressure"]) == {"cpu", "memory", "io"}


def test_lines_without_a_terminal(run, two, tmp_path):
    with (tmp_path / "lines").open("w") as file, subprocess.Popen(run.command("top", "--interval", "100ms"), stdout=file) as process:
        until(lambda: read(tmp_path / "lines").count("CONTAINER") >= 3)
        process.terminate()
    text = read(tmp_path / "lines")
    assert "\x1b" not in text and text.count(two[1].id) >= 2
    assert process.returncode == -signal.SIGTERM


def test_containers_that_do_not_run(run, bundle):
    assert run("top", "--once", "--format", "json").out == "[]\n"
    assert len(run("top", "--once").out.splitlines()) == 1
    created, paused, stopped = (bundle("sleep 1000").create() for _ in range(3))
    paused.start()
    run("pause", paused.id)
    stopped.kill("KILL")
    stopped.wait()
    rows = {row["id"]: row for row in json.loads(run("top", "--once", "--format", "json").out)}
    assert [rows[container.id]["status"] for container in (created, paused, stopped)] == ["created", "paused", "stopped"]
    assert rows[stopped.id]["memory"] is None and rows[paused.id]["memory"] > 0


def test_the_screen(run, two):
    top = Top(run)
    busy, quiet = (container.id for container in two)
    screen = top.see(lambda screen: screen.aside and screen.hidden and screen.lines[2].startswith(busy) and "-" not in screen.lines[2].split()[2])
    assert screen.lines[0].startswith("2 containers, 2 running, by cpu ")
    assert screen.lines[1].startswith("CONTAINER")
    assert screen.lines[3].startswith(quiet)
    assert screen.lines[-1] == "q quit  k kill  c m p i n sort  r reverse  up down choose"
    top.send("n")
    top.see(lambda screen: ", by name " in screen.lines[0])
    assert screen.lines[2].startswith(min(busy, quiet))
    top.send("r")
    top.see(lambda screen: ", by name reversed" in screen.lines[0])
    assert screen.lines[2].startswith(max(busy, quiet))
    top.send("q")
    assert top.gone() == 0


def test_another_container_is_seen_when_it_comes(run, two, bundle):
    top = Top(run, "--sort", "name")
    top.see(lambda screen: screen.lines[0].startswith("2 containers"))
    third = bundle("sleep 1000").detached()
    top.see(lambda screen: any(line.startswith(third.id) for line in screen.lines))
    third.kill("KILL")
    third.wait()
    top.see(lambda screen: any(line.startswith(third.id) and "stopped" in line for line in screen.lines))
    third.delete()
    top.see(lambda screen: screen.lines[0].startswith("2 containers"))
    top.send("q")
    assert top.gone() == 0


def test_kill_asks_first(run, two):
    top = Top(run, "--sort", "name")
    first, second = sorted(two, key=lambda container: container.id)
    top.see(lambda screen: screen.marked and screen.marked[0].startswith(first.id))
    top.send("\x1b[B")
    top.see(lambda screen: screen.marked and screen.marked[0].startswith(second.id))
    top.send("k")
    top.see(lambda screen: screen.lines[-1] == f"kill {second.id}?  t TERM  k KILL  any other key: no")
    top.send("n")
    top.see(lambda screen: screen.lines[-1].startswith("q quit"))
    assert second.status() == "running"
    top.send("kk")
    top.see(lambda screen: screen.lines[-1] == f"KILL is sent to {second.id}")
    second.wait()
    assert first.status() == "running"
    top.send("kk")
    top.see(lambda screen: screen.lines[-1] == f"{second.id}: container not running")
    top.send("\x03")
    assert top.gone() == 0


def test_a_terminal_that_changes_its_size(run, two):
    top = Top(run)
    top.see(lambda screen: screen.lines[-1].startswith("q quit"))
    for columns, lines in [(40, 5), (200, 50), (20, 3), (9, 2)]:
        assert top.resize(columns, lines).lines[-1] == "q quit  k kill  c m p i n sort  r reverse  up down choose"[:columns].rstrip()
    top.resize(100, 12)
    top.send("q")
    assert top.gone() == 0


def test_signals_give_the_terminal_back(run, two):
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        top = Top(run)
        top.see(lambda screen: screen.aside and screen.lines[-1].startswith("q quit"))
        os.kill(top.pid, number)
        assert os.WTERMSIG(top.gone()) == number


def test_stopped_and_continued(run, two):
    top = Top(run)
    top.see(lambda screen: screen.aside and screen.lines[-1].startswith("q quit"))
    for stop in (lambda: top.send("\x1a"), lambda: os.kill(top.pid, signal.SIGTSTP)):
        stop()
        os.waitpid(top.pid, os.WUNTRACED)
        top.see(lambda screen: not screen.aside and not screen.hidden)
        assert termios.tcgetattr(top.fd) == top.settings
        os.kill(top.pid, signal.SIGCONT)
        top.see(lambda screen: screen.aside and screen.hidden)
    top.send("q")
    assert top.gone() == 0


def test_what_it_does_not_know(run):
    run.root.mkdir(mode=0o700)
    for flags, said in {
        ("--sort", "size"): "use name, cpu, memory, pids, io", ("--format", "xml"): "use table or json", ("--interval", "0"): "500ms",
    }.items():  # fmt: skip
        assert said in run("top", *flags, code=1).err
