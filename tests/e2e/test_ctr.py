"""containerd's runc shim with pyrun as its binary, through ctr."""

import pytest
from e2e import images
from e2e.sandbox import says, soon

IMAGE = "localhost/busybox:latest"


@pytest.fixture(scope="module")
def ctr(any_containerd, sandbox, busybox_tar):
    archive = images.oci_archive(sandbox.directory / "ctr.tar", busybox_tar, IMAGE, ["/bin/sh"])
    any_containerd.ctr("image", "import", archive)
    return any_containerd.ctr


@pytest.fixture
def ctr_run(ctr, runtime, sandbox, name):
    """`ctr run` with --runc-binary; `ctr_run("--rm", words=["true"])`."""

    def call(*flags, words, **options):
        group = ["--cgroup", f"/{sandbox.cgroup}/ctr-{name}"]
        return ctr("run", "--runtime", "io.containerd.runc.v2", "--runc-binary", runtime, *group, *flags, IMAGE, name, *words, **options)

    yield call
    ctr("task", "kill", "--signal", "KILL", name, code=None)
    soon(lambda: status(ctr, name) != "RUNNING")
    ctr("task", "rm", "--force", name, code=None)
    ctr("container", "rm", name, code=None)


def status(ctr, name):
    return next((line.split()[2] for line in ctr("task", "ls").out.splitlines() if line.split()[0] == name), "")


def test_run(ctr_run):
    assert ctr_run("--rm", words=["echo", "hi"]).out == "hi"
    ctr_run("--rm", words=["sh", "-c", "exit 3"], code=3)


def test_runc_of_path(ctr, name):
    assert ctr("run", "--rm", IMAGE, name, "echo", "hi").out == "hi"


def test_a_missing_program_is_named(ctr_run):
    assert "no such file or directory" in ctr_run("--rm", words=["/no/such"], code=1).err


def test_options(ctr_run, sandbox):
    (sandbox.directory / "m").write_text("mounted")
    mount = f"type=bind,src={sandbox.directory}/m,dst=/m,options=rbind:ro"
    out = ctr_run("--rm", "--env", "A=b", "--cwd", "/tmp", "--mount", mount, words=["sh", "-c", "echo $A $(pwd) $(cat /m)"]).out
    assert out == "b /tmp mounted"
    ctr_run("--rm", "--read-only", words=["touch", "/x"], code=1)
    says(ctr_run("--rm", "--seccomp", words=["cat", "/proc/self/status"]).out, r"Seccomp:\s2", r"NoNewPrivs:\s1")


def test_terminal(any_containerd, sandbox, ctr_run, name):
    ctr_run("--detach", words=["sleep", "1000"])
    terminal = sandbox.terminal(*any_containerd.ctr_command("task", "exec", "-t", "--exec-id", "e", name, "sh"))
    terminal.send("tty\n").expect("/dev/pts/")
    terminal.send("exit 4\n")
    assert terminal.wait() == 4


def test_a_task(ctr, ctr_run, sandbox, name):
    ctr_run("--detach", words=["sleep", "1000"])
    assert status(ctr, name) == "RUNNING"
    assert ctr("task", "exec", "--exec-id", "e1", name, "echo", "in").out == "in"
    ctr("task", "exec", "--exec-id", "e2", name, "sh", "-c", "exit 6", code=6)
    says(ctr("task", "metrics", name).out, r"^memory\.usage_in_bytes " if sandbox.has_v1() else r"^memory\.usage ", r"^pids\.current +1 ")
    assert len(ctr("task", "ps", name).out.splitlines()) == 2
    ctr("task", "pause", name)
    assert status(ctr, name) == "PAUSED"
    ctr("task", "resume", name)
    ctr("task", "kill", "--signal", "TERM", name)  # which pid 1 has no handler for
    assert status(ctr, name) == "RUNNING"
    ctr("task", "kill", "--signal", "KILL", name)
    soon(lambda: status(ctr, name) == "STOPPED")
    assert "exit with non-zero exit code 137" in ctr("task", "delete", name).err


def test_kill_all(ctr, ctr_run, name):
    ctr_run("--detach", words=["sleep", "1000"])
    ctr("task", "exec", "--detach", "--exec-id", "x", name, "sleep", "999")
    ctr("task", "kill", "--all", "--signal", "KILL", name)
    soon(lambda: status(ctr, name) == "STOPPED")


def test_what_has_ended_cannot_be_killed(ctr, ctr_run, name):
    """The words that the kubelet and dockerd take for done."""
    ctr_run("--detach", words=["true"])
    soon(lambda: status(ctr, name) == "STOPPED")
    assert "process already finished" in ctr("task", "kill", "--signal", "KILL", name, code=1).err
    ctr("task", "kill", "--all", "--signal", "KILL", name)  # it is what was wanted
    assert "cannot exec in a stopped state" in ctr("task", "exec", "--exec-id", "e", name, "true", code=1).err


def test_a_further_program_that_cannot_run(ctr, ctr_run, name):
    ctr_run("--detach", words=["sleep", "1000"])
    for program, words in (("nosuch", r"executable file not found in \$PATH"), ("/etc/passwd", "permission denied")):
        says(ctr("task", "exec", "--exec-id", "e", name, program, code=1).err, words)
    assert status(ctr, name) == "RUNNING"


def test_limits(sandbox, ctr_run):
    ctr_run("--detach", "--memory-limit", 32 << 20, "--pid-file", sandbox.directory / "ctr.pid", words=["sleep", "1000"])
    group = sandbox.controller((sandbox.directory / "ctr.pid").read_text(), "memory")
    assert sandbox.read(f"{group}/memory.limit_in_bytes" if sandbox.has_v1() else f"{group}/memory.max") == str(32 << 20)


def test_the_shim_is_killed(ctr, sandbox, ctr_run, name):
    """containerd cleans up with `delete --force`."""
    ctr_run("--detach", words=["sleep", "1000"])
    pid = next(line.split()[1] for line in ctr("task", "ls").out.splitlines() if line.split()[0] == name)
    shim = sandbox.run("ps", "-o", "ppid=", "-p", pid).out.strip()
    assert "shim" in sandbox.read(f"/proc/{shim}/comm")
    sandbox.run("kill", "-KILL", shim)
    soon(lambda: sandbox.run("kill", "-0", pid, code=None).code != 0 and status(ctr, name) == "")
