"""A system call that the kernel lacks (ENOSYS), or that a seccomp filter around the runtime refuses (EPERM), as an old outer container's does.

Either all goes on without it, or one line says what is needed.
"""

import errno
import subprocess

import pytest
from limits import PURE_V2, cgroup_file
from seccomp_model import native
from seccomp_tools import Agent, refuse, refuse_filter_flags

NEEDED = {"move_mount", "fsconfig", "fsmount"}
"""Calls without which no root file system, or no mount, can be made. They came together: where fsopen is missing mount(2) does all."""
CALLS = [
    "openat2", "mount_setattr", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "clone3", "pidfd_open", "pidfd_send_signal",
    "close_range", "memfd_create", "statx", "faccessat2", "fchmodat2", "renameat2",
]  # fmt: skip
MOUNT_API = ["fsopen", "fsconfig", "fsmount", "open_tree", "move_mount", "mount_setattr"]
ERRORS = ["ENOSYS", "EPERM"]
SEES = """
cat /volume/file; touch /volume/new 2>/dev/null || echo read-only
grep -q ' /scratch .*nosuid.* - tmpfs ' /proc/self/mountinfo && echo a tmpfs
mkdir /tmp/new 2>/dev/null || echo filtered
"""
SEEN = "in the volume\nread-only\na tmpfs\nfiltered\n"


@pytest.fixture
def corner(bundle, tmp_path):
    """A bundle that makes use of most of what the calls are for."""
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/file").write_text("in the volume\n")
    corner = bundle(SEES + "exec sleep 100")
    corner.mount("/volume", source=str(tmp_path / "volume"), options=["rbind", "ro"])
    corner.mount("/scratch", type="tmpfs", source="tmpfs", options=["size=1m", "nosuid"])
    filtered = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}
    return corner.set("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [filtered]})


def lives(corner, **options):
    """The life of a container, each command under the filter; then `run`."""
    container = corner.create(**options)
    container.start(**options)
    assert container.exec("echo", "joined", **options).out == "joined\n"
    assert container.exec("mkdir", "/tmp/new", code=1, **options).err.startswith("mkdir: ")
    for command in (("pause",), ("resume",), ("update", "--pids-limit", "20")):
        container.runner(*command, container.id, **options)
    container.kill("KILL", **options)
    assert container.wait() == 137
    assert container.out == SEEN
    container.delete(**options)
    assert corner.set("process.args", ["sh", "-c", SEES]).run(**options).out == SEEN


def needs(result, call, error, version):
    assert result.err.count("\n") == 1 and f"{call}" in result.err
    assert (f"takes Linux {version}" if error == "ENOSYS" else f"a seccomp filter around the runtime must allow {call}") in result.err


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("call", CALLS)
def test_a_call(call, error, corner, leftovers):
    if native(call) < 0:
        pytest.skip(f"libseccomp does not know {call}")
    without = {"preexec_fn": refuse([native(call)], getattr(errno, error))}
    if call not in NEEDED:
        lives(corner, **without)
        return
    for command in ("create", "run"):
        needs(corner.call(command, code=1, **without), call, error, "5.2")
    assert not leftovers()


@pytest.mark.parametrize("error", ERRORS)
def test_all_of_the_new_mount_calls(error, corner):
    lives(corner, preexec_fn=refuse(list(map(native, MOUNT_API)), getattr(errno, error)))


def test_seccomp_before_3_17(corner):
    lives(corner, preexec_fn=refuse([native("seccomp")], errno.ENOSYS))


def test_seccomp_refused(corner, leftovers):
    needs(corner.run(code=1, preexec_fn=refuse([native("seccomp")], errno.EPERM)), "seccomp", "EPERM", "")
    assert not leftovers()


def test_no_listener(corner, tmp_path, leftovers):
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(tmp_path / "agent"),
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
    }
    with Agent(tmp_path / "agent"):
        said = corner.set("linux.seccomp", profile).run(code=1, preexec_fn=refuse_filter_flags(8)).err  # SECCOMP_FILTER_FLAG_NEW_LISTENER
    assert said.count("\n") == 1 and "linux.seccomp" in said
    assert not leftovers()


@pytest.mark.skipif(not PURE_V2, reason="cgroup.kill is of cgroup v2")
def test_no_cgroup_kill(corner, run):
    """Nothing can be written to the file, in a mount namespace of the command's own: the processes are killed one by one."""
    container = corner.detached()
    hidden = 'mount --bind /dev/full "$0" && exec "$@"'
    file = cgroup_file(container.pid, "cgroup.kill")
    subprocess.run(["unshare", "--mount", "sh", "-c", hidden, file, *run.command("kill", "--all", container.id, "KILL")], check=True)
    assert container.wait() == 137
