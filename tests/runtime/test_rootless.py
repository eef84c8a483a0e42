"""An ordinary user's containers: the whole life, where their state lies, and whose ids they have (user_namespaces(7))."""

import json
import os
import shutil
import stat
import subprocess

import pytest
from harness import until
from looks import fields, one_line
from ordinary import map_range, without, without_user_namespace

RUNC = shutil.which("runc") or "/usr/sbin/runc"


@pytest.fixture
def run(user, pyrun, tmp_path, token):
    return user.runner(pyrun, tmp_path, token)


@pytest.fixture
def bundle(user, run, rootfs):
    return user.bundles(run, rootfs)


def test_life(bundle, run, user):
    c = bundle("echo up; exec sleep 100").create()
    assert c.status() == "created"
    c.start()
    until(lambda: c.out == "up\n")
    assert c.exec("id", "-u").out == "0\n"
    assert os.stat(f"/proc/{c.pid}").st_uid == user.uid
    assert run("list", "-q").out == f"{c.id}\n"
    assert user.name in run("list").out
    c.kill("KILL")
    assert c.wait() == 137
    c.delete()


def test_ids(bundle, user):
    out = bundle("id; cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups").run().out
    assert out.startswith("uid=0(root) gid=0(root)")
    assert out.split()[-7:] == ["0", str(user.uid), "1", "0", str(user.gid), "1", "deny"]


# --- spec --rootless, the state directory


def test_the_spec_runs_as_it_is(bundle, run, user):
    b = bundle()
    run("spec", "--rootless", "--bundle", b.directory)
    b.config = json.loads((b.directory / "config.json").read_text())
    assert os.stat(b.directory / "config.json").st_uid == user.uid
    terminal = b.terminal()
    terminal.send("echo id=$(id -u); exit 7\n").expect("id=0")
    assert terminal.wait() == 7


@pytest.mark.skipif(not os.path.exists(RUNC), reason="no runc here")
def test_the_spec_is_that_of_runc(bundle, run, user):
    specs = []
    for program in (run.program, RUNC):
        directory = bundle().directory
        subprocess.run(user.command([program, "spec", "--rootless", "--bundle", str(directory)]), check=True)
        specs.append(json.loads((directory / "config.json").read_text()))
    ours, runcs = specs
    # The version, its own name, and a set that newer ones no longer write.
    for spec, name in ((ours, "pyrun"), (runcs, "runc")):
        del spec["ociVersion"]
        assert spec.pop("hostname") == name
        spec["process"]["capabilities"].pop("ambient", None)
    assert ours == runcs


def test_the_state_lies_in_xdg_runtime_dir(bundle, run):
    run.around = ["env", f"XDG_RUNTIME_DIR={run.directory}/xdg"]
    (run.user.owns(run.directory / "xdg") if (run.directory / "xdg").mkdir() is None else None)
    b = bundle("sleep 100")
    b.write()
    id = run.new_id()
    run("run", "--detach", "--bundle", b.directory, id, root=False)
    directory = run.directory / "xdg/pyrun"
    assert (directory / id / "state.json").exists()
    # The XDG specification: what has the sticky bit is not cleaned away with age.
    assert stat.S_IMODE(directory.stat().st_mode) == 0o1700
    assert run("list", "-q", root=False).out == f"{id}\n"
    run("delete", "--force", id, root=False)
    assert not (directory / id).exists()


def test_an_xdg_runtime_dir_of_somebody_else(run):
    run.around = ["env", "XDG_RUNTIME_DIR=/proc"]
    assert "$XDG_RUNTIME_DIR must be a directory of yours" in one_line(run("list", root=False, code=1))
    run("spec", "--bundle", run.directory, root=False)  # keeps no state


def test_without_an_xdg_runtime_dir(bundle, run):
    """The default root is the real root's then, as runc's is."""
    run.around = ["env", "-u", "XDG_RUNTIME_DIR"]
    b = bundle()
    b.write()
    line = one_line(run("run", "--bundle", b.directory, run.new_id(), root=False, code=1))
    assert "/run/pyrun: permission denied: set $XDG_RUNTIME_DIR to a directory of yours, as /run/user/" in line
    assert one_line(run("list", root=False, code=1)) in line.replace("pyrun run failed", "pyrun")


# --- who is mapped


def test_subordinate_ids(bundle, user):
    """newuidmap(1) and newgidmap(1) write the maps, and setgroups(2) stays allowed."""
    first, _ = user.range
    b = map_range(bundle("id; touch /tmp/new; cat /proc/self/setgroups; cat /proc/self/uid_map"), user)
    b.set("process.user", {"uid": 7, "gid": 8, "additionalGids": [9, 10]})
    out = b.run().out
    assert out.startswith("uid=7 gid=8 groups=9,10\nallow\n")
    assert out.split()[-6:] == ["0", str(user.uid), "1", "1", str(first), "1000"]
    assert os.lstat(b.rootfs / "tmp/new").st_uid == first + 6


def test_the_callers_groups_go(bundle, user):
    assert map_range(bundle("id -G"), user).run().out == "0\n"


def test_the_caller_may_kill_what_runs_as_a_subordinate_id(bundle, user):
    c = map_range(bundle("sleep 100"), user).set("process.user", {"uid": 7, "gid": 8}).detached()
    assert os.stat(f"/proc/{c.pid}").st_uid != user.uid
    assert c.exec("id", "-u").out == "7\n"
    c.kill("KILL")
    assert c.wait() == 137


def test_one_subordinate_id_alone(bundle, user):
    """It is not the caller's own, so it takes newuidmap too."""
    first, _ = user.range
    b = bundle("cat /proc/self/uid_map")
    for name in ("uidMappings", "gidMappings"):
        b.set(f"linux.{name}", [{"containerID": 0, "hostID": first, "size": 1}])
    b.config["process"]["args"] = ["cat", "/proc/self/uid_map"]
    assert b.run().out.split() == ["0", str(first), "1"]


def test_no_root_in_the_container(bundle, user):
    b = bundle("id -u; id -g; touch /tmp/new; grep CapEff /proc/self/status; sleep 100")
    b.set("linux.uidMappings", [{"containerID": 1000, "hostID": user.uid, "size": 1}])
    b.set("linux.gidMappings", [{"containerID": 2000, "hostID": user.gid, "size": 1}])
    c = b.set("process.user", {"uid": 1000, "gid": 2000}).detached()
    until(lambda: "CapEff" in c.out)
    assert c.out.split() == ["1000", "2000", "CapEff:", "0000000000000000"]
    assert c.exec("id", "-u").out == "1000\n"
    assert os.lstat(b.rootfs / "tmp/new").st_uid == user.uid


def test_without_newuidmap(bundle, run, user):
    """One's own id takes no tool; more does, and the message says which one is missing and what else would do."""
    run.around = ["env", "PATH=/nonexistent"] if user.own else ["/usr/bin/env", "PATH=/nonexistent"]
    assert bundle("id -u").run().out == "0\n"
    line = one_line(map_range(bundle(), user).call("create", code=1))
    for words in ("linux.uidMappings", "newuidmap", "not in $PATH", "package uidmap", f"hostID {user.uid} alone"):
        assert words in line, line


def test_newuidmap_is_looked_for_in_path(bundle, run, user):
    tools = run.directory / "tools"
    tools.mkdir()
    for name in ("newuidmap", "newgidmap"):
        (tools / name).write_text(f"#!/bin/sh\necho \"$0 $*\" >>{run.directory}/called\nexec /usr/bin/{name} \"$@\"\n")
        (tools / name).chmod(0o755)
    user.owns(run.directory)
    run.around = ["/usr/bin/env", f"PATH={tools}:/usr/bin:/bin"]
    map_range(bundle(), user).run()
    first, _ = user.range
    calls = (run.directory / "called").read_text().splitlines()
    assert [call.split()[0] for call in calls] == [f"{tools}/newuidmap", f"{tools}/newgidmap"]
    assert calls[0].split()[2:] == ["0", str(user.uid), "1", "1", str(first), "1000"]


def test_ids_that_are_not_the_users(bundle, user):
    b = bundle().set("linux.uidMappings", [{"containerID": 0, "hostID": 5, "size": 10}])
    line = one_line(b.call("create", code=1))
    for words in ("linux.uidMappings", "newuidmap: uid range [0-10) -> [5-15) not allowed", "/etc/subuid", "--add-subuids"):
        assert words in line, line


# --- what cannot be, and why


def test_a_config_without_a_user_namespace(bundle):
    line = one_line(without_user_namespace(bundle()).call("create", code=1))
    assert "linux.namespaces: rootless container requires user namespaces" in line and "spec --rootless" in line


def test_groups_when_setgroups_is_denied(bundle):
    b = bundle().set("process.user.additionalGids", [0])
    line = one_line(b.call("create", code=1))
    for words in ("process.user.additionalGids", "cannot set any additional groups", "setgroups is denied", "newgidmap"):
        assert words in line, line


@pytest.mark.parametrize(
    "path, value, words",
    [
        ("process.user.uid", 5, "cannot setuid to unmapped uid 5 in user namespace: map it in linux.uidMappings"),
        ("process.oomScoreAdj", -1000, "CAP_SYS_RESOURCE"),
        ("process.rlimits", [{"type": "RLIMIT_NOFILE", "soft": 1 << 40, "hard": 1 << 40}], "CAP_SYS_RESOURCE"),
        ("linux.devices", [{"path": "/dev/none", "type": "c", "major": 1, "minor": 99}], "the host's device is bound: it must be there"),
        ("linux.sysctl", {"kernel.pid_max": "5000"}, "not in a separate kernel namespace"),
    ],
)
def test_a_clear_reason(bundle, path, value, words):
    line = one_line(bundle().set(path, value).call("create", code=1))
    assert words in line and path.partition(".")[2].split(".")[0] in line, line


def test_a_sysctl_that_no_user_namespace_may_write(bundle, user):
    if subprocess.run(user.command(["unshare", "-Urn", "test", "-e", "/proc/sys/net/core/rmem_default"]), check=False).returncode:
        pytest.skip("this kernel has none in a network namespace")
    b = bundle().set("linux.sysctl", {"net.core.rmem_default": "100000"})
    b.config["linux"]["namespaces"].append({"type": "network"})
    line = one_line(b.call("create", code=1))
    assert "linux.sysctl[net.core.rmem_default]" in line and "set it on the host" in line


def test_user_namespaces_are_switched_off(bundle, run):
    """In a user namespace of its own the switch can be set without a harm to the machine."""
    run.around = ["unshare", "--user", "--map-root-user", "sh", "-c", 'echo 0 >/proc/sys/user/max_user_namespaces; exec "$@"', "sh"]
    b = bundle()
    for name in ("uidMappings", "gidMappings"):
        b.set(f"linux.{name}", [{"containerID": 0, "hostID": 0, "size": 1}])
    line = one_line(b.call("create", code=1))
    assert "linux.namespaces: clone: no space left on device" in line and "sysctl user.max_user_namespaces is 0" in line


def test_an_owner_of_a_mount_that_is_not_mapped(bundle):
    b = bundle()
    for entry in b.config["mounts"]:
        if entry["destination"] == "/dev/pts":
            entry["options"].append("gid=5")
    line = one_line(b.call("create", code=1))
    assert "mounts[2].options[5]: cannot specify gid=5: map it in linux.gidMappings" in line


def test_an_idmapped_mount(bundle, user):
    b = bundle()
    maps = {name: b.config["linux"][name] for name in ("uidMappings", "gidMappings")}
    line = one_line(b.mount("/m", source=str(b.directory), options=["bind"], **maps).call("create", code=1))
    assert "mounts[7]" in line and "id-mapped mounts are not supported for rootless containers" in line


def test_a_root_that_the_mapped_root_cannot_reach(bundle, user):
    """The user maps a subordinate id alone, which may not search the user's own directories."""
    first, _ = user.range
    b = bundle()
    for name in ("uidMappings", "gidMappings"):
        b.set(f"linux.{name}", [{"containerID": 0, "hostID": first, "size": 1}])
    b.directory.chmod(0o700)
    line = one_line(b.call("create", code=1))
    assert "root.path" in line and "search every directory" in line


# --- groups that are kept


@pytest.fixture
def shared(run, user):
    """A directory that one of the user's supplementary groups may enter, with a file and an open directory in it."""
    if user.own and not user.groups:
        pytest.skip("this user has no supplementary group")
    before, group = user.groups, user.groups[0] if user.own else 4321
    user.groups = [group]
    directory = run.directory / "shared"
    (directory / "open").mkdir(parents=True)
    for file in (directory / "file", directory / "open/file"):
        file.write_text("reached")
    os.chown(directory, -1 if user.own else 0, group)
    directory.chmod(0o750)
    yield directory
    directory.chmod(0o755)
    user.groups = before


def test_a_source_that_a_group_of_the_caller_can_reach(bundle, user, shared):
    """It is opened before the groups go."""
    b = map_range(bundle("cat /m/file; id -G"), user).mount("/m", source=str(shared / "open"), options=["bind"])
    assert b.run().out == "reached0\n"


def test_groups_are_kept(bundle, user, shared):
    """run.oci.keep_original_groups, which `podman run --group-add keep-groups` sets: a file of the caller's group is within reach."""

    def make():
        # The container's user is neither its owner nor in its group but by the one that is kept.
        return map_range(bundle("cat /m/file; id -G"), user).set("process.user", {"uid": 7, "gid": 8}).mount(
            "/m", source=str(shared), options=["bind"]
        )

    assert "Permission denied" in make().run(code=0).err
    assert make().set("annotations", {"run.oci.keep_original_groups": "1"}).run().out.startswith("reached8 65534")
    assert "Permission denied" in make().set("annotations", {"run.oci.keep_original_groups": "0"}).run(code=0).err
    c = make().set("annotations", {"run.oci.keep_original_groups": "1"}).set("process.args", ["sleep", "100"]).detached()
    assert c.exec("cat", "/m/file").out == "reached"


# --- what works all the same


def test_sysctls_of_its_own_namespaces(bundle):
    b = bundle("cd /proc/sys; cat net/ipv4/ip_forward kernel/shmmax user/max_user_namespaces kernel/domainname fs/mqueue/msg_max")
    b.config["linux"]["namespaces"].append({"type": "network"})
    values = {"net.ipv4.ip_forward": "1", "kernel.shmmax": "1000000", "user.max_user_namespaces": "3", "kernel.domainname": "box"}
    if os.access("/proc/sys/fs/mqueue", os.F_OK):
        values["fs.mqueue.msg_max"] = "7"
    assert b.set("linux.sysctl", values).run().out.split() == list(values.values())


def test_devices_are_the_hosts(bundle):
    script = "echo x >/dev/null; head -c 2 /dev/zero | wc -c; stat -c '%t:%T' /dev/full; test -p /dev/fifo && echo fifo"
    b = bundle(script).set("linux.devices", [{"path": "/dev/full", "type": "c", "major": 1, "minor": 7}, {"path": "/dev/fifo", "type": "p"}])
    assert b.run().out.split() == ["2", "1:7", "fifo"]


def test_the_ptmx_of_the_host_is_not_bound(bundle):
    """Engines list it with the devices. It would make terminals on the host's devpts."""
    b = bundle("readlink /dev/ptmx; stat -Lc '%u %t:%T' /dev/ptmx").set("linux.devices", [{"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2}])
    assert b.run().out.split() == ["pts/ptmx", "0", "5:2"]


def test_sysfs_of_the_hosts_network_namespace(bundle):
    """The kernel lets only its owner mount one: the host's is bound, and what is read-only holds for the cgroups below it."""
    b = bundle("ls /sys/class/net; cat /proc/self/mountinfo")
    b.config["mounts"] = [entry for entry in b.config["mounts"] if not entry["destination"].startswith("/sys")]
    b.mount("/sys", type="sysfs", source="sysfs", options=["nosuid", "noexec", "nodev", "ro"])
    out = b.run().out.splitlines()
    assert "lo" in out
    below = [line.split()[5].split(",") for line in out if " /sys" in line and len(line.split()) > 8]
    assert len(below) > 1 and all("ro" in options for options in below)


def test_proc_of_the_hosts_pid_namespace(bundle, run):
    b = without(bundle("readlink /proc/self/ns/pid; test -d /proc/$PPID && echo there; cat /proc/sysrq-trigger"), "pid")
    result = b.run(code=1)
    assert result.out.splitlines() == [os.readlink("/proc/self/ns/pid"), "there"]


def test_a_network_namespace_of_its_own(bundle):
    b = bundle("ls /sys/class/net; ping -c 1 127.0.0.1 >/dev/null && echo up")
    b.config["linux"]["namespaces"].append({"type": "network"})
    b.config["mounts"] = [
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]} if entry["destination"] == "/sys" else entry
        for entry in b.config["mounts"]
        if entry["destination"] != "/sys/fs/cgroup"
    ]
    for names in b.config["process"]["capabilities"].values():
        names.append("CAP_NET_RAW")
    assert b.run().out.split() == ["lo", "up"]


def test_a_terminal(bundle, user):
    b = map_range(bundle("tty; stat -c %u $(tty); stty size", terminal=True), user)
    b.set("process.user", {"uid": 7, "gid": 8}).set("process.consoleSize", {"height": 33, "width": 101})
    terminal = b.terminal()
    assert terminal.expect("33 101").split() == ["/dev/pts/0", "7", "33", "101"]
    assert terminal.wait() == 0


def test_hooks_and_a_filter(bundle, run):
    """What runs in the container's namespaces, and a seccomp filter without no_new_privs, which takes rights of its own."""
    b = bundle("mkdir /tmp/refused").set("process.noNewPrivileges", False)
    script = run.directory / "hook"
    script.write_text(f"#!/bin/sh\necho $1 $(id -u) >>{run.directory}/hooks\n")
    script.chmod(0o755)
    run.user.owns(run.directory)
    kinds = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    b.set("hooks", {kind: [{"path": str(script), "args": ["hook", kind]}] for kind in kinds})
    b.config["hooks"]["startContainer"] = [{"path": "/bin/sh", "args": ["sh", "-c", "id -u >/tmp/inside"]}]
    b.set("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
    ]})  # fmt: skip
    assert "Function not implemented" in b.run(code=1).err
    ids = {"prestart": str(run.user.uid), "createRuntime": str(run.user.uid), "createContainer": "0"}
    ids |= {"poststart": str(run.user.uid), "poststop": str(run.user.uid)}
    assert dict(line.split() for line in (run.directory / "hooks").read_text().splitlines()) == ids
    assert (b.rootfs / "tmp/inside").read_text() == "0\n"


def test_capabilities_of_the_user_namespace(bundle):
    """They are all to be had, and worth nothing outside."""
    b = bundle("cat /proc/self/status")
    names = ["CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_CHOWN"]
    b.set("process.capabilities", {kind: names for kind in ("bounding", "effective", "permitted", "inheritable", "ambient")})
    status = fields(b.run().out)
    assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {f"{1 << 21 | 1 << 12 | 1:016x}"}


def test_exec_as_somebody_who_is_not_mapped(bundle):
    c = bundle("sleep 100").detached()
    line = one_line(c.exec("true", flags=("--user", "5"), code=255))
    assert "cannot setuid to unmapped uid in user namespace" in line


def test_exec_before_the_start(bundle):
    c = bundle("sleep 100").create()
    assert c.exec("id", "-u").out == "0\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="it takes the real root")
def test_the_real_root_does_not_trust_its_state(bundle, run, user):
    """The user could write any pid and any hook there, for root to kill and to run."""
    c = map_range(bundle("sleep 100"), user).detached()
    for words in (["list"], ["exec", c.id, "id"], ["delete", "--force", c.id]):
        refused = subprocess.run([run.program, "--root", str(run.root), *words], text=True, capture_output=True, check=False)
        assert refused.returncode != 0 and "call pyrun as that user" in refused.stderr
    assert c.status() == "running"
    c.delete("--force")


def test_validate(bundle, run):
    """What an ordinary user has runs; ids of others do not."""
    b = bundle("true").write()
    assert "config.json is valid" in run("validate", b.directory).out
    b.set("linux.uidMappings", [{"containerID": 0, "hostID": 0, "size": 1}]).write()
    found = json.loads(run("validate", "--format", "json", b.directory, code=2).out)
    (fault,) = (one for one in found if one["severity"] == "error")
    assert (fault["level"], fault["path"]) == ("host", "linux.uidMappings[0].hostID")
    assert "linux.uidMappings: newuidmap: " in b.run(code=1).err
