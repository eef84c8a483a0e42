"""Resources and rights that docker gives and takes."""

import json

import pytest
from e2e.engines import Docker
from e2e.sandbox import says, soon

PROFILE = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "args": []}]}


def limits(docker, sandbox, name):
    """The limits in a container's cgroup: memory, CPU quota, number of processes."""
    pid = docker.pid(name)
    if sandbox.has_v1():
        names = {"memory": "memory.limit_in_bytes", "cpu": "cpu.cfs_quota_us", "pids": "pids.max"}
        return [int(sandbox.read(f"{sandbox.controller(pid, key)}/{file}")) for key, file in names.items()]
    group = sandbox.controller(pid, "")
    return [int(sandbox.read(f"{group}/{file}").split()[0]) for file in ("memory.max", "cpu.max", "pids.max")]


def test_limits_and_update(docker, sandbox, started):
    name = started("--memory", "64m", "--cpus", "0.5", "--pids-limit", "50", "busybox", "sleep", "1000")
    assert limits(docker, sandbox, name) == [64 << 20, 50000, 50]
    docker("update", "--memory", "96m", "--memory-swap", "96m", "--cpus", "0.25", "--pids-limit", "40", name)
    assert limits(docker, sandbox, name) == [96 << 20, 25000, 40]
    assert "/ 96MiB" in docker("stats", "--no-stream", "--format", "{{.MemUsage}}", name).out


def test_pause(docker, started):
    name = started("busybox", "sh", "-c", "while :; do echo t; sleep 0.05; done")
    soon(lambda: "t" in docker.logs(name))
    docker("pause", name)
    assert docker.state(name, "Status") == "paused"
    docker("exec", name, "true", code=1)
    printed = len(docker.logs(name))
    assert len(docker.logs(name)) == printed
    docker("unpause", name)
    soon(lambda: len(docker.logs(name)) > printed)
    docker("pause", name)  # and a paused one can be removed


def test_out_of_memory(docker, name):
    docker("run", "--name", name, "--memory", "32m", "--memory-swap", "32m", "busybox", "memeat", "200", code=137)
    assert docker.state(name, "OOMKilled") == "true"
    docker("rm", name)
    assert docker("run", "--rm", "--memory", "64m", "busybox", "memeat", "20").out == "ok"


def test_number_of_processes(docker):
    script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1 & done; wait"
    assert "can't fork: Resource temporarily unavailable" in docker("run", "--rm", "--pids-limit", "10", "busybox", "sh", "-c", script, code=2).err


def test_devices(docker):
    docker("run", "--rm", "busybox", "sh", "-c", "echo >/dev/null; mknod /d b 254 0 && ! cat /d")
    docker("run", "--rm", "--device", "/dev/fuse:/dev/mine:rw", "busybox", "sh", "-c", "test -c /dev/mine && : <>/dev/mine")


def test_a_seccomp_profile(docker, sandbox):
    (sandbox.directory / "seccomp.json").write_text(json.dumps(PROFILE))
    denied = docker("run", "--rm", "--security-opt", f"seccomp={sandbox.directory}/seccomp.json", "busybox", "mkdir", "/q", code=1)
    assert "Operation not permitted" in denied.err
    docker("run", "--rm", "busybox", "mkdir", "/q")
    says(docker("run", "--rm", "busybox", "cat", "/proc/self/status").out, r"Seccomp:\s2", r"CapEff:\s00000000a80425fb")
    says(docker("run", "--rm", "--security-opt", "seccomp=unconfined", "busybox", "cat", "/proc/self/status").out, r"Seccomp:\s0")


def test_capabilities(docker):
    says(docker("run", "--rm", "--cap-drop", "ALL", "busybox", "cat", "/proc/self/status").out, r"CapEff:\s0000000000000000")
    docker("run", "--rm", "--cap-drop", "CHOWN", "busybox", "chown", "1", "/tmp", code=1)
    docker("run", "--rm", "--cap-drop", "ALL", "--cap-add", "CHOWN", "busybox", "chown", "1", "/tmp")
    says(docker("run", "--rm", "--security-opt", "no-new-privileges", "busybox", "cat", "/proc/self/status").out, r"NoNewPrivs:\s1")


def test_read_only(docker):
    assert "Read-only" in docker("run", "--rm", "--read-only", "busybox", "touch", "/x", code=1).err
    docker("run", "--rm", "--read-only", "--tmpfs", "/tmp", "busybox", "touch", "/tmp/x")
    docker("run", "--rm", "busybox", "sh", "-c", "! echo 1 >/proc/sys/kernel/panic")
    assert docker("run", "--rm", "busybox", "sh", "-c", "cat /proc/keys; ls /sys/firmware").out == ""


def test_users(docker):
    assert docker("run", "--rm", "--user", "1000:1000", "busybox", "id", "-u").out == "1000"
    assert docker("run", "--rm", "--user", "5:6", "--group-add", "777", "busybox", "id", "-G").out == "6 777"
    out = docker("run", "--rm", "--oom-score-adj", "500", "--ulimit", "nofile=100:200", "busybox", "sh", "-c",
                 "cat /proc/self/oom_score_adj; ulimit -n; ulimit -Hn").out  # fmt: skip
    assert out.split() == ["500", "100", "200"]


# --- user namespaces


@pytest.fixture(scope="session")
def remap(sandbox):
    """A user whose ids begin at 500000, and a bridge, as docker0 is the first dockerd's; both are called so."""
    sandbox.add_user("remap", 40000, 500000)
    sandbox.shell("ip link add remap0 type bridge; ip addr add 10.92.0.1/24 dev remap0; ip link set remap0 up")


@pytest.fixture(scope="module")
def remapped(sandbox, runtime, busybox_tar, docker, remap):
    """A second dockerd, whose containers have root as uid 500000 of the host."""
    settings = {"userns-remap": "remap", "bridge": "remap0", "iptables": False}
    engine = Docker(sandbox, docker.containerd, runtime, f"{docker.directory.name}-remapped", programs=docker.programs, settings=settings)
    engine.import_image(busybox_tar, "busybox")
    yield engine
    engine.stop()


def test_userns_remap(remapped, sandbox):
    remapped("run", "-d", "--name", "remapped", "busybox", "sh", "-c", "touch /tmp/f; sleep 1000")
    pid = remapped.pid("remapped")
    assert sandbox.read(f"/proc/{pid}/uid_map").split() == ["0", "500000", "65536"]
    assert sandbox.run("stat", "-c", "%u", f"/proc/{pid}").out == "500000"
    assert sandbox.links(pid)["user"] != sandbox.links("self")["user"]
    assert remapped("exec", "remapped", "id", "-u").out == "0"
    assert remapped("exec", "remapped", "stat", "-c", "%u", "/tmp/f").out == "0"
    terminal = remapped.terminal("exec", "-it", "remapped", "sh")
    terminal.send("tty\n").expect("/dev/pts/0")
    terminal.send("exit\n")
    terminal.wait()
    remapped("rm", "--force", "remapped")
    assert "4294967295" in remapped("run", "--rm", "--userns", "host", "busybox", "cat", "/proc/self/uid_map").out
