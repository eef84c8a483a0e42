"""A container is remembered as long as a process of it lives: `delete` removes nothing then, and does so later.

The processes are killed and hang on their way out, as in a file system that does not answer: a debugger holds them there.
"""

import os
import signal

import pytest
from harness import until
from ptrace.binding import ptrace_attach, ptrace_cont, ptrace_detach, ptrace_setoptions
from ptrace.binding.func import PTRACE_EVENT_EXIT, PTRACE_O_TRACEEXIT

pytestmark = pytest.mark.worlds


@pytest.fixture
def hang():
    """hang(pid): the process hangs when it is killed, until the function that is returned is called."""
    held = []

    def let_go(pid):
        held.remove(pid)
        assert os.waitpid(pid, 0)[1] >> 8 == signal.SIGTRAP | PTRACE_EVENT_EXIT << 8
        ptrace_detach(pid)

    def hang(pid):
        ptrace_attach(pid)
        os.waitpid(pid, 0)
        ptrace_setoptions(pid, PTRACE_O_TRACEEXIT)
        ptrace_cont(pid)
        held.append(pid)
        return lambda: let_go(pid)

    yield hang
    for pid in held:
        os.kill(pid, signal.SIGKILL)
        let_go(pid)


def kept(container, pid, *flags):
    said = container.delete(*flags, code=1).err
    assert said.count("\n") == 1
    assert said.startswith(f"pyrun: container {container.id} is kept: its processes do not end: {pid} (")
    assert container.runner("list", "-q").out == f"{container.id}\n"


def test_init_hangs(bundle, hang):
    container = bundle("sleep 100").detached()
    let_go = hang(container.pid)
    kept(container, container.pid, "--force")
    assert container.status() == "running"
    let_go()
    assert container.wait() == 137
    container.delete("--force")


def test_another_process_hangs(bundle, hang):
    """Without a pid namespace the processes do not end with init."""
    b = bundle("sleep 1000 & echo $!; exec sleep 1000")
    b.config["linux"]["namespaces"] = [one for one in b.config["linux"]["namespaces"] if one["type"] != "pid"]
    container = b.detached()
    other = int(until(lambda: container.out))
    let_go = hang(other)
    os.kill(container.pid, signal.SIGKILL)
    assert container.wait() == 137
    assert container.status() == "stopped"
    kept(container, other)
    let_go()
    container.delete()
