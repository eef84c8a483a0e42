"""`events`: statistics and OOM, as lines of JSON."""

import json
import os
import pathlib
import shutil
import subprocess

import pytest
from harness import OPTIONS, SYSTEMD, until
from limits import PURE_V2, cgroup_file, memory

pytestmark = pytest.mark.worlds

MIB = 1 << 20
# Memory that busybox really takes: one string of the shell.
EAT = "exec dd if=/dev/zero of=/dev/null bs=100000000 count=1"


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def stats(run, container):
    [line] = lines(run("events", "--stats", container.id).out)
    assert list(line) == ["type", "id", "data"]
    assert (line["type"], line["id"]) == ("stats", container.id)
    return line["data"]


@pytest.fixture
def follow(run, tmp_path):
    """follow(id, options…): `events` in the background; .text() is what it has printed."""
    started = []

    def start(*args):
        path = tmp_path / f"events-{len(started)}"
        with open(path, "wb") as file:
            process = subprocess.Popen(run.command("events", *args), stdout=file, stderr=subprocess.STDOUT)
        process.text = path.read_text
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_stats_tell_what_the_container_uses(bundle, run):
    c = bundle("sleep 100 & i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo done; wait").set("linux.resources.pids.limit", 50)
    c = c.set("linux.resources.memory", {"limit": 64 * MIB}).detached()
    until(lambda: "done" in c.out)
    data = stats(run, c)
    assert list(data) == ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"]
    assert data["cpu"]["usage"]["total"] > 1_000_000
    for name in ("cpus", "mems"):
        # On cgroup v2 runc prints none.
        assert data["cpuset"].get(name, [0])[0] == 0
    assert data["intel_rdt"] == {}
    assert data["network_interfaces"] is None
    if cgroup_file(c.pid, "pids.max").exists():
        assert data["pids"] == {"current": 2, "limit": 50}
        assert data["memory"]["usage"]["limit"] == int(memory(c.pid)) == 64 * MIB
        assert 0 < data["memory"]["usage"]["usage"] <= data["memory"]["usage"]["max"] < 64 * MIB
        assert data["memory"]["raw"]["pgfault"] > 0


# What depends on disk and page cache and huge pages; and what Debian's runc does not know yet.
UNEQUAL = ("blkio", "cache", "hugetlb", "psi", *(["max"] if PURE_V2 else []))


def shape(value):
    """The keys of the JSON, but for those whose value is 0: they may be left out."""
    if isinstance(value, dict):
        inner = {key: shape(member) for key, member in value.items() if key not in UNEQUAL}
        return {key: keys for key, keys in inner.items() if keys}
    return "list" if isinstance(value, list) and value else "number" if value else None


def used(data):
    """Whether it has taken time in the kernel and outside of it: these have a resolution (v1: 10 ms), and what is 0 may have no key."""
    usage = data["cpu"].get("usage", {})
    return usage.get("kernel", 0) and usage.get("user", 0)


def test_the_keys_are_runcs(bundle, run, tmp_path):
    """Of a container of the same config; what is 0 in one of the two is not compared."""
    runc = shutil.which("runc")
    if not runc:
        pytest.skip("runc is not installed")
    b = bundle("while [ ! -e /enough ]; do :; done; exec sleep 100")
    mine = b.detached()
    name = run.new_id()

    def call(*words, **output):
        done = subprocess.run([runc, *OPTIONS, "--root", tmp_path / "runc", *words], stdin=subprocess.DEVNULL, check=True, **output)
        return done.stdout

    # Of pipes the container would hold the other end.
    call("run", "-d", "-b", b.directory, name, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: used(stats(run, mine)) and used(lines(call("events", "--stats", name, stdout=subprocess.PIPE).decode())[0]["data"]))
        (b.rootfs / "enough").touch()
        for pid in (mine.pid, json.loads(call("state", name, stdout=subprocess.PIPE))["pid"]):
            comm = pathlib.Path(f"/proc/{pid}/comm")
            until(lambda comm=comm: comm.read_text() == "sleep\n", what="the loop is over")
        text, pids, state = (call(*words, name, stdout=subprocess.PIPE) for words in (["events", "--stats"], ["ps", "-f", "json"], ["state"]))
    finally:
        call("delete", "-f", name)
        shutil.rmtree(tmp_path / "runc")
    assert len(json.loads(pids)) == len(json.loads(run("ps", "-f", "json", mine.id).out)) == 1
    assert list(json.loads(run("state", mine.id).out)) == list(json.loads(state))
    theirs, ours = lines(text.decode())[0]["data"], stats(run, mine)
    assert list(ours) == list(theirs)
    assert list(ours["memory"].pop("raw")) == list(theirs["memory"].pop("raw"))
    assert shape(ours) == shape(theirs)


def test_lines_in_an_interval_until_the_container_ends(bundle, run, follow):
    c = bundle("sleep 100").detached()
    log = follow(c.id, "--interval", "100ms")
    until(lambda: log.text().count("\n") >= 3)
    assert log.poll() is None
    c.kill("KILL")
    c.wait()
    assert log.wait(10) == 0
    assert {line["type"] for line in lines(log.text())} == {"stats"}


def test_it_ends_with_delete(bundle, run, follow):
    c = bundle("sleep 100").detached()
    log = follow("--interval=50ms", c.id)
    until(lambda: c.id in log.text())
    c.delete("--force")
    assert log.wait(10) == 0


# systemd removes a cgroup with its last process, and the kernel's counter goes with it: who looks later cannot know.
@pytest.mark.parametrize("whose", ["exec"] if SYSTEMD else ["init", "exec"])
def test_memory_runs_out(bundle, run, follow, whose):
    b = bundle(f"read go </go; {EAT}" if whose == "init" else "sleep 100")
    b.set("linux.resources.memory", {"limit": 32 * MIB, "swap": 32 * MIB})
    os.mkfifo(b.rootfs / "go")
    c = b.detached()
    if memory(c.pid) is None:
        pytest.skip("nothing counts memory here")
    log = follow("--interval", "50ms", c.id)
    until(lambda: "stats" in log.text())
    if whose == "init":
        (b.rootfs / "go").write_text("now\n")
        c.wait()
    else:
        assert c.exec("sh", "-c", EAT, code=None).code != 0
        until(lambda: '{"type":"oom"' in log.text())
        c.kill("KILL")
        c.wait()
    assert log.wait(10) == 0
    assert f'{{"type":"oom","id":"{c.id}"}}\n' in log.text()


def test_pressure(bundle, run):
    c = bundle("while :; do :; done").set("linux.resources.cpu", {"quota": 1000, "period": 100000}).detached()
    if not PURE_V2 or not cgroup_file(c.pid, "cpu.pressure").exists():
        pytest.skip("no PSI here")
    until(lambda: stats(run, c)["cpu"].get("psi"))
    assert set(stats(run, c)["cpu"]["psi"]["some"]) == {"avg10", "avg60", "avg300", "total"}


@pytest.mark.parametrize("interval", ["0", "0s", "-5s", "x", "5", "5s5", "1.2.3s", ".s", ""])
def test_odd_intervals(bundle, run, interval):
    c = bundle("sleep 100").detached()
    result = run("events", "--stats", f"--interval={interval}", c.id, code=0 if not interval else 1)
    if interval:
        wanted = "duration interval must be greater than 0" if interval in ("0", "0s", "-5s") else f'invalid value "{interval}" for flag -interval'
        assert result.err.startswith(f"pyrun: {wanted}")


def test_a_stopped_container(bundle, run):
    c = bundle("true").detached()
    c.wait()
    assert run("events", c.id, code=1).err == f"pyrun: container with id {c.id} is not running\n"
    assert run("events", "--stats", c.id, code=1).err == f"pyrun: container with id {c.id} is not running\n"
