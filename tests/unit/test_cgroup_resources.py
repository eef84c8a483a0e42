"""linux.resources -> files: what would be written for each setting of the specification, on v1 and on v2."""

import pytest

from pyrun.base.errors import ConfigError
from pyrun.cgroup import resources


class Group:
    """Where limits go: every controller in a directory of this name. files: what they hold now."""

    def __init__(self, version, directory="/nowhere"):
        self.version, self.directory = version, directory

    def version_of(self, controller):
        return self.version, self.directory


def written(version, section, directory="/nowhere"):
    """[(file, text)], alternatives as `file|file` and `text|text`."""
    found = []
    for write in resources.writes(section, Group(version, directory), "linux.resources"):
        files, texts = zip(*write.files, strict=True)
        found.append(("|".join(files), "|".join(dict.fromkeys(texts))))
    return found


ENTRY = {"major": 8, "minor": 16}

# resources, v1, v2. A str instead of a list: the error's words.
TABLE = [
    ({}, [], []),
    # pids
    ({"pids": {"limit": 7}}, [("pids.max", "7")], [("pids.max", "7")]),
    ({"pids": {"limit": 0}}, [("pids.max", "1")], [("pids.max", "1")]),
    ({"pids": {"limit": -1}}, [("pids.max", "max")], [("pids.max", "max")]),
    ({"pids": {}}, [], []),
    ({"pids": {"limit": None}}, [], []),
    # memory
    ({"memory": {"limit": 4096}}, [("memory.limit_in_bytes", "4096")], [("memory.max", "4096")]),
    ({"memory": {"limit": 0, "swap": 0, "reservation": 0}}, [], []),
    (
        {"memory": {"limit": 4096, "swap": 8192}},
        [("memory.limit_in_bytes", "4096"), ("memory.memsw.limit_in_bytes", "8192")],
        [("memory.max", "4096"), ("memory.swap.max", "4096")],
    ),
    (
        {"memory": {"limit": 4096, "swap": 4096}},
        [("memory.limit_in_bytes", "4096"), ("memory.memsw.limit_in_bytes", "4096")],
        [("memory.max", "4096"), ("memory.swap.max", "0")],
    ),
    (
        {"memory": {"limit": -1}},
        [("memory.limit_in_bytes", "-1"), ("memory.memsw.limit_in_bytes", "-1")],
        [("memory.max", "max"), ("memory.swap.max", "max")],
    ),
    (
        {"memory": {"limit": -1, "swap": 9000}},
        [("memory.limit_in_bytes", "-1"), ("memory.memsw.limit_in_bytes", "9000")],
        [("memory.max", "max"), ("memory.swap.max", "9000")],
    ),
    ({"memory": {"swap": -1}}, [("memory.memsw.limit_in_bytes", "-1")], [("memory.swap.max", "max")]),
    (
        {"memory": {"swap": 9000}},
        [("memory.memsw.limit_in_bytes", "9000")],
        "linux.resources.memory.swap: unable to set swap limit without memory limit",
    ),
    (
        {"memory": {"limit": 8192, "swap": 4096}},
        [("memory.limit_in_bytes", "8192"), ("memory.memsw.limit_in_bytes", "4096")],
        "linux.resources.memory.swap: memory+swap limit should be >= memory limit",
    ),
    ({"memory": {"reservation": 4096}}, [("memory.soft_limit_in_bytes", "4096")], [("memory.low", "4096")]),
    ({"memory": {"reservation": -1}}, [("memory.soft_limit_in_bytes", "-1")], [("memory.low", "max")]),
    ({"memory": {"kernel": 4096}}, [("memory.kmem.limit_in_bytes", "4096")], "linux.resources.memory.kernel: cgroup v2"),
    ({"memory": {"kernel": -1, "kernelTCP": -1}}, [("memory.kmem.limit_in_bytes", "-1"), ("memory.kmem.tcp.limit_in_bytes", "-1")], []),
    ({"memory": {"kernelTCP": 4096}}, [("memory.kmem.tcp.limit_in_bytes", "4096")], "linux.resources.memory.kernelTCP: cgroup v2"),
    ({"memory": {"swappiness": 0}}, [("memory.swappiness", "0")], "linux.resources.memory.swappiness: cannot set swappiness"),
    ({"memory": {"swappiness": 101}}, "invalid memory swappiness value: 101", "invalid memory swappiness value: 101"),
    ({"memory": {"swappiness": 2**64 - 1}}, [], []),
    ({"memory": {"disableOOMKiller": True}}, [("memory.oom_control", "1")], "linux.resources.memory.disableOOMKiller: cannot"),
    ({"memory": {"disableOOMKiller": False}}, [("memory.oom_control", "0")], []),
    ({"memory": {"useHierarchy": True}}, [("memory.use_hierarchy", "1")], []),
    ({"memory": {"useHierarchy": False}}, [("memory.use_hierarchy", "0")], "linux.resources.memory.useHierarchy: a cgroup v2 hierarchy"),
    # cpu
    ({"cpu": {"shares": 1024}}, [("cpu.shares", "1024")], [("cpu.weight", "100")]),
    ({"cpu": {"shares": 2}}, [("cpu.shares", "2")], [("cpu.weight", "1")]),
    ({"cpu": {"shares": 262144}}, [("cpu.shares", "262144")], [("cpu.weight", "10000")]),
    ({"cpu": {"shares": 3333}}, [("cpu.shares", "3333")], [("cpu.weight", "256")]),
    ({"cpu": {"shares": 100}}, [("cpu.shares", "100")], [("cpu.weight", "17")]),
    ({"cpu": {"shares": 0}}, [], []),
    ({"cpu": {"shares": 1}}, "linux.resources.cpu.shares: the minimum allowed cpu-shares is 2", [("cpu.weight", "1")]),
    ({"cpu": {"shares": 300000}}, "the maximum allowed cpu-shares is 262144", [("cpu.weight", "10000")]),
    ({"cpu": {"quota": 5000}}, [("cpu.cfs_quota_us", "5000")], [("cpu.max", "5000")]),
    ({"cpu": {"quota": -1}}, [("cpu.cfs_quota_us", "-1")], [("cpu.max", "max")]),
    (
        {"cpu": {"quota": 5000, "period": 10000}},
        [("cpu.cfs_period_us", "10000"), ("cpu.cfs_quota_us", "5000")],
        [("cpu.max", "5000 10000")],
    ),
    ({"cpu": {"period": 10000}}, [("cpu.cfs_period_us", "10000")], [("cpu.max", "max 10000")]),
    ({"cpu": {"burst": 0}}, [("cpu.cfs_burst_us", "0")], [("cpu.max.burst", "0")]),
    ({"cpu": {"burst": 500}}, [("cpu.cfs_burst_us", "500")], [("cpu.max.burst", "500")]),
    ({"cpu": {"idle": 1}}, [("cpu.idle", "1")], [("cpu.idle", "1")]),
    ({"cpu": {"idle": 0}}, [("cpu.idle", "0")], [("cpu.idle", "0")]),
    ({"cpu": {"realtimeRuntime": 900}}, [("cpu.rt_runtime_us", "900")], "linux.resources.cpu.realtimeRuntime: realtime limits"),
    ({"cpu": {"realtimePeriod": 0, "realtimeRuntime": 0}}, [], []),
    ({"cpu": {"realtimePeriod": 9000}}, [("cpu.rt_period_us", "9000")], "linux.resources.cpu.realtimePeriod: realtime limits"),
    ({"cpu": {"cpus": "0-1", "mems": "0"}}, [("cpuset.cpus", "0-1"), ("cpuset.mems", "0")], [("cpuset.cpus", "0-1"), ("cpuset.mems", "0")]),
    ({"cpu": {"cpus": "", "mems": ""}}, [], []),
    # blockIO
    ({"blockIO": {"weight": 750}}, [("blkio.weight|blkio.bfq.weight", "750")], [("io.bfq.weight|io.weight", "750|7475")]),
    ({"blockIO": {"weight": 10}}, [("blkio.weight|blkio.bfq.weight", "10")], [("io.bfq.weight|io.weight", "10|1")]),
    ({"blockIO": {"leafWeight": 300}}, [("blkio.leaf_weight", "300")], "linux.resources.blockIO.leafWeight: cannot set leafWeight"),
    (
        {"blockIO": {"weightDevice": [ENTRY | {"weight": 1000}]}},
        [("blkio.weight_device|blkio.bfq.weight_device", "8:16 1000")],
        [("io.bfq.weight|io.weight", "8:16 1000|8:16 10000")],
    ),
    (
        {"blockIO": {"weightDevice": [ENTRY | {"leafWeight": 30}]}},
        [("blkio.leaf_weight_device", "8:16 30")],
        "linux.resources.blockIO.weightDevice[0]: cannot set leafWeight",
    ),
    (
        {"blockIO": {"throttleReadBpsDevice": [ENTRY | {"rate": 600}, ENTRY | {"rate": 0}]}},
        [("blkio.throttle.read_bps_device", "8:16 600"), ("blkio.throttle.read_bps_device", "8:16 0")],
        [("io.max", "8:16 rbps=600"), ("io.max", "8:16 rbps=max")],
    ),
    ({"blockIO": {"throttleWriteBpsDevice": [ENTRY | {"rate": 6}]}}, [("blkio.throttle.write_bps_device", "8:16 6")], [("io.max", "8:16 wbps=6")]),
    ({"blockIO": {"throttleReadIOPSDevice": [ENTRY | {"rate": 6}]}}, [("blkio.throttle.read_iops_device", "8:16 6")], [("io.max", "8:16 riops=6")]),
    ({"blockIO": {"throttleWriteIOPSDevice": [ENTRY | {"rate": 6}]}}, [("blkio.throttle.write_iops_device", "8:16 6")], [("io.max", "8:16 wiops=6")]),
    # hugetlb
    (
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 4096}]},
        [("hugetlb.2MB.limit_in_bytes", "4096"), ("hugetlb.2MB.rsvd.limit_in_bytes", "4096")],
        [("hugetlb.2MB.max", "4096"), ("hugetlb.2MB.rsvd.max", "4096")],
    ),
    ({"hugepageLimits": [{"pageSize": "../x/2MB", "limit": 1}]}, "hugepageLimits[0]", "hugepageLimits[0]"),
    # network
    ({"network": {"classID": 1048577}}, [("net_cls.classid", "1048577")], "linux.resources.network.classID: network limits"),
    (
        {"network": {"priorities": [{"name": "eth0", "priority": 5}]}},
        [("net_prio.ifpriomap", "eth0 5")],
        "linux.resources.network.priorities[0]: network limits",
    ),
    # rdma
    (
        {"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10}, "rxe3": {"hcaObjects": 0}}},
        [("rdma.max", "mlx5_1 hca_handle=3 hca_object=10"), ("rdma.max", "rxe3 hca_object=0")],
        [("rdma.max", "mlx5_1 hca_handle=3 hca_object=10"), ("rdma.max", "rxe3 hca_object=0")],
    ),
    # unified
    (
        {"unified": {"io.max": "8:0 riops=3\n8:16 wiops=4\n", "memory.high": "4096"}},
        "invalid configuration: cannot use unified on cgroup v1",
        [("io.max", "8:0 riops=3"), ("io.max", "8:16 wiops=4"), ("memory.high", "4096")],
    ),
    ({"unified": {"../x/pids.max": "1"}}, "must be a file name (no slashes)", "must be a file name (no slashes)"),
    ({"unified": {"..": "1"}}, "linux.resources.unified", "must be in the form CONTROLLER.PARAMETER"),
    ({"unified": {"tasks": "1"}}, "linux.resources.unified", "must be in the form CONTROLLER.PARAMETER"),
    ({"unified": {}}, [], []),
]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("section", "v1", "v2"), TABLE, ids=[str(row[0]) for row in TABLE])
def test_table(section, v1, v2, version):
    expected = v1 if version == 1 else v2
    if isinstance(expected, list):
        assert written(version, section) == expected
    else:
        with pytest.raises(ConfigError) as fault:
            written(version, section)
        assert expected in str(fault.value)


def test_everything_of_the_specification_is_in_the_table():
    """Each member of linux.resources has a row; devices have their own module, and one memory flag belongs to another."""
    rows = {path.rstrip("[]{}") for path, _, _ in resources.RESOURCES}
    assert rows == {
        *(f"memory.{name}" for name in "limit reservation swap kernel kernelTCP swappiness disableOOMKiller useHierarchy".split()),
        *(f"cpu.{name}" for name in "shares quota burst period realtimeRuntime realtimePeriod cpus mems idle".split()),
        *(f"blockIO.{name}" for name in ("weight", "leafWeight", "weightDevice")),
        *(f"blockIO.throttle{name}Device" for name in ("ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS")),
        *("pids.limit", "hugepageLimits", "network.classID", "network.priorities", "rdma", "unified"),
    }


@pytest.mark.parametrize(("holds", "text"), [("50000 100000\n", "50000 20000"), ("max 100000\n", "max 20000")])
def test_a_new_period_keeps_the_quota(tmp_path, holds, text):
    (tmp_path / "cpu.max").write_text(holds)
    assert written(2, {"cpu": {"period": 20000}}, tmp_path) == [("cpu.max", text)]


@pytest.mark.parametrize(
    ("memory", "error"),
    [
        ({"limit": 4096}, "rejecting memory limit 4096 <= usage 5000"),
        ({"limit": 6000, "swap": 6000}, None),
        ({"limit": 4096, "swap": 4500}, "rejecting memory+swap limit 4500 <= usage 5000"),
    ],
)
def test_check_before_update(tmp_path, memory, error):
    (tmp_path / "memory.current").write_text("5000\n")
    if not error:
        assert written(2, {"memory": memory | {"checkBeforeUpdate": True}}, tmp_path)
        return
    with pytest.raises(ConfigError, match=error.replace("+", r"\+")):
        written(2, {"memory": memory | {"checkBeforeUpdate": True}}, tmp_path)
    assert written(2, {"memory": memory | {"checkBeforeUpdate": False}}, tmp_path)


def test_weights_grow_with_shares():
    weights = [int(resources.shares_v2(shares, {}, None)) for shares in range(2, 262145, 37)]
    assert weights == sorted(weights)
    assert weights[0] == 1
    assert weights[-1] <= 10000
