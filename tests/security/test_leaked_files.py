"""What a hook, the program and a process of exec find open, and where they begin: nothing of the host's that was not meant for them.

The caller has left files open in the runtime, of every kind and at odd numbers.
"""

import contextlib
import os
import re
import socket

import pytest
from harness import until

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
HIGH = 777
LOOK = "ls -l /proc/self/fd; readlink /proc/self/cwd"


@pytest.fixture
def odd():
    """Numbers of files that are open: directories, a device, a socket that listens, both ends of a pipe, a memfd, one of a high number."""
    with contextlib.ExitStack() as stack, socket.socket(socket.AF_UNIX) as server:
        server.bind("")
        server.listen()
        found = [os.open(path, flags) for path, flags in (("/", os.O_RDONLY), ("/", os.O_PATH), ("/dev/zero", os.O_RDWR), ("/proc/self", os.O_PATH))]
        found += [*os.pipe(), os.memfd_create("odd"), os.dup2(found[0], HIGH)]
        for number in found:
            stack.callback(os.close, number)
        yield [*found, server.fileno()]


def found(text):
    """What LOOK has printed -> ({fd: what it is, without the numbers}, cwd). The directory that ls itself reads is left out."""
    *lines, cwd = text.split("\n")[:-1]
    files = dict(re.findall(r" (\d+) -> (.*)$", line)[0] for line in lines if " -> " in line)
    return {int(fd): name.partition(":[")[0] for fd, name in files.items() if not re.fullmatch(r"/proc/\d+/fd", name)}, cwd


@pytest.mark.parametrize("kind", KINDS)
def test_of_a_hook(kind, bundle, tmp_path, odd):
    log = tmp_path / "log"
    log.mkdir()
    b = bundle("sleep 100").mount(str(log), source=str(log), options=["bind"])
    b.set(f"hooks.{kind}", [{"path": "/bin/busybox", "args": ["sh", "-c", f"({LOOK}) >{log}/seen"]}])
    container = b.create(pass_fds=odd)
    container.start(pass_fds=odd)
    container.delete("--force", pass_fds=odd)
    files, cwd = found((log / "seen").read_text())
    assert files == {0: "pipe", 1: f"{log}/seen", 2: "pipe"}
    assert cwd == {"createContainer": str(b.rootfs), "startContainer": "/"}.get(kind, str(b.directory))


@pytest.mark.parametrize("command", ["create", "run", "exec", "exec --detach"])
def test_of_a_program(command, bundle, odd):
    """Also beside one that it shall have, fd 3: that stays, and all else goes."""

    def leave():
        for number in odd:
            os.set_inheritable(number, True)
        os.dup2(odd[0], 3)

    given = {"preexec_fn": leave, "close_fds": False}
    if command.startswith("exec"):
        container = bundle("sleep 100").detached(**given)
        path = container.exec("sh", "-c", LOOK, flags=["--preserve-fds", 1, *command.split()[1:]], **given).out_path
    elif command == "run":
        path = bundle(LOOK).run("--preserve-fds", 1, **given).out_path
    else:
        container = bundle(LOOK).create("--preserve-fds", 1, **given)
        container.start(**given)
        path = container.created.out_path
    files, cwd = found(until(lambda: path.read_text().endswith("\n/\n") and path.read_text()))
    assert cwd == "/"
    assert files == {0: "/dev/null", 1: str(path), 2: str(path.with_suffix(".err")), 3: "/"}
