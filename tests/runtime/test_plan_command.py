"""`pyrun plan`: what create would do, for people and for programs."""

import json

import pytest

PROFILE = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "syscalls": [
        {"names": ["read", "write", "execve"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["read", "exit_group"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
    ],
}


@pytest.fixture
def plan(bundle, run):
    """plan(format): what is printed for a bundle with a filter and a tmpfs."""
    made = bundle("true").mount("/data", type="tmpfs", options=["nosuid", "ro", "size=1m"]).set("linux.seccomp", PROFILE).write()
    return lambda format: run("plan", "--format", format, made.directory).out


def test_lines_for_people(plan):
    lines = plan("text").splitlines()
    assert "device /dev/null char rw-rw-rw- 1:3; owner 0:0  # default devices" in lines
    assert [line for line in lines if line.startswith("seccomp ")] == [
        "seccomp 4 calls allowed, 1 call ENOSYS, else EPERM; SECCOMP_FILTER_FLAG_SPEC_ALLOW  # linux.seccomp"
    ]
    assert [line.partition("  # ")[0] for line in lines if " /data" in line] == [
        "mount tmpfs on /data; ro, nosuid; source=tmpfs, size=1m; target mode"
    ]


def test_a_document_for_programs(plan):
    (document,) = map(json.loads, plan("json").splitlines())
    (mount,) = (op for op in document if op["op"] == "mount" and op["operands"]["target"] == "/data")
    assert mount["where"].startswith("mounts[") and mount["flags"] == ["target_mode"]
    assert mount["operands"]["attr_set"] == ["ro", "nosuid"]
    (filter,) = (op["operands"]["filter"] for op in document if op["op"] == "seccomp")
    assert filter.pop("instructions") > 4
    assert filter == {
        "calls": [
            {"action": "SCMP_ACT_ALLOW", "data": None, "count": 4},
            {"action": "SCMP_ACT_ERRNO", "data": 38, "count": 1},
        ],
        "default": {"action": "SCMP_ACT_ERRNO", "data": 1},
    }


def test_both_have_the_same_ops(plan):
    assert [line.split()[0] for line in plan("text").splitlines()] == [op["op"] for op in json.loads(plan("json"))]


def test_another_format_is_refused(bundle, run):
    assert "invalid format option: use text or json" in run("plan", "-f", "yaml", bundle("true").write().directory, code=1).err
