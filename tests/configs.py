"""Configs that the tests share: every member of the specification once, and what can be wrong with each of them."""

import json

BASE = {"ociVersion": "1.3.0", "root": {"path": "rootfs"}, "process": {"cwd": "/", "args": ["sh"]}}

MAPPING = [{"containerID": 0, "hostID": 1000, "size": 10}]
THROTTLE = [{"major": 8, "minor": 0, "rate": 600}]
HOOKS = [{"path": "/bin/true", "args": ["true", "-x"], "env": ["A=b"], "timeout": 5}]

# Small configs rather than one large one: each is valid, and together they have every member for Linux.
PARTS = [
    {"root": {"path": "rootfs", "readonly": True}, "hostname": "box", "domainname": "example"},
    {"annotations": {"com.example.key": "value", "empty": ""}, "solaris": {}, "freebsd": {}, "zos": {}},
    {"vm": {"kernel": {"path": "/k"}}, "windows": {"layerFolders": ["x"]}},
    {
        "mounts": [
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "size=64k"]},
            {"destination": "data", "source": "/x", "options": ["bind", "idmap"], "uidMappings": MAPPING, "gidMappings": MAPPING},
        ]
    },
    {"hooks": {"prestart": HOOKS, "createRuntime": HOOKS, "createContainer": HOOKS}},
    {"hooks": {"startContainer": HOOKS, "poststart": HOOKS, "poststop": HOOKS}},
    {
        "process": {
            "terminal": True,
            "consoleSize": {"height": 25, "width": 80},
            "user": {"uid": 1, "gid": 2, "umask": 63, "additionalGids": [5, 6], "username": "x"},
            "args": ["sh", "-c", ""],
            "commandLine": "sh",
            "env": ["PATH=/bin", "EMPTY="],
            "cwd": "/root",
            "noNewPrivileges": True,
            "apparmorProfile": "profile",
            "selinuxLabel": "label",
            "oomScoreAdj": 100,
        }
    },
    {
        "process": {
            "cwd": "/",
            "args": ["sh"],
            "capabilities": {name: ["CAP_KILL"] for name in ("bounding", "permitted", "effective", "inheritable", "ambient")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 2048}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 2**64 - 1}],
            "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 4},
            "execCPUAffinity": {"initial": "7", "final": "0-3,7"},
            "scheduler": {
                "policy": "SCHED_DEADLINE",
                "nice": -5,
                "priority": 0,
                "flags": ["SCHED_FLAG_RESET_ON_FORK"],
                "runtime": 10000,
                "deadline": 20000,
                "period": 30000,
            },
        }
    },
    {
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "network", "path": "/run/netns/x"}, {"type": "uts", "path": ""}],
            "uidMappings": MAPPING,
            "gidMappings": MAPPING,
            "timeOffsets": {"monotonic": {"secs": -1, "nanosecs": 5}, "boottime": {}},
            "maskedPaths": ["/proc/kcore"],
            "readonlyPaths": ["/proc/sys"],
            "sysctl": {"net.ipv4.ip_forward": "1"},
            "netDevices": {"eth0": {"name": "inside%d"}},
        }
    },
    {
        "linux": {
            "devices": [
                {"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229, "fileMode": 438, "uid": 0, "gid": 0},
                {"type": "p", "path": "/dev/fifo"},
            ],
            "cgroupsPath": "/a/b",
            "rootfsPropagation": "slave",
            "mountLabel": "label",
            "personality": {"domain": "LINUX32", "flags": []},
            "intelRdt": {
                "closID": "group",
                "schemata": ["L3:0=7f0", "MB:0=20"],
                "l3CacheSchema": "L3:0=f",
                "memBwSchema": "MB:0=20",
                "enableMonitoring": True,
            },
            "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0-1", "flags": ["MPOL_F_STATIC_NODES"]},
        }
    },
    {
        "linux": {
            "resources": {
                "devices": [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "minor": -1, "access": "r"}],
                "unified": {"memory.high": "max"},
                "pids": {"limit": 10},
                "cpu": {
                    "shares": 1024,
                    "quota": 20000,
                    "burst": 10000,
                    "period": 100000,
                    "realtimeRuntime": 1,
                    "realtimePeriod": 1,
                    "cpus": "0-1",
                    "mems": "0",
                    "idle": 1,
                },
                "memory": {
                    "limit": 1,
                    "reservation": 1,
                    "swap": -1,
                    "kernel": -1,
                    "kernelTCP": -1,
                    "swappiness": 0,
                    "disableOOMKiller": False,
                    "useHierarchy": True,
                    "checkBeforeUpdate": True,
                },
            }
        }
    },
    {
        "linux": {
            "resources": {
                "blockIO": {
                    "weight": 10,
                    "leafWeight": 10,
                    "weightDevice": [{"major": 8, "minor": 0, "weight": 500, "leafWeight": 300}, {"major": 8, "minor": 16, "weight": 500}],
                    "throttleReadBpsDevice": THROTTLE,
                    "throttleWriteBpsDevice": THROTTLE,
                    "throttleReadIOPSDevice": THROTTLE,
                    "throttleWriteIOPSDevice": THROTTLE,
                },
                "hugepageLimits": [{"pageSize": "2MB", "limit": 209715200}],
                "network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 500}]},
                "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "rxe3": {"hcaObjects": 1}},
            }
        }
    },
    {
        "linux": {
            "seccomp": {
                "defaultAction": "SCMP_ACT_ERRNO",
                "defaultErrnoRet": 38,
                "architectures": ["SCMP_ARCH_X86_64"],
                "flags": ["SECCOMP_FILTER_FLAG_LOG"],
                "listenerPath": "/run/agent",
                "listenerMetadata": "x",
                "syscalls": [
                    {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
                    {
                        "names": ["personality"],
                        "action": "SCMP_ACT_ERRNO",
                        "errnoRet": 1,
                        "args": [{"index": 0, "value": 8, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}],
                    },
                ],
            }
        }
    },
]

WRONG = [
    *(None, True, 1.0, 0.5, -1, -2, 0, 1, 6, 8, 101, 1001, -1001, 4096, 65536, 2**20, 10**9),
    *(2**31, 2**32 - 2, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**31) - 1, -(2**63), -(2**63) - 1),
    *("", "x", "/x", "/", "a/b", "a\0", "/a\0", "x\n", "MB:1\n", "2MB", "2kB", "02MB", "0-3, 7", "0-3\n", "rw", "rx", "1.2.3", "1.2", "2.0.0"),
    *([], [None], [1], ["x"], ["/x"], ["a\0"], [""], [{}], {}, {"": {}}, {"x": 1}, {"x": "y"}, {"a/b": "y"}, {"a\0": "y"}, {"x": {"": 1}}),
]


def configs():
    """BASE with each of PARTS."""
    return [BASE | part for part in PARTS]


def places(value, keys=()):
    """Yields (keys, value) for a value and all within it; keys lead there."""
    yield keys, value
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*keys, key))


def changed(config, keys, change):
    """A copy of config in which change(container, key) was called for the place that keys lead to."""
    result = json.loads(json.dumps(config))
    here = result
    for key in keys[:-1]:
        here = here[key]
    change(here, keys[-1])
    return result


def put(value):
    """A change: that value instead."""
    return lambda container, key: container.__setitem__(key, value)


def remove(container, key):
    """A change: it is left out."""
    del container[key]


def mutants():
    """Yields configs: each place of each of configs() left out, and with each of WRONG in its stead."""
    for config in [BASE, *configs()]:
        for keys, _ in places(config):
            # What a config has from BASE is changed there alone.
            if keys and (config is BASE or config[keys[0]] is not BASE.get(keys[0])):
                for change in [remove, *map(put, WRONG)]:
                    yield changed(config, keys, change)
