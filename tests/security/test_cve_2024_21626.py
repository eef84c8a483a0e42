"""A directory of the host that the runtime, or its caller, has left open becomes the working directory."""

import os

import pytest
from looks import one_line


@pytest.fixture
def leaked():
    """Numbers of directories of the host that the caller leaves open in the runtime."""
    opened = [os.open(path, os.O_RDONLY) for path in ("/", "/etc", "/sys/fs/cgroup", "/")]
    yield opened
    for descriptor in opened:
        os.close(descriptor)


def test_cwd_is_an_open_file(bundle, leaked):
    b = bundle(["cat", "etc/hostname"])
    for number in range(3, max(leaked) + 3):
        for form in (f"/proc/self/fd/{number}", f"/proc/thread-self/fd/{number}", f"/proc/1/fd/{number}"):
            line = one_line(b.set("process.cwd", form).call("run", code=1, pass_fds=leaked))
            assert "process.cwd" in line, form


def test_cwd_through_a_symlink_of_the_image(bundle, leaked):
    b = bundle(["ls", ".."])
    for number in range(3, max(leaked) + 3):
        link = b.rootfs / f"link{number}"
        link.symlink_to(f"/proc/self/fd/{number}/../..")
        line = one_line(b.set("process.cwd", f"/{link.name}").call("run", code=1, pass_fds=leaked))
        assert "process.cwd" in line


def test_exec(bundle, leaked):
    container = bundle("sleep 100").detached(pass_fds=leaked)
    for number in range(3, max(leaked) + 3):
        line = one_line(container.exec("ls", flags=("--cwd", f"/proc/self/fd/{number}"), code=255, pass_fds=leaked))
        assert "process.cwd" in line


def test_a_program_below_an_open_file(bundle, leaked):
    b = bundle(["true"])
    for number in range(3, max(leaked) + 3):
        b.set("process.args", [f"/proc/self/fd/{number}/usr/bin/id"])
        assert b.call("run", code=1, pass_fds=leaked).out == ""


def test_the_program_has_no_other_files(bundle, leaked):
    """Not even its parent directory leads anywhere."""
    # No shell: it has fds of its own now and then.
    result = bundle(["ls", "/proc/self/fd", "/proc/1/fd", "/proc/self/cwd/../../../work"]).run(code=None, pass_fds=leaked)
    assert "No such file" in result.err
    assert set(result.out.split()) <= {"0", "1", "2", "3", "/", "/proc/self/fd:", "/proc/1/fd:"}
