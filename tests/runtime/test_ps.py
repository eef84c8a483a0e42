"""`ps`: the processes of a container, and no others."""

import json

import pytest
from harness import until

pytestmark = pytest.mark.worlds


def test_the_table_of_ps(bundle, run):
    c = bundle("sleep 101 & sleep 102; true").detached()
    until(lambda: "sleep 102" in run("ps", c.id).out)
    title, *lines = run("ps", c.id).out.splitlines()
    assert title.split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert sorted(line.split(None, 7)[7] for line in lines) == ["sh -c sleep 101 & sleep 102; true", "sleep 101", "sleep 102"]
    assert str(c.pid) in [line.split()[1] for line in lines]


def test_further_arguments_go_to_ps(bundle, run):
    c = bundle("sleep 100").detached()
    wanted = ["PID", "COMMAND", str(c.pid), "sleep"]
    until(lambda: run("ps", c.id, "-e", "-o", "pid,comm").out.split() == wanted)  # it is a shell at first
    title, line = run("ps", c.id, "aux").out.splitlines()
    assert title.split()[:2] == ["USER", "PID"]
    assert line.split()[1] == str(c.pid)


def test_pids_as_json(bundle, run):
    c = bundle("sleep 101 & exec sleep 102").detached()
    until(lambda: len(json.loads(run("ps", "--format", "json", c.id).out)) == 2)
    text = run("ps", "-f", "json", c.id).out
    assert text.count("\n") == 1
    assert c.pid in json.loads(text)


def test_a_stopped_container_has_none(bundle, run):
    c = bundle("sleep 100").detached()
    c.kill("KILL")
    c.wait()
    assert run("ps", c.id).out.splitlines()[1:] == []
    assert not json.loads(run("ps", "-f", "json", c.id).out)


def test_what_is_wrong(bundle, run):
    c = bundle("sleep 100").detached()
    assert run("ps", "-f", "yaml", c.id, code=1).err == "pyrun: invalid format option: use table or json\n"
    assert run("ps", c.id, "-o", "comm", code=1).err == "pyrun: couldn't find PID field in ps output\n"
    assert "exit status 1" in run("ps", c.id, "--nosuch", code=1).err
    assert run("ps", "nosuch", code=1).err == f'pyrun: container does not exist: "nosuch" (below --root {run.root})\n'
