"""`update`: new limits for a container that is there, from options and from JSON."""

import json
import os
import stat

import pytest
from limits import PURE_V2, cgroup_file, limit, memory, memory_and_swap, quota

pytestmark = pytest.mark.worlds

MIB = 1 << 20
UNLIMITED = "max" if PURE_V2 else str((1 << 63) - 4096)


@pytest.fixture
def box(bundle):
    """A container with limits that runs."""
    resources = {
        "memory": {"limit": 32 * MIB, "reservation": 24 * MIB},
        "cpu": {"shares": 100, "quota": 500000, "period": 1000000},
        "pids": {"limit": 20},
        "devices": [{"allow": False, "access": "rwm"}],
    }
    return bundle("sleep 100").set("linux.resources", resources).detached()


@pytest.mark.parametrize(
    ("options", "v1", "v2", "value"),
    [
        (["--memory", "50M"], "memory.limit_in_bytes", "memory.max", 50 * MIB),
        (["--memory", "67108864"], "memory.limit_in_bytes", "memory.max", 64 * MIB),
        (["--memory", "0.0625g"], "memory.limit_in_bytes", "memory.max", 64 * MIB),
        (["--memory", "64 MiB"], "memory.limit_in_bytes", "memory.max", 64 * MIB),
        (["--memory-reservation", "16mb"], "memory.soft_limit_in_bytes", "memory.low", 16 * MIB),
        (["--cpu-share", "262144"], "cpu.shares", "cpu.weight", 10000 if PURE_V2 else 262144),
        (["--cpu-idle", "1"], "cpu.idle", "cpu.idle", 1),
        (["--cpuset-cpus", "0"], "cpuset.cpus", "cpuset.cpus", 0),
        (["--cpuset-mems", "0"], "cpuset.mems", "cpuset.mems", 0),
        (["--pids-limit", "12345"], "pids.max", "pids.max", 12345),
        (["--pids-limit", "0"], "pids.max", "pids.max", 1),
        (["--pids-limit=-1"], "pids.max", "pids.max", "max"),
        (["--pids-limit", "-1"], "pids.max", "pids.max", "max"),
    ],
)
def test_options_before_and_after_the_id(run, box, options, v1, v2, value):
    before = limit(box.pid, v1, v2)
    if before is None:
        pytest.skip(f"no {v2 if PURE_V2 else v1} here")
    run("update", box.id, *options)
    assert limit(box.pid, v1, v2) == str(value)
    run("update", *options, box.id)
    assert limit(box.pid, v1, v2) == str(value)


def test_what_is_not_named_stays(run, box):
    cgroup_file(box.pid, "cpu.max.burst" if PURE_V2 else "cpu.cfs_burst_us").write_text("400000")
    run("update", "--memory", "40M", box.id)
    assert limit(box.pid, "cpu.cfs_burst_us", "cpu.max.burst") == "400000"
    assert limit(box.pid, "pids.max", "pids.max") == "20"
    assert limit(box.pid, "memory.soft_limit_in_bytes", "memory.low") == str(24 * MIB)
    assert quota(box.pid) == (500000, 1000000)


def test_quota_and_period(run, box):
    for options, wanted in [
        (["--cpu-period", "900000"], (500000, 900000)),
        (["--cpu-quota", "600000"], (600000, 900000)),
        (["--cpu-burst", "300000"], (600000, 900000)),
        # The burst is not allowed to be above the quota, whichever is written first.
        (["--cpu-quota", "200000", "--cpu-burst", "100000", "--cpu-period", "400000"], (200000, 400000)),
        (["--cpu-quota", "-1"], (-1, 400000)),
        (["--cpu-quota", "30000", "--cpu-period", "100000", "--cpu-burst", "0"], (30000, 100000)),
    ]:
        run("update", *options, box.id)
        assert quota(box.pid) == wanted, options


@pytest.mark.arm64
@pytest.mark.kernels
def test_memory_and_swap_in_the_order_that_works(run, box):
    run("update", "--memory", "30M", "--memory-swap", "50M", box.id)
    if memory_and_swap(box.pid) is None:
        pytest.skip("the kernel does not count swap")
    assert (memory(box.pid), memory_and_swap(box.pid)) == (str(30 * MIB), 50 * MIB)
    run("update", "--memory", "60M", "--memory-swap", "80M", box.id)
    assert (memory(box.pid), memory_and_swap(box.pid)) == (str(60 * MIB), 80 * MIB)
    run("update", "--memory", "20M", "--memory-swap", "25M", box.id)
    assert (memory(box.pid), memory_and_swap(box.pid)) == (str(20 * MIB), 25 * MIB)
    # One of the two: the other is the container's own from before.
    run("update", "--memory", "22M", box.id)
    assert (memory(box.pid), memory_and_swap(box.pid)) == (str(22 * MIB), 25 * MIB)
    run("update", "--memory-swap", "44M", box.id)
    assert (memory(box.pid), memory_and_swap(box.pid)) == (str(22 * MIB), 44 * MIB)


def test_no_limit_of_memory_is_none_of_swap(run, box):
    run("update", "--memory", "30M", "--memory-swap", "50M", box.id)
    if memory_and_swap(box.pid) is None:
        pytest.skip("the kernel does not count swap")
    run("update", "--memory", "-1", box.id)
    assert memory(box.pid) == UNLIMITED
    assert limit(box.pid, "memory.memsw.limit_in_bytes", "memory.swap.max") == UNLIMITED
    # A limit of both from before does not come back.
    run("update", "--memory", "60M", box.id)
    assert memory(box.pid) == str(60 * MIB)


@pytest.mark.parametrize("source", ["file", "stdin"])
def test_resources_as_json(run, box, tmp_path, source):
    named = {
        "memory": {"limit": 48 * MIB, "reservation": None},
        "cpu": {"quota": 400000, "period": 800000, "cpus": "", "idle": None},
        "pids": {"limit": 30},
        "blockIO": {},
        "devices": [{"allow": True, "access": "rwm"}],
    }
    if source == "file":
        path = tmp_path / "resources.json"
        path.write_text(json.dumps(named))
        run("update", "--resources", path, box.id)
    else:
        run("update", "-r", "-", box.id, stdin=json.dumps(named))
    assert memory(box.pid) == str(48 * MIB)
    assert quota(box.pid) == (400000, 800000)
    assert limit(box.pid, "pids.max", "pids.max") == "30"
    # Device rules are no limits: they stay.
    (box.bundle.rootfs / "tmp/disk").unlink(missing_ok=True)
    os.mknod(box.bundle.rootfs / "tmp/disk", stat.S_IFBLK | 0o600, os.makedev(254, 0))
    assert "not permitted" in box.exec("cat", "/tmp/disk", code=1).err


def test_a_second_update_sees_the_first(run, box):
    """And the saved config what both have made."""
    run("update", "--memory", "40M", box.id)
    run("update", "--pids-limit", "25", box.id)
    run("update", "-r", "-", box.id, stdin='{"cpu": {"shares": 512}}')
    saved = json.loads((run.root / box.id / "config.json").read_text())["linux"]["resources"]
    assert saved["memory"] == {"limit": 40 * MIB, "reservation": 24 * MIB}
    assert saved["pids"] == {"limit": 25}
    assert saved["cpu"] == {"shares": 512, "quota": 500000, "period": 1000000}
    assert saved["devices"] == [{"allow": False, "access": "rwm"}]


def test_block_devices_add_up(run, box):
    file = "io.max" if PURE_V2 else "blkio.throttle.read_bps_device"
    if not cgroup_file(box.pid, file).exists():
        pytest.skip(f"no {file} here")
    with open("/proc/partitions") as lines:
        major, minor = next(line.split()[:2] for line in lines if line.split()[-1:] in (["vda"], ["sda"]))
    for rate in (2000000, 1000000):
        entry = {"major": int(major), "minor": int(minor), "rate": rate}
        run("update", "-r", "-", box.id, stdin=json.dumps({"blockIO": {"throttleReadBpsDevice": [entry]}}))
        assert str(rate) in cgroup_file(box.pid, file).read_text()
    saved = json.loads((run.root / box.id / "config.json").read_text())
    assert saved["linux"]["resources"]["blockIO"]["throttleReadBpsDevice"] == [entry]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--memory", "x"], "invalid value for memory: invalid size: 'x'"),
        (["--memory", "-5"], "invalid value for memory: invalid size: '-5'"),
        (["--memory", "5q"], "invalid value for memory: invalid suffix: 'q'"),
        (["--memory-swap", "1.2.3M"], "invalid value for memory-swap: invalid size: '1.2.3M'"),
        (["--cpu-period", "x"], 'invalid value for cpu-period: strconv.ParseUint: parsing "x": invalid syntax'),
        (["--cpu-quota", "1.5"], 'invalid value for cpu-quota: strconv.ParseInt: parsing "1.5": invalid syntax'),
        (["--cpu-share", str(1 << 64)], f'invalid value for cpu-share: strconv.ParseUint: parsing "{1 << 64}": value out of range'),
        (["--cpu-idle", "2"], "update: resources.cpu.idle: "),
        (["--cpuset-cpus", "999"], "update: resources.cpu.cpus: "),
        (["--l3-cache-schema", "L3:0=f"], "Intel RDT/CAT: l3 cache schema is not enabled"),
        (["--mem-bw-schema", "MB:0=20"], "Intel RDT/MBA: memory bandwidth schema is not enabled"),
        (["--resources", "/no/such/file"], "/no/such/file: no such file or directory"),
    ],
)
def test_what_is_refused_changes_nothing(run, box, options, message):
    before = (run.root / box.id / "config.json").read_text()
    result = run("update", *options, box.id, code=1)
    assert result.err.startswith(f"pyrun: {message}"), result.err
    assert result.err.count("\n") == 1
    assert (run.root / box.id / "config.json").read_text() == before


def test_limits_that_were_set_before_one_is_refused_are_put_back(run, box):
    run("update", "--pids-limit", "10", "--cpuset-cpus", "999", box.id, code=1)
    assert limit(box.pid, "pids.max", "pids.max") == "20"


LIMITS = [
    ("pids.max", "pids.max"), ("memory.limit_in_bytes", "memory.max"), ("memory.soft_limit_in_bytes", "memory.low"), ("cpu.shares", "cpu.weight"),
    ("cpu.cfs_quota_us", "cpu.max"), ("cpuset.cpus", "cpuset.cpus.effective"),
]  # fmt: skip


def test_limits_that_the_config_has_not_are_put_back_too(run, bundle):
    """The refused one is the last to be written."""
    box = bundle("sleep 100").detached()
    before = [limit(box.pid, *names) for names in LIMITS]
    named = {
        "pids": {"limit": 33}, "memory": {"limit": 64 * MIB, "reservation": 32 * MIB}, "cpu": {"shares": 512, "quota": 50000, "cpus": "0"},
        "hugepageLimits": [{"pageSize": "3MB", "limit": 5}],
    }  # fmt: skip
    assert "hugepageLimits[0]" in run("update", "-r", "-", box.id, stdin=json.dumps(named), code=1).err
    assert [limit(box.pid, *names) for names in LIMITS] == before
    del named["hugepageLimits"]
    run("update", "-r", "-", box.id, stdin=json.dumps(named))
    assert [limit(box.pid, *names) for names in LIMITS] != before


def test_what_resources_do_not_know_is_left_out(run, box):
    run("update", "-r", "-", box.id, stdin='{"x": [[[1]]], "pids": {"limit": 44, "y": [[2]]}}')
    assert limit(box.pid, "pids.max", "pids.max") == "44"
    resources = json.loads((run.root / box.id / "config.json").read_text())["linux"]["resources"]
    assert "x" not in resources
    assert resources["pids"] == {"limit": 44}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "-: syntax error: line 1"),
        ("[]", "-: must be an object"),
        ('{"memory": {"limit": "5"}}', "-: memory.limit: must be an integer"),
        (
            '{"memory": {"swap": 1048576, "limit": 2097152}}',
            "memory+swap limit should be >= memory limit" if PURE_V2 else "the limit of memory alone must not be higher",
        ),
    ],
)
def test_bad_json(run, box, text, message):
    result = run("update", "-r", "-", box.id, stdin=text, code=1)
    assert message in result.err


def test_checked_before_memory_is_taken_away(run, box):
    if not PURE_V2:
        pytest.skip("cgroup v1 refuses by itself a limit below what is used")
    for memory_limits, message in [
        ({"limit": 4096}, "rejecting memory limit"),
        ({"limit": 4096, "swap": 8192}, "rejecting memory+swap limit"),
    ]:
        text = json.dumps({"memory": memory_limits | {"checkBeforeUpdate": True}})
        assert message in run("update", "-r", "-", box.id, stdin=text, code=1).err
    assert '"running"' in run("state", box.id).out


def test_created_and_paused_containers_can_be_updated_stopped_ones_not(run, bundle):
    c = bundle("sleep 100").create()
    run("update", "--pids-limit", "30", c.id)
    c.start()
    run("pause", c.id)
    run("update", "--pids-limit", "31", c.id)
    assert '"paused"' in run("state", c.id).out
    assert limit(c.pid, "pids.max", "pids.max") == "31"
    run("resume", c.id)
    c.kill("KILL")
    c.wait()
    assert run("update", "--pids-limit", "32", c.id, code=1).err == "pyrun: container not running\n"


def test_kernel_memory_is_ignored_with_a_warning(run, box):
    result = run("update", "--kernel-memory", "50M", "--memory", "40M", box.id)
    assert "Kernel memory settings are ignored and will be removed" in result.err
    assert memory(box.pid) == str(40 * MIB)


def test_real_time(run, box):
    if not cgroup_file(box.pid, "cpu.rt_runtime_us").exists():
        message = run("update", "--cpu-rt-period", "900000", box.id, code=1).err
        assert "cpu.realtimePeriod" in message
        return
    run("update", "--cpu-rt-period", "900000", "--cpu-rt-runtime", "0", box.id)
    assert limit(box.pid, "cpu.rt_period_us", "") == "900000"
