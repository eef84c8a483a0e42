"""A container as a unit of systemd: names, places, and the properties that stand for what is written to the cgroup's files."""

import pytest

from pyrun.base.errors import ConfigError
from pyrun.cgroup import devices, resources
from pyrun.cgroup.systemd import unit
from pyrun.cgroup.systemd.manager import sockets

MIB = 1 << 20
DENY_ALL = {"allow": False, "access": "rwm"}
ALWAYS = {
    ("/dev/char/1:3", "rwm"), ("/dev/char/1:5", "rwm"), ("/dev/char/1:7", "rwm"), ("/dev/char/1:8", "rwm"), ("/dev/char/1:9", "rwm"),
    ("/dev/char/5:0", "rwm"), ("/dev/char/5:2", "rwm"), ("char-136", "rwm"), ("/dev/char/10:200", "rwm"), ("char-*", "m"), ("block-*", "m"),
}  # fmt: skip


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "user", "expected"),
    [
        ("", False, ("system.slice", "pyrun-box.scope")),
        ("", True, ("user.slice", "pyrun-box.scope")),
        ("system.slice:docker:1234", False, ("system.slice", "docker-1234.scope")),
        (":docker:1234", False, ("system.slice", "docker-1234.scope")),
        (":libpod:1234", True, ("user.slice", "libpod-1234.scope")),
        ("kubepods-burstable-pod1.slice:cri-containerd:77", False, ("kubepods-burstable-pod1.slice", "cri-containerd-77.scope")),
        ("a.slice::name", False, ("a.slice", "name.scope")),
        ("a.slice:ignored:a-b.slice", False, ("a.slice", "a-b.slice")),
        ("-.slice:p:n", False, ("-.slice", "p-n.scope")),
        ("a.slice:p:x+y", False, ("a.slice", r"p-x\x2by.scope")),
        ("a.slice:p:x/y", False, ("a.slice", r"p-x\x2fy.scope")),
    ],
)
def test_a_unit_has_its_name_from_the_path(path, user, expected):
    assert unit.parse(path, "box", user) == expected


@pytest.mark.parametrize(
    "path", ["/a/b", "a", "a.slice:b", "a.slice:b:c:d", "a.slice:b:", "a:b:c", "a/b.slice:c:d", "a--b.slice:c:d", "-a.slice:c:d"]
)
def test_what_names_no_unit(path):
    with pytest.raises(ConfigError, match=r"linux\.cgroupsPath"):
        unit.parse(path, "box", False)


def test_a_name_too_long_for_systemd():
    with pytest.raises(ConfigError, match="255"):
        unit.parse(f"a.slice:p:{'x' * 250}", "box", False)


@pytest.mark.parametrize(
    ("above", "name", "expected"),
    [
        ("system.slice", "p-n.scope", "/system.slice/p-n.scope"),
        ("a-b-c.slice", "p-n.scope", "/a.slice/a-b.slice/a-b-c.slice/p-n.scope"),
        ("-.slice", "p-n.scope", "/p-n.scope"),
        ("a.slice", "a-b.slice", "/a.slice/a-b.slice"),
    ],
)
def test_slices_are_directories_of_slices(above, name, expected):
    assert unit.place(above, name) == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("unix:path=/run/user/0/bus", ["/run/user/0/bus"]),
        ("unix:path=/tmp/a%20b,guid=00ff", ["/tmp/a b"]),
        ("unix:abstract=/tmp/x", ["@/tmp/x"]),
        ("tcp:host=a,port=1;unix:path=/b", ["/b"]),
        ("", []),
    ],
)
def test_addresses_of_a_bus(address, expected):
    assert sockets(address) == expected


# --- annotations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("CollectMode", "'inactive-or-failed'", ("CollectMode", ("s", "inactive-or-failed"))),
        ("SendSIGHUP", "true", ("SendSIGHUP", ("b", True))),
        ("TimeoutStopUSec", "uint64 123456789", ("TimeoutStopUSec", ("t", 123456789))),
        ("TimeoutStopSec", "5", ("TimeoutStopUSec", ("t", 5_000_000))),
        ("TimeoutStopSec", "uint64 5", ("TimeoutStopUSec", ("t", 5_000_000))),
        ("RuntimeMaxSec", "1.5", ("RuntimeMaxUSec", ("t", 1_500_000))),
        ("After", "['a.service', 'b.service']", ("After", ("as", ["a.service", "b.service"]))),
    ],
)
def test_annotations_become_properties(name, text, expected):
    assert unit.annotated({"org.systemd.property." + name: text, "org.other": "x"}) == [expected]


@pytest.mark.parametrize(
    ("name", "text"),
    [("", "true"), ("Ab", "true"), ("A.b.c", "true"), ("A1bc", "true"), ("Good", "bad"), ("Good", ""), ("StopSec", "'5'"), ("StopSec", "-1")],
)
def test_annotations_that_are_no_properties(name, text):
    with pytest.raises(ConfigError, match=r"annotations\.org\.systemd\.property\."):
        unit.annotated({"org.systemd.property." + name: text})


# --- devices ----------------------------------------------------------------------------------------------------------


def device_properties(*rules):
    return dict(unit.of_devices(devices.compile(rules, "devices")))


def allowed(*rules):
    found = device_properties(*rules)
    assert found["DevicePolicy"] == ("s", "strict")
    return set(found["DeviceAllow"][1])


def yes(kind, major, minor, access="rwm"):
    numbers = {name: number for name, number in (("major", major), ("minor", minor)) if number is not None}
    return {"allow": True, "type": kind, "access": access, **numbers}


def test_every_device_that_is_allowed_is_named_by_its_number():
    assert allowed(DENY_ALL) == ALWAYS
    more = allowed(DENY_ALL, yes("c", 195, 0, "rw"), yes("c", 195, None), yes("b", 8, None, "r"), yes("b", 8, 1, "wm"))
    assert more == ALWAYS | {("/dev/char/195:0", "rw"), ("char-195", "rwm"), ("block-8", "r"), ("/dev/block/8:1", "wm")}


def test_the_rules_of_docker():
    rules = [
        DENY_ALL,
        *(yes("c", major, minor) for major, minor in ((1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1))),
        {"allow": False, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
    ]
    assert allowed(*rules) == ALWAYS | {("/dev/char/5:1", "rwm")}


@pytest.mark.parametrize(
    "rules",
    [
        [{"allow": True, "access": "rwm"}],
        [{"allow": True, "access": "rwm"}, {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "rwm"}],
        [DENY_ALL, yes("c", None, 3)],
    ],
)
def test_what_systemd_cannot_say_it_does_not_decide(rules):
    assert device_properties(*rules) == {"DevicePolicy": ("s", "auto")}


# --- limits -----------------------------------------------------------------------------------------------------------


class Group:
    """A cgroup of one version, with files that say what they are told to."""

    def __init__(self, version):
        self.version = version

    def version_of(self, controller):
        return self.version, "/nowhere"


def properties(limits, version=2, systemd=252, **files):
    def read(file):
        return files.get(file.replace(".", "_"), "")

    found = unit.of_limits(resources.writes(limits, Group(version), "linux.resources"), lambda directory: read, systemd)
    return {name: value for name, (_, value) in found}


INFINITY = (1 << 64) - 1


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"memory": {"limit": 64 * MIB}}, {"MemoryMax": 64 * MIB}),
        ({"memory": {"limit": -1}}, {"MemoryMax": INFINITY, "MemorySwapMax": INFINITY}),
        ({"memory": {"limit": 64 * MIB, "swap": 96 * MIB}}, {"MemoryMax": 64 * MIB, "MemorySwapMax": 32 * MIB}),
        ({"memory": {"limit": 64 * MIB, "swap": 64 * MIB}}, {"MemoryMax": 64 * MIB, "MemorySwapMax": 0}),
        ({"memory": {"reservation": MIB}}, {"MemoryLow": MIB}),
        ({"pids": {"limit": 0}}, {"TasksMax": 1}),
        ({"pids": {"limit": -1}}, {"TasksMax": INFINITY}),
        ({"pids": {"limit": 7}}, {"TasksMax": 7}),
        ({"pids": {}}, {}),
        ({"cpu": {"shares": 1024}}, {"CPUWeight": 100}),
        ({"cpu": {"shares": 2}}, {"CPUWeight": 1}),
        ({"cpu": {"shares": 0}}, {}),
        ({"cpu": {"idle": 1}}, {"CPUWeight": 0}),
        ({"cpu": {"idle": 0}}, {}),
        ({"cpu": {"idle": 1, "shares": 1024}}, {"CPUWeight": 0}),
        ({"cpu": {"idle": 0, "shares": 1024}}, {"CPUWeight": 100}),
        ({"cpu": {"quota": 50000, "period": 100000}}, {"CPUQuotaPerSecUSec": 500000, "CPUQuotaPeriodUSec": 100000}),
        ({"cpu": {"quota": 50000}}, {"CPUQuotaPerSecUSec": 500000, "CPUQuotaPeriodUSec": 100000}),
        ({"cpu": {"quota": 12345, "period": 100000}}, {"CPUQuotaPerSecUSec": 130000, "CPUQuotaPeriodUSec": 100000}),
        ({"cpu": {"quota": -1, "period": 50000}}, {"CPUQuotaPerSecUSec": INFINITY, "CPUQuotaPeriodUSec": 50000}),
        ({"cpu": {"period": 50000}}, {"CPUQuotaPerSecUSec": INFINITY, "CPUQuotaPeriodUSec": 50000}),
        ({"cpu": {"cpus": "5-8", "mems": "0"}}, {"AllowedCPUs": b"\xe0\x01", "AllowedMemoryNodes": b"\x01"}),
        ({"cpu": {"cpus": "0,2-3,16"}}, {"AllowedCPUs": b"\x0d\x00\x01"}),
        ({"blockIO": {"weight": 500}}, {"IOWeight": 4950}),
        ({"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 500}]}}, {}),
        ({"unified": {"memory.high": "1G", "memory.min": "max", "pids.max": "0"}}, {"MemoryHigh": 1 << 30, "MemoryMin": INFINITY, "TasksMax": 1}),
        ({"unified": {"cpu.max": "max 50000", "cpu.weight": "7", "cpuset.cpus": "1"}},
         {"CPUQuotaPerSecUSec": INFINITY, "CPUQuotaPeriodUSec": 50000, "CPUWeight": 7, "AllowedCPUs": b"\x02"}),
        ({"unified": {"cpu.idle": "1", "cpu.weight": "7"}}, {"CPUWeight": 0}),
        ({"unified": {"memory.max": "what", "hugetlb.2MB.max": "0", "cpuset.cpus": "3-1"}}, {}),
    ],
)  # fmt: skip
def test_limits_of_cgroup_v2(limits, expected):
    assert properties(limits) == expected


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"memory": {"limit": 64 * MIB, "swap": 96 * MIB}}, {"MemoryLimit": 64 * MIB}),
        ({"memory": {"limit": -1}}, {"MemoryLimit": INFINITY}),
        ({"cpu": {"shares": 512, "idle": 1, "cpus": "0"}}, {"CPUShares": 512}),
        ({"cpu": {"quota": 50000, "period": 200000}}, {"CPUQuotaPerSecUSec": 250000, "CPUQuotaPeriodUSec": 200000}),
        ({"cpu": {"quota": -1}}, {"CPUQuotaPerSecUSec": INFINITY, "CPUQuotaPeriodUSec": 100000}),
        ({"cpu": {"quota": (1 << 63) - 1, "period": 1000}}, {"CPUQuotaPerSecUSec": INFINITY, "CPUQuotaPeriodUSec": 1000}),
        ({"pids": {"limit": 9}}, {"TasksMax": 9}),
        ({"blockIO": {"weight": 500}}, {"BlockIOWeight": 500}),
    ],
)
def test_limits_of_cgroup_v1(limits, expected):
    assert properties(limits, version=1) == expected


def test_an_update_keeps_what_it_does_not_name():
    """A quota alone keeps the period, and a period alone the quota."""
    assert properties({"cpu": {"quota": 10000}}, cpu_max="max 20000") == {"CPUQuotaPerSecUSec": 500000, "CPUQuotaPeriodUSec": 20000}
    assert properties({"cpu": {"period": 20000}}, version=1, cpu_cfs_quota_us="10000\n")["CPUQuotaPerSecUSec"] == 500000


def test_no_longer_idle():
    assert properties({"cpu": {"idle": 0}}, cpu_idle="1\n") == {"CPUWeight": 100}


@pytest.mark.parametrize(
    ("limits", "version", "name"),
    [
        ({"cpu": {"cpus": "0"}}, 244, "AllowedCPUs"),
        ({"cpu": {"mems": "0"}}, 244, "AllowedMemoryNodes"),
        ({"cpu": {"period": 50000}}, 242, "CPUQuotaPeriodUSec"),
        ({"cpu": {"idle": 1}}, 252, "CPUWeight"),
        ({"unified": {"memory.zswap.max": "0"}}, 253, "MemoryZSwapMax"),
        ({"unified": {"memory.min": "0"}}, 240, "MemoryMin"),
    ],
)
def test_an_older_systemd_is_not_told_what_it_does_not_know(limits, version, name):
    assert name in properties(limits, systemd=version)
    assert name not in properties(limits, systemd=version - 1)


@pytest.mark.parametrize(("text", "expected"), [("1", [("OOMPolicy", ("s", "kill"))]), ("0", [("OOMPolicy", ("s", "continue"))]), ("2", [])])
def test_whether_all_are_killed_for_want_of_memory(text, expected):
    limits = {"unified": {"memory.oom.group": text}}
    assert unit.oom_policy(limits, 253) == expected
    assert unit.oom_policy(limits, 252) == unit.oom_policy({}, 253) == []
