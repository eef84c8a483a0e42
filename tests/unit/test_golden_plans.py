"""The decisions of the compiler, seen whole: config -> plan, compared with the files in plans/.

Nothing is asked of the kernel: facts about the machine are given. After a change that is meant to alter plans, write the
files anew and read the difference before it is committed:

    .venv/bin/pytest tests/unit/test_golden_plans.py --renew-plans; git diff tests/unit/plans
"""

import pathlib

import pytest

from pyrun.base.facts import Facts
from pyrun.cgroup.base import Hierarchy
from pyrun.cgroup.layout import Mount
from pyrun.commands import spec
from pyrun.config import normal
from pyrun.plan import describe
from pyrun.plan.context import Context
from pyrun.plan.create import container_plan
from pyrun.plan.execute import process_plan
from pyrun.plan.hook import hook_plan
from pyrun.plan.namespaces import CLONE_NEWNS, CLONE_NEWPID, Entrance
from pyrun.plan.process import ALL_CAPABILITIES
from pyrun.plan.request import Additions, Request
from pyrun.plan.seccomp import Filter

PLANS = pathlib.Path(__file__).parent / "plans"
HYBRID = [("pids",), ("cpu", "cpuacct"), ("name=systemd",), ("",)]
V2 = [("",)]
IDS = [{"containerID": 0, "hostID": 100000, "size": 65536}]
USUAL = {
    "uid": 0, "gid": 0, "in_user_namespace": False, "denies_setgroups": False, "owns_mounts": True, "selinux": False, "apparmor": False,
    "capabilities": (ALL_CAPABILITIES, ALL_CAPABILITIES), "is_file": lambda path, nofollow: "file" in path,
}  # fmt: skip
FILTER = Filter(bytes.fromhex("0600000000000000"), 0)
LISTENER = Filter(FILTER.bpf, 8)
ALLOWING = Filter(bytes.fromhex("060000000000ff7f"), 0)


def machine(layout=HYBRID, request=(), **facts):
    """What a Context is made of besides the config: the cgroups of a hybrid or a v2 machine, and all capabilities.

    request: Request's options. keep: number of files that are passed on. facts: what is otherwise so, or not, than usually.
    """
    mounts = [Mount(list(names), _mount_point(names, layout), "") for names in layout]
    paths = [f"{mount.point}/box" for mount in mounts]
    return {
        "request": Request("box", "/bundle", **dict(request)),
        "cgroup_files": [f"{path}/{'tasks' if mount.names[0] else 'cgroup.procs'}" for mount, path in zip(mounts, paths)],
        "hierarchies": [Hierarchy(mount, path) for mount, path in zip(mounts, paths)],
        "facts": Facts(**{**USUAL, **facts}),
    }


def _mount_point(names, layout):
    if layout == V2:
        return "/sys/fs/cgroup"
    return "/sys/fs/cgroup/" + ("unified" if names == ("",) else ",".join(names).removeprefix("name="))


def example(**changes):
    """The config of `pyrun spec` with members of its top level replaced; dicts in `linux` and `process` are merged."""
    config = spec.example(cgroup_namespace=False)
    for name, value in changes.items():
        config[name] = config[name] | value if name in ("linux", "process") else value
    return config


def small(**changes):
    """A config with next to nothing, for plans that show one thing."""
    config = {
        "ociVersion": "1.3.0",
        "root": {"path": "/rootfs"},
        "process": {"cwd": "/", "args": ["/bin/sh"], "env": ["HOME=/"]},
        "linux": {"namespaces": spaces("mount")},
    }
    for name, value in changes.items():
        config[name] = config[name] | value if name in ("linux", "process") else value
    return config


def spaces(*kinds, **joined):
    return [{"type": kind} for kind in kinds] + [{"type": kind, "path": path} for kind, path in joined.items()]


def create(config, host=None, seccomp=None, waits=True):
    return container_plan(Context(normal.config_of(config), **(host or machine())), seccomp, waits)


def bare():
    """A machine whose cgroups are of no interest."""
    return machine() | {"cgroup_files": (), "hierarchies": ()}


def execute(config, process, mask, root_file=None, keep=0, seccomp=None):
    files, facts = machine()["cgroup_files"], machine()["facts"]
    config, process = normal.config_of(config), normal.process_of(process)
    way = Entrance(mask, {"container": -1})
    return process_plan(config, process, Additions(keep, keyring="_ses.box"), seccomp, way, files, lambda: False, root_file, facts)


def entering(seccomp, **more):
    limits = [{"type": f"RLIMIT_{kind}", "soft": 10, "hard": 20} for kind in ("NPROC", "NOFILE")]
    process = {"cwd": "/", "args": ["/bin/sh"], "env": ["HOME=/"], "rlimits": limits, **more}
    return execute(small(), process, CLONE_NEWNS | CLONE_NEWPID, seccomp=seccomp)


def hook(mask, inside, root_file=None):
    entry = {"path": "/bin/hook", "args": ["hook", "", "two"]}
    way = Entrance(mask, {"container": -1})
    return hook_plan(entry, ["A=1"], None, way, ["/sys/fs/cgroup/pids/box/tasks"], inside, "/b/rootfs", None, root_file)


BINDS = [
    ["bind"], ["rbind", "ro"], ["rbind", "rro"], ["rbind", "nosuid", "rshared"], ["bind", "noatime", "private"], ["rbind", "idmap"],
    ["bind", "ridmap"],
]  # fmt: skip
PROCESS = {
    "terminal": True,
    "consoleSize": {"height": 24, "width": 80},
    "user": {"uid": 5, "gid": 6, "additionalGids": [7, 8], "umask": 0o77},
    "args": ["sh", "-c", ""],
    "env": ["A=1", "PATH=/bin::/usr/bin", "A=2"],
    "cwd": "/tmp",
    "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}],
    "oomScoreAdj": -5,
    "scheduler": {"policy": "SCHED_BATCH", "nice": 3},
    "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
}

# Name of the file in plans/ -> what makes the plan.
MADE = {
    "create": lambda: create(example()),
    "exec-filter": lambda: entering(ALLOWING),
    "exec-refusing-filter": lambda: entering(FILTER),
    "exec-refusing-filter-no-new-privileges": lambda: entering(FILTER, noNewPrivileges=True),
    "exec-deadline": lambda: entering(None, scheduler={"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 2}),
    "run": lambda: create(example(), waits=False),
    "cgroup-namespace-hybrid": lambda: create(example(linux={"namespaces": spaces("mount", "cgroup")})),
    "cgroup-namespace-v2": lambda: create(example(linux={"namespaces": spaces("mount", "cgroup")}), machine(V2)),
    "cgroup-bind-v2": lambda: create(example(linux={"namespaces": spaces("mount")}), machine(V2)),
    "no-process": lambda: create({name: value for name, value in small().items() if name != "process"}, bare()),
    "process": lambda: create(small(process=PROCESS | {"terminal": False}), bare(), FILTER),
    "user-namespace": lambda: create(
        small(
            linux={"namespaces": spaces("user", "mount", "pid"), "uidMappings": IDS, "gidMappings": IDS},
            process={"rlimits": PROCESS["rlimits"], "oomScoreAdj": 5},
            mounts=[
                {"destination": "/a", "source": "/srv/directory", "options": ["rbind"]},
                {"destination": "/b", "source": "relative/file", "type": "bind"},
            ],
        )
    ),
    "rootless": lambda: create(
        small(linux={"namespaces": spaces("user", "mount"), "uidMappings": IDS, "gidMappings": IDS}, mounts=[
            {"destination": "/a", "source": "/srv/directory", "options": ["rbind"]},
        ]),
        machine(uid=1000, gid=1000),
    ),
    "joined-namespaces": lambda: create(small(hostname="box", linux={"namespaces": spaces(
        "pid", mount="/run/mnt", network="/run/net", uts="/run/uts", cgroup="/run/cgroup",
    )})),
    "joined-user-namespace": lambda: create(
        small(linux={"namespaces": spaces("mount", network="/run/net", ipc="/run/ipc", user="/run/user")})
    ),
    "time-namespace": lambda: create(small(linux={
        "namespaces": spaces("mount", "time"), "timeOffsets": {"monotonic": {"secs": -3}, "boottime": {"secs": 7, "nanosecs": 5}},
    })),
    "no-mount-namespace": lambda: create(small(linux={"namespaces": spaces("pid")})),
    "no-pivot": lambda: create(small(), machine(request={"no_pivot": True, "no_new_keyring": True})),
    "new-privileges-seccomp": lambda: create(small(), bare(), FILTER),
    "no-new-privileges-seccomp": lambda: create(small(process={"noNewPrivileges": True}), bare(), FILTER),
    "seccomp-listener": lambda: create(small(process={"noNewPrivileges": True}), bare(), LISTENER),
    "readonly": lambda: create(small(root={"path": "rootfs", "readonly": True}, mounts=[
        {"destination": "/dev", "type": "tmpfs", "options": ["ro", "mode=755"]},
        {"destination": "/cache", "type": "tmpfs", "options": ["ro", "tmpcopyup", "size=1m"]},
        {"destination": "/cache", "options": ["remount", "rw", "nosuid"]},
    ])),
    "hooks": lambda: create(small(hooks={"createRuntime": [{"path": "/bin/true"}], "startContainer": [{"path": "/bin/true"}]})),
    "binds": lambda: create(small(mounts=[
        {"destination": f"/{index}", "source": "/srv", "options": options} for index, options in enumerate(BINDS)
    ])),
    "mount-label": lambda: create(
        small(linux={"namespaces": spaces("mount"), "mountLabel": "u:r:t:s0:c1,c2"}, mounts=[
            {"destination": "/proc", "type": "proc"},
            {"destination": "/tmp", "type": "tmpfs"},
            {"destination": "/srv", "type": "bind", "source": "/srv"},
        ]),
        machine(selinux=True),
    ),
    "bound-dev": lambda: create(small(mounts=[{"destination": "/dev/../dev/", "source": "/dev", "options": ["rbind"]}])),
    "devices": lambda: create(small(linux={"namespaces": spaces("mount"), "devices": [
        {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o600, "uid": 1, "gid": 2},
        {"path": "/dev/pipe", "type": "p"},
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 3},
    ]})),
    **{f"propagation-{word}": lambda word=word: create(small(linux={"rootfsPropagation": word}), bare())
       for word in ("shared", "rprivate", "runbindable")},
    "exec": lambda: execute(example(), PROCESS | {"terminal": False}, 0x6C020000, keep=2),
    "exec-terminal": lambda: execute(example(), PROCESS, 0x6C020000),
    "exec-user-namespace": lambda: execute(example(), PROCESS | {"terminal": False}, 0x7C020000),
    "exec-no-mount-namespace": lambda: execute(example(), PROCESS | {"terminal": False}, 0x20000000, "/proc/7/root"),
    "hook-create-container": lambda: hook(0x6C020000, inside=False),
    "hook-start-container": lambda: hook(0x20000000, inside=True, root_file="/proc/7/root"),
}  # fmt: skip


@pytest.mark.parametrize("name", MADE)
def test_plan(name, request):
    made = "\n".join(describe.lines(MADE[name]())) + "\n"
    path = PLANS / f"{name}.txt"
    if request.config.getoption("renew_plans"):
        path.write_text(made)
    assert made == path.read_text()


def test_every_file_is_of_a_plan():
    assert {path.stem for path in PLANS.iterdir()} == set(MADE)


def ops(name):
    return [line.split()[0] for line in (PLANS / f"{name}.txt").read_text().splitlines()]


def in_order(name, *wanted):
    """Whether these ops come in this order in a plan."""
    rest = iter(ops(name))
    return all(op in rest for op in wanted)


# The files are what a reviewer looks at; what must never change with them is said here.


@pytest.mark.parametrize("name", [name for name in MADE if name not in ("no-process", "hook-create-container", "hook-start-container")])
def test_privileges_go_before_the_program_and_not_before_the_mounts(name):
    assert in_order(name, "bounding", "ids", "chdir_check", "caps", "exec")
    assert not {"mount", "bind", "pivot", "sysctl"} & set(ops(name)[ops(name).index("bounding") :])
    assert ops(name)[-1] == "exec"


@pytest.mark.parametrize("name", ["exec", "exec-terminal", "exec-user-namespace", "exec-no-mount-namespace", "exec-filter"])
def test_what_the_container_sees_of_an_exec_is_the_program_already(name):
    assert in_order(name, "close", "bounding", "ids", "caps", "clone", "setsid", "exec")
    after = ops(name)[::-1]
    assert set(after[: after.index("clone")]) <= {"setsid", "ctty", "rlimit", "exec"}


def test_an_exec_whose_filter_or_scheduler_refuses_that_is_cloned_before_it():
    assert in_order("exec-filter", "seccomp", "caps", "clone", "exec")
    assert in_order("exec-refusing-filter-no-new-privileges", "close", "caps", "no_new_privs", "clone", "seccomp", "exec")
    assert in_order("exec-refusing-filter", "clone", "ids", "seccomp", "caps", "exec")
    assert in_order("exec-deadline", "clone", "scheduler", "ids", "exec")


def test_a_filter_needs_privileges_or_their_end():
    assert in_order("new-privileges-seccomp", "ids", "chdir_check", "seccomp", "caps", "exec")
    assert in_order("no-new-privileges-seccomp", "ids", "caps", "no_new_privs", "seccomp", "exec")


def test_the_cgroup_is_joined_before_its_namespace_is_made():
    assert in_order("cgroup-namespace-v2", "clone", "cgroup_join", "unshare", "mount")


def test_a_read_only_dev_is_one_only_when_all_is_in_it():
    assert in_order("readonly", "mount", "device", "symlink", "pivot", "setattr", "setattr", "ready")


def test_masks_come_before_the_pivot_and_after_the_hooks():
    assert in_order("create", "console", "readonly", "mask", "pivot", "ready", "wait_start", "exec")
    assert in_order("hooks", "root", "barrier", "pivot", "ready", "wait_start")


def test_without_a_mount_namespace_nothing_is_pivoted():
    assert "pivot" not in ops("no-mount-namespace") and in_order("no-mount-namespace", "root", "chroot", "exec")
