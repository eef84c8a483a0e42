"""build/pyrun is one file that needs nothing of ours, and no Python, on the machine."""

import json
import os
import re
import shutil
import signal
import subprocess

import pytest
from harness import PROJECT, default_config

PYRUN = PROJECT / "build/pyrun"


def call(command, code=0, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def bare_root(tmp_path):
    """A root file system with the binary and nothing else."""
    (tmp_path / "root").mkdir()
    shutil.copy(PYRUN, tmp_path / "root/pyrun")
    return tmp_path / "root"


@pytest.mark.parametrize("argument", ["--version", "--help", "spec", "validate"])
def test_it_runs_where_there_is_no_libc_no_python_and_no_proc(bare_root, argument):
    """Hot and cold commands; the schemas and click come out of the executable."""
    if argument == "validate":
        call(["chroot", bare_root, "/pyrun", "spec"])
        (bare_root / "rootfs").mkdir()
    # `validate` says that nothing runs where there is no /proc.
    said = call(["chroot", bare_root, "/pyrun", argument], code=2 * (argument == "validate"), env={"PATH": os.environ["PATH"]})
    assert argument != "validate" or "cure: mount -t proc proc /proc" in said
    assert argument != "spec" or (bare_root / "config.json").exists()


# --- tools of packagers: its sections are where its segments say, though the build has put the image in -----------------


@pytest.fixture(params=["strip pyrun", "strip --strip-debug pyrun", "objcopy --add-gnu-debuglink=pyrun.debug pyrun"])
def treated(request, bare_root):
    """The executable after one of them."""
    call(["objcopy", "--only-keep-debug", "pyrun", "pyrun.debug"], cwd=bare_root)
    call(request.param.split(), cwd=bare_root)
    return bare_root / "pyrun"


def test_it_runs_after_a_packagers_tools(treated, tmp_path, token):
    for argument in ("--version", "--help"):
        assert call(["chroot", treated.parent, "/pyrun", argument]) == call([PYRUN, argument])
    call([PROJECT / "bundles/rootfs.sh", "hello"])
    assert "Hello from a container" in call([treated, "--root", tmp_path / "state", "run", "--bundle", PROJECT / "bundles/hello", token])


def complaints(path):
    """What eu-elflint says of a file, without numbers and names."""
    done = subprocess.run(["eu-elflint", "--gnu-ld", path], capture_output=True, text=True, timeout=60, check=False)
    return {re.sub(r"\[.*?\]|\d+", "", line) for line in (done.stdout + done.stderr).splitlines()} - {"No errors"}


@pytest.mark.skipif(not shutil.which("eu-elflint"), reason="the package elfutils is not installed")
@pytest.mark.parametrize("strip", [False, True])
def test_eu_elflint_says_no_more_than_of_any_static_program(strip, bare_root):
    """It takes the symbol of the ELF header, and a linker table that needs no symbols once they are stripped, for faults."""
    (bare_root / "other.c").write_text("int main(void) { return 0; }\n")
    call(["gcc", "-static", "-o", "other", "other.c"], cwd=bare_root)
    if strip:
        call(["strip", "pyrun", "other"], cwd=bare_root)
    assert complaints(bare_root / "pyrun") <= complaints(bare_root / "other")


def test_readelf_has_nothing_to_warn_of():
    done = subprocess.run(["readelf", "--all", "--wide", PYRUN], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "RWE" not in done.stdout


# --- the machine ------------------------------------------------------------------------------------------------------


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


def test_a_container_where_there_is_busybox_alone(bare_root, token):
    """The root of an initramfs, say: no libc, no directories but these."""
    for name in ("bin", "proc", "sys", "dev", "run", "bundle/rootfs/bin"):
        (bare_root / name).mkdir(parents=True)
    busybox = shutil.which("busybox")
    shutil.copy(busybox, bare_root / "bin/busybox")
    shutil.copy(busybox, bare_root / "bundle/rootfs/bin/sh")
    config = default_config()
    config["process"].update(terminal=False, args=["sh", "-c", "echo it runs"])
    (bare_root / "bundle/config.json").write_text(json.dumps(config))
    enter = """
    mount --bind "$0" "$0"
    for name in proc sys dev; do mount --rbind "/$name" "$0/$name"; done
    mount -t tmpfs run "$0/run"
    exec chroot "$0" /pyrun run --bundle /bundle "$1"
    """
    assert call(["unshare", "--mount", "--propagation", "private", "sh", "-ec", enter, bare_root, token]) == "it runs\n"
