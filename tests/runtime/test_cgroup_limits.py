"""What is written for each limit, and that it holds."""

import contextlib
import ctypes
import os
import pathlib
import signal

import pytest
from cgroup_worlds import MIB, Missing, answer, ended, spawn, value

from pyrun.base.errors import ConfigError

pytestmark = pytest.mark.worlds

# needs, resources, {file of v1: text}, {file of v2: text}
LIMITS = [
    ("pids", {"pids": {"limit": 12}}, {"pids.max": "12"}, {"pids.max": "12"}),
    ("pids", {"pids": {"limit": 0}}, {"pids.max": "1"}, {"pids.max": "1"}),
    ("pids", {"pids": {"limit": -1}}, {"pids.max": "max"}, {"pids.max": "max"}),
    ("pids", {}, {"pids.max": "max"}, {"pids.max": "max"}),
    (
        "memory",
        {"memory": {"limit": 64 * MIB, "reservation": 32 * MIB, "swappiness": None, "disableOOMKiller": False}},
        {"memory.limit_in_bytes": str(64 * MIB), "memory.soft_limit_in_bytes": str(32 * MIB)},
        {"memory.max": str(64 * MIB), "memory.low": str(32 * MIB)},
    ),
    ("cpu", {"cpu": {"shares": 512}}, {"cpu.shares": "512"}, {"cpu.weight": "59"}),
    (
        "cpu",
        {"cpu": {"quota": 50000, "period": 200000, "burst": 20000}},
        {"cpu.cfs_quota_us": "50000", "cpu.cfs_period_us": "200000", "cpu.cfs_burst_us": "20000"},
        {"cpu.max": "50000 200000", "cpu.max.burst": "20000"},
    ),
    ("cpu", {"cpu": {"quota": 5000}}, {"cpu.cfs_quota_us": "5000"}, {"cpu.max": "5000 100000"}),
    ("cpu", {"cpu": {"period": 50000}}, {"cpu.cfs_period_us": "50000"}, {"cpu.max": "max 50000"}),
    ("cpu", {"cpu": {"idle": 1}}, {"cpu.idle": "1"}, {"cpu.idle": "1"}),
    ("cpuset", {"cpu": {"cpus": "0", "mems": "0"}}, {"cpuset.cpus": "0", "cpuset.mems": "0"}, {"cpuset.cpus": "0", "cpuset.mems": "0"}),
]


@pytest.mark.arm64
@pytest.mark.parametrize(("needs", "resources", "v1", "v2"), LIMITS, ids=[str(row[1]) for row in LIMITS])
def test_limits(inside, needs, resources, v1, v2):
    def body(world):
        group = world.make(resources, [needs])
        for file, text in (v1 if needs in group.paths else v2).items():
            assert value(group, file) == text
        group.delete()

    inside(body)


def test_v1_only_limits(inside):
    """Swap, swappiness, OOM killer, kernel memory, real time: files of v1."""

    def body(world):
        group = world.make({}, ["memory", "cpu"])
        if "memory" not in group.paths:
            group.delete()
            raise Missing("memory of v1")
        memory = {"limit": 64 * MIB, "swap": 96 * MIB, "swappiness": 7, "disableOOMKiller": True, "kernel": -1, "useHierarchy": True}
        group.apply({"memory": memory | {"kernelTCP": 8 * MIB}})
        assert value(group, "memory.memsw.limit_in_bytes") == str(96 * MIB)
        assert value(group, "memory.swappiness") == "7"
        assert "oom_kill_disable 1" in value(group, "memory.oom_control")
        assert value(group, "memory.kmem.tcp.limit_in_bytes") == str(8 * MIB)
        group.apply({"memory": {"disableOOMKiller": False}})
        assert "oom_kill_disable 0" in value(group, "memory.oom_control")
        if os.path.exists(group.paths["cpu"] + "/cpu.rt_runtime_us"):
            group.apply({"cpu": {"realtimePeriod": 900000, "realtimeRuntime": 6000}})
            group.apply({"cpu": {"realtimePeriod": 5000, "realtimeRuntime": 100}})
            assert (value(group, "cpu.rt_period_us"), value(group, "cpu.rt_runtime_us")) == ("5000", "100")
            group.apply({"cpu": {"realtimePeriod": 900000, "realtimeRuntime": 6000}})
            assert (value(group, "cpu.rt_period_us"), value(group, "cpu.rt_runtime_us")) == ("900000", "6000")
        group.delete()

    inside(body)


def test_throttles(inside):
    """The first disk of the machine, read and written, in bytes and operations."""

    def body(world):
        group = world.make({}, ["io" if world.layout == "v2" else "blkio"])
        disks = [path for path in pathlib.Path("/sys/block").iterdir() if path.name.startswith(("vd", "sd", "nvme"))]
        if not disks:
            group.delete()
            raise Missing("disk")
        device = (disks[0] / "dev").read_text().strip()
        major, minor = map(int, device.split(":"))
        names = ("ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS")
        section = {f"throttle{name}Device": [{"major": major, "minor": minor, "rate": 1000 + i}] for i, name in enumerate(names)}
        group.apply({"blockIO": section})
        if "blkio" in group.paths:
            for name, rate in zip(("read_bps", "write_bps", "read_iops", "write_iops"), range(1000, 1004), strict=True):
                assert value(group, f"blkio.throttle.{name}_device") == f"{device} {rate}"
        else:
            assert value(group, "io.max") == f"{device} rbps=1000 wbps=1001 riops=1002 wiops=1003"
        group.apply({"blockIO": {name: [entry[0] | {"rate": 0}] for name, entry in section.items()}})
        assert value(group, "blkio.throttle.read_bps_device", "io.max") == ""
        group.delete()

    inside(body)


def test_hugepages(inside):
    """On a hybrid machine hugetlb may be a controller of v2: it is switched on when it is asked for."""

    def body(world):
        group = world.open()
        group.create()
        group.apply({})
        sizes = [path.name for path in pathlib.Path("/sys/kernel/mm/hugepages").glob("hugepages-2048kB")]
        page = {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}
        try:
            if not sizes:
                raise Missing("2 MB pages, hugetlb")
            group.apply(page)
        except ConfigError as fault:
            assert "hugepageLimits[0]" in str(fault)
            raise Missing("hugetlb") from None
        else:
            assert value(group, "hugetlb.2MB.max", "hugetlb.2MB.limit_in_bytes") == str(4 * MIB)
            assert value(group, "hugetlb.2MB.rsvd.max", "hugetlb.2MB.rsvd.limit_in_bytes") == str(4 * MIB)
        finally:
            group.delete()

    inside(body)


def test_memory_limits_in_any_order(inside):
    """runc#592: the new values fit each other, whatever the old ones were."""

    def body(world):
        group = world.make({}, ["memory"])
        for limit, swap in ((30, 50), (60, 80), (30, 50), (100, 100), (20, 200), (-1, -1), (30, 30)):
            sizes = {"limit": limit * MIB if limit > 0 else -1, "swap": swap * MIB if swap > 0 else -1}
            group.apply({"memory": sizes})
            if "memory" in group.paths and limit > 0:
                assert value(group, "memory.limit_in_bytes") == str(limit * MIB)
                assert value(group, "memory.memsw.limit_in_bytes") == str(swap * MIB)
            elif limit > 0:
                assert value(group, "memory.max") == str(limit * MIB)
                assert value(group, "memory.swap.max") == str((swap - limit) * MIB)
        group.apply({"memory": {"limit": -1}})
        untouched = world.make()
        for file in ("memory.max", "memory.swap.max", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"):
            with contextlib.suppress(Missing):
                assert value(group, file) == value(untouched, file)
        untouched.delete()
        group.delete()

    inside(body)


def test_cpu_limits_in_any_order(inside):
    """runc#3090: below a parent with half a CPU, a shorter period with a quota that fits, and back."""

    def body(world):
        parent = world.make({"cpu": {"quota": 50000, "period": 100000}}, ["cpu"])
        path = next(iter(parent.paths.values())).rpartition("/")[2]
        child = world.make({"cpu": {"quota": 50000, "period": 100000}}, ["cpu"], cgroupsPath=f"/{path}/child-{world.token}")
        for quota, period in ((3000, 10000), (50000, 100000), (1000, 10000), (400000, 900000)):
            child.apply({"cpu": {"quota": quota, "period": period}})
            assert value(child, "cpu.max", "cpu.cfs_quota_us").split()[0] == str(quota)
            assert value(child, "cpu.max", "cpu.cfs_period_us").split()[-1] == str(period)
        child.apply({"cpu": {"quota": 50000, "period": 100000}})
        if "cpu" in child.paths:  # v2 lets a child ask for more than the parent has
            with pytest.raises(ConfigError, match=r"linux\.resources\.cpu\.quota: cannot write \"60000\" to .*invalid argument"):
                child.apply({"cpu": {"quota": 60000}})
            assert value(child, "cpu.cfs_quota_us") == "50000"
        for section in ({"burst": 20000}, {"idle": 1}, {"idle": 0, "shares": 200}):
            child.apply({"cpu": section})
        child.apply({"pids": {"limit": 100}} if world.has(child, "pids") else {})
        assert value(child, "cpu.max.burst", "cpu.cfs_burst_us") == "20000"
        assert value(child, "cpu.idle") == "0"
        child.delete()
        parent.delete()

    inside(body)


@pytest.mark.arm64
@pytest.mark.kernels
def test_a_limit_holds(inside):
    def body(world):
        group = world.make({"pids": {"limit": 2}}, ["pids"])

        def forks():
            children = []
            try:
                for _ in range(5):
                    if (pid := os.fork()) == 0:
                        signal.pause()
                    children.append(pid)
            except BlockingIOError:
                return f"refused after {len(children)}"
            finally:
                for pid in children:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
            return "no limit"

        assert answer(group, forks) == "refused after 1"
        group.delete()

    inside(body)


def test_a_limit_below_the_usage(inside):
    """v1 refuses it and says what is used; v2 does so if checkBeforeUpdate asks for it."""

    def body(world):
        group = world.make({}, ["memory"])
        reader, writer = os.pipe()

        def hold():
            block = bytearray(os.urandom(4096)) * 5000
            os.mlock = ctypes.CDLL(None).mlock
            assert os.mlock((ctypes.c_char * len(block)).from_buffer(block), ctypes.c_size_t(len(block))) == 0
            os.write(writer, b"x")
            signal.pause()

        pid = spawn(group, hold)
        os.read(reader, 1)
        with pytest.raises(ConfigError) as fault:
            group.apply({"memory": {"limit": 4 * MIB, "checkBeforeUpdate": True}})
        if "memory" in group.paths:
            assert "unable to set memory limit to 4194304 (current usage: " in str(fault.value)
            assert "peak usage: " in str(fault.value)
        else:
            assert "rejecting memory limit 4194304 <= usage" in str(fault.value)
        assert "linux.resources.memory.limit" in str(fault.value)
        group.kill(signal.SIGKILL)
        assert ended(pid) == -signal.SIGKILL
        group.delete()

    inside(body)


FAULTS = [
    ("cpu", {"cpu": {"period": 100}}, r"linux\.resources\.cpu\.period: cannot write \"(max )?100\" to /sys/fs/cgroup/.*: invalid argument"),
    ("cpu", {"cpu": {"idle": 2}}, r"linux\.resources\.cpu\.idle: cannot write \"2\" to .*/cpu\.idle: "),
    ("cpuset", {"cpu": {"cpus": "4000"}}, r"linux\.resources\.cpu\.cpus: cannot write \"4000\" to .*/cpuset\.cpus: "),
    ("blkio", {"blockIO": {"leafWeight": 300}}, r"linux\.resources\.blockIO\.leafWeight: cannot write .*blkio\.leaf_weight: no such file"),
    ("rdma-missing", {"rdma": {"mlx": {"hcaHandles": 1}}}, r"linux\.resources\.rdma\.mlx: can.*(mountpoint for rdma not found|rdma.*)"),
]


@pytest.mark.parametrize(("needs", "resources", "error"), FAULTS, ids=[str(row[1]) for row in FAULTS])
def test_an_error_names_setting_file_and_reason(inside, needs, resources, error):
    def body(world):
        group = world.make({}, [] if needs.endswith("-missing") else [needs])
        with pytest.raises(ConfigError, match=error):
            group.apply(resources)
        group.delete()

    inside(body)


def test_unified(inside):
    def body(world):
        group = world.make()
        section = {"unified": {"cgroup.max.depth": "7", "cgroup.max.descendants": "70"}}
        if world.layout == "v2":
            group.apply(section)
            assert value(group, "cgroup.max.depth") == "7"
            with pytest.raises(ConfigError, match=r'unified\["nosuch\.max"\]: can\'t be set: controller "nosuch" not available'):
                group.apply({"unified": {"nosuch.max": "1"}})
        else:
            with pytest.raises(ConfigError, match="invalid configuration: cannot use unified on cgroup v1"):
                group.apply(section)
        group.delete()

    inside(body)
