"""exec: files it is given, files it must not touch, namespaces and cgroups it enters, --detach."""

import json
import os
import pathlib
import socket
import subprocess

import pytest
from harness import cgroups_named, until


@pytest.fixture
def running(bundle):
    return bundle("sleep 100").detached()


@pytest.fixture
def opened(tmp_path):
    """Makes fds 3, 4, … of a child: `preexec_fn=opened(2)`, with the files' texts `file 3`, `file 4`."""

    def make(count):
        def open_all():
            for fd in range(3, 3 + count):
                path = tmp_path / f"fd{fd}"
                path.write_text(f"file {fd}\n")
                got = os.open(path, os.O_RDONLY)
                if got != fd:
                    os.dup2(got, fd)
                os.set_inheritable(fd, True)

        return {"preexec_fn": open_all, "close_fds": False}

    return make


def test_preserve_fds(running, opened):
    assert running.exec("cat", "/proc/self/fd/3", "/proc/self/fd/4", flags=("--preserve-fds", "2"), **opened(2)).out == "file 3\nfile 4\n"


def test_only_what_is_asked_for(running, opened):
    assert running.exec("ls", "/proc/self/fd", flags=("--preserve-fds", "1"), **opened(4)).out == "0\n1\n2\n3\n4\n"
    assert running.exec("ls", "/proc/self/fd", **opened(4)).out == "0\n1\n2\n3\n"


def test_preserved_fds_of_run_and_create(bundle, opened):
    b = bundle("cat /proc/self/fd/4; ls /proc/self/fd")
    assert b.run("--preserve-fds", "2", **opened(3)).out == "file 4\n0\n1\n2\n3\n4\n5\n"
    c = b.create("--preserve-fds", "2", **opened(3))
    c.start()
    c.wait()
    assert c.out == "file 4\n0\n1\n2\n3\n4\n5\n"


def test_a_preserved_fd_that_is_not_open(running, bundle):
    assert "fd 3 is not open" in running.exec("true", flags=("--preserve-fds", "1"), code=255).err
    assert "fd 3 is not open" in bundle("true").run("--preserve-fds", "1", code=1).err


# --- stdio is the caller's


def test_devices_are_not_given_away(running, run):
    """`exec -d --user 1000 </dev/null` once gave the host's /dev/null to that user."""
    before = os.stat("/dev/null")
    pid_file = run.directory / "pid"
    run("exec", "--detach", "--pid-file", pid_file, "--user", "1000:1000", running.id, "id")
    running.exec("id", flags=("--user", "1000:1000"))
    after = os.stat("/dev/null")
    assert (before.st_uid, before.st_gid, before.st_mode) == (after.st_uid, after.st_gid, after.st_mode)


def test_files_are_not_given_away(running):
    result = running.exec("id", "-u", flags=("--user", "1000:1000"))
    assert result.out == "1000\n"
    assert os.stat(result.out_path).st_uid == 0


def test_a_pipe_can_be_reopened_by_the_user(bundle, run):
    """`echo > /dev/stderr` in a container with a user of its own, as docker makes pipes for it."""
    b = bundle("echo to > /dev/stdout").set("process.user", {"uid": 1000, "gid": 1000}).write()
    command = run.command("run", "--bundle", b.directory, run.new_id())
    assert subprocess.check_output(command, stdin=subprocess.DEVNULL) == b"to\n"


def test_closed_stdio_with_a_hostile_null_device(bundle, run, tmp_path):
    """/dev/null of the image is a symlink to something of the host's (CVE-2026-88265)."""
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    b = bundle("sleep 100").set("mounts", [{"destination": "/proc", "type": "proc", "source": "proc"}])
    (b.rootfs / "dev/null").symlink_to(victim)
    b.set("process.user", {"uid": 1000, "gid": 1000}).write()
    before = os.stat("/dev/null")
    command = " ".join(map(str, run.command("run", "--bundle", b.directory, run.new_id())))
    subprocess.run(["sh", "-c", f"{command} <&- >&- 2>&- & sleep 0.3; kill -9 $!; wait"], check=False, timeout=20)
    assert victim.read_text() == "untouched"
    assert victim.stat().st_uid == 0
    assert os.stat("/dev/null").st_uid == before.st_uid


# --- detached


def test_detach(running, run, tmp_path):
    pid_file = tmp_path / "exec.pid"
    run("exec", "--detach", "--pid-file", pid_file, running.id, "sleep", "77")
    pid = int(pid_file.read_text())
    assert pid_file.read_text() == str(pid)
    assert pathlib.Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x0077\x00"
    assert os.readlink(f"/proc/{pid}/ns/pid") == os.readlink(f"/proc/{running.pid}/ns/pid")
    assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]


def test_detach_of_a_missing_program(running, run):
    assert "executable file not found" in run("exec", "--detach", running.id, "nope", code=255).err


def test_pidfd_socket(running, tmp_path):
    path = tmp_path / "pidfd.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        running.exec("sleep", "50", flags=("--detach", "--pidfd-socket", path))
        connection, _ = server.accept()
        _, fds, _, _ = socket.recv_fds(connection, 100, 4)
        connection.close()
    assert len(fds) == 1
    assert "Pid:" in pathlib.Path(f"/proc/self/fdinfo/{fds[0]}").read_text()
    os.close(fds[0])


def test_detached_processes_end_with_the_container(running, run, tmp_path):
    run("exec", "--detach", "--pid-file", tmp_path / "p", running.id, "sleep", "77")
    pid = int((tmp_path / "p").read_text())
    running.kill("KILL")
    # Their caller reaps them; pid 1 ends when that is done.
    until(lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG))
    assert running.wait() == 137


# --- namespaces


def space(b, *kinds):
    b.config["linux"]["namespaces"] += [{"type": kind} for kind in kinds]
    return b


def test_time_namespace(bundle):
    """Only entered: its offsets cannot be written any more."""
    if not os.path.exists("/proc/self/ns/time"):
        pytest.skip("no time namespaces")
    b = space(bundle("sleep 100"), "time").set("linux.timeOffsets", {"boottime": {"secs": 1000000, "nanosecs": 5}})
    c = b.detached()
    assert c.exec("readlink", "/proc/self/ns/time").out.strip() == os.readlink(f"/proc/{c.pid}/ns/time")
    assert float(c.exec("cat", "/proc/uptime").out.split()[0]) > 1000000
    assert "boottime" in c.exec("cat", "/proc/self/timens_offsets").out


def test_user_namespace(bundle):
    b = space(bundle("sleep 100"), "user")
    for name in ("uidMappings", "gidMappings"):
        b.set(f"linux.{name}", [{"containerID": 0, "hostID": 100000, "size": 5000}])
    subprocess.run(["chown", "-R", "100000:100000", b.rootfs], check=True)
    for parent in (b.directory, *list(b.directory.parents)[:3]):
        parent.chmod(parent.stat().st_mode | 0o111)
    c = b.detached()
    assert c.exec("sh", "-c", "id -u; id -g; readlink /proc/self/ns/user").out.split() == ["0", "0", os.readlink(f"/proc/{c.pid}/ns/user")]
    assert c.exec("id", "-u", flags=("-u", "1000")).out == "1000\n"
    assert os.stat(f"/proc/{c.pid}").st_uid == 100000
    # An id without mapping cannot be had.
    assert c.exec("id", flags=("-u", "9999"), code=255).out == ""


def test_the_pids_of_the_host(bundle):
    b = bundle("sleep 100")
    b.config["linux"]["namespaces"].remove({"type": "pid"})
    c = b.detached()
    assert c.exec("readlink", "/proc/self/ns/pid").out.strip() == os.readlink("/proc/self/ns/pid")
    assert c.exec("readlink", "/proc/self/ns/mnt").out.strip() == os.readlink(f"/proc/{c.pid}/ns/mnt")


def test_no_namespace_but_mount(bundle):
    b = bundle("sleep 100")
    b.config["linux"]["namespaces"] = [{"type": "mount"}]
    del b.config["hostname"]
    # Without a network namespace of its own sysfs is the host's.
    c = b.detached()
    assert c.exec("cat", "/etc/passwd").out.startswith("root:x:0:0:root:/root:/bin/sh\nuser:")
    assert c.exec("readlink", "/proc/self/ns/net").out.strip() == os.readlink("/proc/self/ns/net")


# --- cgroups


def test_cgroup_of_an_exec(running, token):
    for path in cgroups_named(token):
        os.mkdir(f"{path}/sub")
        for name in ("cpuset.cpus", "cpuset.mems"):
            if os.path.exists(f"{path}/sub/{name}"):
                pathlib.Path(path, "sub", name).write_text(pathlib.Path(path, name).read_text())
    out = running.exec("cat", "/proc/self/cgroup", flags=("--cgroup", "sub")).out
    assert all(line.endswith(f"/{running.id}/sub") for line in out.splitlines() if token in line)
    assert token in out


def test_cgroup_by_controller(running, token):
    found = [path for path in cgroups_named(token) if "/pids/" in path]
    if not found:
        pytest.skip("no v1 pids controller")
    os.mkdir(f"{found[0]}/sub")
    lines = dict(line.split(":")[1:] for line in running.exec("cat", "/proc/self/cgroup", flags=("--cgroup", "pids:sub")).out.splitlines())
    assert lines["pids"].endswith("/sub")
    assert lines["memory"].endswith(f"/{running.id}")


@pytest.mark.parametrize("word", ["..", "../x", "a/../../..", "/..", "/../../"])
def test_cgroup_that_leads_out(running, word):
    assert "bad sub cgroup path" in running.exec("true", flags=("--cgroup", word), code=255).err


def test_cgroup_that_is_not_there(running):
    assert "no such file or directory" in running.exec("true", flags=("--cgroup", "nowhere"), code=255).err
    assert "unknown controller" in running.exec("true", flags=("--cgroup", "nope:sub"), code=255).err


# --- what is inherited from the config


def test_umask_and_limits(bundle):
    b = bundle("sleep 100").set("process.user.umask", 0o27).set("process.rlimits", [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 99}])
    c = b.detached()
    assert c.exec("sh", "-c", "umask; ulimit -Sn; ulimit -Hn").out.split() == ["0027", "77", "99"]


def test_the_seccomp_profile_holds(bundle):
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    b = bundle("sleep 100").set("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
    assert "not permitted" in b.detached().exec("mkdir", "/x", code=1).err


def test_oom_score(bundle):
    c = bundle("sleep 100").set("process.oomScoreAdj", 321).detached()
    assert c.exec("cat", "/proc/self/oom_score_adj").out == "321\n"


def test_it_is_not_in_the_state(running, run):
    run("exec", "--detach", running.id, "sleep", "50")
    assert len(json.loads(run("list", "--format", "json").out)) == 1
