"""A container traces (ptrace(2)), stops or ends whatever enters it by exec, before it is the program.

With CAP_SYS_PTRACE of the host's user namespace nothing keeps it from that. Then what it finds must be no more than the program is.
"""

import json
import pathlib
import subprocess
import threading

import pytest
from harness import until
from looks import user_namespace

EXECS, AT_ONCE = 30, 3
FAILED = "pyrun: exec failed: unable to start container process: "
WORDS = ["CAP_KILL", "CAP_SETPCAP"]
MASK, TRACING = 1 << 5 | 1 << 8, 1 << 19


@pytest.fixture
def hostile(bundle, compiled):
    """hostile(how, own_users, can_trace): a container that does that. own_users: it has a user namespace; can_trace: and CAP_SYS_PTRACE."""

    def make(how, own_users, can_trace, seccomp=None, no_new_privs=True):
        b = bundle(["/trace", how])
        (b.rootfs / "trace").write_bytes(compiled("trace").read_bytes())
        (b.rootfs / "trace").chmod(0o755)
        if own_users:
            user_namespace(b)
        words = [*WORDS, *(["CAP_SYS_PTRACE"] if can_trace else [])]
        b.set("process.capabilities", {name: words for name in ("bounding", "effective", "permitted", "inheritable")})
        b.set("process.noNewPrivileges", no_new_privs)
        if seccomp:
            b.set("linux.seccomp", seccomp)
        container = b.detached()
        until(lambda: "ready" in container.out)
        return container

    return make


def execs(container, count, limit=10):
    """(stderr, exit code) of so many execs, a few at once; each is told to end (SIGTERM) after so many seconds."""
    results = []

    def some():
        for _ in range(count // AT_ONCE):
            command = ["timeout", "--kill-after=1", str(limit), *container.runner.command("exec", container.id, "true")]
            process = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=20)
            results.append((process.stderr, process.returncode))

    threads = [threading.Thread(target=some) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def seen(container):
    return [line.split() for line in container.out.splitlines()[1:]]


@pytest.mark.parametrize("own_users", [True, False])
def test_tracing(own_users, hostile):
    container, results = hostile("trace", own_users, own_users), []
    until(lambda: results.extend(execs(container, EXECS)) or seen(container))
    assert {words[0] for words in seen(container)} == {"refused"}
    assert {*results} == {("", 0)}


def refusing(*names):
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [*names], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]}


FOUND = [
    pytest.param(None, False, 0, id="no filter"),
    pytest.param(refusing("mount", "clone3"), False, 2, id="filter"),
    pytest.param(refusing("mount", "clone3"), True, 2, id="filter, no_new_privs"),
    # It is on from the clone on if it lets pass what comes between that and the program, else right before the program.
    pytest.param(refusing("setsid"), True, None, id="filter without setsid, no_new_privs"),
]


@pytest.mark.parametrize(("seccomp", "no_new_privs", "filters"), FOUND)
def test_what_a_tracer_finds(seccomp, no_new_privs, filters, hostile):
    container, results = hostile("trace", False, True, seccomp, no_new_privs), []
    until(lambda: results.extend(execs(container, EXECS)) or seen(container))
    for traced, *words in seen(container):
        found = dict(word.split("=", 1) if "=" in word else word.split(":") for word in words)
        assert traced == "traced"
        assert {found.pop(name) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd")} == {f"{MASK | TRACING:016x}"}
        assert found.pop("CapAmb") == f"{0:016x}"
        assert (found.pop("Uid"), found.pop("NoNewPrivs")) == ("0", f"{no_new_privs:d}")
        assert found.pop("Seccomp") == str(filters) or filters is None
        # stdio, and what init reports an error on
        assert sorted(found) == ["0", "1", "2", "3"] and found["3"].startswith("socket:")
    assert {*results} == {("", 0)}


def test_false_messages(hostile):
    """A tracer has the socket on which init reports: an exec fails by what it sends, in one line, or is not concerned."""
    container, results = hostile("speak", False, True), []
    until(lambda: results.extend(execs(container, EXECS, limit=2)) or len(seen(container)) > 20)
    for error, code in results:
        assert error.count("\n") == (code > 0) and error.startswith(FAILED if error else "") and error.strip().isprintable(), (error, code)
    assert container.status() == "running"


def names(container):
    pids = json.loads(container.runner("ps", "--format", "json", container.id).out)
    return [pathlib.Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids if pid != container.pid]


@pytest.mark.parametrize("own_users", [True, False])
def test_stopping(own_users, hostile):
    """Root of the container may stop its own root's processes. An exec ends when it is told to, and takes what it has begun along."""
    container, results = hostile("stop", own_users, own_users), []
    until(lambda: results.extend(execs(container, AT_ONCE, limit=1)) or "stopped" in container.out)
    # One whose init was stopped says what has ended it; a program that is stopped is the caller's to kill.
    said = {error for error, _ in results if error}
    assert all(error.startswith(FAILED) and error.endswith("interrupted by signal 15\n") and error.count("\n") == 1 for error in said), said
    until(lambda: "pyrun:init" not in names(container))
    assert container.status() == "running"


def test_killing(hostile):
    """An exec whose init is killed says so; one whose program is killed has its exit code."""
    container, results = hostile("kill", False, False), []
    until(lambda: results.extend(execs(container, EXECS)) or "killed" in container.out)
    for error, code in results:
        ended = error.startswith(f"{FAILED}init ended before the program began: signal 9 (killed)") and error.count("\n") == 1
        assert (ended and code == 255) or code == 137 or (error, code) == ("", 0), (error, code)
    assert container.status() == "running"
