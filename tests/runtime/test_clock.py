"""The machine's clock is set, an hour forward or a year back: nothing that is said or waited for goes by it."""

import json
import pathlib
import subprocess
import time

import pytest
from harness import until

pytestmark = pytest.mark.machine

JUMPS = {"an hour forward": 3600, "a year back": -365 * 24 * 3600}
THE_MACHINE = "c0ffee00"  # its id begins so (tests/vm/machine.py)


@pytest.fixture(params=JUMPS)
def jump(request):
    """A function that sets the clock. Afterwards it is right again."""
    if not pathlib.Path("/etc/machine-id").read_text().startswith(THE_MACHINE):
        pytest.skip("the clock is everybody's: it is set in the machine of tests/vm alone")
    begin, since = time.time(), time.monotonic()
    yield lambda: time.clock_settime(time.CLOCK_REALTIME, time.time() + JUMPS[request.param])
    time.clock_settime(time.CLOCK_REALTIME, begin + time.monotonic() - since)


def listed(run):
    return {entry["id"]: (entry["pid"], entry["status"], entry["created"]) for entry in json.loads(run("list", "--format", "json").out) or ()}


def test_what_there_is(bundle, run, jump):
    b = bundle("sleep 1000")
    waits, runs, ended = b.create(), b.detached(), b.detached()
    ended.kill("KILL")
    ended.wait()
    before, states = listed(run), [c.state() for c in (waits, runs, ended)]
    assert [state["status"] for state in states] == ["created", "running", "stopped"]
    jump()
    assert listed(run) == before and [c.state() for c in (waits, runs, ended)] == states
    assert json.loads(run("ps", "--format", "json", runs.id).out) == [runs.pid]
    assert runs.exec("echo", "here").out == "here\n"
    run("update", "--pids-limit", "77", runs.id)
    assert json.loads(run("events", "--stats", runs.id).out)["data"]["pids"]["limit"] == 77
    run("pause", runs.id)
    assert runs.status() == "paused"
    run("resume", runs.id)
    waits.start()
    assert waits.status() == "running"
    runs.kill("KILL")
    runs.wait()
    assert runs.status() == "stopped"
    for c in (runs, ended):
        c.delete()
    waits.delete("--force")
    assert listed(run) == {}
    assert bundle("echo done").run().out == "done\n"


def test_what_waits(bundle, run, jump, tmp_path):
    """A hook has its time, neither more nor less; `events` goes on, and so does an exec."""
    c = bundle("sleep 1000").detached()
    commands = {"events": ["--interval", "1s", c.id], "exec": [c.id, "sh", "-c", "until [ -e /go ]; do sleep 0.1; done; echo done"]}
    files = {name: (tmp_path / name).open("wb") for name in commands}
    followed = {name: subprocess.Popen(run.command(name, *words), stdin=subprocess.DEVNULL, stdout=files[name]) for name, words in commands.items()}

    def lines(name):
        return (tmp_path / name).read_text().count("\n")

    waits = f"touch {tmp_path}/NAME; until [ -e {tmp_path}/go ]; do sleep 0.1; done"
    hooked = {}
    for name, timeout in (("patient", 300), ("impatient", 10)):
        hook = {"path": "/bin/sh", "args": ["sh", "-c", waits.replace("NAME", name)], "timeout": timeout}
        b = bundle("echo done").set("hooks.createRuntime", [hook]).write()
        with (tmp_path / f"{name}.out").open("wb") as out:
            words = run.command("run", "--bundle", b.directory, run.new_id())
            hooked[name] = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    until(lambda: all((tmp_path / name).exists() for name in hooked) and lines("events"))
    jump()
    seen = lines("events")
    until(lambda: lines("events") > seen + 1, what="events goes on")
    assert hooked["impatient"].wait(60) == 1 and "timeout" in (tmp_path / "impatient.out").read_text()
    assert followed["exec"].poll() is None and hooked["patient"].poll() is None
    (tmp_path / "go").touch()
    (c.bundle.rootfs / "go").touch()
    assert hooked["patient"].wait(60) == 0 and (tmp_path / "patient.out").read_text() == "done\n"
    assert followed["exec"].wait(60) == 0 and (tmp_path / "exec").read_text() == "done\n"
    followed["events"].kill()
    followed["events"].wait()
    for file in files.values():
        file.close()
