"""The user's process: who it is and what it may do (config.md#process)."""

import ctypes
import json
import os
import resource
import signal
import struct
import subprocess

import pytest
from harness import until
from limits import freeze, freezer, thaw
from looks import LINUX32, fields, one_line, user_namespace
from seccomp_tools import LIBC

from pyrun.plan.process import CAPABILITIES, RLIMITS

PR_CAPBSET_DROP, CAP_SYS_RESOURCE = 24, 24
RT_GROUPS = os.path.exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us")
SETS = {"bounding": "CapBnd", "effective": "CapEff", "inheritable": "CapInh", "permitted": "CapPrm", "ambient": "CapAmb"}


def status(bundle, **run):
    """/proc/self/status of the container's process, and the warnings."""
    bundle.config["process"]["args"] = ["cat", "/proc/self/status"]
    result = bundle.run(**run)
    return fields(result.out), result.err


def names(mask):
    return {name for name, number in CAPABILITIES.items() if int(mask, 16) >> number & 1}


@pytest.mark.arm64
@pytest.mark.kernels
def test_user_and_groups(bundle):
    b = bundle().set("process.user", {"uid": 1234, "gid": 5678, "additionalGids": [10, 5678, 4294967294, 20]})
    seen, _ = status(b)
    assert seen["Uid"].split() == ["1234"] * 4
    assert seen["Gid"].split() == ["5678"] * 4
    assert sorted(seen["Groups"].split(), key=int) == ["10", "20", "5678", "4294967294"]
    assert seen["Groups"] and status(b.set("process.user", {"uid": 1, "gid": 1}))[0]["Groups"] == ""


@pytest.mark.parametrize("umask, wanted", [(None, "0022"), (0, "0000"), (0o77, "0077"), (0o777, "0777")])
def test_umask(bundle, umask, wanted):
    b = bundle().set("process.user", {"uid": 0, "gid": 0} | ({} if umask is None else {"umask": umask}))
    assert status(b, umask=0o027)[0]["Umask"] == wanted


@pytest.mark.arm64
@pytest.mark.kernels
def test_the_five_sets(bundle):
    given = {
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_SYS_PTRACE"],
        "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
        "inheritable": ["CAP_KILL", "CAP_NET_RAW"],
        "effective": ["CAP_CHOWN"],
        "ambient": ["CAP_KILL"],
    }
    b = bundle().set("process.capabilities", given).set("process.user", {"uid": 1000, "gid": 1000})
    seen, warnings = status(b)
    assert warnings == ""
    assert names(seen["CapBnd"]) == set(given["bounding"])
    assert names(seen["CapInh"]) == set(given["inheritable"])
    # execve(2) of a user who is not root leaves what is ambient (capabilities(7)).
    for name in ("CapPrm", "CapEff", "CapAmb"):
        assert names(seen[name]) == {"CAP_KILL"}


def test_root_keeps_its_capabilities(bundle):
    words = ["CAP_CHOWN", "CAP_NET_ADMIN", "CAP_CHECKPOINT_RESTORE"]
    b = bundle().set("process.capabilities", {name: words for name in ("bounding", "effective", "permitted")})
    seen, _ = status(b)
    for name in ("CapBnd", "CapEff", "CapPrm"):
        assert names(seen[name]) == set(words)
    assert names(seen["CapInh"]) == names(seen["CapAmb"]) == set()


@pytest.mark.parametrize("value", [None, {}])
def test_no_capabilities(bundle, value):
    b = bundle()
    b.config["process"].pop("capabilities")
    if value is not None:
        b.config["process"]["capabilities"] = value
    seen, _ = status(b)
    assert [seen[name].strip("0") for name in SETS.values()] == [""] * 5


def test_all_capabilities(bundle):
    with open("/proc/self/status") as file:
        own = fields(file.read())["CapPrm"]
    words = sorted(names(own))
    b = bundle().set("process.capabilities", {name: words for name in SETS})
    seen, warnings = status(b)
    assert warnings == ""
    assert {seen[name] for name in SETS.values()} == {own}


@pytest.mark.parametrize("capability", ["CAP_DAC_READ_SEARCH", None])
def test_what_is_effective_when_the_program_is_executed(bundle, capability):
    """execve(2) computes it anew; it counts for the way to the program."""
    b = bundle(["/locked/sh", "-c", "echo found"])
    (b.rootfs / "locked").mkdir(mode=0o700)
    (b.rootfs / "locked/sh").symlink_to("/bin/sh")
    os.chown(b.rootfs / "locked", 1000, 1000)
    sets = {"bounding": ["CAP_DAC_READ_SEARCH"], "permitted": ["CAP_DAC_READ_SEARCH"], "effective": [capability] if capability else []}
    b.set("process.capabilities", sets)
    if capability:
        assert b.run().out == "found\n"
    else:
        assert "permission denied" in one_line(b.run(code=1))


def test_ambient_without_inheritable_is_a_warning(bundle):
    b = bundle().set("process.user", {"uid": 1000, "gid": 1000})
    b.config["process"]["capabilities"] = {name: ["CAP_KILL"] for name in ("bounding", "permitted", "ambient")}
    seen, warnings = status(b)
    assert "can't raise ambient capability CAP_KILL: " in warnings and warnings.count("\n") == 1
    assert names(seen["CapAmb"]) == set()


@pytest.mark.parametrize("word", ["CAP_NO_SUCH", "chown", ""])
def test_an_unknown_capability_is_a_warning(bundle, word):
    b = bundle()
    b.config["process"]["capabilities"]["bounding"].append(word)
    seen, warnings = status(b)
    assert f"process.capabilities.bounding[3]: unknown capability {word}" in warnings
    assert len(names(seen["CapBnd"])) == 3


def test_effective_without_permitted_is_a_warning(bundle):
    b = bundle()
    b.config["process"]["capabilities"] = {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"]}
    assert "process.capabilities.effective[0]: CAP_KILL" in status(b)[1]


def test_rlimits(bundle):
    shown = {
        "RLIMIT_CPU": "Max cpu time", "RLIMIT_FSIZE": "Max file size", "RLIMIT_DATA": "Max data size", "RLIMIT_STACK": "Max stack size",
        "RLIMIT_CORE": "Max core file size", "RLIMIT_RSS": "Max resident set", "RLIMIT_NPROC": "Max processes", "RLIMIT_NOFILE": "Max open files",
        "RLIMIT_MEMLOCK": "Max locked memory", "RLIMIT_AS": "Max address space", "RLIMIT_LOCKS": "Max file locks",
        "RLIMIT_SIGPENDING": "Max pending signals", "RLIMIT_MSGQUEUE": "Max msgqueue size", "RLIMIT_NICE": "Max nice priority",
        "RLIMIT_RTPRIO": "Max realtime priority", "RLIMIT_RTTIME": "Max realtime timeout",
    }  # fmt: skip
    assert set(shown) == set(RLIMITS)
    values = {}
    for number, (kind, code) in enumerate(RLIMITS.items()):
        most = resource.getrlimit(code)[1]  # only a privileged caller may raise it
        hard = (1 << 30) + number if most == resource.RLIM_INFINITY else min(most, (1 << 30) + number)
        values[kind] = (max(hard - 9, 0), hard)
    b = bundle(["cat", "/proc/self/limits"])
    b.set("process.rlimits", [{"type": kind, "soft": soft, "hard": hard} for kind, (soft, hard) in values.items()])
    lines = {line[:26].strip(): line[26:].split()[:2] for line in b.run().out.splitlines()}
    assert {kind: lines[name] for kind, name in shown.items()} == {kind: [str(soft), str(hard)] for kind, (soft, hard) in values.items()}


def as_less_than_root():
    """A preexec_fn: a caller with a low hard limit, which it may not raise."""
    resource.setrlimit(resource.RLIMIT_CORE, (1000, 1000))
    assert LIBC.prctl(PR_CAPBSET_DROP, CAP_SYS_RESOURCE, 0, 0, 0) == 0


TOO_HIGH = [
    ({"type": "RLIMIT_NOFILE", "soft": 10, "hard": 10**9}, {}),  # above sysctl fs.nr_open, for anybody
    ({"type": "RLIMIT_CORE", "soft": 10, "hard": 1001}, {"preexec_fn": as_less_than_root}),
]


@pytest.mark.parametrize(("limit", "caller"), TOO_HIGH, ids=["NOFILE", "CORE"])
def test_a_hard_limit_that_the_caller_may_not_set(limit, caller, bundle, leftovers):
    """`create` says so; podman knows its words. In a user namespace it is the caller who raises the limit."""
    for b in (bundle(), user_namespace(bundle())):
        said = b.set("process.rlimits", [{"type": "RLIMIT_CPU", "soft": 5, "hard": 5}, limit]).call("create", code=1, **caller).err
        assert said.count("\n") == 1 and "process.rlimits[1]: " in said and "operation not permitted" in said
        assert not leftovers()


@pytest.mark.parametrize(("limit", "caller"), TOO_HIGH, ids=["NOFILE", "CORE"])
def test_a_hard_limit_that_exec_may_not_set(limit, caller, bundle, run, tmp_path):
    container = bundle("sleep 100").detached()
    (tmp_path / "process.json").write_text(json.dumps({"args": ["true"], "cwd": "/", "rlimits": [limit]}))
    said = run("exec", "--process", tmp_path / "process.json", container.id, code=255, **caller).err
    assert said.count("\n") == 1 and "process.rlimits[0]: " in said and "operation not permitted" in said


def test_the_callers_own_hard_limit_is_no_raise(bundle):
    b = bundle("ulimit -Hc").set("process.rlimits", [{"type": "RLIMIT_CORE", "soft": 0, "hard": 512}])
    assert b.run(preexec_fn=as_less_than_root).out == "1\n"


def test_unlimited(bundle):
    b = bundle("ulimit -c; ulimit -Hc").set("process.rlimits", [{"type": "RLIMIT_CORE", "soft": 2**64 - 1, "hard": 2**64 - 1}])
    assert b.run().out == "unlimited\nunlimited\n"


def test_a_small_limit_does_not_hinder_the_start(bundle):
    """Limits come last: with them the runtime itself could not have started the program."""
    limits = [{"type": f"RLIMIT_{kind}", "soft": value, "hard": value} for kind, value in (("NOFILE", 3), ("NPROC", 1))]
    assert bundle(["echo", "fine"]).set("process.rlimits", limits).run().out == "fine\n"


@pytest.mark.parametrize("value", [True, False])
def test_no_new_privileges(bundle, value):
    b = bundle().set("process.noNewPrivileges", value)
    assert status(b)[0]["NoNewPrivs"] == str(int(value))


def needs(name, capability):
    """A mark for what the runtime itself may not do without a capability."""
    with open("/proc/self/status") as file:
        has = capability in names(fields(file.read())["CapEff"])
    return pytest.param(name, marks=pytest.mark.skipif(not has, reason=f"the tests' own root has no {capability}"))


@pytest.mark.parametrize("score", [needs(-500, "CAP_SYS_RESOURCE"), 0, 1000])
def test_oom_score(bundle, score):
    assert bundle(["cat", "/proc/self/oom_score_adj"]).set("process.oomScoreAdj", score).run().out == f"{score}\n"


def test_oom_score_is_inherited(bundle):
    with open("/proc/self/oom_score_adj") as file:
        assert bundle(["cat", "/proc/self/oom_score_adj"]).run().out == file.read()


# --- scheduling, memory, personality


def scheduling(bundle):
    """Policy, priority and nice of the process: fields 41, 40, 19 of /proc/PID/stat (proc_pid_stat(5))."""
    values = bundle.run().out.rpartition(")")[2].split()
    return int(values[38]), int(values[37]), int(values[16])


@pytest.mark.parametrize(
    "scheduler, wanted",
    [
        ({"policy": "SCHED_OTHER", "nice": -5}, (0, 0, -5)),
        ({"policy": "SCHED_BATCH", "nice": 7}, (3, 0, 7)),
        ({"policy": "SCHED_IDLE"}, (5, 0, 0)),
        ({"policy": "SCHED_FIFO", "priority": 3}, (1, 3, 0)),
        ({"policy": "SCHED_RR", "priority": 99, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}, (2, 99, 0)),
        ({"policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 10_000_000, "period": 10_000_000}, (6, 0, 0)),
    ],
)
def test_scheduler(bundle, scheduler, wanted):
    assert scheduling(with_real_time(bundle(["cat", "/proc/self/stat"])).set("process.scheduler", scheduler)) == wanted


def with_real_time(bundle):
    """Where cgroups have a share of real time (CONFIG_RT_GROUP_SCHED), a new one has none."""
    return bundle.set("linux.resources.cpu.realtimeRuntime", 1000) if RT_GROUPS else bundle


@pytest.mark.skipif(not RT_GROUPS, reason="real time is not for cgroups to give here")
def test_a_scheduler_that_cannot_be_had_is_an_error(bundle):
    b = bundle().set("process.scheduler", {"policy": "SCHED_FIFO", "priority": 3})
    assert "process.scheduler: sched_setattr SCHED_FIFO: operation not permitted" in one_line(b.call("run", code=1))


def scheduling_attributes(pid):
    """policy, flags, nice, priority, runtime, deadline, period: struct sched_attr of a process (sched_getattr(2))."""
    number = {"x86_64": 315, "aarch64": 275}[os.uname().machine]
    attributes = ctypes.create_string_buffer(48)
    assert ctypes.CDLL(None, use_errno=True).syscall(number, pid, attributes, 48, 0) == 0
    return struct.unpack("=4xIQiIQQQ", attributes)


@pytest.mark.parametrize(
    "scheduler, wanted",
    [
        ({"policy": "SCHED_BATCH", "nice": 7, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}, (3, 1, 7, 0)),
        (
            {"policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 10_000_000, "period": 20_000_000, "flags": ["SCHED_FLAG_RECLAIM"]},
            (6, 2, 0, 0, 1_000_000, 10_000_000, 20_000_000),
        ),
        ({"policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 10_000_000, "flags": ["SCHED_FLAG_DL_OVERRUN"]}, (6, 4)),
        ({"policy": "SCHED_BATCH", "nice": 7, "flags": ["SCHED_FLAG_KEEP_POLICY"]}, (0, 0, 7)),
        ({"policy": "SCHED_BATCH", "nice": 7, "flags": ["SCHED_FLAG_KEEP_POLICY", "SCHED_FLAG_KEEP_PARAMS"]}, (0, 0, 0)),
    ],
)
def test_sched_attributes(bundle, scheduler, wanted):
    b = with_real_time(bundle("sleep 100")).set("process.scheduler", scheduler)
    assert scheduling_attributes(b.detached().pid)[: len(wanted)] == wanted


@pytest.mark.parametrize(
    "priority, wanted",
    [
        ({"class": "IOPRIO_CLASS_BE", "priority": 5}, "best-effort: prio 5"),
        ({"class": "IOPRIO_CLASS_RT", "priority": 1}, "realtime: prio 1"),
        ({"class": "IOPRIO_CLASS_IDLE"}, "idle"),
    ],
)
def test_io_priority(bundle, priority, wanted):
    assert bundle(["ionice"]).set("process.ioPriority", priority).run().out.strip() == wanted


@pytest.mark.arm64
def test_personality(bundle):
    b = bundle("uname -m; cat /proc/self/personality").set("linux.personality", {"domain": "LINUX32"})
    assert b.run().out.split() == [LINUX32, "00000008"]
    assert b.set("linux.personality", {"domain": "LINUX"}).run().out.split() == [os.uname().machine, "00000000"]


def test_memory_policy(bundle):
    b = bundle("sed -n 1p /proc/self/numa_maps; exec sleep 100")
    b.set("linux.memoryPolicy", {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]})
    container = b.detached()
    assert " bind=static:0 " in container.exec("sed", "-n", "1p", "/proc/self/numa_maps").out
    assert " bind=static:0 " in container.out


@pytest.mark.parametrize(
    "mode, flags, wanted",
    [
        ("DEFAULT", [], "default"),
        ("BIND", ["NUMA_BALANCING"], "bind=balancing:0"),
        ("INTERLEAVE", ["STATIC_NODES"], "interleave=static:0"),
        ("WEIGHTED_INTERLEAVE", [], "weighted interleave:0"),
        ("PREFERRED", ["RELATIVE_NODES"], "prefer=relative:0"),
        ("PREFERRED_MANY", [], "prefer (many):0"),
        ("LOCAL", [], "local"),
    ],
)
def test_memory_modes_and_flags(bundle, mode, flags, wanted):
    policy = {"mode": f"MPOL_{mode}", "flags": [f"MPOL_F_{flag}" for flag in flags]}
    if wanted.endswith(":0"):
        policy["nodes"] = "0"
    b = bundle(["sed", "-n", "1p", "/proc/self/numa_maps"]).set("linux.memoryPolicy", policy)
    assert f" {wanted} " in b.run().out


def test_a_node_that_is_not_there(bundle):
    line = one_line(bundle().set("linux.memoryPolicy", {"mode": "MPOL_BIND", "nodes": "900"}).call("run", code=1))
    assert "linux.memoryPolicy" in line and "invalid argument" in line


def test_the_callers_affinity_is_not_the_containers(bundle):
    b = bundle(["grep", "Cpus_allowed_list", "/proc/self/status"])
    everything = b.run().out
    os.sched_setaffinity(0, {0})
    try:
        assert b.run().out == everything
    finally:
        os.sched_setaffinity(0, range(os.cpu_count()))


@pytest.mark.skipif(os.cpu_count() < 2, reason="needs two CPUs")
def test_exec_cpu_affinity(bundle):
    """Of processes that exec adds, not of the container's own (config.md#process, execCPUAffinity)."""
    b = bundle("grep Cpus_allowed_list /proc/self/status; exec sleep 100").set("process.execCPUAffinity", {"initial": "0", "final": "1"})
    container = b.detached()
    assert container.exec("grep", "Cpus_allowed_list", "/proc/self/status").out.split()[1] == "1"
    assert container.out.split()[1] == f"0-{os.cpu_count() - 1}"
    # In a frozen container a new process gets no further than into the cgroup.
    cgroup = freezer(container.pid)
    freeze(cgroup)
    command = container.runner.command("exec", "--ignore-paused", container.id, "grep", "Cpus_allowed_list", "/proc/self/status")
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            joined = until(lambda: set((cgroup / "cgroup.procs").read_text().split()) - {str(container.pid)}, what="exec is in the cgroup")
            with open(f"/proc/{joined.pop()}/status") as file:
                assert fields(file.read())["Cpus_allowed_list"] == "0"
        finally:
            thaw(cgroup)
        assert process.communicate(timeout=20)[0].split()[1] == "1"
    # `initial` is for the way into the container's cgroup; without `final` the process gets what the container has.
    other = b.set("process.execCPUAffinity", {"initial": "0"}).detached()
    assert other.exec("grep", "Cpus_allowed_list", "/proc/self/status").out == other.out


def test_signals_are_as_new(bundle):
    """What the caller ignores or blocks is not the container's (nohup, shells)."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        seen, _ = status(bundle())
    finally:
        signal.signal(signal.SIGHUP, before)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
    assert [seen[name].strip("0") for name in ("SigBlk", "SigIgn", "SigCgt")] == ["", "", ""]
