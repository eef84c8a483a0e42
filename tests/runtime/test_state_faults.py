"""System calls on a container's record that fail, and a caller that leaves us no memory."""

import pathlib
import shutil
import subprocess

import pytest

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
    """With less than this the kernel or the loader ends a program before its first instruction."""
    for limit in (*range(24_000, 28_000, 100), *range(28_000, 60_000, 2000)):
        shell = ["sh", "-c", f'ulimit -v {limit}; exec "$@"', "sh"]
        done = subprocess.run([*shell, *run.command(*words)], capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1, 127), done
        assert done.stderr.count("\n") == (done.returncode != 0) or "TLS" in done.stderr, done
        loader = ("error while loading shared libraries", "cannot allocate TLS")
        assert not done.stderr or any(text in done.stderr for text in ("out of memory", "does not exist", "no such file", *loader)), done
