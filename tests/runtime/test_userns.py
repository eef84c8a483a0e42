"""User namespaces of the real root's containers: what belongs to the mapped root, and what it may reach (user_namespaces(7))."""

import os
import pathlib
import subprocess

import pytest
from harness import cgroups_path, until
from looks import mount_table, mounted, one_line, user_namespace

pytestmark = pytest.mark.machine

PURE_V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")


def without(bundle, *kinds):
    linux = bundle.config["linux"]
    linux["namespaces"] = [space for space in linux["namespaces"] if space["type"] not in kinds]
    return bundle


# --- stdio


@pytest.mark.kernels
@pytest.mark.parametrize("user", [0, 1000])
def test_pipes_are_the_users(bundle, run, user):
    """nginx logs to /dev/stderr: a pipe of the host's root, whom the namespace does not know, could not be opened again."""
    b = user_namespace(bundle("echo out >/dev/stdout; echo err >/dev/stderr; cat </dev/stdin")).set("process.user", {"uid": user, "gid": 0})
    b.write()
    command = run.command("run", "--bundle", b.directory, run.new_id())
    result = subprocess.run(command, input=b"in\n", capture_output=True, timeout=30, check=True)
    assert (result.stdout, result.stderr) == (b"out\nin\n", b"err\n")


def test_pipes_of_exec_are_the_users(bundle, run):
    c = user_namespace(bundle("sleep 100")).detached()
    command = run.command("exec", "--user", "7", c.id, "sh", "-c", "echo out >/dev/stdout; cat </dev/stdin")
    assert subprocess.run(command, input=b"in\n", capture_output=True, timeout=30, check=True).stdout == b"out\nin\n"


def test_files_of_the_caller_stay_his(bundle):
    result = user_namespace(bundle("echo out")).run()
    assert result.out == "out\n" and os.stat(result.out_path).st_uid == 0


# --- the root file system and mounts


@pytest.mark.kernels
def test_a_root_of_somebody_who_is_not_mapped(bundle):
    """Its files can be read, and nothing can be made in it: the message names the mount that has no place yet."""
    b = user_namespace(bundle("cat /etc/group | head -1"))
    subprocess.run(["chown", "-hR", "0:0", b.rootfs], check=True)
    assert b.run().out.startswith("root:x:0:")
    b.mount("/new/place", type="tmpfs", source="tmpfs")
    line = one_line(b.call("create", code=1))
    assert "mounts[7].destination" in line and "/new/place" in line and "permission denied" in line


@pytest.mark.kernels
@pytest.mark.parametrize("propagation", ["private", "shared", "unbindable"])
def test_a_root_that_is_a_mount_of_its_own(bundle, propagation):
    """As an engine's overlay is. In a new user namespace the host's mounts are locked."""
    b = bundle("echo hi; touch /tmp/x")
    with mounted(b.directory / "mount") as directory:
        subprocess.run(["cp", "-a", f"{b.rootfs}/.", directory], check=True)
        subprocess.run(["mount", f"--make-{propagation}", directory], check=True)
        b.set("root.path", str(directory))
        user_namespace(b)
        subprocess.run(["chown", "-hR", "100000:100000", directory], check=True)
        directory.chmod(0o755)
        assert b.run().out == "hi\n"
        assert (directory / "tmp/x").exists()


@pytest.mark.kernels
def test_a_source_on_a_locked_mount_keeps_its_flags(bundle, tmp_path):
    """What the host's mount has, no user namespace may take off; what the options do not name is no error."""
    with mounted(tmp_path / "source", "-t", "tmpfs", "-o", "ro,nosuid,nodev,noexec,noatime", "tmpfs") as source:
        b = user_namespace(bundle("cat /proc/self/mountinfo")).mount("/m", source=str(source), options=["rbind", "rprivate", "ro"])
        assert {"ro", "nosuid", "nodev", "noexec", "noatime"} <= mount_table(b.run().out)["/m"].options


def test_sysfs_of_the_hosts_network_namespace(bundle):
    b = without(user_namespace(bundle("cat /proc/self/mountinfo; ls -d /sys/class/net/lo")), "network")
    out = b.run().out
    assert out.endswith("/sys/class/net/lo\n")
    table = mount_table(out.rpartition("/sys/class")[0])
    assert table["/sys"].type == "sysfs" and all("ro" in entry.options for point, entry in table.items() if point.startswith("/sys"))


@pytest.mark.kernels
def test_proc_of_the_hosts_pid_namespace(bundle):
    b = without(user_namespace(bundle("test -d /proc/$PPID && readlink /proc/self/ns/pid; echo 1 >/proc/sysrq-trigger")), "pid")
    result = b.run(code=1)
    assert result.out == os.readlink("/proc/self/ns/pid") + "\n" and "sysrq-trigger" in result.err


@pytest.mark.kernels
@pytest.mark.skipif(not os.path.ismount("/dev/mqueue"), reason="this host has no /dev/mqueue")
def test_mqueue_of_the_hosts_ipc_namespace(bundle):
    b = without(user_namespace(bundle("cat /proc/self/mountinfo")), "ipc")
    assert mount_table(b.run().out)["/dev/mqueue"].type == "mqueue"


def test_an_owner_of_a_mount_that_is_not_mapped(bundle):
    line = one_line(user_namespace(bundle(), size=5).call("create", code=1))
    assert "mounts[2].options[5]: cannot specify gid=5: map it in linux.gidMappings" in line


# --- sysctls, groups, ids


def test_sysctls_by_namespace(bundle):
    values = {"net.ipv4.ip_forward": "1", "kernel.shmmax": "1000000", "user.max_user_namespaces": "3", "kernel.domainname": "box"}
    b = user_namespace(bundle("cd /proc/sys; cat net/ipv4/ip_forward kernel/shmmax user/max_user_namespaces kernel/domainname"))
    assert b.set("linux.sysctl", values).run().out.split() == list(values.values())


def test_additional_groups(bundle):
    b = user_namespace(bundle("id -G; sleep 100")).set("process.user", {"uid": 7, "gid": 8, "additionalGids": [9, 10]})
    c = b.detached()
    assert c.exec("id", "-G").out == "8 9 10\n"
    assert c.exec("id", "-G", flags=("--additional-gids", "11")).out == "8 9 10 11\n"
    assert "unmapped" in one_line(c.exec("id", flags=("--user", "70000"), code=255))


@pytest.fixture
def groups():
    """This process, and so the runtime, has a supplementary group."""
    before = os.getgroups()
    os.setgroups([*before, 4321])
    yield
    os.setgroups(before)


def test_groups_are_kept_if_asked_for(bundle, groups):
    b = user_namespace(bundle("id -G"))
    assert b.run().out == "0\n"
    assert "65534" in b.set("annotations", {"run.oci.keep_original_groups": "1"}).run().out.split()


def test_no_root_in_the_namespace(bundle):
    b = bundle("touch /tmp/new; id -u; id -g; sleep 100")
    b.config["linux"]["namespaces"].append({"type": "user"})
    b.set("linux.uidMappings", [{"containerID": 7, "hostID": 100007, "size": 1}])
    b.set("linux.gidMappings", [{"containerID": 8, "hostID": 100008, "size": 1}])
    b.config["mounts"][2]["options"].remove("gid=5")
    user_namespace_root = b.set("process.user", {"uid": 7, "gid": 8})
    subprocess.run(["chown", "-hR", "100007:100008", b.rootfs], check=True)
    for directory in (b.directory, *b.directory.parents):
        directory.chmod(directory.stat().st_mode | 0o111)
    c = user_namespace_root.detached()
    until(lambda: c.out == "7\n8\n")
    assert c.exec("id", "-u").out == "7\n"
    assert os.stat(b.rootfs / "tmp/new").st_uid == 100007


# --- what belongs to the mapped root


@pytest.mark.kernels
def test_devices_are_the_hosts(bundle):
    """mknod(2) is refused in a user namespace; the nodes are those of the host, with their owners."""
    b = user_namespace(bundle("stat -c '%t:%T %u' /dev/null /dev/full; cat /proc/self/mountinfo"))
    lines = b.run().out.splitlines()
    assert lines[:2] == ["1:3 65534", "1:7 65534"]
    assert mount_table("\n".join(lines[2:]))["/dev/null"].root == "/null"


@pytest.mark.kernels
@pytest.mark.worlds
@pytest.mark.skipif(not PURE_V2, reason="cgroup v2 alone is given to a container")
def test_the_cgroup_with_a_namespace_of_its_own(bundle, token):
    """The files of /sys/kernel/cgroup/delegate, and the directory; others stay the runtime's."""
    script = "cd /sys/fs/cgroup; mkdir below && echo $$ >below/cgroup.procs && cat /proc/self/cgroup; echo 5 >pids.max; sleep 100"
    path, directory = cgroups_path(f"{token}-own")
    b = user_namespace(bundle(script)).set("linux.cgroupsPath", path).set("linux.resources.pids.limit", 44)
    b.config["linux"]["namespaces"].append({"type": "cgroup"})
    b.config["mounts"][-1]["options"].remove("ro")
    c = b.detached()
    top = pathlib.Path(directory)
    given = pathlib.Path("/sys/kernel/cgroup/delegate").read_text().split()
    owners = {path.name: path.stat().st_uid for path in top.iterdir() if path.is_file()}
    assert {name for name, uid in owners.items() if uid == 100000} == set(given) & set(owners)
    assert top.stat().st_uid == 100000 and (top / "pids.max").read_text() == "44\n"
    until(lambda: "denied" in c.err.lower())
    assert c.out == "0::/below\n"
    c.delete("--force")
    assert not top.exists()


@pytest.mark.kernels
def test_the_caller_is_in_one_that_maps_all_ids(bundle, run, token):
    """Its uid_map is that of the first user namespace, its rights are not: it may set no device rules, and need not."""
    holder = subprocess.Popen(["unshare", "--user", "--mount", "sleep", "1000"])
    try:
        until(lambda: os.readlink(f"/proc/{holder.pid}/ns/user") != os.readlink("/proc/self/ns/user"))
        for kind in ("uid", "gid"):
            pathlib.Path(f"/proc/{holder.pid}/{kind}_map").write_text("0 0 4294967295\n")
        b = bundle("cat /proc/self/uid_map; test -c /dev/null && echo null").set("linux.cgroupsPath", f"/{token}").write()
        command = run.command("run", "--bundle", b.directory, run.new_id())
        inside = ["nsenter", f"--target={holder.pid}", "--user", "--mount", *command]
        found = subprocess.run(inside, capture_output=True, text=True, timeout=60)
        assert (found.stdout.split(), found.stderr) == (["0", "0", "4294967295", "null"], "")
    finally:
        holder.kill()
        holder.wait()
