"""README.md is true: what it lets a newcomer type works, line by line, and its list of make's targets is make's."""

import os
import re
import subprocess

import pytest
from harness import PROJECT, Terminal

README = (PROJECT / "README.md").read_text()


def section(title):
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0].strip()


def code(text):
    """The lines of the shell blocks in a text."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


PROMPT = "[0]> "


@pytest.fixture
def newcomer(run, tmp_path):
    """newcomer(line): types a line in a shell, in a fresh directory; returns what came of it, once that has ended with 0.

    pyrun is on $PATH, and keeps its state with the test's; the words `mybundle` and `web` are names of the test's. A shell
    that the line opens is asked for a sum, and left.
    """
    home, programs = tmp_path / "home", tmp_path / "bin"
    home.mkdir()
    programs.mkdir()
    pyrun = programs / "pyrun"
    pyrun.write_text(f'#!/bin/sh\nexec {" ".join(run.command())} "$@"\n')
    pyrun.chmod(0o755)
    names = {"mybundle": run.new_id(), "web": run.new_id()}
    environment = [f"--chdir={home}", f"PATH={programs}:{os.environ['PATH']}", "PS1=[$?]> "]
    terminal = Terminal(["/usr/bin/env", *environment, "bash", "--norc", "--noediting", "-i"])
    terminal.expect(PROMPT)

    def type_line(line):
        terminal.send(re.sub("|".join(names), lambda word: names[word[0]], line) + "\n")
        if re.match("pyrun run mybundle|pyrun exec --tty", line):
            seen = terminal.send("echo sum $((40 + 2))\n").expect("sum 42")
            terminal.send("exit\n")
            return seen + terminal.expect(PROMPT)
        return terminal.expect(PROMPT)

    yield type_line
    terminal.send("exit\n")
    terminal.wait()


def test_use(newcomer):
    seen = {line.partition("  ")[0]: newcomer(line) for line in code(section("Use"))}
    assert sum("sum 42" in out for out in seen.values()) == 2
    assert "running" in seen["pyrun list"]
    assert "sleep 1000" in seen["pyrun exec web ps"]
    assert '"status": "created"' in seen["pyrun state web"]
    assert newcomer("pyrun list --quiet").count("\n") == 1, "the echo of the line alone"


def targets_of_make():
    """Those that the Makefile declares, without `all`, which is the default's name."""
    text = (PROJECT / "Makefile").read_text()
    names = [name for line in re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE) for name in line.split()]
    return sorted(name for name in names if name != "all")


def test_make_help_names_every_target():
    out = subprocess.run(["make", "help"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert sorted(re.findall(r"^make (\S+) +\S", out, re.MULTILINE)) == targets_of_make()


def test_the_readme_names_every_target():
    paragraph = next(part for part in section("Building").split("\n\n") if part.startswith("`make help`"))
    words = re.findall(r"`([a-z0-9-]+)`", paragraph)
    assert sorted(word for word in words if word != "make") == targets_of_make()
    named = {name for line in re.findall(r"`(?:build/)?make ([^`]*)`", README) for name in line.split() if re.fullmatch("[a-z0-9-]+", name)}
    assert named - {"alone"} <= set(targets_of_make())
