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


@pytest.mark.parametrize("words", [["list"], ["features"], ["state", "x"], ["--help"]], ids=" ".join)
def test_too_little_memory_is_one_line(run, words):
    """With less than the executable's own size, and a stack, the kernel ends a program before its first instruction."""
    with open(run.program, "rb") as file:
        header = struct.unpack("16x16xQ14xHH", file.read(58))
        file.seek(header[0])
        segments = [struct.unpack("I36xQ8x", file.read(header[1])) for _ in range(header[2])]
    least = sum(size for kind, size in segments if kind == PT_LOAD) // 1024 + 500
    for limit in (*range(least, least + 4000, 100), *range(least + 4000, least + 36_000, 2000)):
        shell = ["sh", "-c", f'ulimit -v {limit}; exec "$@"', "sh"]
        done = subprocess.run([*shell, *run.command(*words)], capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1, 127), done
        assert done.stderr.count("\n") == (done.returncode != 0) or "TLS" in done.stderr, done
        loader = ("error while loading shared libraries", "cannot allocate TLS")
        assert not done.stderr or any(text in done.stderr for text in ("out of memory", "does not exist", "no such file", *loader)), done
