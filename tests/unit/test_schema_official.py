"""Our schema of config.json beside the one that Debian packages: the differences are these, and no others."""

import json
import pathlib
import re

import configs
import jsonschema
import pytest

from pyrun.config import _checks, faults, shape

OFFICIAL = pathlib.Path("/usr/share/gocode/src/github.com/opencontainers/runtime-spec/schema/config-schema.json")
pytestmark = pytest.mark.skipif(not OFFICIAL.exists(), reason="needs the package golang-github-opencontainers-specs-dev")

# Members that came after the packaged version (1.0.2).
NEWER = (
    "freebsd",
    "process.ioPriority",
    "process.execCPUAffinity",
    "process.scheduler",
    "linux.timeOffsets",
    "linux.netDevices",
    "linux.intelRdt.schemata",
    "linux.intelRdt.enableMonitoring",
    "linux.memoryPolicy",
)
# What we accept and it refuses.
WIDER = (
    "vm",  # other platforms are objects, and not looked into
    "windows",
    "linux.devices[].fileMode",  # a uint32 in the specification's text; dockerd sends bits of the file type too
    "linux.rootfsPropagation",  # the recursive words, which callers use
    "linux.resources.pids",  # limit is optional since 1.3
    "linux.seccomp.defaultAction",  # left out or empty, without rules, it means no filter, as for runc
    "linux.seccomp.syscalls[].action",  # a rule refuses the empty one
)
# What we refuse and it accepts, apart from NUL characters in strings that become C strings.
STRICTER = (
    "ociVersion",  # SemVer, major version 1
    "root",  # required on Linux
    "root.path",
    "process.args",  # required on Linux, and not empty
    "process.cwd",  # paths that must be absolute
    "hooks.*[].path",
    "linux.devices[].path",
    "linux.namespaces[].path",
    "linux.maskedPaths[]",
    "linux.readonlyPaths[]",
    "mounts[].destination",  # not empty
    "process.user.uid",  # 4294967295 is no id
    "process.user.gid",
    "process.user.additionalGids[]",
    "linux.devices[].uid",
    "linux.devices[].gid",
    "linux.*Mappings[].containerID",
    "linux.*Mappings[].hostID",
    "linux.*Mappings[].size",  # not 0
    "mounts[].*Mappings[].containerID",
    "mounts[].*Mappings[].hostID",
    "mounts[].*Mappings[].size",
    "process.oomScoreAdj",  # ranges of the kernel
    "linux.devices[].major",
    "linux.devices[].minor",
    "linux.seccomp.syscalls[].args[].index",
    "linux.resources.memory.*",  # -1 and more; swappiness from 0 to 100
    "linux.resources.cpu.idle",
    "hooks.*[].timeout",  # fits an int
    "linux.resources.devices[].type",  # the words of the specification
    "linux.resources.devices[].access",
    "linux.resources.unified.*",  # a file name
    "linux.intelRdt.l3CacheSchema",  # one line
    "linux.intelRdt.memBwSchema",
    "linux.personality.domain",  # required
    "linux.personality.flags",  # none is defined
    "linux.resources.blockIO.throttle*[].rate",
    "linux.resources.blockIO.weightDevice[]",  # weight or leafWeight
    "linux.resources.rdma.*",  # hcaHandles or hcaObjects
    "linux.resources.network.priorities[].name",
    "annotations.*",  # keys are not empty
    "linux.sysctl.*",
)


@pytest.fixture(scope="module")
def official():
    schema = json.loads(OFFICIAL.read_text())
    return jsonschema.Draft4Validator(schema, resolver=jsonschema.RefResolver(OFFICIAL.as_uri(), schema))


def generic(path):
    """mounts[3].options[1] -> mounts[].options[], linux.sysctl["a.b"] -> linux.sysctl.key"""
    return re.sub(r'\[".*"\]', ".key", re.sub(r"\[\d+\]", "[]", path))


def listed(path, patterns):
    return any(re.fullmatch(re.escape(pattern).replace(r"\*", r"\w*"), path) for pattern in patterns)


def within(path, parts):
    return any(path == part or path.startswith((part + ".", part + "[")) for part in parts)


@pytest.mark.parametrize("config", configs.configs())
def test_valid(official, config):
    assert official.is_valid(config)


def test_same_verdict_but_for_what_is_listed(official):
    refused = 0
    for config in configs.mutants():
        cleaned = faults.without_nulls(config)
        fault, errors = shape.walk(_checks.CONFIG, cleaned), list(official.iter_errors(cleaned))
        refused += bool(errors)
        if errors and not fault:
            for error in errors:
                missing = [name for name in error.validator_value if name not in error.instance][:1] if error.validator == "required" else []
                path = generic(shape.path_of([*error.absolute_path, *missing]))
                assert within(path, WIDER), f"{path}: {error.message}"
        if fault and not errors:
            path, message = shape.explain(fault)
            path = generic(path)
            # The value of a variable is not shown.
            nul = "\\x00" in message or message == "must not hold a NUL character"
            assert nul or within(path, NEWER) or listed(path, STRICTER), f"{path}: {message}"
    assert refused > 10000
