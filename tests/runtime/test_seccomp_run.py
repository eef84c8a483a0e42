"""linux.seccomp as the container's process meets it, and the runtime under somebody else's filter (config-linux.md#seccomp)."""

import errno
import signal
import subprocess

import pytest
from looks import LINUX32, fields, one_line, user_namespace
from seccomp_model import NATIVE, names, native
from seccomp_tools import MKDIR, Agent, refuse, refuse_filter_flags

NEW_MOUNT_API = {
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "clone3": 435, "close_range": 436,
    "openat2": 437, "mount_setattr": 442, "fchmodat2": 452,
}  # fmt: skip


def rule(action, *names, **more):
    return {"names": list(names), "action": f"SCMP_ACT_{action}", **more}


def profile(default, *rules, **more):
    return {"defaultAction": f"SCMP_ACT_{default}", "syscalls": list(rules), **more}


@pytest.mark.parametrize("nothing", [{}, {"defaultAction": ""}, {"defaultAction": "", "syscalls": []}])
def test_a_profile_that_says_nothing_is_no_filter(bundle, nothing):
    result = bundle("grep Seccomp: /proc/self/status").set("linux.seccomp", nothing).run()
    assert fields(result.out)["Seccomp"] == "0"


@pytest.mark.arm64
@pytest.mark.kernels
@pytest.mark.parametrize("no_new_privileges", [True, False])
@pytest.mark.parametrize("uid", [0, 1000])
def test_a_filter_is_on(bundle, no_new_privileges, uid):
    b = bundle("grep Seccomp: /proc/self/status; mkdir /tmp/x; grep Cap /proc/self/status")
    b.set("linux.seccomp", profile("ALLOW", rule("ERRNO", "mkdir", "mkdirat", errnoRet=errno.EDOM)))
    b.set("process.noNewPrivileges", no_new_privileges).set("process.user", {"uid": uid, "gid": uid})
    result = b.run()
    seen = fields(result.out)
    assert seen["Seccomp"] == "2"
    assert "Numerical argument out of domain" in result.err  # EDOM
    # Capabilities that were needed for the filter are gone again.
    assert int(seen["CapEff"], 16) == (0x20000420 if uid == 0 else 0)


@pytest.mark.arm64
def test_an_exec_gets_the_filter_too(bundle):
    b = bundle("sleep 100").set("linux.seccomp", profile("ALLOW", rule("ERRNO", MKDIR, errnoRet=errno.EDOM)))
    result = b.detached().exec("mkdir", "/tmp/x", code=1)
    assert "Numerical argument out of domain" in result.err


@pytest.mark.arm64
@pytest.mark.kernels
def test_a_profile_like_dockers(bundle):
    """All that is not named is EPERM, but what is newer than the profile is ENOSYS; unknown names are skipped."""
    denied = ("mkdir", "mkdirat", "unshare", "mount")
    allowed = [name for name in names(NATIVE).values() if name not in denied]
    b = bundle("mkdir /tmp/x; unshare -U true; echo fine")
    b.set(
        "linux.seccomp",
        profile(
            "ERRNO",
            rule("ALLOW", *allowed, "no_such_syscall"),
            rule("ALLOW", "personality", args=[{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]),
            rule("ERRNO", "clone3", errnoRet=errno.ENOSYS),
            rule("ERRNO", MKDIR),
            architectures=["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        ),
    )
    b.config["linux"]["seccomp"]["syscalls"][0]["names"].remove("clone3")
    result = b.run()
    assert result.out == "fine\n"
    assert result.err.count("Operation not permitted") == 2


@pytest.fixture(scope="module")
def caller(tmp_path_factory):
    """A static program that makes system calls by number and prints the errno of each."""
    directory = tmp_path_factory.mktemp("caller")
    (directory / "call.c").write_text(CALL)
    subprocess.run(["gcc", "-static", "-o", directory / "call", directory / "call.c"], check=True)
    return directory / "call"


CALL = """
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        printf("%d ", syscall(atol(argv[i]), -1, -1, -1, -1) < 0 ? errno : 0);
}
"""


def test_calls_newer_than_the_profile(bundle, caller):
    """libcs fall back on ENOSYS, not on EPERM."""
    numbers = [native(MKDIR), native("reboot"), 439, 450, 462, 99999]
    b = bundle(["/call", *map(str, numbers)]).mount("/call", source=str(caller), options=["bind", "ro"])
    older = [name for number, name in names(NATIVE).items() if number <= 437 and name not in (MKDIR, "reboot")]
    b.set("linux.seccomp", profile("ERRNO", rule("ALLOW", *older)))
    assert b.run().out.split() == [str(errno.EPERM)] * 2 + [str(errno.ENOSYS)] * 4


@pytest.mark.arm64
@pytest.mark.parametrize(
    "default, more, code, said",
    [
        ("ERRNO", {}, 1, "mkdir: can't create directory '/tmp/x': Operation not permitted\n"),
        ("ERRNO", {"defaultErrnoRet": errno.EDOM}, 1, "mkdir: can't create directory '/tmp/x': Numerical argument out of domain\n"),
        ("KILL_PROCESS", {}, 128 + signal.SIGSYS, "pyrun: the program was killed by signal 31: "),
    ],
)
def test_the_default_action(bundle, default, more, code, said):
    allowed = [name for name in names(NATIVE).values() if name != MKDIR]
    b = bundle(["mkdir", "/tmp/x"]).set("linux.seccomp", profile(default, rule("ALLOW", *allowed), **more))
    assert b.run(code=code).err.startswith(said)


@pytest.mark.parametrize(
    "flags, given, not_given",
    [
        (None, 4, 3 | 8 | 0x20),
        ([], 0, 7 | 0x20),
        (["TSYNC"], 0, 7 | 0x20),
        (["LOG"], 2, 5 | 0x20),
        (["SPEC_ALLOW"], 4, 3 | 0x20),
        (["LOG", "SPEC_ALLOW"], 6, 1 | 0x20),
    ],
)
def test_flags_reach_the_kernel(bundle, flags, given, not_given):
    """Each is refused in turn, by a filter over the runtime."""
    more = {} if flags is None else {"flags": [f"SECCOMP_FILTER_FLAG_{flag}" for flag in flags]}
    b = bundle(["echo", "fine"]).set("linux.seccomp", profile("ALLOW", rule("ERRNO", MKDIR), **more))
    assert b.run(preexec_fn=refuse_filter_flags(not_given)).out == "fine\n"
    for flag in (1, 2, 4, 0x20):
        if given & flag:
            assert "linux.seccomp" in one_line(b.run(code=1, preexec_fn=refuse_filter_flags(flag)))


def test_kill_and_trap(bundle):
    for action in ("KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP"):
        b = bundle(["mkdir", "/tmp/x"]).set("linux.seccomp", profile("ALLOW", rule(action, MKDIR)))
        b.run(code=128 + signal.SIGSYS)


@pytest.mark.arm64
def test_what_the_runtime_sets_up_is_not_the_filters_business(bundle):
    """personality, chdir, setuid, capset … are done before, whatever the profile says."""
    calls = ["personality", "chdir", "setgroups", "setuid", "setresuid", "setresgid", "capset", "mount", "sethostname", "setsid"]
    b = bundle(["uname", "-m"]).set("linux.personality", {"domain": "LINUX32"})
    for privileges in (True, False):
        seccomp = profile("ALLOW", rule("ERRNO", *(calls if privileges else calls[:6])))
        b.set("linux.seccomp", seccomp).set("process.noNewPrivileges", privileges)
        assert b.run().out == f"{LINUX32}\n"


@pytest.mark.parametrize("calls", [[MKDIR], ["fcntl", "openat", "read", "close", "getcwd"], ["execve", MKDIR]])
@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_notify(bundle, tmp_path, calls, no_new_privileges):
    """The agent gets the listener and the state; nothing that the runtime itself calls meanwhile hangs."""
    b = bundle("mkdir /tmp/x; cat /etc/group >/dev/null; cd /tmp; pwd -P; echo end")
    b.set("process.noNewPrivileges", no_new_privileges)
    more = {"listenerPath": str(tmp_path / "agent"), "listenerMetadata": "meta data"}
    b.set("linux.seccomp", profile("ALLOW", rule("NOTIFY", *calls), **more))
    with Agent(tmp_path / "agent") as agent:
        result = b.run()
        assert result.out == "/tmp\nend\n"
        assert len(agent.states) == 1
        state = agent.states[0]
        assert state["fds"] == ["seccompFd"] and state["metadata"] == "meta data" and state["ociVersion"] == "1.3.0"
        assert state["state"]["id"] == result.id and state["state"]["status"] == "creating"
        assert state["pid"] > 0 and state["state"]["bundle"] == str(b.directory)
        assert agent.calls and set(agent.calls) <= {native(name) for name in calls}


@pytest.mark.arm64
@pytest.mark.kernels
def test_notify_in_create_and_exec(bundle, tmp_path):
    b = bundle("sleep 100")
    b.set("linux.seccomp", profile("ALLOW", rule("NOTIFY", MKDIR, "openat"), listenerPath=str(tmp_path / "agent")))
    with Agent(tmp_path / "agent") as agent:
        container = b.create()
        container.start()
        container.exec("mkdir", "/tmp/x")
        assert len(agent.states) == 2
        assert [state["state"]["id"] for state in agent.states] == [container.id] * 2
        assert agent.states[0]["pid"] == container.pid != agent.states[1]["pid"]
        assert agent.calls[native(MKDIR)] == 1
        container.delete("--force")


def test_notify_that_cannot_work(bundle, tmp_path):
    b = bundle()
    b.set("linux.seccomp", profile("ALLOW", rule("NOTIFY", MKDIR), listenerPath=str(tmp_path / "nobody")))
    assert "failed to connect with seccomp agent" in one_line(b.call("run", code=1))
    b.set("linux.seccomp", profile("ALLOW", rule("NOTIFY", MKDIR)))
    assert "listenerPath" in one_line(b.call("run", code=1))
    b.set("linux.seccomp", profile("ALLOW", rule("NOTIFY", "write"), listenerPath=str(tmp_path / "nobody")))
    assert "SCMP_ACT_NOTIFY cannot be used for the write syscall" in one_line(b.call("run", code=1))
    # Without such a rule nobody connects.
    b.set("linux.seccomp", profile("ALLOW", rule("ERRNO", MKDIR), listenerPath=str(tmp_path / "nobody")))
    b.run()


# --- the runtime under a filter


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM])
@pytest.mark.parametrize("flags", [(), ("--no-pivot",)])
def test_without_the_new_mount_api(bundle, tmp_path, error, flags):
    """An outer profile that is older than these calls: a container in a container, an old kernel."""
    b = bundle(
        "touch /ro/x; touch /tmp/t && echo tmpfs; stat -c %a /mode; cat /link/file; cat /masked/file; touch /guarded/x; ls /sys/fs/cgroup | head -1"
    )
    (tmp_path / "file").write_text("bound\n")
    b.mount("/ro", source=str(tmp_path), options=["rbind", "ro", "nosuid"])
    b.mount("/link", source=str(tmp_path), options=["bind", "rprivate"])
    b.mount("/tmp", type="tmpfs", source="tmpfs", options=["size=1m", "noexec"])
    b.mount("/mode", type="tmpfs", source="tmpfs")
    (b.rootfs / "mode").mkdir(mode=0o710)
    (b.rootfs / "real").mkdir()
    (b.rootfs / "link").symlink_to("../real")
    for name in ("masked", "guarded"):
        (b.rootfs / name).mkdir()
        (b.rootfs / name / "file").touch()
    b.config["linux"]["maskedPaths"] += ["/masked", "/etc/group"]
    b.config["linux"]["readonlyPaths"] += ["/guarded"]
    b.set("root.readonly", True)
    result = b.run(*flags, preexec_fn=refuse(NEW_MOUNT_API.values(), error))
    assert result.out.splitlines()[:3] == ["tmpfs", "710", "bound"]
    for words in ("/ro/x: Read-only", "can't open '/masked/file': No such file", "/guarded/x: Read-only"):
        assert words in result.err


@pytest.mark.arm64
def test_create_and_exec_without_the_new_mount_api(bundle):
    container = bundle("sleep 100").create(preexec_fn=refuse(NEW_MOUNT_API.values(), errno.ENOSYS))
    container.start()
    assert container.exec("echo", "hi", preexec_fn=refuse(NEW_MOUNT_API.values(), errno.ENOSYS)).out == "hi\n"


@pytest.mark.kernels
def test_what_mount_2_cannot_do_is_refused(bundle, tmp_path):
    """Better no container than a writable mount."""
    b = bundle().mount("/m", source=str(tmp_path), options=["rbind", "rro"])
    line = one_line(b.call("run", code=1, preexec_fn=refuse(NEW_MOUNT_API.values(), errno.ENOSYS)))
    assert "mounts[7]" in line and "function not implemented" in line
    assert "take Linux 5.12" in line


def test_what_is_copied_up_is_read_only_without_mount_setattr(bundle):
    b = bundle("cat /data/file; touch /data/x").mount("/data", type="tmpfs", source="tmpfs", options=["tmpcopyup", "ro"])
    (b.rootfs / "data").mkdir()
    (b.rootfs / "data/file").write_text("file\n")
    result = b.run(code=1, preexec_fn=refuse([NEW_MOUNT_API["mount_setattr"]], errno.ENOSYS))
    assert result.out == "file\n"
    assert "/data/x: Read-only" in result.err


@pytest.mark.kernels
@pytest.mark.parametrize("mapped", [False, True])
def test_an_idmapped_mount_without_mount_setattr_says_what_it_takes(bundle, tmp_path, mapped):
    b = bundle().mount("/m", source=str(tmp_path), options=["bind", "idmap"])
    b.config["mounts"][-1] |= {name: [{"containerID": 0, "hostID": 5000, "size": 10000}] for name in ("uidMappings", "gidMappings")}
    if mapped:
        user_namespace(b)
    line = one_line(b.call("run", code=1, preexec_fn=refuse([NEW_MOUNT_API["mount_setattr"]], errno.ENOSYS)))
    assert line.endswith(": function not implemented (idmapped mounts, and options for all mounts below one, take Linux 5.12)")
