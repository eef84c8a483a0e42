"""--systemd-cgroup: the container is a unit of systemd, and as limited as without it. Where no systemd runs that is said."""

import json
import pathlib
import signal
import socket
import subprocess
import time

import pytest
from harness import Runner, cgroups_named, until
from limits import PURE_V2, ROOT, cgroup_file
from looks import one_line as only_line

pytestmark = pytest.mark.systemd

RUNNING = pathlib.Path("/run/systemd/system").is_dir()
needs_systemd = pytest.mark.skipif(not RUNNING, reason="systemd is not running here")
needs_v2 = pytest.mark.skipif(not PURE_V2, reason="cgroup v2 has these files")
MIB = 1 << 20
DENY_ALL = {"allow": False, "access": "rwm"}
KMSG = {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}


class SystemdRunner(Runner):
    def command(self, *args, root=True):
        return super().command("--systemd-cgroup", *args, root=root)


@pytest.fixture
def run(pyrun, tmp_path, token):
    return SystemdRunner(pyrun, tmp_path, token)


@pytest.fixture(autouse=True)
def no_unit_is_left(token):
    yield
    if RUNNING:
        assert units(token) == []


def one_line(result, *words):
    line = only_line(result)
    assert all(word in line for word in words), line


def systemctl(*args):
    return subprocess.check_output(["systemctl", *args], text=True)


def units(word):
    return systemctl("list-units", "--all", "--plain", "--no-legend", f"*{word}*").split("\n")[:-1]


def shown(unit, *names):
    """{property: text} of a unit."""
    text = systemctl("show", unit, *(f"--property={name}" for name in names))
    return dict(line.split("=", 1) for line in text.splitlines())


def scope(container):
    return f"pyrun-{container.id}.scope"


def place(pid):
    """Where a process is in every hierarchy (set of str)."""
    return {line.split(":", 2)[2] for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()}


# --- no systemd, or a bad one -----------------------------------------------------------------------------------------


@pytest.mark.skipif(RUNNING, reason="systemd runs here")
def test_where_no_systemd_runs_that_is_said_at_once(bundle, leftovers):
    started = time.monotonic()
    one_line(bundle("true").call("create", code=1), "--systemd-cgroup: no systemd runs here", "start without the option")
    assert time.monotonic() - started < 5
    assert leftovers() == []


@pytest.fixture
def bus(tmp_path, monkeypatch, run):
    """A socket where the system's bus is looked for, and a /run that says that systemd runs."""
    directory = pathlib.Path("/run/systemd")
    directory.mkdir(exist_ok=True)
    command = run.command
    script = "mount -t tmpfs none /run/systemd && mkdir /run/systemd/system && exec \"$@\""
    monkeypatch.setattr(run, "command", lambda *args, **more: ["unshare", "--mount", "sh", "-c", script, "sh", *command(*args, **more)])
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/bus")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "bus"))
        yield sock


def test_a_bus_that_nobody_serves(bundle, bus, tmp_path, leftovers):
    one_line(bundle("true").call("create", code=1), f"--systemd-cgroup: systemd cannot be reached: {tmp_path}/bus: connection refused")
    assert leftovers() == []


def test_a_bus_that_never_answers_is_given_up(bundle, bus, tmp_path, leftovers):
    bus.listen(5)
    started = time.monotonic()
    refused = bundle("true").call("create", code=1, timeout=60)
    one_line(refused, f"--systemd-cgroup: systemd does not answer: {tmp_path}/bus: no answer in time")
    assert 25 < time.monotonic() - started < 50
    assert leftovers() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_command_that_waits_for_systemd_can_be_ended(bundle, run, bus, leftovers, number):
    bus.listen(5)
    made = bundle("true").write()
    name = run.new_id()
    with subprocess.Popen(run.command("create", "--bundle", made.directory, name)) as process, bus.accept()[0]:
        until((run.root / name / "state.json").exists)
        process.send_signal(number)
        assert process.wait(10) == (143 if number == signal.SIGTERM else -number)
    if number == signal.SIGKILL:
        run("delete", "--force", name)
    assert leftovers() == []


# --- the configuration ------------------------------------------------------------------------------------------------


@needs_systemd
@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("linux.cgroupsPath", "/a/b", "linux.cgroupsPath: '/a/b': with --systemd-cgroup it is SLICE:PREFIX:NAME"),
        ("linux.cgroupsPath", "a/b.slice:p:n", "linux.cgroupsPath: 'a/b.slice' is no name of a slice"),
        ("annotations", {"org.systemd.property.TimeoutStopSec": "'x'"}, "annotations.org.systemd.property.TimeoutStopSec: "),
        ("annotations", {"org.systemd.property.NoSuchProperty": "true"}, "systemd refuses unit pyrun-"),
        ("linux.resources.pids", {"limit": "x"}, "linux.resources.pids.limit"),
    ],
)
def test_a_wrong_config_makes_no_unit(bundle, leftovers, path, value, words):
    one_line(bundle("true").set(path, value).call("create", code=1), words)
    assert leftovers() == []


# --- the unit ---------------------------------------------------------------------------------------------------------


@needs_systemd
def test_a_scope_of_its_own_in_the_slice_that_is_asked_for(bundle, token, run):
    b = bundle("sleep 1000").set("linux.cgroupsPath", f"{token.replace('-', '')}-sub.slice:box:{token}")
    b.set("annotations", {"org.systemd.property.TimeoutStopSec": "uint64 7", "org.systemd.property.Description": "'a b'"})
    container = b.detached()
    word = token.replace("-", "")
    expected = f"/{word}.slice/{word}-sub.slice/box-{token}.scope"
    name = f"box-{token}.scope"
    assert place(container.pid) == {expected}
    assert shown(name, "ControlGroup", "Slice", "Delegate", "ActiveState", "Description", "TimeoutStopUSec", "DefaultDependencies") == {
        "ControlGroup": expected, "Slice": f"{word}-sub.slice", "Delegate": "yes", "ActiveState": "active", "Description": "a b",
        "TimeoutStopUSec": "7s", "DefaultDependencies": "no",
    }  # fmt: skip
    # Nobody but the container is in it.
    assert (ROOT / expected[1:] / "cgroup.procs").read_text().split() == [str(container.pid)]
    assert container.exec("cat", "/proc/self/cgroup").out.count(name) == len(pathlib.Path("/proc/self/cgroup").read_text().splitlines())
    container.exec("sh", "-c", "sleep 500 & exit 0")
    assert len(run("ps", "--format", "json", container.id).out.strip("[]\n").split(",")) == 2
    container.delete("--force")
    assert units(token) == []
    systemctl("stop", f"{word}.slice")


@needs_systemd
def test_a_name_that_ends_in_slice_is_the_unit(bundle, token):
    word = token.replace("-", "")
    container = bundle("sleep 1000").set("linux.cgroupsPath", f"{word}.slice:any:{word}-box.slice").detached()
    assert place(container.pid) == {f"/{word}.slice/{word}-box.slice"}
    assert shown(f"{word}-box.slice", "ActiveState")["ActiveState"] == "active"
    container.delete("--force")
    assert units(f"{word}-box") == []
    systemctl("stop", f"{word}.slice")


@needs_systemd
@needs_v2
def test_exec_may_join_a_cgroup_below(bundle):
    container = bundle("sleep 1000").detached()
    cgroup_file(container.pid, "cgroup.procs").parent.joinpath("sub").mkdir()
    assert container.exec("cat", "/proc/self/cgroup", flags=["--cgroup", "sub"]).out.strip().endswith(f"{scope(container)}/sub")
    container.delete("--force")


@needs_systemd
def test_the_name_of_a_unit_that_runs_is_taken(bundle, token, leftovers):
    path = f"system.slice:{token}:box"
    first = bundle("sleep 1000").set("linux.cgroupsPath", path).detached()
    for command in ("create", "run"):
        refused = bundle("true").set("linux.cgroupsPath", path).call(command, code=1)
        one_line(refused, f"container's cgroup is not empty: unit {token}-box.scope exists")
    assert first.exec("echo", "alive").out == "alive\n"
    first.delete("--force")
    assert leftovers() == []


@needs_systemd
def test_a_unit_that_has_failed_is_no_hindrance(bundle, token):
    """systemd keeps a failed unit until it is reset."""
    name = f"{token}-box"
    subprocess.run(["systemd-run", "--scope", f"--unit={name}", "--property=RuntimeMaxSec=1", "sleep", "1000"], check=False, capture_output=True)
    assert shown(f"{name}.scope", "ActiveState")["ActiveState"] == "failed"
    container = bundle("sleep 1000").set("linux.cgroupsPath", f":{token}:box").detached()
    assert place(container.pid) == {f"/system.slice/{name}.scope"}
    container.delete("--force")


@needs_systemd
def test_a_container_that_cannot_be_made_leaves_nothing(bundle, leftovers):
    assert "no such file" in bundle(["/none"]).call("run", code=1).err.lower()
    assert leftovers() == []
    hook = {"createRuntime": [{"path": "/bin/false"}]}
    assert "/bin/false failed" in bundle("true").set("hooks", hook).call("create", code=1).err
    assert leftovers() == []
    impossible = {"cpu": {"cpus": "4000"}}
    assert "cpuset.cpus" in bundle("true").set("linux.resources", impossible).call("create", code=1).err
    assert leftovers() == []


@needs_systemd
def test_many_at_once(bundle, run, leftovers):
    bundles = [bundle("true").write() for _ in range(12)]
    names = [run.new_id() for _ in bundles]
    commands = [run.command("run", "--bundle", made.directory, name) for made, name in zip(bundles, names, strict=True)]
    processes = [subprocess.Popen(command, stdin=subprocess.DEVNULL) for command in commands]
    assert [process.wait(120) for process in processes] == [0] * len(processes)
    assert leftovers() == []


@needs_systemd
def test_the_end_of_the_program_is_the_end_of_the_scope(bundle):
    container = bundle("sleep 1000").detached()
    container.kill("KILL")
    container.wait()
    until(lambda: units(container.id) == [])
    assert container.status() == "stopped"
    container.delete()
    assert cgroups_named(container.id) == []


@needs_systemd
def test_killed_for_want_of_memory(bundle):
    """A failed unit is not kept either."""
    b = bundle("dd if=/dev/zero of=/dev/shm/x bs=1M count=100").set("linux.resources.memory", {"limit": 20 * MIB, "swap": 20 * MIB})
    b.mount("/dev/shm", type="tmpfs", source="shm", options=["size=200m"])
    assert b.run(code=None).code != 0
    assert units(b.runner.token) == []


# --- limits -----------------------------------------------------------------------------------------------------------


RESOURCES = {
    "memory": {"limit": 64 * MIB, "reservation": 32 * MIB, "swap": 96 * MIB},
    "cpu": {"shares": 512, "quota": 12345, "period": 50000, "burst": 1000, "cpus": "0", "mems": "0"},
    "pids": {"limit": 20},
    "unified": {"memory.high": "63M"},
    "devices": [DENY_ALL, KMSG],
}
FILES = [
    "memory.max", "memory.high", "memory.low", "memory.swap.max", "cpu.weight", "cpu.max", "cpu.max.burst", "cpu.idle",
    "pids.max", "cpuset.cpus", "cpuset.mems",
]  # fmt: skip


def settings(pid):
    paths = {name: cgroup_file(pid, name) for name in FILES}
    return {name: path.read_text() for name, path in paths.items() if path.exists()}


@needs_systemd
@needs_v2
def test_limits_are_those_of_the_files_and_systemd_keeps_them(bundle, run, pyrun, tmp_path, token):
    by_files = tmp_path / "by-files"
    by_files.mkdir()
    plain = Runner(pyrun, by_files, token)
    b = bundle("sleep 1000").set("linux.resources", RESOURCES)
    container = b.detached()
    other = f"{token}-other"
    plain("run", "--detach", "--bundle", b.directory, other)
    expected = settings(json.loads(plain("state", other).out)["pid"])
    assert settings(container.pid) == expected
    name = scope(container)
    assert shown(name, "MemoryMax", "MemoryLow", "MemoryHigh", "MemorySwapMax", "CPUWeight", "TasksMax", "AllowedCPUs", "AllowedMemoryNodes",
                 "CPUQuotaPerSecUSec", "CPUQuotaPeriodUSec", "DevicePolicy") == {
        "MemoryMax": str(64 * MIB), "MemoryLow": str(32 * MIB), "MemoryHigh": str(63 * MIB), "MemorySwapMax": str(32 * MIB),
        "CPUWeight": expected["cpu.weight"].strip(), "TasksMax": "20", "AllowedCPUs": "0", "AllowedMemoryNodes": "0",
        "CPUQuotaPerSecUSec": "250ms", "CPUQuotaPeriodUSec": "50ms", "DevicePolicy": "strict",
    }  # fmt: skip
    # Another change of the unit, and a reload, make systemd write what it has in mind.
    systemctl("set-property", "--runtime", name, "MemoryMin=1M")
    systemctl("daemon-reload")
    kept = settings(container.pid)
    assert {**kept, "cpu.max": ""} == {**expected, "cpu.max": ""}
    assert kept["cpu.max"] in (expected["cpu.max"], "12500 50000\n")
    plain("delete", "--force", other)
    container.delete("--force")


@needs_systemd
def test_a_reload_takes_no_device_away(bundle):
    b = bundle("sleep 1000").set("linux.resources.devices", [DENY_ALL, KMSG])
    b.set("linux.devices", [{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}, {"path": "/dev/mem", "type": "c", "major": 1, "minor": 1}])
    b.config["process"]["capabilities"]["bounding"] += ["CAP_SYS_RAWIO", "CAP_SYS_ADMIN", "CAP_SYSLOG"]
    b.config["process"]["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), b.config["process"]["capabilities"]["bounding"])
    container = b.detached()
    script = "for file in null zero urandom kmsg; do : </dev/$file || echo no $file; done; : >/dev/null; : <>/dev/ptmx; : </dev/mem"

    def tries():
        done = container.exec("sh", "-c", script, code=None)
        assert "no " not in done.out
        assert "/dev/mem: Operation not permitted" in done.err
        assert done.err.count("can't") == 1

    tries()
    systemctl("daemon-reload")
    tries()
    container.delete("--force")


@needs_systemd
@needs_v2
def test_update_tells_systemd_too(bundle, run):
    container = bundle("sleep 1000").set("linux.resources", {"pids": {"limit": 20}, "memory": {"limit": 64 * MIB}}).detached()
    name = scope(container)
    run("update", "--memory", "80M", "--cpu-quota", "20000", "--pids-limit", "0", container.id)
    assert shown(name, "MemoryMax", "TasksMax", "CPUQuotaPerSecUSec") == {
        "MemoryMax": str(80 * MIB), "TasksMax": "1", "CPUQuotaPerSecUSec": "200ms",
    }  # fmt: skip
    assert settings(container.pid)["pids.max"] == "1\n"
    run("update", "--pids-limit", "-1", container.id)
    assert shown(name, "TasksMax")["TasksMax"] == "infinity"
    assert settings(container.pid)["pids.max"] == "max\n"
    run("update", "--cpu-idle", "1", container.id)
    run("update", "--cpu-period", "10000", container.id)
    assert settings(container.pid)["cpu.idle"] == "1\n"
    assert settings(container.pid)["cpu.max"] == "20000 10000\n"
    run("update", "--cpu-idle", "0", container.id)
    run("update", "--cpu-period", "20000", container.id)
    assert (settings(container.pid)["cpu.idle"], settings(container.pid)["cpu.weight"]) == ("0\n", "100\n")
    refused = run("update", "--cpuset-cpus", "4000", container.id, code=1)
    assert "cpuset.cpus" in refused.err
    container.delete("--force")
