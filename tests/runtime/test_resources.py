"""linux.resources of a container: what the kernel says of the cgroup that `create` has made.

test_cgroup_limits.py asks the same of the code for cgroups alone, in every layout of them that a machine can show.
"""

import os
import pathlib
import subprocess

import pytest
from limits import PURE_V2, cgroup_file, hierarchies
from looks import one_line

pytestmark = pytest.mark.worlds

MIB = 1 << 20
# Resources, {file of v1: text} and the same for v2; a str instead is the error. No text is what the file says of itself.
LIMITS = [
    ({"pids": {"limit": 12}}, {"pids.max": "12"}, {"pids.max": "12"}),
    ({"memory": {"limit": 64 * MIB}}, {"memory.limit_in_bytes": str(64 * MIB)}, {"memory.max": str(64 * MIB)}),
    ({"memory": {"reservation": 32 * MIB}}, {"memory.soft_limit_in_bytes": str(32 * MIB)}, {"memory.low": str(32 * MIB)}),
    (
        {"memory": {"limit": 64 * MIB, "swap": 96 * MIB}},
        {"memory.limit_in_bytes": str(64 * MIB), "memory.memsw.limit_in_bytes": str(96 * MIB)},
        {"memory.max": str(64 * MIB), "memory.swap.max": str(32 * MIB)},
    ),
    ({"memory": {"swappiness": 7}}, {"memory.swappiness": "7"}, "memory.swappiness: cannot set swappiness on cgroup v2"),
    (
        {"memory": {"disableOOMKiller": True}},
        {"memory.oom_control": "oom_kill_disable 1\nunder_oom 0\noom_kill 0"},
        "memory.disableOOMKiller: cannot disable the OOM killer on cgroup v2",
    ),
    ({"memory": {"kernelTCP": 8 * MIB}}, {"memory.kmem.tcp.limit_in_bytes": str(8 * MIB)}, "memory.kernelTCP: cgroup v2 counts "),
    ({"cpu": {"shares": 512}}, {"cpu.shares": "512"}, {"cpu.weight": "59"}),
    ({"cpu": {"quota": 50000}}, {"cpu.cfs_quota_us": "50000"}, {"cpu.max": "50000 100000"}),
    ({"cpu": {"period": 50000}}, {"cpu.cfs_period_us": "50000"}, {"cpu.max": "max 50000"}),
    ({"cpu": {"quota": 50000, "burst": 20000}}, {"cpu.cfs_burst_us": "20000"}, {"cpu.max.burst": "20000"}),
    ({"cpu": {"idle": 1}}, {"cpu.idle": "1"}, {"cpu.idle": "1"}),
    ({"cpu": {"realtimePeriod": 900000}}, {"cpu.rt_period_us": "900000"}, "cpu.realtimePeriod: realtime limits are not supported on cgroup v2"),
    ({"cpu": {"realtimeRuntime": 1000}}, {"cpu.rt_runtime_us": "1000"}, "cpu.realtimeRuntime: realtime limits are not supported on cgroup v2"),
    ({"cpu": {"cpus": "0"}}, {"cpuset.cpus": "0"}, {"cpuset.cpus": "0"}),
    # Where there is one node of memory, a node too many is the only value that makes a difference.
    ({"cpu": {"mems": "900"}}, 'cpu.mems: cannot write "900" to ', 'cpu.mems: cannot write "900" to '),
    ({"blockIO": {"weight": 750}}, {"blkio.bfq.weight": "750"}, {"io.weight": "default 7475"}),
    (
        {"unified": {"cgroup.max.depth": "7"}},
        'unified["cgroup.max.depth"]: invalid configuration: cannot use unified on cgroup v1',
        {"cgroup.max.depth": "7"},
    ),
]


def text_of(pid, file):
    path = cgroup_file(pid, file)
    return path.read_text().strip() if path.exists() else None


def limited(bundle, resources):
    b = bundle("sleep 100")
    b.config["linux"]["resources"] |= resources
    return b


@pytest.mark.parametrize(("resources", "v1", "v2"), LIMITS, ids=[str(row[0]) for row in LIMITS])
def test_create_sets_each_limit(bundle, resources, v1, v2):
    wanted = v2 if PURE_V2 else v1
    if isinstance(wanted, str):
        assert f"linux.resources.{wanted}" in one_line(limited(bundle, resources).call("create", code=1))
        return
    plain = limited(bundle, {}).create()
    before = {file: text_of(plain.pid, file) for file in wanted}
    if None in before.values():
        pytest.skip(f"this kernel has no {' '.join(wanted)}")
    container = limited(bundle, resources).create()
    assert {file: text_of(container.pid, file) for file in wanted} == wanted
    assert all(before[file] != text for file, text in wanted.items())


def test_huge_pages(bundle):
    """On a hybrid machine they may be left to cgroup v2, where the controller is switched on for who asks for it."""
    on_v2 = PURE_V2 or "hugetlb" not in hierarchies("self")
    controllers = pathlib.Path("/sys/fs/cgroup", "" if PURE_V2 else "unified", "cgroup.controllers")
    if not os.path.exists("/sys/kernel/mm/hugepages/hugepages-2048kB"):
        pytest.skip("no pages of 2 MB here")
    if on_v2 and not (controllers.exists() and "hugetlb" in controllers.read_text()):
        pytest.skip("no hugetlb here")
    container = limited(bundle, {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}).create()
    for name in ("hugetlb.2MB", "hugetlb.2MB.rsvd"):
        assert text_of(container.pid, f"{name}.max" if on_v2 else f"{name}.limit_in_bytes") == str(4 * MIB)


# What no kernel of today has, or cgroup v2 has not, or what needs a device; ignored, the container would be made.
MISSING = [
    ({"blockIO": {"leafWeight": 300}}, "blockIO.leafWeight: "),
    ({"blockIO": {"weightDevice": [{"major": 7, "minor": 0, "leafWeight": 300}]}}, "blockIO.weightDevice[0]: "),
    ({"network": {"classID": 1048577}}, "network.classID: "),
    ({"network": {"priorities": [{"name": "lo", "priority": 5}]}}, "network.priorities[0]: "),
    ({"rdma": {"no-such-device": {"hcaHandles": 3}}}, 'rdma["no-such-device"]: '),
    ({"blockIO": {"throttleReadBpsDevice": [{"major": 4000, "minor": 1, "rate": 1}]}}, "blockIO.throttleReadBpsDevice[0]: "),
]


@pytest.mark.parametrize(("resources", "error"), MISSING, ids=[str(row[0]) for row in MISSING])
def test_what_cannot_be_set_is_an_error(bundle, resources, error):
    if "network" in resources and not PURE_V2 and {"net_cls", "net_prio"} & set(hierarchies("self")):
        pytest.skip("net_cls and net_prio can be set here")
    assert f"linux.resources.{error}" in one_line(limited(bundle, resources).call("create", code=1))


# --- disks


@pytest.fixture
def disk(tmp_path):
    """MAJOR, MINOR (int) of a disk of the test's own, for which BFQ knows weights."""
    (tmp_path / "disk").write_bytes(bytes(MIB))
    done = subprocess.run(["losetup", "--find", "--show", tmp_path / "disk"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no loop device here: {done.stderr.strip()}")
    path = pathlib.Path(done.stdout.strip())
    try:
        block = pathlib.Path("/sys/block", path.name)
        if "bfq" in (block / "queue/scheduler").read_text():
            (block / "queue/scheduler").write_text("bfq")
        yield tuple(map(int, (block / "dev").read_text().split(":")))
    finally:
        subprocess.run(["losetup", "--detach", path], check=True)


THROTTLES = ["read_bps", "write_bps", "read_iops", "write_iops"]


def test_throttles(bundle, disk):
    major, minor = disk
    names = [f"throttle{name}Device" for name in ("ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS")]
    block = {name: [{"major": major, "minor": minor, "rate": 1000 + number}] for number, name in enumerate(names)}
    container = limited(bundle, {"blockIO": block}).create()
    if PURE_V2:
        assert text_of(container.pid, "io.max") == f"{major}:{minor} rbps=1000 wbps=1001 riops=1002 wiops=1003"
    else:
        found = [text_of(container.pid, f"blkio.throttle.{name}_device") for name in THROTTLES]
        assert found == [f"{major}:{minor} {1000 + number}" for number in range(4)]


def test_weight_of_a_disk(bundle, disk):
    major, minor = disk
    file = "io.bfq.weight" if PURE_V2 else "blkio.bfq.weight_device"
    if text_of(limited(bundle, {}).create().pid, file) is None:
        pytest.skip(f"this kernel has no {file}")
    container = limited(bundle, {"blockIO": {"weightDevice": [{"major": major, "minor": minor, "weight": 300}]}}).create()
    assert f"{major}:{minor} 300" in text_of(container.pid, file).splitlines()
