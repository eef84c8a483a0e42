"""build/pyrun is one file that needs nothing of ours, and no Python, on the machine."""

import os
import shutil
import signal
import subprocess

import pytest
from harness import PROJECT

PYRUN = PROJECT / "build/pyrun"


def call(command, code=0, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def bare_root(tmp_path):
    """A root file system with the binary, libc, libm and the dynamic linker, and nothing else."""
    root = tmp_path / "root"
    for path in (PYRUN, *libraries()):
        target = root / ("pyrun" if path == PYRUN else str(path)[1:])
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return root


def libraries():
    """The files that the dynamic linker maps for the binary."""
    words = call(["ldd", PYRUN]).split()
    return [word for word in words if word.startswith("/")]


def test_it_needs_libc_alone():
    names = {os.path.basename(path) for path in libraries()}
    assert names == {"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2"}


@pytest.mark.parametrize("argument", ["--version", "--help", "spec", "validate"])
def test_it_runs_where_there_is_no_python_nor_proc(bare_root, argument):
    """Hot and cold commands; the schemas and click come out of the executable."""
    if argument == "validate":
        call(["chroot", bare_root, "/pyrun", "spec"])
        (bare_root / "rootfs").mkdir()
    call(["chroot", bare_root, "/pyrun", argument], env={"PATH": os.environ["PATH"]})
    assert argument != "spec" or (bare_root / "config.json").exists()


def test_the_callers_python_settings_and_files_have_no_say(tmp_path):
    (tmp_path / "pyvenv.cfg").write_text("home = /nonexistent\n")
    for name in ("click", "encodings", "pyrun", "json", "re"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the current directory')\n")
    settings = {"PYTHONHOME": "/nonexistent", "PYTHONPATH": str(tmp_path), "PYTHONVERBOSE": "1", "PYTHONSTARTUP": "x"}
    for argument in ("--help", "--version"):
        assert call([PYRUN, argument], cwd=tmp_path, env=settings) == call([PYRUN, argument], cwd="/", env={"PATH": os.environ["PATH"]})


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_closed_stdio_is_no_fault(argument):
    done = subprocess.run(["sh", "-c", f"exec {PYRUN} {argument} <&- >&- 2>&-"], timeout=60, check=False)
    assert done.returncode == 0


def test_a_reader_that_has_gone_is_no_traceback():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([PYRUN, "--version"], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writer)
    assert done.returncode == 128 + signal.SIGPIPE
    assert "Traceback" not in done.stderr


def test_file_names_need_not_be_utf8(tmp_path):
    directory = os.fsencode(tmp_path) + b"/b\xffn"
    os.mkdir(directory)
    call([PYRUN, b"spec", b"--bundle", directory])
    assert os.listdir(directory) == [b"config.json"]
