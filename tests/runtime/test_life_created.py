"""A created container as the host sees it: its files, its memory, its program."""

import os
import pathlib
import re
import subprocess

import pytest
from harness import until

pytestmark = pytest.mark.machine


def fds(pid):
    return sorted(int(name) for name in os.listdir(f"/proc/{pid}/fd"))


def test_memory_maps_show_no_file_of_the_host(bundle):
    c = bundle("sleep 100").create()
    lines = pathlib.Path(f"/proc/{c.pid}/maps").read_text().splitlines()
    names = {line.split(None, 5)[5] for line in lines if len(line.split(None, 5)) == 6}
    kernel = {"[stack]", "[heap]", "[vdso]", "[vvar]", "[vvar_vclock]", "[vsyscall]"}
    assert names - kernel <= {"/memfd:pyrun-init (deleted)", "/memfd:pyrun:plan (deleted)"}
    assert os.readlink(f"/proc/{c.pid}/exe").startswith("/memfd:")


def test_the_program_in_memory_is_sealed(bundle):
    c = bundle("sleep 100").create()
    with pytest.raises(OSError):
        os.open(f"/proc/{c.pid}/exe", os.O_WRONLY)


def test_exe_of_exec_in_a_created_container(bundle):
    """What a container sees of its waiting init is no file of the host (CVE-2019-5736)."""
    c = bundle("sleep 100").create()
    assert c.exec("cat", "/proc/1/comm").out == "pyrun:init\n"
    seen = c.exec("ls", "-l", "/proc/1/exe")
    assert "Permission denied" in seen.err, seen


def test_open_files(bundle):
    c = bundle("sleep 100").create()
    # init closes the others when the runtime is done with it. What stays is the socket it waits at; nothing of the host's files.
    until(lambda: len(fds(c.pid)) == 4)
    kinds = [os.readlink(f"/proc/{c.pid}/fd/{fd}") for fd in fds(c.pid)]
    assert kinds[0] == "/dev/null"
    assert kinds[3].partition("[")[0] == "socket:", kinds
    c.start()
    until(lambda: "sleep" in pathlib.Path(f"/proc/{c.pid}/cmdline").read_text())
    assert fds(c.pid) == [0, 1, 2]


def test_private_memory(bundle):
    """A created container costs at most 300 KiB, and no other process stays."""
    c = bundle("sleep 100").create()
    rollup = pathlib.Path(f"/proc/{c.pid}/smaps_rollup").read_text()
    private = sum(int(size) for size in re.findall(r"^Private_\w+: +(\d+) kB", rollup, re.MULTILINE))
    assert 0 < private <= 300


def test_it_is_not_dumpable(bundle):
    """Nobody in the container may look into it: its files belong to root, whoever it runs as."""
    c = bundle("sleep 100").create()
    assert os.stat(f"/proc/{c.pid}/environ").st_uid == 0
    assert pathlib.Path(f"/proc/{c.pid}/environ").read_bytes() == b""


def test_stray_fds_of_the_caller(bundle):
    """Callers leave files open in the runtime; the container gets none of them."""
    with open("/etc/passwd") as file:
        high = os.dup2(file.fileno(), 77)
        b = bundle("ls /proc/self/fd")
        assert b.run(pass_fds=(file.fileno(), high)).out == "0\n1\n2\n3\n"
        c = b.create(pass_fds=(file.fileno(), high))
        os.close(high)
    assert not any("/etc/passwd" in os.readlink(f"/proc/{c.pid}/fd/{one}") for one in fds(c.pid))


def test_nobody_keeps_the_callers_output_open(bundle, run):
    """Who reads the container's output to its end waits for the container, and for nothing of ours."""
    b = bundle("echo one; sleep 0.2; echo two").write()
    name = run.new_id()
    out, end = os.pipe()
    subprocess.run(run.command("create", "--bundle", b.directory, name), stdin=subprocess.DEVNULL, stdout=end, stderr=end, check=True)
    os.close(end)
    run("start", name)
    with open(out) as text:
        assert text.read() == "one\ntwo\n"


def test_the_state_directory_is_closed_to_others(bundle, run):
    c = bundle("sleep 100").create()
    mode = (run.root / c.id).stat().st_mode & 0o777
    assert mode & 0o066 == 0
    assert (run.root / c.id / "state.json").stat().st_mode & 0o022 == 0
