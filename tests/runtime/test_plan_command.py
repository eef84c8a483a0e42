"""`pyrun plan`: what create would do, for people and for programs."""

import json
import pathlib

import pytest
from harness import cgroups_path
from looks import user_namespace

PROFILE = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "syscalls": [
        {"names": ["read", "write", "execve"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["read", "exit_group"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
    ],
}


HOOKS = {"prestart": [{"path": "/bin/true", "args": ["true", "a b"]}], "startContainer": [{"path": "/bin/hook", "env": ["PASS=secret"]}]}


@pytest.fixture
def plan(bundle, run):
    """plan(format): what is printed for a bundle with a filter and a tmpfs."""
    made = bundle("true").mount("/data", type="tmpfs", options=["nosuid", "ro", "size=1m"]).set("linux.seccomp", PROFILE).write()
    return lambda format: run("plan", "--format", format, made.directory).out


def test_steps_for_people(plan):
    lines = plan("steps").splitlines()
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


def test_both_have_the_same_steps(plan):
    assert [line.split()[0] for line in plan("steps").splitlines()] == [op["op"] for op in json.loads(plan("json"))]


def test_another_format_is_refused(bundle, run):
    assert "invalid format option: use text, steps or json" in run("plan", "-f", "yaml", bundle("true").write().directory, code=1).err


# --- at a glance -------------------------------------------------------------------------------------------------------


def groups(text):
    """{group: its lines} of what is printed for people."""
    found = {}
    for line in text.splitlines():
        if line[:1].strip():
            found[line.split()[0]] = here = []
        here.append(line[13:])
    return found


@pytest.fixture
def glance(run):
    """glance(bundle): the groups that `plan` prints."""
    return lambda made: groups(run("plan", made.write().directory).out)


def test_groups(bundle, glance, run):
    made = bundle(["sh", "-c", "echo hi"]).set("linux.seccomp", PROFILE).set("hooks", HOOKS).set("linux.sysctl", {"net.ipv4.ip_forward": "1"})
    made.config["process"] |= {"user": {"uid": 5, "gid": 6, "additionalGids": [7]}, "cwd": "/tmp"}
    found = glance(made)
    assert list(found) == ["state", "namespaces", "cgroup", "mounts", "devices", "sysctls", "hooks", "identity", "seccomp", "program"]
    assert found["state"] == [f"{run.root}/{made.directory.name}: state.json, config.json, start.sock"]
    assert "new: " in found["namespaces"][0] and "pid" in found["namespaces"][0]
    assert found["hooks"] == ["prestart: /bin/true; args true, 'a b'", "startContainer: /bin/hook; env PASS"]
    assert found["sysctls"] == ["net/ipv4/ip_forward = 1"]
    assert found["identity"][0] == "uid 5, gid 6, groups 7"
    assert found["seccomp"][:3] == ["4 system calls: allowed", "1 system call: fail with ENOSYS", "all others: fail with EPERM"]
    assert found["program"][0] == "sh -c 'echo hi'" and "working directory /tmp" in found["program"]


def test_mounts_are_a_tree(bundle, glance):
    made = bundle("true").mount("/dev/a/b", type="tmpfs", options=["ro"]).mount("/data", type="bind", source="/srv", options=["bind", "ro"])
    lines = [line.split(None, 4) for line in glance(made)["mounts"]]
    places = {words[-1] if len(words) < 4 else next(word for word in words if word[0] == "/"): line
              for words, line in zip(lines, glance(made)["mounts"], strict=True) if any(word[0] == "/" for word in words)}
    assert places["/"].endswith("./rootfs, the root file system")
    assert places["/dev/a/b"].startswith("│  ") and places["/dev/a/b"].endswith("tmpfs; ro")
    assert places["/data"].startswith("└─ /data") and places["/data"].endswith("the host's /srv; ro")


def test_what_is_written_to_the_cgroup(bundle, glance):
    fuse = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}
    made = bundle("true").set("linux.resources", {"pids": {"limit": 17}, "devices": [fuse]})
    lines = glance(made)["cgroup"]
    assert [line.split("#")[0].strip() for line in lines if line.startswith("pids.max")] == ["pids.max = 17"]
    assert "devices: all forbidden, but the usual ones, c 10:229 rw" in lines


def test_the_cgroup_of_the_plan_is_that_of_the_container(bundle, run, token):
    """What the plan says is what is then in the file."""
    made = bundle("sleep 100").set("linux.cgroupsPath", cgroups_path(token)[0]).set("linux.resources", {"pids": {"limit": 17}})
    steps = json.loads(run("plan", "--format", "json", made.write().directory).out)
    (write,) = (step["operands"] for step in steps if step["op"] == "cgroup_write")
    assert all(step["by"] == "runtime" for step in steps if step["op"].startswith(("cgroup_w", "state", "hook")))
    made.create()
    assert pathlib.Path(write["path"]).read_text() == f"{write['value']}\n"


def test_the_order_of_the_steps(bundle, run):
    made = user_namespace(bundle("true").set("hooks", HOOKS))
    names = [step["op"] for step in json.loads(run("plan", "--format", "json", made.write().directory).out)]
    order = ["state", "cgroup", "clone", "uid_map", "gid_map", "root", "hook", "pivot", "ready", "wait_start", "hook", "ids", "exec"]
    at = -1
    for name in order:
        at = names.index(name, at + 1)


def test_nothing_is_made(bundle, run, leftovers):
    run("plan", bundle("true").set("linux.resources", {"pids": {"limit": 17}}).write().directory)
    assert leftovers() == []


# --- two bundles -------------------------------------------------------------------------------------------------------


def test_difference(bundle, run):
    one, two = bundle("true").write(), bundle("true")
    assert run("plan", "--diff", two.write().directory, one.directory).out == "no difference\n"
    two.mount("/data", type="tmpfs").set("process.user", {"uid": 9, "gid": 0}).write()
    assert run("plan", "--diff", two.directory, one.directory).out == (
        "mounts\n+ /data tmpfs\nidentity\n- uid 0, gid 0\n+ uid 9, gid 0\n"
    )
    document = json.loads(run("plan", "--diff", two.directory, "--format", "json", one.directory).out)
    assert [step["operands"]["target"] for step in document["added"] if step["op"] == "mount"] == ["/data"]
    assert not any(step["op"] == "mount" for step in document["removed"])
    assert "+ mount tmpfs on /data" in run("plan", "--diff", two.directory, "--format", "steps", one.directory).out
