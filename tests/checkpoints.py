"""Containers that are saved by criu and brought back."""

import functools
import re
import shutil
import socket
import subprocess

import pytest
from harness import until

# Its state is in memory: a container that began anew would count from 1.
COUNTER = "i=0; while true; do i=$((i+1)); echo $i > /count.new; mv /count.new /count; sleep 0.05; done"
# One connection, over which numbers go there and back, to /out.
TALKER = (
    "nc -l -p 5000 -e cat & sleep 0.5; mkfifo /in; while true; do sleep 1; done > /in & nc 127.0.0.1 5000 < /in > /out & exec 3> /in; "
    "i=0; while true; do i=$((i+1)); echo $i >&3; sleep 0.05; done"
)


@functools.cache
def criu(*words):
    """The output of `criu check WORDS…`, None where all is well; a reason to leave a test out otherwise."""
    if shutil.which("criu") is None:
        return "criu is not installed"
    result = subprocess.run(["criu", "check", *words], capture_output=True, text=True)
    if result.returncode == 0:
        return None
    errors = [line for line in result.stderr.splitlines() if "Error" in line] or result.stderr.splitlines() or ["no reason given"]
    return f"criu cannot work here: {errors[0]}"


# A function, not a skipif: the check takes its time, and only where these tests run.
@pytest.fixture
def needs_criu():
    if criu():
        pytest.skip(criu())


def needs(feature):
    """Leaves the test out where criu and the kernel do not have this together (`criu check --feature`)."""
    if reason := criu("--feature", feature):
        pytest.skip(f"{feature}: {reason}")


def needs_tcp():
    """Leaves the test out where the kernel (from 6.16 on) has no SO_PASSCRED for TCP, which criu before 4.2 asks for all the same."""
    try:
        with socket.socket() as one:
            one.getsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED)
    except OSError:
        said = subprocess.run(["criu", "--version"], capture_output=True, text=True, check=True).stdout
        if tuple(map(int, re.findall(r"\d+", said)[:2])) < (4, 2):
            pytest.skip(f"this criu cannot save TCP sockets of this kernel: {said.split()[1]}")


def save(c, *flags, **options):
    """`checkpoint` into `images` in the bundle's directory."""
    return c.runner("checkpoint", "--image-path", c.bundle.directory / "images", *flags, c.id, **options)


def restore(bundle, *flags, **options):
    """`restore --detach` of what save() saved; returns a Container."""
    return bundle.create("--detach", "--image-path", bundle.directory / "images", *flags, command="restore", **options)


def counted(b):
    """What the counter in a bundle's container has reached."""
    return int(until(lambda: (b.rootfs / "count").exists() and (b.rootfs / "count").read_text(), what="it counts"))


def locker(bundle):
    """A bundle whose program holds a lock on /lock, and counts. busybox has no flock: it gets the host's, with its libraries."""
    b = bundle("flock /lock sh -c '" + COUNTER + "'")
    program = shutil.which("flock")
    libraries = [word for word in subprocess.check_output(["ldd", program], text=True).split() if word.startswith("/")]
    for path in (program, *libraries):
        target = b.rootfs / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return b


def goes_on(b):
    """Waits until the counter has gone up, and returns the count before and after."""
    before = counted(b)
    until(lambda: counted(b) > before, what="it counts on")
    return before, counted(b)


def gone(run, id):
    """Whether there is no such container."""
    return "container does not exist" in run("state", id, code=1).err


def said(b):
    """The numbers that have come back in TALKER's container."""
    return list(map(int, (b.rootfs / "out").read_text().split("\n")[:-1])) if (b.rootfs / "out").exists() else []


def talks_on(b):
    """Waits until there are more of them; none is missing."""
    before = len(said(b))
    until(lambda: len(said(b)) > before, what="the connection works")
    assert (numbers := said(b)) == list(range(1, len(numbers) + 1))


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])
