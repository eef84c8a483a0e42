"""--timeline FILE: Chrome trace events of create and run; --debug: the times of the phases."""

import itertools
import json

import pytest

PHASES = ["load config", "begin plan", "write state", "make cgroup", "start init", "compile plan", "set up by init"]


def events(path):
    """{row: events in the order of their begin} of a file that a trace viewer takes."""
    rows = {}
    for event in json.loads(path.read_text())["traceEvents"]:
        assert event["ph"] in ("X", "M") and event["pid"] > 0
        if event["ph"] == "X":
            assert event["ts"] > 1e15 and event["dur"] >= 0, event
            rows.setdefault(event["tid"], []).append(event)
    return {row: sorted(found, key=lambda event: event["ts"]) for row, found in rows.items()}


def end(event):
    return event["ts"] + event["dur"] - 1  # a double holds the time of today to a quarter of a microsecond


@pytest.mark.parametrize("command, last", [("create", "exec_check"), ("run", "caps")])
def test_it_has_the_phases_and_the_ops_of_init(bundle, run, tmp_path, command, last):
    b = bundle("true").set("process.noNewPrivileges", False).write()
    run("--timeline", tmp_path / "trace", command, "--bundle", b.directory, run.new_id())
    runtime, init = events(tmp_path / "trace")[1], events(tmp_path / "trace")[2]
    whole, *phases = runtime
    assert whole["name"] == f"pyrun {command}"
    assert [phase["name"] for phase in phases][: len(PHASES)] == PHASES
    assert all(end(one) <= other["ts"] for one, other in itertools.pairwise(phases))
    assert whole["ts"] <= phases[0]["ts"] and end(phases[-1]) <= end(whole)
    names = [op["name"] for op in init]
    assert {"clone", "root", "mount", "pivot"} <= set(names)
    assert names[-1] == last
    assert all(whole["ts"] <= op["ts"] and end(op) <= end(whole) for op in init)
    mount = next(op for op in init if op["name"] == "mount")
    assert mount["args"]["where"].startswith("mounts[")


def test_nothing_is_sent_once_a_filter_is_on(bundle, tmp_path, run):
    """A profile that ends whoever writes to anything but stdout would end init."""
    b = bundle(["/bin/true"]).set("process.noNewPrivileges", False)
    b.set("linux.seccomp", {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["write", "sendto", "sendmsg"], "action": "SCMP_ACT_KILL_PROCESS"}],
    })  # fmt: skip
    b.write()
    run("--timeline", tmp_path / "trace", "run", "--bundle", b.directory, run.new_id())
    assert "seccomp" not in [op["name"] for op in events(tmp_path / "trace")[2]]


def test_debug_tells_the_times_of_the_phases(bundle, run):
    b = bundle("true").write()
    said = run("--debug", "run", "--bundle", b.directory, run.new_id()).err
    for phase in [*PHASES, "program", "remove"]:
        assert f"phase {phase}: " in said


def test_a_file_that_cannot_be_written_is_an_error(bundle, run, tmp_path):
    b = bundle("true").write()
    done = run("--timeline", tmp_path / "no/trace", "run", "--bundle", b.directory, run.new_id(), code=1)
    assert f"--timeline: {tmp_path}/no/trace: " in done.err
