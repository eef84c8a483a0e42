"""What configs and callers rely on although the specification does not ask for it, because other runtimes do it."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest
from looks import mount, mounted, seen, user_namespace

CPUSET = pathlib.Path("/sys/fs/cgroup/cpuset")


# --- hooks


def sh(script):
    return {"path": "/bin/sh", "args": ["sh", "-c", script]}


def test_hooks_begin_in_the_bundle(bundle, tmp_path):
    b = bundle("true")
    kinds = ("prestart", "createRuntime", "poststart", "poststop")
    b.set("hooks", {kind: [sh(f"pwd > {tmp_path}/{kind}")] for kind in kinds})
    b.run(cwd="/")
    assert {kind: (tmp_path / kind).read_text().strip() for kind in kinds} == dict.fromkeys(kinds, str(b.directory))


def test_a_hook_before_the_pivot_begins_in_the_root(bundle, tmp_path):
    """It sees the container's mounts there."""
    b = bundle("true").set("hooks", {"createContainer": [sh(f"pwd > {tmp_path}/pwd; test -e proc/self && echo mounted >> {tmp_path}/pwd")]})
    b.run(cwd="/")
    assert (tmp_path / "pwd").read_text().split() == [str(b.rootfs), "mounted"]


def test_a_hook_without_environment_has_the_callers(bundle, tmp_path):
    b = bundle("true").set("hooks", {"prestart": [sh(f"echo $WORD > {tmp_path}/word")]})
    b.run(env={**os.environ, "WORD": "inherited"})
    assert (tmp_path / "word").read_text() == "inherited\n"


def test_a_hook_with_an_empty_environment_has_none(bundle, tmp_path):
    b = bundle("true").set("hooks", {"prestart": [sh(f"echo x$WORD > {tmp_path}/word") | {"env": []}]})
    b.run(env={**os.environ, "WORD": "inherited"})
    assert (tmp_path / "word").read_text() == "x\n"


def test_a_hook_in_the_container_runs_under_its_seccomp_filter(bundle):
    b = bundle("true").set("hooks", {"startContainer": [sh("exec mkdir /tmp/made")]})
    b.set("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL"}]})
    err = b.call("run", code=1).err
    assert "error running startContainer hook #0" in err
    assert "bad system call" in err
    assert not (b.rootfs / "tmp/made").exists()


# --- mounts


def test_a_path_masked_twice_is_one_mount(bundle):
    b = bundle("grep -c ' /secret ' /proc/self/mountinfo").set("linux.maskedPaths", ["/secret", "/secret"])
    (b.rootfs / "secret").touch()
    assert b.run().out == "1\n"


def test_a_destination_that_names_the_root_of_the_host(bundle, tmp_path):
    b = bundle("cat /m/file")
    (tmp_path / "file").write_text("mine")
    b.mount(f"{b.rootfs}/m", source=str(tmp_path), options=["bind"])
    assert b.run().out == "mine"
    assert not (b.rootfs / "tmp").joinpath(*b.rootfs.parts[2:]).exists()


@pytest.mark.parametrize("mapped", [False, True])
def test_a_source_on_an_earlier_mount(bundle, tmp_path, mapped):
    b = bundle("cat /again/file")
    (tmp_path / "file").write_text("mine")
    b.mount("/m", source=str(tmp_path), options=["bind"])
    b.mount("/again", source=f"{b.rootfs}/m", options=["bind"])
    if mapped:
        user_namespace(b)
    assert b.run().out == "mine"


@pytest.mark.parametrize("word, follows", [("slave", True), ("rslave", True), ("private", False), (None, False)])
def test_a_root_that_follows_the_host(bundle, tmp_path, word, follows):
    """With slave it is one of a mount of the host's that is shared."""
    with mounted(tmp_path / "shared") as shared:
        b = bundle("grep ' / / \\| /[^ ]* / ' /proc/self/mountinfo")
        mount("--make-shared", shared)
        shutil.copytree(b.rootfs, shared / "root", symlinks=True)
        b.set("root.path", f"{shared}/root")
        if word:
            b.set("linux.rootfsPropagation", word)
        assert ("master:" in b.run().out) == follows


def restricted(directory):
    """A mount of the host's that is read-only and the like, as a mount point, not as a file system."""
    mount("--bind", "-o", "remount,ro,nosuid,noatime", directory)


def test_the_hosts_flags_stay_in_a_user_namespace(bundle, tmp_path):
    """Options that do not name them lift nothing."""
    with mounted(tmp_path / "source") as source:
        restricted(source)
        b = bundle().mount("/m", source=str(source), options=["bind", "nodev"])
        user_namespace(b)
        assert {"ro", "nosuid", "nodev", "noatime"} <= seen(b)["/m"].options


@pytest.mark.parametrize("word", ["rw", "suid", "relatime", "strictatime", "nodiratime"])
def test_the_hosts_flags_cannot_be_lifted_in_a_user_namespace(bundle, tmp_path, word):
    with mounted(tmp_path / "source") as source:
        restricted(source)
        b = bundle("true").mount("/m", source=str(source), options=["bind", word])
        assert b.run().code == 0
        user_namespace(b)
        err = b.call("run", code=1).err
        assert "error mounting" in err
        assert "operation not permitted" in err


@pytest.mark.parametrize(
    "words, wanted",
    [
        (["atime"], {"noatime"}),
        (["norelatime"], {"noatime"}),
        (["nostrictatime"], {"noatime"}),
        (["noatime", "atime"], {"noatime"}),
        (["relatime"], {"relatime"}),
        (["nodiratime"], {"relatime", "nodiratime"}),
        (["nodiratime", "norelatime"], {"relatime", "nodiratime"}),
        (["nodiratime", "strictatime"], {"nodiratime"}),
        (["diratime"], {"noatime"}),
    ],
)
def test_access_times_of_a_bind_mount(bundle, tmp_path, words, wanted):
    """As with mount(2): a word that only takes a flag back does not lift the source's."""
    with mounted(tmp_path / "source") as source:
        mount("--bind", "-o", "remount,noatime", source)
        b = bundle().mount("/m", source=str(source), options=["bind", *words])
        assert seen(b)["/m"].options & {"noatime", "relatime", "nodiratime"} == wanted


def test_access_times_stay_where_no_option_is_about_them(bundle, tmp_path):
    with mounted(tmp_path / "source") as source:
        mount("--bind", "-o", "remount,nodiratime", source)
        b = bundle().mount("/m", source=str(source), options=["bind", "nodev"])
        assert {"nodiratime", "nodev"} <= seen(b)["/m"].options


def test_devices_of_a_user_namespace_run_nothing(bundle):
    b = bundle("grep ' /dev/null ' /proc/self/mountinfo; echo x > /dev/null && echo written")
    user_namespace(b)
    line, written = b.run().out.splitlines()
    assert {"nosuid", "noexec"} <= set(line.split()[5].split(","))
    assert written == "written"


def test_an_idmapped_mount_with_the_ids_of_a_joined_namespace(bundle, tmp_path):
    first = bundle("sleep 100")
    user_namespace(first)
    other = first.detached()
    (tmp_path / "file").touch()
    b = bundle("stat -c %u:%g /m/file").mount("/m", source=str(tmp_path), options=["bind", "idmap"])
    b.rootfs.chmod(0o755)
    b.config["linux"]["namespaces"].append({"type": "user", "path": f"/proc/{other.pid}/ns/user"})
    for path in [*b.directory.parents, b.directory]:
        if path.owner() == "root" and str(path).startswith("/tmp/"):
            path.chmod(path.stat().st_mode | 0o111)
    subprocess.run(["chown", "-hR", "100000:100000", b.rootfs], check=True)
    assert b.run().out == "0:0\n"


# --- the rest


def test_a_domain_name_and_a_sysctl_that_says_another(bundle):
    b = bundle("hostname -d; cat /proc/sys/kernel/domainname").set("domainname", "one").set("linux.sysctl", {"kernel.domainname": "two"})
    err = b.call("run", code=1).err
    assert "linux.sysctl" in err
    assert 'conflicts with the OCI "domainname" field' in err
    b.set("linux.sysctl", {"kernel.domainname": "one"})
    assert b.run().out.split()[-1] == "one"


def test_detached_with_a_terminal_that_nobody_holds(bundle):
    b = bundle("true").set("process.terminal", True)
    assert "cannot allocate tty if runc will detach without setting console socket" in b.call("run", "--detach", code=1).err


@pytest.mark.skipif(not CPUSET.is_dir(), reason="no cpuset hierarchy of cgroup v1")
def test_cpus_where_the_parent_has_none_yet(bundle, token):
    parent = CPUSET / f"{token}-parent"
    parent.mkdir()
    try:
        b = bundle("grep Cpus_allowed_list /proc/self/status").set("linux.cgroupsPath", f"/{parent.name}/box")
        assert b.set("linux.resources.cpu.cpus", "0").run().out.split() == ["Cpus_allowed_list:", "0"]
    finally:
        for path in pathlib.Path("/sys/fs/cgroup").glob(f"*/{parent.name}"):
            path.rmdir()


def test_debug_messages_follow_a_start(bundle, run, tmp_path):
    log = tmp_path / "log"
    b = bundle("true").write()
    result = run("--debug", "--log", log, "run", "--bundle", b.directory, run.new_id())
    assert result.err == ""
    lines = log.read_text().splitlines()
    words = ["nsexec container setup", "child process in init()", "init: closing the pipe to signal completion"]
    found = [word for line in lines for word in words if word in line and "level=debug" in line]
    assert found == words
    assert any(re.search(r"its pid is \d+", line) for line in lines)


def test_debug_messages_of_exec(bundle, run):
    b = bundle("sleep 100").set("process.execCPUAffinity", {"initial": "0"})
    err = run("--debug", "exec", b.detached().id, "true").err
    assert "process.execCPUAffinity.initial: affinity: 0x1" in err
    assert "setns_init: about to exec" in err


@pytest.mark.skipif(os.cpu_count() < 2, reason="one CPU")
def test_a_deadline_and_a_part_of_the_cpus(bundle):
    b = bundle("true").set("linux.resources.cpu.cpus", "0")
    b.set("process.scheduler", {"policy": "SCHED_DEADLINE", "runtime": 42000, "deadline": 1000000, "period": 1000000})
    assert "process scheduler can't be used together with AllowedCPUs" in b.call("run", code=1).err
