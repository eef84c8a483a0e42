"""What is wrong in a config: the path in the words of the specification, and words that callers or people look for."""

import json
import subprocess
import sys

import configs
import pytest
from harness import PROJECT

from pyrun.base.errors import ConfigError
from pyrun.config import faults
from pyrun.config import load as configuration

ALL = [{"type": name} for name in ("mount", "pid", "network", "uts", "ipc", "cgroup")]
MAPS = {"uidMappings": configs.MAPPING, "gidMappings": configs.MAPPING}
USERNS = {"namespaces": [*ALL, {"type": "user"}], **MAPS}
PROCESS = {"cwd": "/", "args": ["sh"]}


@pytest.fixture
def bundle(tmp_path):
    (tmp_path / "rootfs").mkdir()
    return str(tmp_path)


def make(**members):
    """A valid config with these members; `linux` and `process` add to what is there."""
    config = json.loads(json.dumps(configs.BASE)) | {"linux": {"namespaces": ALL}}
    for name, value in members.items():
        config[name] = config[name] | value if name in ("linux", "process") else value
    return config


def mount(**members):
    return make(mounts=[{"destination": "/x", "source": "/y", **members}])


def mapping(*ranges):
    return [{"containerID": first, "hostID": host, "size": size} for first, host, size in ranges]


VALID = {
    "docker's names": make(hostname="a", domainname="b"),
    "empty names": make(hostname="", domainname="", linux={"namespaces": []}),
    "no process": {name: value for name, value in make().items() if name != "process"},
    "no linux": {name: value for name, value in make().items() if name != "linux"},
    "version": make(ociVersion="1.0.0-rc5+dev"),
    "newer version": make(ociVersion="1.99.0"),
    "user namespace": make(linux=USERNS),
    "joined user namespace": make(linux={"namespaces": [*ALL, {"type": "user", "path": "/proc/1/ns/user"}]}),
    "joined user namespace with mappings": make(linux={"namespaces": [*ALL, {"type": "user", "path": "/proc/1/ns/user"}], **MAPS}),
    "unmapped user of a joined namespace": make(
        linux={"namespaces": [*ALL, {"type": "user", "path": "/x"}], **MAPS}, process={"user": {"uid": 50}}
    ),
    "mapped user": make(linux=USERNS, process={"user": {"uid": 9, "gid": 9, "additionalGids": [0]}}),
    "neighbours": make(linux=USERNS | {"uidMappings": mapping((0, 1000, 1), (1, 100000, 65536), (70000, 1, 999))}),
    "whole range": make(linux=USERNS | {"uidMappings": mapping((0, 0, 2**32 - 1))}),
    "time": make(linux={"namespaces": [*ALL, {"type": "time"}], "timeOffsets": {"monotonic": {"secs": 5}}}),
    "no offsets": make(linux={"timeOffsets": {}}),
    "sysctls": make(
        linux={
            "sysctl": {
                "net.ipv4.ip_forward": "1",
                "net/ipv4/conf/eth0.1/forwarding": "1",
                "kernel.shm_rmid_forced": "1",
                "kernel.sem": "1 2 3 4",
                "kernel/msgmax": "1",
                "fs.mqueue.msg_max": "10",
                "kernel.domainname": "x",
            }
        }
    ),
    "user sysctl": make(linux=USERNS | {"sysctl": {"user.max_user_namespaces": "1"}}),
    "net sysctl in a joined namespace": make(
        linux={"namespaces": [{"type": "network", "path": "/nowhere"}], "sysctl": {"net.core.somaxconn": "1"}}
    ),
    "unknown capability": make(process={"capabilities": {"bounding": ["CAP_FUTURE", "x"]}}),
    "console size without a terminal": make(process={"consoleSize": {"height": 70000, "width": 1}}),
    "scheduler of runc's suite": make(
        process={"scheduler": {"policy": "SCHED_DEADLINE", "nice": 19, "priority": 0, "runtime": 42000, "deadline": 100000, "period": 1000000}}
    ),
    "deadline without a period": make(process={"scheduler": {"policy": "SCHED_DEADLINE", "runtime": 10000, "deadline": 10000}}),
    "idmap": mount(options=["rbind", "ridmap"], **MAPS),
    "idmap of the container": make(linux=USERNS, mounts=[{"destination": "/x", "source": "/y", "options": ["bind", "idmap"]}]),
    "mappings without the word": mount(options=["bind"], **MAPS),
    "relative destination": mount(destination="x", options=["bind"]),
    "net device": make(linux={"netDevices": {"eth0": {}, "eth1": {"name": "veth%d"}}}),
    "device of dockerd": make(linux={"devices": [{"type": "c", "path": "/dev/x", "major": 1, "minor": 3, "fileMode": 0o20666}]}),
    "fifo": make(linux={"devices": [{"type": "p", "path": "/dev/x"}]}),
    "propagation": make(linux={"rootfsPropagation": "rshared"}),
    "memory policy": make(linux={"memoryPolicy": {"mode": "MPOL_PREFERRED", "nodes": "", "flags": []}}),
    "root of resctrl": make(linux={"intelRdt": {"closID": "/"}}),
    "no quota": make(linux={"resources": {"cpu": {"quota": -1, "burst": 5}}}),
    "no limits": make(linux={"resources": {"pids": {"limit": -1}, "memory": {"limit": -1}, "cpu": {"shares": 0}, "blockIO": {"weight": 0}}}),
}

# (config, path, words)
BROKEN = [
    (make(ociVersion="1.0"), "ociVersion", "must be a version 1.x.y"),
    (make(ociVersion="2.0.0"), "ociVersion", "must be a version 1.x.y"),
    ({name: value for name, value in make().items() if name != "root"}, "root", "root must be specified"),
    (make(root={"path": ""}), "root.path", "must name the directory of the root file system"),
    (make(root={"path": "missing"}), "root.path", "invalid rootfs: BUNDLE/missing: no such file or directory"),
    (make(root={"path": "/dev/null"}), "root.path", "invalid rootfs: /dev/null: not a directory"),
    (make(process={"args": []}), "process.args", "args must not be empty"),
    (make(process={"args": None}), "process.args", "args must not be empty"),
    (make(process={"args": ["sh", "a\0b"]}), "process.args[1]", r'must not hold a NUL character: "a\x00b"'),
    (make(process={"cwd": ""}), "process.cwd", "Cwd must be an absolute path"),
    (make(process={"cwd": "tmp"}), "process.cwd", 'Cwd must be an absolute path: "tmp"'),
    (make(process={"env": ["A=b", "C"]}), "process.env[1]", "invalid environment variable: missing '='"),
    (make(process={"env": ["=b"]}), "process.env[0]", "invalid environment variable: name cannot be empty"),
    (make(process={"user": {"uid": -1}}), "process.user.uid", "must be from 0 to 4294967294, not -1"),
    (make(process={"user": {"uid": "root"}}), "process.user.uid", 'must be an integer, not "root"'),
    (make(process={"terminal": "yes"}), "process.terminal", 'must be true or false, not "yes"'),
    (
        make(process={"terminal": True, "consoleSize": {"height": 70000, "width": 1}}),
        "process.consoleSize.height",
        "must be at most 65535, not 70000",
    ),
    (make(process={"rlimits": [{"type": "RLIMIT_FOO", "soft": 1, "hard": 1}]}), "process.rlimits[0].type", '"RLIMIT_FOO" is none of RLIMIT_AS,'),
    (make(process={"rlimits": [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]}), "process.rlimits[0].soft", "must not be higher than hard (1), not 2"),
    (
        make(process={"rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2}),
        "process.rlimits[1].type",
        "RLIMIT_CPU is already in process.rlimits[0]",
    ),
    (make(process={"scheduler": {"policy": "SCHED_FOO"}}), "process.scheduler.policy", '"SCHED_FOO" is none of'),
    (make(process={"scheduler": {"policy": "SCHED_ISO"}}), "process.scheduler.policy", "not implemented by Linux"),
    (make(process={"scheduler": {"policy": "SCHED_OTHER", "nice": 20}}), "process.scheduler.nice", "must be from -20 to 19"),
    (make(process={"scheduler": {"policy": "SCHED_BATCH", "priority": 1}}), "process.scheduler.priority", "only be given with SCHED_FIFO"),
    (make(process={"scheduler": {"policy": "SCHED_FIFO"}}), "process.scheduler.priority", "must be from 1 to 99"),
    (make(process={"scheduler": {"policy": "SCHED_OTHER", "runtime": 1}}), "process.scheduler", "only be given with SCHED_DEADLINE"),
    (make(process={"scheduler": {"policy": "SCHED_DEADLINE"}}), "process.scheduler.runtime", "must be at least 1024 ns"),
    (
        make(process={"scheduler": {"policy": "SCHED_DEADLINE", "runtime": 9000, "deadline": 8000}}),
        "process.scheduler",
        "runtime 9000 <= deadline 8000 <= period 0 must hold",
    ),
    (make(process={"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}}), "process.ioPriority.priority", "must be from 0 to 7, not 8"),
    (make(process={"execCPUAffinity": {"final": "3-1"}}), "process.execCPUAffinity.final", 'must be a list of CPUs like 0-3,7: "3-1"'),
    (make(process={"execCPUAffinity": {"initial": "0-99999999999"}}), "process.execCPUAffinity.initial", "must be a list of CPUs"),
    (make(process={"oomScoreAdj": 1001}), "process.oomScoreAdj", "must be from -1000 to 1000"),
    (make(hostname="a", linux={"namespaces": []}), "hostname", "unable to set hostname without a private UTS namespace"),
    (make(domainname="a", linux={"namespaces": []}), "domainname", "unable to set domainname without a private UTS namespace"),
    (make(hostname="é" * 33), "hostname", "must be at most 64 bytes"),
    (make(linux={"namespaces": [{"type": "net"}]}), "linux.namespaces[0].type", '"net" is none of mount, pid, network,'),
    (make(linux={"namespaces": [*ALL, {"type": "pid"}]}), "linux.namespaces[6].type", 'duplicated namespace "pid"'),
    (make(linux={"namespaces": [{"type": "pid", "path": "ns"}]}), "linux.namespaces[0].path", "must be an absolute path"),
    (make(linux={"namespaces": [], "maskedPaths": ["/proc/kcore"]}), "linux.maskedPaths", "without a private MNT namespace"),
    (make(linux={"namespaces": [], "readonlyPaths": ["/proc/sys"]}), "linux.readonlyPaths", "without a private MNT namespace"),
    (make(linux={"maskedPaths": ["proc/kcore"]}), "linux.maskedPaths[0]", "must be an absolute path"),
    (make(linux={"namespaces": ALL, **MAPS}), "linux.uidMappings", "user namespace isn't enabled in the config"),
    (make(linux={"namespaces": [*ALL, {"type": "user"}]}), "linux.uidMappings", "a new user namespace needs uidMappings and gidMappings"),
    (make(linux=USERNS | {"gidMappings": []}), "linux.gidMappings", "a new user namespace needs uidMappings and gidMappings"),
    (make(linux=USERNS | {"uidMappings": mapping((0, 5, 9), (8, 100, 1))}), "linux.uidMappings[1].containerID", "overlaps that of linux.uid"),
    (make(linux=USERNS | {"gidMappings": mapping((9, 100, 5), (0, 102, 1))}), "linux.gidMappings[1].hostID", "overlaps that of linux.gidMappings[0]"),
    (make(linux=USERNS | {"uidMappings": mapping((0, 2**32 - 2, 2))}), "linux.uidMappings[0].size", "ends beyond 4294967294"),
    (make(linux=USERNS | {"uidMappings": mapping((0, 0, 0))}), "linux.uidMappings[0].size", "must be from 1"),
    (make(linux=USERNS | {"uidMappings": mapping(*((n, n, 1) for n in range(341)))}), "linux.uidMappings", "at most 340 ranges, not 341"),
    (make(linux=USERNS, process={"user": {"uid": 10}}), "process.user.uid", "cannot setuid to unmapped uid 10 in user namespace"),
    (make(linux=USERNS, process={"user": {"gid": 10}}), "process.user.gid", "cannot setgid to unmapped gid 10 in user namespace"),
    (make(linux=USERNS, process={"user": {"additionalGids": [0, 99]}}), "process.user.additionalGids[1]", "unmapped gid 99"),
    (make(linux={"timeOffsets": {"monotonic": {"secs": 1}}}), "linux.timeOffsets", "time namespace isn't enabled in the config"),
    (
        make(linux={"namespaces": [{"type": "time", "path": "/x"}], "timeOffsets": {"monotonic": {"secs": 1}}}),
        "linux.timeOffsets",
        "you may only provide one",
    ),
    (make(linux={"timeOffsets": {"realtime": {}}}), "linux.timeOffsets.realtime", '"realtime" is none of boottime, monotonic'),
    (make(linux={"sysctl": {"kernel.hostname": "x"}}), 'linux.sysctl["kernel.hostname"]', 'conflicts with the OCI "hostname" field'),
    (make(linux={"namespaces": [], "sysctl": {"kernel.domainname": "x"}}), 'linux.sysctl["kernel.domainname"]', "host's uts namespace"),
    (make(linux={"namespaces": [], "sysctl": {"kernel.sem": "1"}}), 'linux.sysctl["kernel.sem"]', "host's ipc namespace"),
    (make(linux={"namespaces": [], "sysctl": {"fs.mqueue.msg_max": "1"}}), 'linux.sysctl["fs.mqueue.msg_max"]', "host's ipc namespace"),
    (make(linux={"namespaces": [], "sysctl": {"net/core/somaxconn": "1"}}), 'linux.sysctl["net/core/somaxconn"]', "host's network namespace"),
    (
        make(linux={"namespaces": [{"type": "network", "path": "/proc/self/ns/net"}], "sysctl": {"net.core.somaxconn": "1"}}),
        'linux.sysctl["net.core.somaxconn"]',
        "host's network namespace",
    ),
    (make(linux={"sysctl": {"user.max_user_namespaces": "1"}}), 'linux.sysctl["user.max_user_namespaces"]', "host's user namespace"),
    (make(linux={"sysctl": {"kernel.panic": "1"}}), 'linux.sysctl["kernel.panic"]', "is not in a separate kernel namespace"),
    (make(linux={"sysctl": {"vm.swappiness": "1"}}), 'linux.sysctl["vm.swappiness"]', "is not in a separate kernel namespace"),
    (make(linux={"sysctl": {"net/../kernel/panic": "1"}}), 'linux.sysctl["net/../kernel/panic"]', "is no name of a sysctl"),
    (make(linux={"sysctl": {"net.//.kernel": "1"}}), 'linux.sysctl["net.//.kernel"]', "is no name of a sysctl"),
    (make(linux={"sysctl": {"net.ipv4.ip_forward": 1}}), 'linux.sysctl["net.ipv4.ip_forward"]', "must be a string, not 1"),
    (make(linux={"namespaces": [], "netDevices": {"eth0": {}}}), "linux.netDevices", "without a NET namespace"),
    (make(linux={"netDevices": {"a-name-of-16-char": {}}}), 'linux.netDevices["a-name-of-16-char"]', "invalid network device name"),
    (make(linux={"netDevices": {"eth0": {"name": "a/b"}}}), "linux.netDevices.eth0", 'invalid network device name "a/b"'),
    (mount(options=["idmap"], **MAPS), "mounts[0].options", "only supported for bind-mounts"),
    (mount(options=["bind", "idmap"]), "mounts[0]", "needs uidMappings and gidMappings"),
    (mount(options=["bind"], uidMappings=configs.MAPPING), "mounts[0]", "must have both uid and gid mappings specified, not uidMappings alone"),
    (mount(options=["bind"], **MAPS | {"gidMappings": mapping((0, 0, 2), (1, 5, 1))}), "mounts[0].gidMappings[1].containerID", "overlaps"),
    (mount(destination=""), "mounts[0].destination", "must be a path in the container"),
    (mount(options=["ro", 5]), "mounts[0].options[1]", "must be a string, not 5"),
    (make(hooks={"prestart": [{"path": "true"}]}), "hooks.prestart[0].path", 'must be an absolute path: "true"'),
    (make(hooks={"poststop": [{"path": "/bin/true", "timeout": 0}]}), "hooks.poststop[0].timeout", "must be from 1"),
    (make(linux={"rootfsPropagation": "public"}), "linux.rootfsPropagation", '"public" is none of private, shared, slave, unbindable,'),
    (make(linux={"devices": [{"type": "c", "path": "/dev/x", "minor": 1}]}), "linux.devices[0].major", "missing"),
    (make(linux={"devices": [{"type": "x", "path": "/dev/x"}]}), "linux.devices[0].type", '"x" is none of c, b, u, p'),
    (make(linux={"personality": {"domain": "BSD"}}), "linux.personality.domain", '"BSD" is none of LINUX, LINUX32'),
    (make(linux={"personality": {"domain": "LINUX", "flags": ["x"]}}), "linux.personality.flags", "no flag is supported"),
    (make(linux={"memoryPolicy": {}}), "linux.memoryPolicy.mode", "invalid memory policy mode"),
    (make(linux={"memoryPolicy": {"mode": "INTERLEAVE"}}), "linux.memoryPolicy.mode", "invalid memory policy mode"),
    (make(linux={"memoryPolicy": {"mode": "MPOL_BIND", "flags": ["x"]}}), "linux.memoryPolicy.flags[0]", "invalid memory policy flag"),
    (make(linux={"memoryPolicy": {"mode": "MPOL_DEFAULT", "nodes": "0-7"}}), "linux.memoryPolicy.nodes", "mode requires 0 nodes but got 8"),
    (make(linux={"memoryPolicy": {"mode": "MPOL_BIND"}}), "linux.memoryPolicy.nodes", "mode requires at least one node"),
    (make(linux={"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0-9876543210"}}), "linux.memoryPolicy.nodes", "invalid memory policy node"),
    (make(linux={"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "a"}}), "linux.memoryPolicy.nodes", "invalid memory policy node"),
    (
        make(linux={"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]}}),
        "linux.memoryPolicy.flags",
        "exclude each other",
    ),
    (make(linux={"intelRdt": {"closID": "../x"}}), "linux.intelRdt.closID", "must be the name of one directory"),
    (make(linux={"intelRdt": {"memBwSchema": "L3:0=f"}}), "linux.intelRdt.memBwSchema", "must be one line that starts with MB:"),
    (make(linux={"resources": {"cpu": {"quota": 5, "burst": 6}}}), "linux.resources.cpu.burst", "must not be higher than quota (5)"),
    (make(linux={"resources": {"unified": {"../x": "1"}}}), 'linux.resources.unified["../x"]', "must be the name of a file in the cgroup"),
    (make(linux={"resources": {"rdma": {"x": {}}}}), "linux.resources.rdma.x", "needs hcaHandles or hcaObjects"),
    (make(linux={"resources": {"pids": {"limit": 2**64}}}), "linux.resources.pids.limit", "must be from"),
    (make(linux={"resources": {"pids": {"limit": 10**4000}}}), "linux.resources.pids.limit", "not a number of many digits"),
    (make(linux={"seccomp": {"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}}), "linux.seccomp.defaultAction", "missing"),
    (make(linux={"seccomp": {"defaultAction": "", "syscalls": [{"names": ["read"], "action": ""}]}}), "linux.seccomp.syscalls[0].action", "missing"),
    (make(hooks={"poststop": [{"path": "/h", "env": ["=b"]}]}), "hooks.poststop[0].env[0]", "invalid environment variable"),
    (make() | {"linux": []}, "linux", "must be an object, not a list"),
    (make(annotations={"a.b": 1}), 'annotations["a.b"]', "must be a string, not 1"),
]


@pytest.mark.parametrize("config", VALID.values(), ids=VALID)
def test_valid(config, bundle):
    configuration.check(config, bundle=bundle)
    assert faults.faults(config, bundle) == []


@pytest.mark.parametrize(("config", "path", "words"), BROKEN, ids=[f"{path}: {words}"[:70] for _, path, words in BROKEN])
def test_broken(config, path, words, bundle):
    with pytest.raises(ConfigError) as caught:
        configuration.check(config, bundle=bundle)
    message = str(caught.value)
    assert caught.value.path == path
    assert message.startswith(f"config.json: {path}: ")
    assert words.replace("BUNDLE", bundle) in message
    assert "\n" not in message
    found = {f"config.json: {one.path}: {one.message}": one.cure for one in faults.faults(config, bundle)}
    assert any(message in (line, f"{line}: {cure}") for line, cure in found.items())
    assert all(found.values()), "a fault without a cure"


def test_all_faults(bundle):
    """`validate` has them all, and none that only follows from another."""
    config = make(
        hostname="a",
        process={"cwd": "x", "env": ["A"], "rlimits": [{"type": "RLIMIT_FOO", "soft": 2, "hard": 1}, {"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]},
        linux={"namespaces": [{"type": "utz"}], "sysctl": {"vm.swappiness": "1"}, "resources": {"cpu": {"quota": 1, "burst": 2}}},
        root={"path": "nowhere"},
    )
    assert sorted(path for path, *_ in faults.faults(config, bundle)) == [
        "linux.namespaces[0].type",  # so neither hostname nor the sysctl can be judged
        "linux.resources.cpu.burst",
        "process.cwd",
        "process.env[0]",
        "process.rlimits[0].type",  # nor rlimits as a whole
        "root.path",
    ]


def test_first_fault_only(bundle):
    with pytest.raises(ConfigError) as caught:
        configuration.check(make(process={"env": ["A", "B"], "cwd": "x"}), bundle=bundle)
    assert str(caught.value) == 'config.json: process.cwd: Cwd must be an absolute path: "x"'


def test_process_file():
    """The same checks for `exec --process`, with that file's name."""
    configuration.check_process(PROCESS)
    for process, words in [
        ({"args": ["sh"]}, "process.json: process.cwd: missing: Cwd must be an absolute path"),
        (PROCESS | {"env": ["A"]}, "process.json: process.env[0]: invalid environment variable: missing '='"),
        (PROCESS | {"user": {"gid": True}}, "process.json: process.user.gid: must be an integer, not true"),
        ([], "process.json: process: must be an object, not a list"),
    ]:
        with pytest.raises(ConfigError) as caught:
            configuration.check_process(process)
        assert str(caught.value).startswith(words)
    with pytest.raises(ConfigError, match=r"^/tmp/p: process.args: "):
        configuration.check_process({"cwd": "/", "args": []}, "/tmp/p")


def test_rules_take_every_valid_config(bundle):
    """Whatever the schema lets pass, the rules judge it rather than fail."""
    judged = 0
    for config in configs.mutants():
        try:
            configuration.check(config, bundle=bundle)
        except ConfigError:
            pass
        judged += 1
    assert judged > 20000


def test_import_budget():
    """A hot command can afford the check: it imports built-in modules alone."""
    script = "import sys; sys.path.insert(0, sys.argv[1]); before = set(sys.modules); from pyrun.config import _checks, load, rules; "
    script += "print(*sorted(set(sys.modules) - before))"
    root = PROJECT
    made = subprocess.run([sys.executable, "-I", "-S", "-c", script, root], capture_output=True, text=True, check=True).stdout.split()
    assert {name for name in made if not name.startswith("pyrun")} <= {"errno", "posix", "__future__"}
    assert "pyrun.config.validate" not in made
    assert "pyrun.config.schemas" not in made
