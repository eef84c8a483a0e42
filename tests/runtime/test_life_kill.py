"""kill: every way of naming a signal, whom it reaches, and what it says of a container that has ended."""

import os
import pathlib
import signal

import pytest
from harness import cgroups_named, until

REPORT = """
for s in HUP INT QUIT USR1 USR2 ALRM TERM CONT WINCH URG; do trap "echo $s; exit 3" $s; done
echo ready
while :; do sleep 0.02; done
"""

NAMES = [
    ("TERM", "TERM"), ("SIGTERM", "TERM"), ("sigterm", "TERM"), ("term", "TERM"), ("15", "TERM"), (None, "TERM"),
    ("HUP", "HUP"), ("1", "HUP"), ("SIGUSR1", "USR1"), ("10", "USR1"), ("WINCH", "WINCH"), ("28", "WINCH"), ("URG", "URG"),
]  # fmt: skip


def without_pid_namespace(b):
    spaces = b.config["linux"]["namespaces"]
    spaces[:] = [space for space in spaces if space["type"] != "pid"]
    return b


@pytest.mark.parametrize("word, received", NAMES)
def test_names_of_signals(bundle, word, received):
    c = bundle(REPORT).detached()
    until(lambda: c.out == "ready\n")
    c.kill(*[word] * (word is not None))
    assert c.wait() == 3
    assert c.out == f"ready\n{received}\n"


@pytest.mark.parametrize("word, number", [("RTMIN", 34), ("SIGRTMIN+3", 37), ("rtmax-1", 63), ("RTMAX", 64), ("40", 40)])
def test_real_time_signals(bundle, word, number):
    c = without_pid_namespace(bundle(["sleep", "100"])).detached()
    c.kill(word)
    assert c.wait() == 128 + number


@pytest.mark.parametrize("word", ["NOSUCH", "SIG", "-1", "65", "1000", "RTMIN+31", "RTMIN-1", "15x", "TERM ", "٣"])
def test_unknown_signals(bundle, run, word):
    c = bundle("sleep 100").create()
    error = run("kill", "--", c.id, word, code=1).err
    assert f'unknown signal "{word}"' in error
    assert c.status() == "created"


def test_signal_0_only_asks(bundle):
    c = bundle("sleep 100").detached()
    c.kill("0")
    assert c.status() == "running"


def test_pid_1_ignores_what_it_does_not_handle(bundle):
    """pid_namespaces(7): only SIGKILL and SIGSTOP reach an init without a handler."""
    c = bundle(["sleep", "100"]).detached()
    until(lambda: "sleep" in pathlib.Path(f"/proc/{c.pid}/cmdline").read_text())
    c.kill("TERM")
    assert c.exec("true").code == 0
    c.kill("KILL")
    assert c.wait() == 137


@pytest.mark.worlds
@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT", "USR1", "ALRM", "KILL"])
def test_a_created_container_is_ended_by_a_signal(bundle, name):
    c = bundle("sleep 100").create()
    c.kill(name)
    assert c.wait() == 128 + signal.Signals[f"SIG{name}"]
    assert c.status() == "stopped"
    c.delete()


def test_a_signal_right_after_start(bundle):
    """Whether init or the program gets it: the status is that of the signal."""
    for _ in range(10):
        c = bundle(["sh", "-c", "trap 'exit 143' TERM; while :; do sleep 0.01; done"]).create()
        c.start()
        end = 0
        while not end:
            c.kill("TERM", code=None)
            end = os.waitid(os.P_PID, c.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        assert c.wait() == 143


def test_a_stopped_container(bundle):
    c = bundle("true").detached()
    os.waitid(os.P_PID, c.pid, os.WEXITED | os.WNOWAIT)
    assert "container not running" in c.kill("KILL", code=1).err
    c.wait()
    for words in ((), ("TERM",), ("KILL",)):
        error = c.kill(*words, code=1).err
        assert "container not running" in error
        assert error.count("\n") == 1
    assert c.kill("--all", "KILL").err == ""
    c.delete()


@pytest.mark.kernels
@pytest.mark.worlds
def test_kill_all_reaches_every_process(bundle, run):
    c = bundle("trap 'echo init' USR1; echo ready; while :; do sleep 0.02; done").detached()
    until(lambda: c.out == "ready\n")
    run("exec", "--detach", c.id, "sh", "-c", "trap 'echo other; exit' USR1; echo too; while :; do sleep 0.02; done")
    until(lambda: len(c.exec("ps").out.splitlines()) > 3)
    until(lambda: "sleep 0.02" in c.exec("ps").out)
    c.kill("--all", "USR1")
    until(lambda: "init" in c.out)
    assert c.status() == "running"


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def members(token):
    return {int(pid) for path in cgroups_named(token) for pid in pathlib.Path(path, "cgroup.procs").read_text().split()}


@pytest.mark.worlds
def test_with_the_pids_of_the_host_all_processes_die(bundle, token):
    c = without_pid_namespace(bundle("sleep 100 & sleep 100 & wait")).detached()
    pids = until(lambda: (found := members(token)) and len(found) == 3 and found)
    c.kill("KILL")
    until(lambda: not any(map(alive, pids)))
    assert c.wait() == 137
    c.delete()


@pytest.mark.worlds
def test_with_the_pids_of_the_host_processes_that_outlive_init(bundle, token):
    c = without_pid_namespace(bundle("sleep 100 & exit 5")).detached()
    assert c.wait() == 5
    (left,) = members(token)
    assert c.status() == "stopped"
    assert alive(left)
    c.kill("KILL")
    until(lambda: not alive(left))
    c.delete()


@pytest.mark.worlds
def test_delete_ends_processes_that_outlive_init(bundle, token):
    c = without_pid_namespace(bundle("sleep 100 & exit 5")).detached()
    c.wait()
    (left,) = members(token)
    c.delete()
    until(lambda: not alive(left))


@pytest.mark.worlds
def test_run_ends_processes_that_outlive_init(bundle, token):
    assert without_pid_namespace(bundle("sleep 100 >/dev/null 2>&1 & exit 5")).run(code=5).out == ""
    assert cgroups_named(token) == []
