"""Load: many containers at once, one after the other, by many callers that are killed at random, and asked all the time.

The short form; `make soak` has the long one (sizes.py). Nothing is left of any, and list and state are right throughout.
"""

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import PROJECT, until
from soak import machine
from soak.sizes import size

AT_ONCE = 4

pytestmark = pytest.mark.once


@pytest.fixture
def report(capsys):
    """report("what", name=count, …): prints the line of a part."""

    def line(what, **values):
        texts = [f"{value:,.1f} {name}" if isinstance(value, float) else f"{value:,} {name}" for name, value in values.items()]
        with capsys.disabled():
            print(f"\n{what}: {', '.join(texts)}", end=" ", flush=True)

    return line


@pytest.fixture
def no_leak(leftovers, report):
    """A function: no_leak(n) says that n containers have left nothing."""
    before = machine.Counts()

    def check(containers):
        assert leftovers() == []
        until(lambda: before.back(containers), what=before.grown)
        after = machine.counts()
        report("afterwards", **{f"{name} more": count - before.then[name] for name, count in after.items()})

    return check


def quietly(run, *words):
    """The exit code of a command whose output is a container's too."""
    return subprocess.run(run.command(*words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode


def all_of(run, names, *words, then=()):
    """The command for each of them, some at the same time; asserts that all succeed. Returns how many a second. then: words behind the name."""
    begin = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        codes = list(pool.map(lambda name: quietly(run, *words, name, *then), names))
    assert set(codes) <= {0}, f"{' '.join(map(str, words))}: exit codes {set(codes)}"
    return len(names) / (time.monotonic() - begin)


def statuses(run):
    return {entry["id"]: entry["status"] for entry in json.loads(run("list", "--format", "json").out) or ()}


def test_many_alive(bundle, run, no_leak, report):
    names = [f"{run.token}-alive-{number}" for number in range(size("alive"))]
    b = bundle(["sleep", "100000"]).write()
    created = all_of(run, names, "create", "--bundle", b.directory)
    assert statuses(run) == dict.fromkeys(names, "created")
    started = all_of(run, names, "start")
    begin = time.monotonic()
    assert statuses(run) == dict.fromkeys(names, "running")
    listed = time.monotonic() - begin
    for name in random.Random(1).sample(names, min(20, len(names))):
        state = json.loads(run("state", name).out)
        assert state["status"] == "running"
        assert len(os.listdir(f"/proc/{state['pid']}/fd")) == 3
        assert run("exec", name, "hostname").out == "pyrun\n"
    ended = names[::2]
    all_of(run, ended, "kill", then=["KILL"])
    until(lambda: list(statuses(run).values()).count("stopped") == len(ended), what="half of them are stopped")
    assert statuses(run) == {name: "stopped" if name in set(ended) else "running" for name in names}
    deleted = all_of(run, names, "delete", "--force")
    assert statuses(run) == {}
    rates = {"creates a second": created, "starts a second": started, "deletes a second": deleted, "ms for a list": listed * 1000}
    report(f"{len(names)} alive at once", **rates)
    no_leak(len(names))


def test_cycles(bundle, run, no_leak, report):
    names = [f"{run.token}-cycle-{number}" for number in range(size("cycles"))]
    b = bundle(["true"]).write()
    rate = all_of(run, names, "run", "--bundle", b.directory)
    report(f"{len(names)} cycles", **{"runs a second": rate})
    no_leak(len(names))


def test_random_kills(bundle, run, no_leak, report, tmp_path, pyrun):
    b = bundle(["sleep", "100000"]).write()
    env = os.environ | {"PYTHONPATH": f"{PROJECT}/tests"}
    seconds, words = size("seconds"), [sys.executable, "-m", "soak.creator", pyrun, run.root, b.directory]
    creators = []
    for number in range(size("creators")):
        name = f"{run.token}-kill{number}"
        command = [*map(str, words), name, str(seconds), str(number)]
        creators.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    lists = 0
    while any(one.poll() is None for one in creators):
        # Whatever is begun and killed beside it, a list is one, and each container in it has one of the states.
        found = statuses(run) if run.root.is_dir() else {}
        assert set(found.values()) <= {"creating", "created", "running", "stopped"}
        assert all(name.startswith(f"{run.token}-kill") for name in found)
        lists += 1
        with contextlib.suppress(subprocess.TimeoutExpired):
            creators[0].wait(0.02)
    said = [one.communicate() for one in creators]
    assert [err for _, err in said] == [""] * len(creators)
    assert [one.returncode for one in creators] == [0] * len(creators)
    total = {}
    for out, _ in said:
        for name, count in json.loads(out).items():
            total[name] = total.get(name, 0) + count
    assert total["commands killed"] and total["inits killed"]
    report(f"{len(creators)} creators for {seconds} s", **total, lists=lists)
    assert statuses(run) == {}
    no_leak(total["containers"])


def test_probes(bundle, run, no_leak, report):
    names = [f"{run.token}-probed-{number}" for number in range(size("probed"))]
    b = bundle(["sleep", "100000"]).write()
    all_of(run, names, "run", "--detach", "--bundle", b.directory)
    end, rounds, begin = time.monotonic() + size("probing"), 0, time.monotonic()
    before = machine.Counts()
    while time.monotonic() < end:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            assert set(pool.map(lambda name: quietly(run, "exec", name, "true"), names)) == {0}
        rounds += 1
        time.sleep(max(0, begin + rounds * size("every") - time.monotonic()))
    report(f"{len(names)} containers probed", **{"probes": rounds * len(names), "probes a second": rounds * len(names) / (time.monotonic() - begin)})
    assert before.back(rounds * len(names)), before.grown
    for name in names:
        assert len(run("ps", "--format", "json", name).out.split(",")) == 1
    assert set(statuses(run).values()) == {"running"}
    all_of(run, names, "delete", "--force")
    no_leak(len(names))
