"""System calls on a container's record that fail, and a caller that leaves us no memory."""

import pathlib
import shutil
import struct
import subprocess

import pytest

PT_LOAD = 1
injected = pytest.mark.skipif(not shutil.which("strace"), reason="needs strace, which makes system calls fail")


@injected
def test_a_directory_that_cannot_be_locked_goes_again(bundle, run):
    b = bundle("true").write()
    command = ["strace", "-f", "-o", "/dev/null", "-e", "inject=flock:error=ENOLCK", *run.command("create", "--bundle", b.directory, "box")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "lock" in done.stderr and "no locks available" in done.stderr, done
    assert not (run.root / "box").exists()


@injected
@pytest.mark.parametrize("error", ["EIO", "EMFILE", "ENOMEM", "EACCES"])
@pytest.mark.parametrize("call", ["openat", "read"])
def test_a_record_that_cannot_be_read_now_stays(bundle, run, call, error):
    c = bundle("sleep 1000").detached()
    path = run.root / c.id / "state.json"
    command = ["strace", "-o", "/dev/null", "-P", path, "-e", f"inject={call}:error={error}", *run.command("delete", "--force", c.id)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "state.json" in done.stderr and done.stderr.count("\n") == 1, done
    assert pathlib.Path(f"/proc/{c.pid}").exists() and c.status() == "running"
    c.delete("--force")


def limits(program):
    """Limits of memory in KiB, from that with which the kernel can start the program: its segments, and a stack."""
    with open(program, "rb") as file:
        start, size, count = struct.unpack("32xQ14xHH", file.read(58))
        file.seek(start)
        segments = [struct.unpack("I36xQ8x", file.read(size)) for _ in range(count)]
    least = sum(size for kind, size in segments if kind == PT_LOAD) // 1024 + 500
    return (*range(least, least + 4000, 100), *range(least + 4000, least + 36_000, 2000))


def call(run, limit, *words):
    shell = ["sh", "-c", f'ulimit -v {limit}; exec "$@"', "sh"]
    done = subprocess.run([*shell, *run.command(*words)], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1) and done.stderr.count("\n") == done.returncode, done
    return done.stderr


@pytest.mark.parametrize("words", [["list"], ["features"], ["state", "x"], ["--help"]], ids=" ".join)
def test_little_memory(run, words):
    for limit in limits(run.program):
        said = call(run, limit, *words)
        assert not said or any(text in said for text in ("out of memory", "does not exist", "no such file"))


def test_too_little_memory_is_one_line(bundle, run):
    b = bundle("true").set("annotations", {"large": "a" * 8_000_000}).write()
    first, *_, last = [call(run, limit, "plan", b.directory) for limit in limits(run.program)]
    assert "out of memory" in first and not last
