""".github: what the workflows call is there, and what they take from others is pinned."""

import os
import re

import pytest
from harness import PROJECT

WORKFLOWS = sorted(PROJECT.glob(".github/workflows/*.yml"))
TARGETS = re.findall(r"^([a-z0-9-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE)

of_each_workflow = pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)


@of_each_workflow
def test_actions_are_pinned_by_commit(workflow):
    for line in re.findall(r"\buses:.*", workflow.read_text()):
        assert re.fullmatch(r"uses: actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)


@of_each_workflow
def test_what_is_called_is_there(workflow):
    text = workflow.read_text()
    targets = {word for words in re.findall(r"\brun: make (.*)", text) for word in words.split()}
    programs = set(re.findall(r"\brun: (\.\S+)", text))
    assert targets <= set(TARGETS)
    assert targets or programs
    assert all(os.access(PROJECT / program, os.X_OK) for program in programs)


def test_dependabot_reads_all_pinned_packages_of_python():
    (words,) = re.findall(r"^    directories: \[(.*)\]$", (PROJECT / ".github/dependabot.yml").read_text(), re.MULTILINE)
    pinned = {f"/{path.parent.relative_to(PROJECT)}" for top in ("csrc", "tests") for path in (PROJECT / top).rglob("requirements*.txt")}
    assert set(words.split(", ")) == pinned
