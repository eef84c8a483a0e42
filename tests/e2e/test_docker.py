"""A person's day with docker: build, run, look, stop."""

import json
import shutil

import pytest
from e2e.sandbox import says, soon
from harness import PROJECT

DOCKERFILE = """
FROM debian-gcc AS builder
WORKDIR /src
COPY inotify-logger.c .
RUN gcc -O2 -Wall -static -o inotify-logger inotify-logger.c
FROM busybox
COPY --from=builder /src/inotify-logger /usr/local/bin/inotify-logger
RUN echo watcher:x:1001:1001::/:/bin/sh >>/etc/passwd && mkdir /log && chown 1001 /log
USER watcher
ENTRYPOINT ["/usr/local/bin/inotify-logger"]
CMD ["/watch", "/log/events"]
"""
LOOP = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done"


@pytest.fixture(scope="module")
def context(docker, compiler):
    """The build context of inotify-logger."""
    directory = docker.directory / "context"
    directory.mkdir()
    shutil.copy(PROJECT / "bundles/inotify-logger/inotify-logger.c", directory)
    (directory / "Dockerfile").write_text(DOCKERFILE)
    return directory


@pytest.fixture(scope="module")
def logger(docker, context):
    """The image that the classic builder made."""
    docker("build", "--tag", "inotify-logger", context, env={"DOCKER_BUILDKIT": "0"})
    return "inotify-logger"


# --- images


def test_pyrun_is_the_default_runtime(docker):
    says(docker("info").out, r"Runtimes:.* pyrun", r"Default Runtime: pyrun")


def test_multi_stage_build(docker, logger):
    assert "usage: inotify-logger" in docker("run", "--rm", logger, "onlyone", code=2).err


def test_multi_stage_build_with_buildkit(docker, context):
    docker("build", "--no-cache", "--progress", "plain", "--tag", "bk", context, env={"DOCKER_BUILDKIT": "1"})
    assert "usage: inotify-logger" in docker("run", "--rm", "bk", "onlyone", code=2).err


@pytest.mark.parametrize(
    "buildkit, code, message",
    [("0", 9, "The command '/bin/sh -c exit 9' returned a non-zero code: 9"), ("1", 1, "exit code: 9\n")],
)
def test_a_build_step_that_fails(docker, buildkit, code, message):
    directory = docker.directory / f"failing{buildkit}"
    directory.mkdir()
    (directory / "Dockerfile").write_text("FROM busybox\nRUN exit 9\n")
    assert message in docker("build", directory, env={"DOCKER_BUILDKIT": buildkit}, code=code).err


# --- run


def test_run(docker):
    assert docker("run", "--rm", "busybox", "echo", "hello").out == "hello"
    assert docker("run", "--rm", "busybox", "sh", "-c", "exit 3", code=3).out == ""
    assert docker("run", "--rm", "-i", "busybox", "tr", "a-c", "x-z", stdin="abc").out == "xyz"
    done = docker("run", "--rm", "busybox", "sh", "-c", "echo o; echo e >&2")
    assert (done.out, done.err) == ("o", "e\n")


@pytest.mark.parametrize(
    "words, code, message",
    [
        (["/no/such"], 127, "no such file or directory"),
        (["nosuch"], 127, "executable file not found in $PATH"),
        (["/etc/passwd"], 126, "permission denied"),
        (["/bin"], 126, ""),
    ],
)
def test_a_program_that_cannot_run(docker, words, code, message):
    assert message in docker("run", "--rm", "busybox", *words, code=code).err


def test_start_of_a_program_that_cannot_run(docker, name):
    for program, code in (("nosuch", "127"), ("/etc/passwd", "126")):
        docker("create", "--name", name, "busybox", program)
        docker("start", name, code=1)
        assert docker.state(name, "ExitCode") == code
        docker("rm", name)


def test_the_wrong_state(docker, started):
    name = started("busybox", "true")
    assert docker("wait", name).out == "0"
    for words in (["kill", name], ["exec", name, "true"], ["pause", name]):
        assert "is not running" in docker(*words, code=1).err
    docker("stop", name)  # it is what was wanted


def test_a_container_that_cannot_be_made(docker):
    """125: the engine's own failure, here the runtime's refusal of an impossible config."""
    docker("run", "--rm", "--sysctl", "kernel.shm_rmid_forced=many", "busybox", "true", code=125)


def test_lines_of_a_terminal(docker):
    """CR LF, with nobody's terminal in between to add the CR."""
    shown = docker.sandbox.run("sh", "-c", "/usr/bin/docker run --rm -t busybox sh -c 'echo a; echo b' | od -An -c", env=docker.env).out
    assert shown.split() == ["a", r"\r", r"\n", "b", r"\r", r"\n"]


def test_run_on_a_terminal(docker):
    terminal = docker.terminal("run", "--rm", "-ti", "busybox", "sh")
    terminal.expect("/ # ")
    terminal.send("tty; echo $((6*7))\n").expect("/dev/pts/0")
    terminal.expect("42")
    # The line that it prints is not the one that was typed: it says that the loop is what ^C will end.
    terminal.send("while :; do echo $((40+3)); sleep 0.05; done\n").expect("43\r\n43\r\n")
    terminal.send("\x03").expect("/ # ")
    terminal.send("exit 5\n")
    assert terminal.wait() == 5


def test_detach_and_attach(docker, started):
    name = started("-ti", "busybox", "sh")
    terminal = docker.terminal("attach", name)
    terminal.send("X=77\n").expect("/ # ")
    terminal.send("\x10\x11").expect("read escape")
    terminal.wait()
    assert docker.state(name, "Running") == "true"
    terminal = docker.terminal("attach", name)
    terminal.send("echo val=$X\n").expect("val=77")
    terminal.send("exit 4\n")
    terminal.wait()
    assert docker("wait", name).out == "4"


# --- life


def test_run_detached_ps_kill(docker, started):
    name = started("busybox", "sleep", "1000")
    assert name in docker("ps").out
    docker("kill", name)
    assert docker("wait", name).out == "137"
    assert docker.state(name, "Status") == "exited"
    assert name not in docker("ps").out


def test_stop_lets_it_end(docker, started):
    name = started("busybox", "sh", "-c", LOOP)
    soon(lambda: "ready" in docker.logs(name))
    docker("stop", "--time", "10", name)
    assert docker.state(name, "ExitCode") == "0"


def test_stop_kills_in_the_end(docker, started):
    name = started("busybox", "sleep", "1000")
    docker("stop", "--time", "1", name)
    assert docker.state(name, "ExitCode") == "137"


def test_start_and_restart(docker, name):
    docker("create", "--name", name, "busybox", "sh", "-c", "echo run; exit 2")
    docker("start", "--attach", name, code=2)
    docker("restart", name)
    assert docker("wait", name).out == "2"
    assert docker.logs(name).count("run") == 2
    docker("rm", name)


def test_restart_on_failure(docker, started):
    name = started("--restart", "on-failure:2", "busybox", "sh", "-c", "echo go; exit 1")
    soon(lambda: docker.state(name, "Status") == "exited" and docker("inspect", "-f", "{{.RestartCount}}", name).out == "2")
    assert docker.logs(name).count("go") == 3


def test_remove_by_force_leaves_nothing(docker, sandbox, started):
    name = started("busybox", "sleep", "1000")
    group = sandbox.controller(docker.pid(name), "memory")
    sandbox.run("ls", group)
    docker("rm", "--force", name)
    soon(lambda: sandbox.run("ls", group, code=None).code != 0)


# --- volumes, exec


def test_the_logger_sees_what_the_host_does(docker, logger, started):
    watched = docker.directory / "watched"
    watched.mkdir()
    name = started("-v", f"{watched}:/watch:ro", logger)
    soon(lambda: docker("exec", name, "ls", "/log/events"))
    (watched / "a").touch()
    (watched / "b").write_text("x")
    (watched / "a").unlink()
    soon(lambda: says(docker("exec", name, "cat", "/log/events").out, "CREATE a$", "MODIFY b$", "DELETE a$"))
    terminal = docker.terminal("exec", "-it", name, "cat", "/log/events")
    terminal.expect("CREATE a")
    terminal.expect("DELETE a")
    assert terminal.wait() == 0
    assert "Read-only file system" in docker("exec", name, "touch", "/watch/c", code=1).err
    docker("stop", name)
    assert docker.state(name, "ExitCode") == "0"


def test_exec(docker, started):
    name = started("busybox", "sleep", "1000")
    docker("exec", name, "sh", "-c", "exit 6", code=6)
    assert docker("exec", "-e", "A=b", "-u", "1000:1000", "-w", "/tmp", name, "sh", "-c", "echo $A $(id -u) $(pwd)").out == "b 1000 /tmp"
    assert docker("exec", "-i", name, "cat", stdin="q").out == "q"
    docker("exec", "-d", name, "touch", "/tmp/mark")
    soon(lambda: docker("exec", name, "ls", "/tmp/mark"))
    assert "permission denied" in docker("exec", name, "/etc/passwd", code=126).out
    not_found = 127 if docker.programs else 126  # which it is since version 28
    assert "executable file not found in $PATH" in docker("exec", name, "nosuch", code=not_found).out
    terminal = docker.terminal("exec", "-it", name, "sh")
    terminal.send("tty\n").expect("/dev/pts/")
    terminal.send("exit 3\n")
    assert terminal.wait() == 3


def test_named_volumes(docker, name):
    docker("volume", "create", name)
    docker("run", "--rm", "--mount", f"source={name},target=/data", "busybox", "sh", "-c", "echo kept >/data/f")
    read_only = ["run", "--rm", "--mount", f"source={name},target=/data,readonly", "busybox"]
    assert docker(*read_only, "cat", "/data/f").out == "kept"
    docker(*read_only, "touch", "/data/g", code=1)
    docker("volume", "rm", name)
    assert "tmpfs /t tmpfs" in docker("run", "--rm", "--tmpfs", "/t:size=4m", "busybox", "grep", " /t ", "/proc/mounts").out


def test_cp_diff_and_commit(docker, sandbox, started):
    name = started("busybox", "sleep", "1000")
    (sandbox.directory / "in").write_text("data\n")
    docker("cp", sandbox.directory / "in", f"{name}:/tmp/x")
    assert docker("exec", name, "cat", "/tmp/x").out == "data"
    docker("cp", f"{name}:/tmp/x", sandbox.directory / "out")
    assert (sandbox.directory / "out").read_text() == "data\n"
    assert "A /tmp/x" in docker("diff", name).out
    docker("commit", name, "committed")
    assert docker("run", "--rm", "committed", "cat", "/tmp/x").out == "data"


# --- what can be seen from outside


def test_namespaces_and_cgroup(docker, sandbox, started):
    name = started("--hostname", "inside", "busybox", "sleep", "1000")
    full = docker("inspect", "-f", "{{.Id}}", name).out
    pid = docker.pid(name)
    ours, theirs = sandbox.links("self"), sandbox.links(pid)
    assert all(ours[kind] != theirs[kind] for kind in ("mnt", "pid", "net", "ipc", "uts"))
    assert ours["user"] == theirs["user"]
    assert sandbox.run("nsenter", "-t", pid, "-a", "hostname").out == "inside"
    assert sandbox.run("nsenter", "-t", pid, "-m", "-p", "-n", "-i", "-u", "cat", "/proc/1/comm").out == "sleep"
    says(sandbox.read(f"/proc/{pid}/cgroup"), rf"/{sandbox.cgroup}/{full}$")


def test_namespaces_of_others(docker, sandbox, started):
    show = ["busybox", "sh", "-c", "for k in pid net ipc uts; do readlink /proc/self/ns/$k; done"]
    ours = sandbox.links("self")
    host = docker("run", "--rm", "--pid=host", "--net=host", "--ipc=host", "--uts=host", *show).out.split()
    assert host == [ours[kind] for kind in ("pid", "net", "ipc", "uts")]
    name = started("busybox", "sleep", "1000")
    joined = docker("run", "--rm", f"--network=container:{name}", f"--pid=container:{name}", *show).out.split()
    theirs = sandbox.links(docker.pid(name))
    assert joined[:2] == [theirs["pid"], theirs["net"]]


def test_logs_that_follow(docker, sandbox, started):
    name = started("busybox", "sh", "-c", "n=0; while :; do echo line $n; n=$((n+1)); sleep 0.2; done")
    command = ["timeout", "2", "env", *(f"{key}={value}" for key, value in docker.env.items()), "/usr/bin/docker", "logs", "-f", name]
    assert sandbox.run(*command, code=124).out.count("line") >= 5


def test_top_stats_and_health(docker, started):
    name = started("--health-cmd", "test -f /tmp/ok", "--health-interval", "1s", "busybox", "sh", "-c", "touch /tmp/ok; sleep 1000")
    assert "sleep 1000" in docker("top", name).out
    # While the health is checked there is a second one.
    soon(lambda: json.loads(docker("stats", "--no-stream", "--format", "{{json .}}", name).out)["PIDs"] == "1")
    soon(lambda: docker.state(name, "Health.Status") == "healthy")


def test_init(docker):
    assert docker("run", "--rm", "--init", "busybox", "cat", "/proc/1/comm").out == "docker-init"


def test_ten_at_once(docker, sandbox):
    script = 'for i in $(seq 10); do /usr/bin/docker run --rm busybox echo p$i & done; wait'
    out = sandbox.run("env", *(f"{key}={value}" for key, value in docker.env.items()), "sh", "-c", script).out
    assert sorted(out.split()) == sorted(f"p{i}" for i in range(1, 11))
