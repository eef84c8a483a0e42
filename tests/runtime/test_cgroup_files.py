"""pyrun.cgroup on the kernel: real cgroups in every layout this machine can show. Needs root.

Each test runs in a process of its own, in a mount namespace that shows one layout: what the machine has (`hybrid`, or
`v2`), the v1 hierarchies alone (`v1`), or cgroup v2 alone (`v2`, with the few controllers that v1 leaves to it).
"""

import contextlib
import ctypes
import errno
import json
import os
import pathlib
import select
import signal
import subprocess
import time
import traceback

import pytest

from pyrun import cgroup
from pyrun.cgroup import tree
from pyrun.errors import ConfigError, Error

ROOT = pathlib.Path("/sys/fs/cgroup")
PURE_V2 = (ROOT / "cgroup.controllers").exists()
LAYOUTS = ["v2"] if PURE_V2 else ["hybrid", "v1", "v2"]
CLONE_NEWNS = 0x20000
DENY_ALL = {"allow": False, "access": "rwm"}

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes cgroups")


class Glob:
    systemd_cgroup = False

    def __init__(self, rootless="auto"):
        self.rootless = rootless


class Missing(Exception):
    """The layout has no such controller."""


class World:
    """One layout, and the names a test may use in it."""

    def __init__(self, layout, token):
        self.layout, self.token = layout, token
        self.count = 0

    def enter(self):
        assert ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) == 0
        commands = ["mount --make-rprivate /"]
        if self.layout == "v1":
            commands.append("umount /sys/fs/cgroup/unified")
        elif self.layout == "v2" and not PURE_V2:
            commands.append("mount -t cgroup2 none /sys/fs/cgroup")
        for command in commands:
            subprocess.run(command.split(), check=True)

    def open(self, linux=None, rootless="auto", **config):
        self.count += 1
        return cgroup.open({"linux": linux or {}} | config, f"{self.token}-{self.count}", Glob(rootless))

    def make(self, resources=None, needs=(), **linux):
        """A cgroup, made and limited. needs: controllers without which the test makes no sense."""
        group = self.open({"resources": resources or {}} | linux)
        group.create()
        for controller in needs:
            if not self.has(group, controller):
                group.delete()
                raise Missing(controller)
        group.apply(resources)
        return group

    def has(self, group, controller):
        if controller in group.paths:
            return True
        return "" in group.paths and controller in tree.read(group.paths[""] + "/cgroup.controllers").split()


@pytest.fixture(params=LAYOUTS)
def inside(request, token):
    """inside(body): runs body(world) in a process that sees one layout; its failure is the test's."""

    def run(body):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                world = World(request.param, token)
                world.enter()
                body(world)
                code = 0
            except Missing as missing:
                code = 77
                os.write(writer, f"no {missing} controller in this layout".encode())
            except BaseException:
                os.write(writer, traceback.format_exc().encode()[-60000:])
            finally:
                os._exit(code)
        os.close(writer)
        with open(reader) as pipe:
            text = pipe.read()
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        # Other cgroups come and go meanwhile, which os.walk bears.
        left = [pathlib.Path(path) for path, _, _ in os.walk(ROOT) if token in os.path.basename(path)]
        sweep(left)
        if code == 77:
            pytest.skip(text)
        assert code == 0, text
        assert not left

    return run


def sweep(left):
    for path in sorted(left, reverse=True):
        for pid in (path / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        for _ in range(100):
            with contextlib.suppress(OSError):
                path.rmdir()
                break
            time.sleep(0.02)


def join(group, files=None):
    for file in group.procs_files() if files is None else files:
        tree.write(file, "0")


def spawn(group, body=None, files=None):
    """A process in the cgroup that runs body() (default: sleeps for ever). Returns its pid when it has joined."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            join(group, files)
            os.write(writer, b"x")
            os.close(writer)
            os.close(reader)
            if body is None:
                while True:
                    signal.pause()
            body()
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    assert os.read(reader, 1) == b"x"
    os.close(reader)
    return pid


def answer(group, body):
    """What body() (-> str) gives in a process of the cgroup."""
    reader, writer = os.pipe()
    pid = spawn(group, lambda: os.write(writer, body().encode()))
    os.close(writer)
    with open(reader) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return text


def ended(pid, seconds=5):
    """Waits for a child of the test; its exit status as os.waitstatus_to_exitcode gives it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (done := os.waitpid(pid, os.WNOHANG))[0]:
            return os.waitstatus_to_exitcode(done[1])
        time.sleep(0.005)
    raise AssertionError(f"{pid} does not end")


def value(group, *files):
    """The text of the first of these files that the container has."""
    for file in files:
        for path in dict.fromkeys(group.paths.values()):
            if os.path.exists(f"{path}/{file}"):
                return tree.read(f"{path}/{file}").strip()
    raise Missing(files[0])


def sub_cgroup(path, name):
    """A cgroup that the workload makes below its own, ready to take processes."""
    os.mkdir(f"{path}/{name}")
    for file in ("cpuset.cpus", "cpuset.mems"):
        if os.path.exists(f"{path}/{file}") and os.path.exists(f"{path}/cpuset.cpu_exclusive"):
            tree.write(f"{path}/{name}/{file}", tree.read(f"{path}/{file}").strip())
    return f"{path}/{name}"


# --- limits -----------------------------------------------------------------------------------------------------------

MIB = 1 << 20
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
            with pytest.raises(ConfigError, match=r'unified\.nosuch\.max: can\'t be set: controller "nosuch" not available'):
                group.apply({"unified": {"nosuch.max": "1"}})
        else:
            with pytest.raises(ConfigError, match="invalid configuration: cannot use unified on cgroup v1"):
                group.apply(section)
        group.delete()

    inside(body)


# --- where it lies, and who is in it --------------------------------------------------------------------------------


def test_paths(inside):
    def body(world):
        top = {mount.names[0]: mount.point for mount in world.open().mounts}
        own = {mount.names[0]: mount.own for mount in world.open().mounts}
        for name, path in world.open({"cgroupsPath": f"/../a/../{world.token}/b"}).paths.items():
            if name in top:
                assert path == f"{top[name]}/{world.token}/b"
        for name, path in world.open({"cgroupsPath": f"../{world.token}"}).paths.items():
            if name in top:
                below = own[name] if world.layout != "v2" else own[name].rpartition("/")[0]
                assert path == f"{top[name]}{below}/{world.token}"
        for name, path in world.open().paths.items():
            if name in top:
                assert path.startswith(f"{top[name]}/{world.token}-")
        for path in ("/", "..", "/a/..", "a\0b"):
            with pytest.raises(ConfigError, match="linux.cgroupsPath"):
                world.open({"cgroupsPath": path})

    inside(body)


def test_a_process_joins_every_hierarchy(inside):
    """A path that is new down to the last but one, with cpuset's settings inherited all the way."""

    def body(world):
        group = world.make(cgroupsPath=f"/{world.token}/a/b")
        own = answer(group, lambda: tree.read("/proc/self/cgroup")).splitlines()
        joined = {line.split(":", 2)[1]: line.split(":", 2)[2] for line in own}
        for name in group.paths:
            assert joined[name] == f"/{world.token}/a/b", own
        if "cpuset" in group.paths:
            assert value(group, "cpuset.cpus") == tree.read(f"{ROOT}/cpuset/cpuset.cpus").strip()
        pid = spawn(group)
        again = cgroup.from_state(json.loads(json.dumps(group.to_state())))
        assert again.pids() == [pid]
        again.kill(signal.SIGKILL)
        assert ended(pid) == -signal.SIGKILL
        again.delete()
        assert not any(os.path.exists(path) for path in group.paths.values())
        for path in group.paths.values():  # the parents stay, as they do for runc
            for parent in (tree.parent(path), tree.parent(tree.parent(path))):
                with contextlib.suppress(FileNotFoundError):
                    os.rmdir(parent)

    inside(body)


def test_a_cgroup_with_processes_is_refused(inside):
    def body(world):
        group = world.make(cgroupsPath=f"/{world.token}")
        pid = spawn(group)
        with pytest.raises(Error, match=r"container's cgroup is not empty: 1 process\(es\) found"):
            world.make(cgroupsPath=f"/{world.token}")
        assert group.pids() == [pid]
        group.kill(signal.SIGKILL)
        ended(pid)
        second = world.make(cgroupsPath=f"/{world.token}")  # empty now, and so taken over
        second.delete()

    inside(body)


def test_a_refused_container_does_no_harm_to_the_one_that_is_there(inside):
    """Neither when its creation is undone, nor when the runtime was killed before it, and `delete --force` cleans up."""

    def body(world):
        linux = {"cgroupsPath": f"/{world.token}"}
        group = world.make(**linux)
        inner = sub_cgroup(group._main(), "inner")
        pid = spawn(group)
        second = world.open(linux)
        on_disk = json.loads(json.dumps(second.to_state()))
        with pytest.raises(Error, match="not empty"):
            second.create()
        for other in (cgroup.from_state(second.to_state()), cgroup.from_state(on_disk)):
            other.kill(signal.SIGKILL)
            other.kill(signal.SIGTERM)
            other.delete()
        assert group.pids() == [pid]
        assert os.path.exists(inner)
        assert all(os.path.exists(file) for file in group.procs_files())
        group.kill(signal.SIGKILL)
        ended(pid)
        group.delete()

    inside(body)


def test_delete_after_the_runtime_was_killed_while_it_made_the_cgroup(inside):
    def body(world):
        group = world.open()
        on_disk = json.loads(json.dumps(group.to_state()))
        paths = list(dict.fromkeys(group.paths.values()))
        for path in paths[: len(paths) // 2 + 1]:
            os.mkdir(path)
        cgroup.from_state(on_disk).delete()
        assert not any(os.path.exists(path) for path in paths)

    inside(body)


def test_a_frozen_cgroup_is_refused_and_nothing_else_made(inside):
    def body(world):
        linux = {"cgroupsPath": f"/{world.token}/x"}
        path = world.open(linux).paths["" if world.layout == "v2" else "freezer"]
        os.makedirs(path)
        tree.write(f"{path}/cgroup.freeze" if world.layout == "v2" else f"{path}/freezer.state", "1" if world.layout == "v2" else "FROZEN")
        group = world.open(linux)
        paths = list(group.paths.values())
        with pytest.raises(Error, match="container's cgroup unexpectedly frozen"):
            group.create()
        cgroup.from_state(group.to_state()).delete()
        assert [one for one in paths if os.path.exists(one)] == [path]
        assert sum(os.path.exists(tree.parent(one)) for one in paths) == 1
        os.rmdir(path)
        os.rmdir(tree.parent(path))

    inside(body)


def test_sub_cgroups_of_exec(inside):
    def body(world):
        group = world.make()
        neighbour = world.make(cgroupsPath=f"/{world.token}-1-neighbour")
        for path in dict.fromkeys(group.paths.values()):
            sub_cgroup(path, "sub")
        for bad in ("..", "../", "sub/../..", f"../{world.token}-1-neighbour", f"/../{world.token}-1-neighbour"):
            with pytest.raises(Error, match="bad sub cgroup path"):
                group.sub([bad])
        with pytest.raises(Error, match=r"error adding pid to cgroups: open .*/none/cgroup.procs: no such file or directory"):
            group.sub(["none"])
        with pytest.raises(Error, match="unknown controller whaaat"):
            group.sub(["whaaat:/"])
        with pytest.raises(Error, match="invalid --cgroup argument"):
            group.sub(["sub", "cpu:sub"])
        assert group.sub(["/"]) == group.procs_files()
        assert group.sub(["/sub/./"]) == ["/sub/".join(file.rsplit("/", 1)) for file in group.procs_files()]
        if "cpu" in group.paths:
            files = group.sub(["cpu,memory:sub"])
            assert group.paths["cpu"] + "/sub/tasks" in files
            assert group.paths["pids"] + "/tasks" in files
        pid = spawn(group, files=group.sub(["sub"]))
        assert group.pids() == [pid]
        assert group.pids(recursive=False) == []
        group.kill(signal.SIGKILL)
        ended(pid)
        group.delete()
        neighbour.delete()

    inside(body)


def test_exec_follows_init_where_the_cgroup_takes_no_process(inside):
    def body(world):
        group = world.make()
        if world.layout != "v2":
            group.delete()
            raise Missing("v2")
        path = group.paths[""]
        os.mkdir(path + "/sub")
        init = spawn(group, files=[path + "/sub/cgroup.procs"])
        assert group.procs_files(init) == [path + "/cgroup.procs"]
        domain = [name for name in tree.read(path + "/cgroup.controllers").split() if name in ("memory", "io", "hugetlb")]
        if domain:
            tree.write(path + "/cgroup.subtree_control", "+" + domain[0])
            assert group.procs_files(init) == [path + "/sub/cgroup.procs"]
            second = spawn(group, files=group.procs_files(init))
            assert sorted(group.pids()) == sorted([init, second])
        group.kill(signal.SIGKILL)
        group.delete()
        assert group.procs_files(os.getpid())[0] != path + "/cgroup.procs"

    inside(body)


def test_below_a_threaded_cgroup(inside):
    """There a cgroup can only be threaded, too, and have no limit that needs a domain."""

    def body(world):
        parent = world.make()
        if world.layout != "v2":
            parent.delete()
            raise Missing("v2")
        path = parent.paths[""]
        os.mkdir(path + "/thread")
        tree.write(path + "/thread/cgroup.type", "threaded")
        inner = f"/{os.path.basename(path)}/a/b"
        with pytest.raises(Error, match="cannot enter cgroupv2 .* with domain controllers"):
            world.make({"memory": {"limit": 64 * MIB}}, cgroupsPath=inner)
        assert not os.path.exists(path + "/a")
        group = world.make(cgroupsPath=inner)
        assert value(group, "cgroup.type") == "threaded"
        pid = spawn(group)
        assert group.pids() == [pid]
        group.kill(signal.SIGKILL)
        assert ended(pid) == -signal.SIGKILL
        parent.delete()

    inside(body)


def test_the_owner_of_a_delegated_cgroup(inside):
    """config-linux.md, Cgroup ownership: the container's root owns its cgroup, if it can write to it and sees no other."""

    mount = {"destination": "/sys/fs/cgroup/", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "rw"]}
    maps = {"uidMappings": [{"containerID": 0, "hostID": 100000, "size": 1000}]}
    spaces = [{"type": "user"}, {"type": "cgroup"}]

    def owner(world, linux, **config):
        group = world.open(linux, **config)
        group.create()
        path = group._main()
        owners = {name: os.stat(f"{path}/{name}").st_uid for name in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.events") if
                  os.path.exists(f"{path}/{name}")}
        group.delete()
        return owners

    def body(world):
        given = owner(world, maps | {"namespaces": spaces}, mounts=[mount])
        if world.layout != "v2":
            assert set(given.values()) == {0}
            return
        assert given == {"": 100000, "cgroup.procs": 100000, "cgroup.subtree_control": 100000, "cgroup.events": 0}
        user = {"process": {"user": {"uid": 7}}}
        assert owner(world, maps | {"namespaces": spaces}, mounts=[mount], **user)[""] == 100007
        assert owner(world, {"namespaces": spaces[1:]}, mounts=[mount], **user)[""] == 7
        for linux, mounts in (
            (maps | {"namespaces": spaces}, [mount | {"options": ["ro"]}]),
            (maps | {"namespaces": spaces}, []),
            (maps | {"namespaces": spaces[:1]}, [mount]),
            (maps | {"namespaces": [{"type": "user"}, {"type": "cgroup", "path": "/proc/1/ns/cgroup"}]}, [mount]),
        ):
            assert set(owner(world, linux, mounts=mounts).values()) == {0}

    inside(body)


def test_rootless(inside):
    """No permission: no cgroup, and no error, unless a cgroup or a limit was asked for."""

    def body(world):
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        space = {"namespaces": [{"type": "pid"}]}
        group = world.open(space)
        group.create()
        group.apply({})
        assert group.procs_files() == []
        again = cgroup.from_state(json.loads(json.dumps(group.to_state())))
        assert (again.pids(), again.frozen()) == ([], False)
        again.kill(signal.SIGKILL)
        again.delete()
        with pytest.raises(Error, match="unable to apply cgroup configuration: .*: permission denied"):
            world.open(space | {"cgroupsPath": f"/{world.token}"}).create()
        group = world.open(space)
        group.create()
        with pytest.raises(ConfigError, match="rootless needs no limits .*: cannot set pids limit: container could not join or create cgroup"):
            group.apply({"pids": {"limit": 5}})
        with pytest.raises(Error, match="unable to apply cgroup configuration: .*: permission denied"):
            world.open(space, rootless="false").create()

    inside(body)


# --- devices ----------------------------------------------------------------------------------------------------------

PROBES = {"c 1:11": "kmsg", "c 10:229": "fuse", "c 5:1": "console", "b 7:5": "loop"}
FLAGS = {"r": os.O_RDONLY, "w": os.O_WRONLY, "rw": os.O_RDWR}


def rule(allow, text):
    kind, numbers, access = text.split()
    major, minor = numbers.split(":")
    found = {"allow": allow, "type": kind, "access": access, "major": int(major)}
    return found if minor == "*" else found | {"minor": int(minor)}


# rules, what is allowed of `NUMBERS ACCESS`; everything else that the probes try is not
VERDICTS = [
    ([DENY_ALL], ""),
    ([DENY_ALL, rule(True, "c 1:11 r")], "c 1:11 r"),
    ([DENY_ALL, rule(True, "c 1:11 r"), rule(True, "c 1:11 w")], "c 1:11 r, c 1:11 w, c 1:11 rw"),
    ([DENY_ALL, rule(True, "c 1:* rw"), rule(True, "b 7:5 r")], "c 1:11 r, c 1:11 w, c 1:11 rw, b 7:5 r"),
    ([DENY_ALL, rule(True, "c 10:229 rwm"), rule(False, "c 10:229 w")], "c 10:229 r"),
    ([{"allow": True, "access": "rwm"}, rule(False, "c 1:11 w"), rule(False, "b 7:5 rw"), rule(False, "c 5:1 r")],
     "c 1:11 r, c 10:229 r, c 10:229 w, c 10:229 rw, c 5:1 w"),
    # docker's
    ([DENY_ALL, *(rule(True, f"c {n} rwm") for n in ("1:5", "1:3", "1:9", "1:8", "5:0", "5:1")), rule(False, "c 10:229 rwm")],
     "c 5:1 r, c 5:1 w, c 5:1 rw"),
]  # fmt: skip


def device_probe(directory):
    """`NUMBERS ACCESS, …` of what the caller may open. A device that is not there is allowed all the same."""

    def probe():
        found = []
        for numbers, name in PROBES.items():
            for access, flags in FLAGS.items():
                try:
                    os.close(os.open(directory / name, flags | os.O_NONBLOCK | os.O_NOCTTY))
                except OSError as fault:
                    if fault.errno == errno.EPERM:
                        continue
                    assert fault.errno in (errno.ENXIO, errno.ENODEV, errno.EIO), fault
                found.append(f"{numbers} {access}")
        return ", ".join(sorted(found))

    return probe


@pytest.fixture
def nodes(tmp_path):
    """A directory with a node for each of PROBES."""
    for numbers, name in PROBES.items():
        kind, number = numbers.split()
        device = os.makedev(*map(int, number.split(":")))
        os.mknod(tmp_path / name, (0o020000 if kind == "c" else 0o060000) | 0o600, device)
    return tmp_path


@pytest.mark.parametrize(("rules", "allowed"), VERDICTS, ids=range(len(VERDICTS)))
def test_device_verdicts_are_the_same_everywhere(inside, nodes, rules, allowed):
    def body(world):
        group = world.make({"devices": rules})
        assert answer(group, device_probe(nodes)) == ", ".join(sorted(filter(None, allowed.split(", "))))
        group.delete()

    inside(body)


def test_default_devices(inside, tmp_path):
    """Without any rule: the specification's devices can be used, any node made, and nothing else used."""

    def probe():
        for path in ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"):
            os.close(os.open(path, os.O_RDWR))
        os.mknod(tmp_path / "any", 0o060600, os.makedev(7, 9))
        try:
            os.open(tmp_path / "any", os.O_RDONLY)
        except PermissionError as fault:
            return str(fault.errno)
        return "opened"

    def body(world):
        (tmp_path / "any").unlink(missing_ok=True)
        group = world.make()
        assert answer(group, probe) == str(errno.EPERM)
        group.delete()

    inside(body)


def test_device_rules_change_without_a_gap(inside, nodes):
    """While rules come and go, what stays allowed is never refused, and what is never allowed is never given."""

    def watch(reader, writer):
        faults = set()
        os.write(writer, b"x")
        while not select.select([reader], [], [], 0)[0]:
            try:
                os.close(os.open("/dev/zero", os.O_RDWR))
                os.close(os.open(nodes / "kmsg", os.O_RDONLY))
            except OSError as fault:
                faults.add(f"refused: {fault}")
            try:
                os.close(os.open(nodes / "loop", os.O_RDONLY))
            except PermissionError:
                pass
            else:
                faults.add("given")
        os.write(writer, ("; ".join(faults) or "none").encode())

    def body(world):
        rules = [DENY_ALL, rule(True, "c 1:11 rw")]
        group = world.make({"devices": rules})
        stop, go = os.pipe()
        reader, writer = os.pipe()
        pid = spawn(group, lambda: watch(stop, writer))
        os.read(reader, 1)
        again = cgroup.from_state(group.to_state())
        for count in range(100):
            again.apply({"devices": [*rules, *([rule(True, "c 10:229 rw")] if count % 2 else [])]})
        again.apply({"pids": {"limit": 100}} if world.has(group, "pids") else {})  # names no rules: they stay
        os.write(go, b"x")
        assert os.read(reader, 4096).decode() == "none"
        ended(pid)
        assert answer(group, device_probe(nodes)) == "c 10:229 r, c 10:229 rw, c 10:229 w, c 1:11 r, c 1:11 rw, c 1:11 w"
        group.delete()

    inside(body)


# --- freezing, killing, removing --------------------------------------------------------------------------------------


def test_freeze_and_thaw(inside):
    def body(world):
        group = world.make()
        pid = spawn(group, lambda: [time.sleep(0.001) for _ in range(20000)])
        assert not group.frozen()
        group.freeze()
        assert group.frozen()
        before = tree.read(f"/proc/{pid}/schedstat")
        time.sleep(0.05)
        assert tree.read(f"/proc/{pid}/schedstat") == before
        group.kill(signal.SIGTERM)
        assert group.frozen()  # a paused container stays so. v2 lets it die of the signal, v1 when it goes on
        group.thaw()
        assert not group.frozen()
        assert ended(pid) == -signal.SIGTERM
        group.delete()
        assert not group.frozen()
        group.thaw()

    inside(body)


def test_a_signal_reaches_all(inside):
    def body(world):
        group = world.make()
        inner = sub_cgroup(group._main(), "inner") + "/cgroup.procs"
        signal.signal(signal.SIGUSR1, lambda *_: os._exit(7))
        pids = [spawn(group), spawn(group, files=[*group.procs_files()[:-1], inner]), spawn(group)]
        group.kill(signal.SIGUSR1)
        assert [ended(pid) for pid in pids] == [7] * 3
        group.delete()

    inside(body)


def test_kill_ends_what_is_frozen_and_nested(inside):
    """runc#2105: below the container a frozen cgroup, made by the workload; the container itself is paused, too."""

    def body(world):
        group = world.make()
        freezer = group.paths.get("freezer", group._main())
        inner = sub_cgroup(freezer, "inner")
        pids = [spawn(group), spawn(group), spawn(group, files=[*group.procs_files(), inner + "/cgroup.procs"])]
        tree.write(f"{inner}/freezer.state" if "freezer" in group.paths else f"{inner}/cgroup.freeze", "FROZEN" if "freezer" in group.paths else "1")
        group.freeze()
        started = time.monotonic()
        group.kill(signal.SIGKILL)
        assert group.pids() == []
        assert [ended(pid) for pid in pids] == [-signal.SIGKILL] * 3
        assert time.monotonic() - started < 2
        group.delete()

    inside(body)


def test_kill_ends_a_fork_bomb(inside):
    def bomb():
        while True:
            with contextlib.suppress(OSError):
                if os.fork() == 0:
                    continue
            time.sleep(0.001)

    def body(world):
        group = world.make({"pids": {"limit": 60}}, ["pids"])
        pid = spawn(group, bomb)
        while len(group.pids()) < 30:
            time.sleep(0.01)
        group.kill(signal.SIGKILL)
        assert group.pids() == []
        assert ended(pid) == -signal.SIGKILL
        group.delete()

    inside(body)


def test_delete_removes_what_the_workload_made(inside):
    """runc#3226: sub-cgroups, on v2 threaded ones too; and it kills who is left in them."""

    def body(world):
        group = world.make()
        for path in dict.fromkeys(group.paths.values()):
            os.makedirs(path + "/a/b/c")
            os.mkdir(path + "/d")
        pids = []
        if world.layout == "v2":
            threaded = group.paths[""] + "/threaded"
            os.mkdir(threaded)
            tree.write(threaded + "/cgroup.type", "threaded")
            pid = spawn(group)
            tree.write(threaded + "/cgroup.threads", str(pid))
            assert group.pids() == [pid]
            pids.append(pid)
        else:
            pids.append(spawn(group, files=[path + "/d/cgroup.procs" for name, path in group.paths.items() if name != "cpuset"]))
        group.delete()
        assert [ended(pid) for pid in pids] == [-signal.SIGKILL]
        assert not any(os.path.exists(path) for path in group.paths.values())
        group.delete()

    inside(body)


def test_delete_waits_for_a_process_that_is_ending(inside):
    def body(world):
        for _ in range(20):
            group = world.make()
            pid = spawn(group)
            os.kill(pid, signal.SIGKILL)
            group.delete()
            ended(pid)

    inside(body)


def test_very_deep_cgroups_are_removed(inside):
    def body(world):
        group = world.make()
        path = group._main()
        for _ in range(1200):
            path += "/x"
            try:
                os.mkdir(path)
            except OSError as fault:  # how deep the kernel goes is its own affair
                assert fault.errno in (errno.EAGAIN, errno.ENAMETOOLONG, errno.ENOMEM), fault
                break
        group.delete()
        assert not os.path.exists(group._main())

    inside(body)


def test_many_at_once_below_one_new_parent(inside):
    def life(world, number):
        group = world.make(cgroupsPath=f"/{world.token}-parent/{number}")
        pid = spawn(group)
        group.kill(signal.SIGKILL)
        ended(pid)
        group.delete()

    def body(world):
        children = []
        for number in range(20):
            if (pid := os.fork()) == 0:
                try:
                    for _ in range(5):
                        life(world, number)
                    os._exit(0)
                finally:
                    traceback.print_exc()
                    os._exit(1)
            children.append(pid)
        assert [ended(pid, 60) for pid in children] == [0] * 20
        for path in world.open({"cgroupsPath": f"/{world.token}-parent"}).paths.values():
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(path)

    inside(body)


def test_containers_that_share_a_cgroups_path(bundle, token):
    """The second is refused, and the first goes on."""
    path = f"/{token}-shared"
    first = bundle("sleep 1000").set("linux.cgroupsPath", path).create()
    first.start()
    for command in ("create", "run"):
        refused = bundle("true").set("linux.cgroupsPath", path).call(command, code=1)
        assert "container's cgroup is not empty" in refused.err
        assert first.status() == "running"
    assert first.exec("echo", "alive").out == "alive\n"
    first.kill("KILL")
    first.wait()
    first.delete()
