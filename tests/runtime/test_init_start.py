"""Between the runtime and init: what is said is heard, or there is an error; and nobody waits for ever."""

import errno
import os
import signal
import socket

import pytest
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
