"""run: the container as a foreground program: exit codes, signals, stdio, and what of its caller does not reach it."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess

import pytest
from harness import cgroups_named, exit_code, read, until

TRAPS = """
for s in HUP INT QUIT USR1 USR2 TERM ALRM CONT TSTP TTIN WINCH; do trap "echo $s; exit 9" $s; done
echo ready
while :; do sleep 0.02; done
"""


class Background:
    """`pyrun run` that the test does not wait for: `pid`, `out`, `wait()`."""

    def __init__(self, b, *flags, **popen):
        b.write()
        self.id = b.runner.new_id()
        self.path = b.directory / "stdout"
        with open(self.path, "wb") as out:
            self.process = subprocess.Popen(
                b.runner.command("run", "--bundle", b.directory, *flags, self.id),
                **{"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out, **popen},
            )

    @property
    def out(self):
        return read(self.path)

    def ready(self):
        until(lambda: "ready\n" in self.out)
        return self

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        code = self.process.wait(20)
        return code if code >= 0 else 128 - code


@pytest.mark.parametrize("code", [0, 1, 7, 125, 126, 127, 255])
def test_exit_code(bundle, code):
    bundle(f"exit {code}").run(code=code)


@pytest.mark.parametrize("name", ["KILL", "TERM", "SEGV", "ABRT", "USR1"])
def test_ended_by_a_signal(bundle, name):
    """128 + N. A shell that pid 1 waits for: the kernel would not let pid 1 be ended by most of them."""
    b = bundle(f"kill -{name} $$")
    b.config["linux"]["namespaces"].remove({"type": "pid"})
    b.run(code=128 + signal.Signals[f"SIG{name}"])


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "ALRM", "CONT", "TSTP", "TTIN"])
def test_signals_are_forwarded(bundle, name):
    r = Background(bundle(TRAPS)).ready()
    r.signal(signal.Signals[f"SIG{name}"])
    assert r.wait() == 9
    assert r.out == f"ready\n{name}\n"


def test_a_change_of_size_without_terminal_is_nothing(bundle):
    r = Background(bundle(TRAPS)).ready()
    r.signal(signal.SIGWINCH)
    r.signal(signal.SIGCHLD)
    r.signal(signal.SIGUSR1)
    assert r.wait() == 9
    assert r.out == "ready\nUSR1\n"


@pytest.mark.arm64
def test_stdin_and_its_end(bundle):
    assert bundle(["cat"]).run(stdin="some\nlines").out == "some\nlines"
    assert bundle(["cat"]).run().out == ""


def test_stdout_and_stderr_are_apart(bundle):
    result = bundle("echo out; echo err >&2").run()
    assert (result.out, result.err) == ("out\n", "err\n")


def test_much_output_is_whole(bundle):
    result = bundle("dd if=/dev/zero bs=1M count=5 2>/dev/null").run()
    assert len(result.out) == 5 << 20


def test_much_output_through_a_pipe(bundle, run):
    b = bundle("dd if=/dev/zero bs=1M count=5 2>/dev/null; echo end").write()
    command = run.command("run", "--bundle", b.directory, run.new_id())
    data = subprocess.check_output(command, stdin=subprocess.DEVNULL)
    assert len(data) == (5 << 20) + 4


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_stdio(bundle, run, tmp_path, closed):
    """What the caller has closed is /dev/null for the program, and its exit code is still told."""
    mark = tmp_path / "mark"
    mark.mkdir()
    b = bundle("cd /mark; for i in 0 1 2; do readlink /proc/self/fd/$i; done > links; exit 4")
    b.mount("/mark", source=str(mark), options=["bind"]).write()
    command = " ".join(map(str, run.command("run", "--bundle", b.directory, run.new_id())))
    assert subprocess.run(["sh", "-c", f"{command} {closed}"], check=False, timeout=20).returncode == 4
    assert len((mark / "links").read_text().splitlines()) == 3


def test_closed_stdio_is_the_null_device(bundle, run):
    b = bundle("test -c /proc/self/fd/0 && cat; ls -lL /proc/self/fd/2").write()
    command = " ".join(map(str, run.command("run", "--bundle", b.directory, run.new_id())))
    out = subprocess.run(["sh", "-c", f"{command} <&- 2>&-"], check=False, timeout=20, capture_output=True, text=True).stdout
    assert "1,   3" in out


def test_the_callers_signals_do_not_reach_the_container(bundle):
    """nohup and the like: the program starts with no signal ignored or blocked."""

    def odd():
        for number in (signal.SIGHUP, signal.SIGPIPE, signal.SIGUSR1, signal.SIGCHLD):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGALRM})

    b = bundle(["grep", "^Sig", "/proc/self/status"])
    lines = dict(line.split() for line in b.run(preexec_fn=odd).out.splitlines())
    for name in ("SigBlk:", "SigIgn:", "SigPnd:"):
        assert int(lines[name], 16) == 0, name


def test_the_same_for_a_created_container_and_exec(bundle):
    def odd():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})

    c = bundle("grep ^Sig /proc/self/status; sleep 100").create(preexec_fn=odd)
    c.start(preexec_fn=odd)
    until(lambda: c.out.count("\n") == 5)
    out = c.exec("grep", "^Sig", "/proc/self/status", preexec_fn=odd).out
    for text in (c.out, out):
        lines = dict(line.split() for line in text.splitlines())
        assert int(lines["SigBlk:"], 16) == int(lines["SigIgn:"], 16) == 0


def test_the_callers_affinity_does_not_reach_the_container(bundle):
    cpus = os.sched_getaffinity(0)
    if len(cpus) < 2:
        pytest.skip("one CPU")
    one = {min(cpus)}
    b = bundle(["nproc"])
    for flags in ((), ("--no-new-keyring",)):
        assert b.run(*flags, preexec_fn=lambda: os.sched_setaffinity(0, one)).out == f"{os.cpu_count()}\n"
    c = bundle("sleep 100").detached()
    assert c.exec("nproc", preexec_fn=lambda: os.sched_setaffinity(0, one)).out == f"{os.cpu_count()}\n"


def test_the_callers_umask_does_not_reach_the_container(bundle):
    b = bundle("umask; mkdir /made; stat -c %a /made /dev/shm /proc/self/fd")
    assert b.run(umask=0o077).out.split()[:3] == ["0022", "755", "1777"]
    assert bundle("umask").set("process.user.umask", 0o27).run().out == "0027\n"


def test_the_callers_working_directory_and_environment(bundle):
    b = bundle("pwd; env")
    out = b.run(cwd="/usr", env={"SECRET": "x", "HOME": "/host"}).out
    assert out.startswith("/\n")
    assert "SECRET" not in out
    assert "HOME=/root\n" in out


def test_no_notify_socket_without_one(bundle):
    assert "NOTIFY" not in bundle(["env"]).run().out


# --- forms of the command


def test_a_directory_in_place_of_an_id(bundle, run):
    b = bundle("echo $0; hostname").write()
    assert run("run", b.directory).out == "sh\npyrun\n"
    assert run("run", f"{b.directory}/").out == "sh\npyrun\n"
    assert run("run", b.directory.name, cwd=b.directory.parent).out == "sh\npyrun\n"
    run("create", b.directory)
    assert run("list", "-q").out == f"{b.directory.name}\n"


def test_the_bundle_is_the_working_directory_by_default(bundle, run):
    b = bundle("echo here").write()
    assert run("run", run.new_id(), cwd=b.directory).out == "here\n"


def test_detached(bundle):
    c = bundle("echo detached; sleep 100").detached()
    assert c.status() == "running"
    until(lambda: c.out == "detached\n")
    c.delete("--force")


def test_detached_and_ended_at_once(bundle):
    c = bundle("exit 3").detached()
    assert c.wait() == 3
    assert c.status() == "stopped"
    c.delete()


def test_keep(bundle, run):
    result = bundle("exit 3").run("--keep", code=3)
    state = json.loads(run("state", result.id).out)
    assert (state["status"], state["pid"]) == ("stopped", 0)
    run("delete", result.id)


@pytest.mark.arm64
def test_nothing_is_left(bundle, run, token):
    bundle("exit 3").run(code=3)
    assert run("list", "-q").out == ""
    assert cgroups_named(token) == []


def test_killed_from_elsewhere(bundle, run):
    r = Background(bundle("echo ready; sleep 100")).ready()
    run("kill", r.id, "KILL")
    assert r.wait() == 137
    assert run("list", "-q").out == ""


def test_deleted_from_elsewhere(bundle, run, tmp_path):
    """The exit code is told, and that it came from outside; poststop hooks run once."""
    log = tmp_path / "log"
    b = bundle("echo ready; sleep 100").set("hooks.poststop", [{"path": "/bin/sh", "args": ["sh", "-c", f"echo x >> {log}"]}])
    r = Background(b).ready()
    run("delete", "--force", r.id)
    assert r.wait() == 137
    # Whether memory had run out may have gone with the cgroup.
    assert r.out.startswith("ready\npyrun: the program was killed by signal 9: it was sent from outside of the container, ")
    assert log.read_text() == "x\n"


def test_orphans_are_reaped(bundle):
    """Without a pid namespace a container's orphans become ours: no zombie may pile up while it runs."""
    b = bundle("for i in 1 2 3 4 5; do sh -c 'sh -c \"exit 0\" &'; done; echo ready; while :; do sleep 0.02; done")
    b.config["linux"]["namespaces"].remove({"type": "pid"})
    r = Background(b).ready()
    children = pathlib.Path(f"/proc/{r.process.pid}/task/{r.process.pid}/children")
    until(lambda: len(children.read_text().split()) == 1)
    r.signal(signal.SIGTERM)
    assert r.wait() == 143


def test_very_fast_exits(bundle, run):
    """No end is missed, however soon it comes."""
    b = bundle(["/bin/true"]).write()
    command = run.command("run", "--bundle", b.directory, run.new_id())
    for _ in range(200):
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        assert process.wait(20) == 0


# --- interrupted before the program runs


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer", "startContainer"])
@pytest.mark.parametrize("name", ["INT", "TERM", "HUP"])
def test_a_signal_during_a_hook_undoes_everything(bundle, run, token, kind, name):
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "trap '' HUP INT TERM; exec sleep 100"], "env": ["PATH=/usr/bin:/bin"]}
    b = bundle("echo ran").set(f"hooks.{kind}", [hook])
    r = Background(b)
    until(lambda: in_hook(r.process.pid))
    r.signal(signal.Signals[f"SIG{name}"])
    assert r.wait() == 128 + signal.Signals[f"SIG{name}"]
    assert run("list", "-q").out == ""
    assert cgroups_named(token) == []
    assert "ran" not in r.out


def in_hook(pid):
    """Whether a child of a process is the hook. Others, such as init's first stage, come and go meanwhile."""
    for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if b"sleep" in pathlib.Path(f"/proc/{child}/cmdline").read_bytes():
                return True
    return False


def test_ignored_signals_stay_ignored_until_the_program_runs(bundle):
    """nohup pyrun run: SIGHUP neither ends us nor, later, is kept from the program, which does not ignore it."""
    b = bundle("echo ready")
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"until [ -e {b.directory}/go ]; do sleep 0.01; done"], "env": ["PATH=/usr/bin:/bin"]}
    r = Background(b.set("hooks.prestart", [hook]), preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    until(lambda: in_hook(r.process.pid), what="the hook runs")
    r.signal(signal.SIGHUP)
    (b.directory / "go").touch()
    assert r.wait() == 0
    assert r.out == "ready\n"


def test_exit_code_of_a_killed_runtime_leaves_something_to_delete(bundle, run):
    r = Background(bundle("echo ready; sleep 100")).ready()
    r.signal(signal.SIGKILL)
    assert r.process.wait() == -9
    assert json.loads(run("state", r.id).out)["status"] == "running"
    pid = json.loads(run("state", r.id).out)["pid"]
    run("delete", "--force", r.id)
    assert exit_code(os.waitpid(pid, 0)[1]) == 137
