"""Between the runtime and init: what is said is heard, or there is an error; and nobody waits for ever."""

import errno
import os
import pathlib
import signal
import socket
import subprocess

import pytest
from harness import until
from seccomp_tools import refuse
from stepper import Stepper


def start_socket(run, container):
    """The path of its start socket, short enough for an address."""
    directory = os.open(run.root / container.id, os.O_PATH)
    return f"/proc/self/fd/{directory}/start.sock"


def test_the_start_socket_is_for_its_owner_alone(bundle, run):
    container = bundle("true").create(umask=0)
    assert os.stat(start_socket(run, container)).st_mode & 0o777 == 0o600


def test_a_connection_that_says_nothing_does_not_keep_start_away(bundle, run):
    container = bundle("sleep 100").create()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(start_socket(run, container))
        container.start()
        assert container.status() == "running"


def test_start_does_not_wait_for_ever_for_an_init_that_is_stopped(bundle):
    """And what it has given up does not happen later."""
    container = bundle("sleep 100").create()
    os.kill(container.pid, signal.SIGSTOP)
    assert f"init, process {container.pid}, does not answer within 10 s" in container.start(code=1).err
    os.kill(container.pid, signal.SIGCONT)
    assert container.status() == "created"
    container.start()
    assert container.status() == "running"


@pytest.mark.parametrize("command", ["create", "run"])
def test_a_message_to_init_that_cannot_be_sent(command, bundle, run, leftovers):
    made = bundle("true").write()
    count = 0
    while True:
        name = run.new_id()
        out, err = run.directory / "stepped.out", run.directory / "stepped.err"
        process = Stepper(run.command(command, "--bundle", made.directory, name), out, err)
        if not process.fail("sendmsg", count, errno.ENOBUFS):
            run("delete", "--force", name)
            break
        said = err.read_text()
        assert os.waitstatus_to_exitcode(process.status) == 1, said
        assert "sendmsg to init: no buffer space available" in said and said.count("\n") == 1
        assert not leftovers()
        count += 1
    assert count > 0


@pytest.mark.parametrize("refused", [["exit", "exit_group"], ["exit", "exit_group", "write"]])
def test_a_profile_that_refuses_init_every_way_to_end(refused, bundle, run):
    made = bundle("true")
    made.set("linux.seccomp", {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": [*refused, "execve"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EINTR}],
    })  # fmt: skip
    said = "init ended before the program began: signal" if "write" in refused else "interrupted system call"
    assert said in made.run(code=1).err
    container = made.create()
    assert said in container.start(code=1).err
    container.wait()
    container.delete()


def test_a_program_that_is_killed_at_once_has_run(bundle):
    container = bundle(["sh", "-c", "ulimit -t 0; while :; do :; done"]).create()
    container.start()
    assert container.wait() == 128 + signal.SIGKILL


MEMFD_CREATE, FSOPEN = 319, 430


@pytest.mark.parametrize("refused", [[MEMFD_CREATE], [MEMFD_CREATE, FSOPEN]])
@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS])
def test_init_starts_without_memfds(refused, error, bundle):
    """From a file without a name: in a tmpfs that is mounted nowhere, or wherever files may be executed."""
    assert bundle("echo fine").run(preexec_fn=refuse(refused, error)).out == "fine\n"


def test_init_starts_where_no_memfd_may_be_executed(bundle, run):
    made = bundle("echo fine").write()
    script = 'echo 2 > /proc/sys/vm/memfd_noexec && exec "$@"'
    command = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script, "sh", *run.command("run", "--bundle", made.directory, run.new_id())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == "fine\n", done.stderr


def test_delete_says_who_holds_the_lock(bundle, run):
    container = bundle("true").create()
    with subprocess.Popen(["flock", run.root / container.id, "sleep", "100"]) as holder:
        until(lambda: f" FLOCK  ADVISORY  WRITE {holder.pid} " in pathlib.Path("/proc/locks").read_text())
        assert f"is locked by process {holder.pid} (flock " in run("delete", "--force", container.id, code=1).err
        for pid in (*children_of(holder.pid), holder.pid):
            os.kill(pid, signal.SIGKILL)
    run("delete", "--force", container.id)


def children_of(pid):
    return map(int, pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


@pytest.fixture
def full(tmp_path):
    """The path of a socket at which nobody accepts, and that has no room for another connection."""
    with socket.socket(socket.AF_UNIX) as full, socket.socket(socket.AF_UNIX) as first:
        full.bind(str(tmp_path / "full"))
        full.listen(0)
        first.connect(str(tmp_path / "full"))
        yield tmp_path / "full"


def listened(bundle, path):
    """A bundle whose seccomp profile has an agent."""
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": str(path), "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}
    return bundle().set("linux.seccomp", profile)


def waits_for(socket, command, bundle, path):
    """The (bundle, options) of a command that connects to the socket of this kind at the path."""
    if socket == "listenerPath":
        return listened(bundle, path), []
    return bundle(terminal=socket == "--console-socket" and command == "create"), [socket, path]


SOCKETS = [("create", "--console-socket"), ("create", "--pidfd-socket"), ("run", "listenerPath")]


@pytest.mark.parametrize(("command", "socket"), SOCKETS)
def test_a_socket_that_nobody_accepts_at(command, socket, bundle, full, leftovers):
    b, options = waits_for(socket, command, bundle, full)
    said = b.call(command, *options, code=1).err
    assert said.count("\n") == 1 and socket in said and "connection timed out" in said
    assert not leftovers()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("command", "socket"), [*SOCKETS, ("exec", "--console-socket"), ("exec", "--pidfd-socket")])
def test_a_signal_ends_a_command_that_waits_for_a_socket(command, socket, number, bundle, run, full, leftovers):
    b, options = waits_for(socket, command, bundle, full)
    if command == "exec":
        args = [*options, *(["--tty"] if socket == "--console-socket" else []), "--detach", bundle("sleep 100").detached().id, "true"]
    else:
        args = [*options, "--bundle", b.write().directory, run.new_id()]
    before = leftovers()
    with subprocess.Popen(run.command(command, *args), stderr=subprocess.PIPE, text=True) as process:
        until(lambda: pathlib.Path(f"/proc/{process.pid}/wchan").read_text() == "unix_wait_for_peer")
        process.send_signal(number)
        assert f"interrupted by signal {number}" in process.communicate(timeout=5)[1]
    assert process.returncode == 128 + number and leftovers() == before


STOPPER = "while :; do for dir in /proc/[0-9]*; do case $dir in /proc/1) ;; *) kill -STOP ${dir#/proc/} 2>/dev/null;; esac; done; done"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_exec_that_the_container_has_stopped(number, bundle, run):
    """The container stops every other process that it sees, and so init before that runs the program."""
    container = bundle(STOPPER).detached()
    caught = False
    while not caught:
        with subprocess.Popen(run.command("exec", container.id, "sleep", "100"), stderr=subprocess.PIPE, text=True) as process:
            stopped = until(lambda: next(filter(is_stopped, children_of(process.pid)), 0))
            caught = pathlib.Path(f"/proc/{stopped}/comm").read_text() == "pyrun:init\n"
            if caught:
                process.send_signal(number)
            else:  # it was the program by then, whose signals these are
                os.kill(stopped, signal.SIGKILL)
            said = process.communicate(timeout=10)[1]
    assert process.returncode == 128 + number and f"interrupted by signal {number}" in said
    assert container.status() == "running"


def is_stopped(pid):
    try:
        return ") T " in pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def unread(tmp_path):
    """The path of a socket whose owner never reads."""
    with socket.socket(socket.AF_UNIX) as owner:
        owner.bind(str(tmp_path / "unread"))
        owner.listen()
        yield tmp_path / "unread"


def test_an_agent_that_never_reads(bundle, unread, leftovers):
    said = listened(bundle, unread).set("linux.seccomp.listenerMetadata", "x" * 1_000_000).run(code=1).err
    assert said.count("\n") == 1 and f"linux.seccomp.listenerPath: send to {unread}: connection timed out" in said
    assert not leftovers()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_whose_agent_never_reads(number, bundle, run, unread, leftovers):
    b = listened(bundle, unread).set("linux.seccomp.listenerMetadata", "x" * 1_000_000).write()
    with subprocess.Popen(run.command("run", "--bundle", b.directory, run.new_id()), stderr=subprocess.PIPE, text=True) as process:
        until(lambda: pathlib.Path(f"/proc/{process.pid}/wchan").read_text() == "sock_alloc_send_pskb")
        process.send_signal(number)
        assert f"interrupted by signal {number}" in process.communicate(timeout=5)[1]
    assert process.returncode == 128 + number and not leftovers()
