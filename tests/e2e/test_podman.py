"""podman, as root and as an ordinary user."""

import json
import socket

import pytest
from e2e.engines import needs
from e2e.sandbox import says, soon

IMAGE = "localhost/busybox:latest"
PROFILE = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}
KINDS = pytest.mark.parametrize("engine", ["podman", "user_podman"])


@pytest.fixture
def remove(request, name):
    """`remove(engine)`: the container `name` is removed after the test."""
    engines = []
    yield engines.append
    for engine in engines:
        engine("rm", "--force", "--time", "0", name, code=None)


@pytest.fixture
def any_podman(request, engine):
    return request.getfixturevalue(engine)


@KINDS
def test_pyrun_is_the_runtime(any_podman, runtime):
    info = json.loads(any_podman("info", "--format", "json").out)
    assert info["host"]["ociRuntime"]["path"] == runtime
    assert info["host"]["ociRuntime"]["version"].startswith("pyrun version ")
    assert info["host"]["security"]["rootless"] is bool(any_podman.user)


@KINDS
def test_run(any_podman):
    run = ["run", "--rm", "--network", "none"]
    assert any_podman(*run, IMAGE, "sh", "-c", "echo $(id -u) hi").out == "0 hi"
    any_podman(*run, IMAGE, "sh", "-c", "exit 3", code=3)
    any_podman(*run, IMAGE, "nosuch", code=127)
    any_podman(*run, IMAGE, "/etc/passwd", code=126)
    assert any_podman(*run, "-i", IMAGE, "tr", "a-c", "x-z", stdin="abc").out == "xyz"


@KINDS
def test_terminal(any_podman):
    terminal = any_podman.terminal("run", "--rm", "-ti", "--network", "none", IMAGE, "sh")
    terminal.expect("/ # ")
    terminal.send("tty\n").expect("/dev/pts/0")
    terminal.send("exit 5\n")
    assert terminal.wait() == 5


@KINDS
def test_life_and_exec(any_podman, sandbox, name, remove):
    remove(any_podman)
    any_podman("run", "-d", "--name", name, "--network", "none", IMAGE, "sleep", "1000")
    assert name in any_podman("ps").out
    owner = "41000" if any_podman.user else "0"
    assert sandbox.run("stat", "-c", "%u", f"/proc/{any_podman.state(name, 'Pid')}").out == owner
    any_podman("exec", name, "sh", "-c", "exit 6", code=6)
    assert any_podman("exec", "-e", "A=b", "-u", "1000", "-w", "/tmp", name, "sh", "-c", "echo $A $(id -u) $(pwd)").out == "b 1000 /tmp"
    any_podman("exec", name, "nosuch", code=127)
    any_podman("exec", name, "/etc/passwd", code=126)
    terminal = any_podman.terminal("exec", "-it", name, "sh")
    terminal.send("tty\n").expect("/dev/pts/")
    terminal.send("exit 4\n")
    assert terminal.wait() == 4
    any_podman("kill", name)
    assert any_podman("wait", name).out == "137"
    says(any_podman("kill", name, code=125).err, "can only kill running containers")
    says(any_podman("exec", name, "true", code=255).err, "can only create exec sessions on running containers")
    any_podman("stop", name)  # it is what was wanted


@KINDS
def test_health_check(any_podman, name, remove):
    remove(any_podman)
    script = "while ! [ -e /tmp/go ]; do sleep 0.05; done; touch /tmp/ok; sleep 1000"
    any_podman("run", "-d", "--name", name, "--network", "none", "--health-cmd", "test -f /tmp/ok", "--health-interval", "disable",
               IMAGE, "sh", "-c", script)  # fmt: skip
    any_podman("healthcheck", "run", name, code=1)
    any_podman("exec", name, "touch", "/tmp/go")
    soon(lambda: any_podman("healthcheck", "run", name))
    assert any_podman.state(name, "Health.Status") == "healthy"


@KINDS
def test_pod(any_podman, name):
    needs("catatonit")  # the first process of a pod
    network = ["--network", "none"] if any_podman.user else ["-p", "18090:80"]
    any_podman("pod", "create", "--name", name, *network)
    any_podman("run", "-d", "--pod", name, IMAGE, "httpd", "-f", "-p", "80", "-h", "/www")
    assert soon(lambda: any_podman("run", "--rm", "--pod", name, IMAGE, "wget", "-qO-", "http://127.0.0.1/").out) == "<h1>it works</h1>"
    assert name in any_podman("pod", "ps").out
    any_podman("pod", "rm", "--force", "--time", "0", name)


def test_stop_pause_top_cp(podman, sandbox, name, remove):
    remove(podman)
    podman("run", "-d", "--name", name, IMAGE, "sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done")
    soon(lambda: "ready" in podman.logs(name))
    podman("pause", name)
    assert podman.state(name, "Status") == "paused"
    podman("unpause", name)
    assert "trap" in podman("top", name, "args").out
    podman("stats", "--no-stream", name)
    (sandbox.directory / "podman-in").write_text("data")
    podman("cp", sandbox.directory / "podman-in", f"{name}:/tmp/x")
    assert podman("exec", name, "cat", "/tmp/x").out == "data"
    podman("stop", "--time", "10", name)
    assert podman.state(name, "ExitCode") == "0"


def test_limits(podman, sandbox, name, remove):
    remove(podman)
    podman("run", "-d", "--name", name, "--memory", "64m", IMAGE, "sleep", "1000")
    group = sandbox.controller(podman.state(name, "Pid"), "memory")
    file = f"{group}/memory.limit_in_bytes" if sandbox.has_v1() else f"{group}/memory.max"
    assert sandbox.read(file) == str(64 << 20)
    podman("update", "--memory", "96m", name)
    assert sandbox.read(file) == str(96 << 20)
    podman("run", "--rm", "--memory", "32m", "--memory-swap", "32m", IMAGE, "memeat", "200", code=137)


def test_security(podman, sandbox):
    (sandbox.directory / "podman-seccomp.json").write_text(json.dumps(PROFILE))
    run = ["run", "--rm", "--network", "none"]
    podman(*run, "--security-opt", f"seccomp={sandbox.directory}/podman-seccomp.json", IMAGE, "mkdir", "/q", code=1)
    podman(*run, IMAGE, "mkdir", "/q")
    podman(*run, "--read-only", IMAGE, "touch", "/x", code=1)
    says(podman(*run, "--cap-drop", "all", IMAGE, "cat", "/proc/self/status").out, r"CapEff:\s0000000000000000")
    assert podman(*run, "--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536", IMAGE, "cat", "/proc/self/uid_map").out.split()[1] == "100000"


def test_volumes_and_bridge(podman, name):
    podman("volume", "create", name)
    podman("run", "--rm", "-v", f"{name}:/d", IMAGE, "sh", "-c", "echo kept >/d/f")
    assert podman("run", "--rm", "-v", f"{name}:/d:ro", IMAGE, "cat", "/d/f").out == "kept"
    podman("run", "--rm", IMAGE, "ping", "-c1", "10.88.0.1")


def test_ids_kept(user_podman):
    assert user_podman("run", "--rm", "--network", "none", "--userns=keep-id", IMAGE, "id", "-u").out == "41000"


def test_init(podman):
    needs("catatonit")
    assert podman("run", "--rm", "--network", "none", "--init", IMAGE, "cat", "/proc/1/comm").out == "podman-init"


def test_ready_is_passed_on(podman, sandbox, name, remove):
    """podman --sdnotify=container: a service manager hears READY=1 when the container says so."""
    remove(podman)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"{sandbox.directory}/manager.sock")
        manager.settimeout(20)
        podman("run", "-d", "--name", name, "--network", "none", "--sdnotify=container", IMAGE, "sh", "-c", "say READY=1; sleep 1000",
               env={"NOTIFY_SOCKET": f"{sandbox.directory}/manager.sock"})  # fmt: skip
        said = ""
        while not ("READY=1" in said and "MAINPID=" in said):
            said += manager.recv(4096).decode() + "\n"
