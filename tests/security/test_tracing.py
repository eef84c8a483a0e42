"""A container traces (ptrace(2)) or stops whatever enters it by exec, before it is the program.

CAP_SYS_PTRACE of the host's user namespace is above all that a runtime can do against it (SECURITY.md).
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


@pytest.fixture(scope="session")
def tracer(tmp_path_factory):
    path = tmp_path_factory.mktemp("trace") / "trace"
    subprocess.run(["gcc", "-O2", "-static", "-o", path, pathlib.Path(__file__).with_name("trace.c")], check=True)
    return path


@pytest.fixture
def hostile(bundle, tracer):
    """hostile(how, own_users, can_trace): a container that does that. own_users: it has a user namespace; can_trace: and CAP_SYS_PTRACE."""

    def make(how, own_users, can_trace):
        b = bundle(["/trace", how])
        (b.rootfs / "trace").write_bytes(tracer.read_bytes())
        (b.rootfs / "trace").chmod(0o755)
        if own_users:
            user_namespace(b)
        words = ["CAP_KILL", "CAP_SETPCAP", *(["CAP_SYS_PTRACE"] if can_trace else [])]
        b.set("process.capabilities", {name: words for name in ("bounding", "effective", "permitted", "inheritable")})
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


@pytest.mark.parametrize("own_users", [True, False])
def test_tracing(own_users, hostile):
    container = hostile("trace", own_users, own_users)
    results = execs(container, EXECS)
    seen = [line.split()[0] for line in container.out.splitlines()[1:]]
    assert "refused" in seen and "traced" not in seen, seen
    assert len(results) == EXECS and all(result == ("", 0) for result in results), results


def test_the_tracer_is_fast_enough(hostile):
    """With the capability of the host's user namespace it has them, so what it is refused above is not refused by chance."""
    container = hostile("trace", False, True)
    until(lambda: execs(container, AT_ONCE, limit=1) and "traced" in container.out)


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
