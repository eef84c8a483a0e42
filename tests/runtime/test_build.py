"""The build: of which Python it is made, from which packages, and what it says where it cannot be made."""

import json
import os
import pathlib
import platform
import re
import shutil
import subprocess

import pytest
from harness import PROJECT

pytestmark = pytest.mark.once

SEED = PROJECT / "build/seed"
HOME, USR = pathlib.Path.home(), pathlib.Path("/usr")
LIMIT = 900  # seconds for a build with nothing made before


def pythons(*versions):
    """The Pythons of these versions that are installed, by Debian or by pyenv: "X.Y" -> path."""
    return {
        version: str(path)
        for version in versions
        for path in (*HOME.glob(f".pyenv/versions/{version}.*/bin/python3"), *USR.glob(f"bin/python{version}"))
    }


OLD, OTHERS = pythons("3.7", "3.8", "3.9", "3.10"), pythons("3.12")


def made(*words, code=0, **options):
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, check=False, **options)
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture
def fresh(copy):
    """A copy of the sources for which nothing has been installed or built."""
    root = copy("fresh")
    (root / ".venv").unlink()
    shutil.rmtree(root / "build")
    return root


# --- of which Python -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not OLD, reason="no Python older than 3.11 is installed")
def test_a_python_that_is_too_old_is_named(fresh):
    for version, path in OLD.items():
        said = made("make", "run", f"PYTHON={path}", cwd=fresh, code=2).stderr.splitlines()[0]
        assert said.startswith(f"make: this is Python {version}.") and "pyrun takes 3.11 or newer" in said
        said = made(path, "csrc/build.py", "binary", cwd=fresh, code=1).stderr
        assert said.startswith(f"build: this is Python {version}.") and said.count("\n") == 1
    assert not (fresh / ".venv").exists()


def test_a_python_that_is_not_there_is_named(fresh):
    said = made("make", "PYTHON=/no/such/python", cwd=fresh, code=2).stderr
    assert said.startswith("make: /no/such/python is not there: PYTHON=… says which Python is taken, 3.11 or newer\n")


@pytest.mark.skipif(not OTHERS, reason="no Python 3.12 is installed")
def test_of_another_python(fresh, token):
    """Python as one builds it oneself has modules in C in files of their own, so the executable starts it the ordinary way, and says so."""
    ((version, path),) = OTHERS.items()
    assert "Hello from a container" in made("make", "run", f"PYTHON={path}", cwd=fresh).stdout
    executable = fresh / "build/pyrun"
    assert "\nstart: ordinary\n" in made(executable, "--version").stdout
    assert json.loads(made(executable, "features").stdout)["annotations"]["org.pyrun.start"] == "ordinary"
    assert made(fresh / ".venv/bin/python", "--version").stdout.startswith(f"Python {version}.")
    # .venv is that of PYTHON, not of the one before.
    made("make", "venv", cwd=fresh)
    assert not made(fresh / ".venv/bin/python", "--version").stdout.startswith(f"Python {version}.")


# --- from which packages -----------------------------------------------------------------------------------------------


def test_from_a_folder_without_a_network(copy):
    there, here = copy("there"), copy("here")
    made("make", "sources", cwd=there)
    (there / "build/sources").rename(here / "folder")
    (here / ".venv").unlink()
    shutil.rmtree(here / "build")
    offline = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")} | {"PIP_CONFIG_FILE": "/dev/null"}
    made("unshare", "--net", "make", "build", "SOURCES=folder", cwd=here, env=offline)
    assert made(here / "build/pyrun", "--version").stdout.startswith("pyrun version")


def test_sources_that_are_not_the_pinned_ones_are_refused(copy):
    root = copy("changed")
    for unpacked in root.glob("build/cffi-*"):
        shutil.rmtree(unpacked) if unpacked.is_dir() else unpacked.unlink()
    version = made(root / ".venv/bin/python", "-c", "import cffi; print(cffi.__version__)").stdout.strip()
    (root / "folder").mkdir()
    (root / f"folder/cffi-{version}.tar.gz").write_bytes(b"something else")
    said = made("make", "build", "SOURCES=folder", cwd=root, code=2).stderr
    assert f"build: folder/cffi-{version}.tar.gz is not what {root}/csrc/requirements.txt pins\n" in said


# --- what it is made of -------------------------------------------------------------------------------------------------


def test_the_executable_never_writes_its_memory():
    """Only the seed, a part of the build, does, on a word."""
    done = made(PROJECT / "build/pyrun", "--write-image", PROJECT / "build/modules.bin", code=1)
    assert "flag provided but not defined: -write-image" in done.stderr
    for words in ([], ["state", "x"], [PROJECT / "build/modules.bin"]):
        done = made(SEED, *words, code=1)
        assert (done.stdout, done.stderr) == ("", "seed: this is a part of pyrun's build; the runtime is build/pyrun\n")


GUARDED = {"x86_64": "IBT, SHSTK", "aarch64": "BTI, PAC"}


def test_our_own_c_is_hardened():
    for name in ("main", "native", "start", "json_decode"):
        assert GUARDED[platform.machine()] in made("readelf", "--notes", PROJECT / f"build/{name}.o").stdout
        assert "__stack_chk_fail" in made("nm", PROJECT / f"build/{name}.o").stdout
    assert re.search(r" U __\w+_chk$", made("nm", PROJECT / "build/native.o").stdout, re.MULTILINE)
    headers = made("readelf", "--segments", "--wide", PROJECT / "build/pyrun").stdout
    assert "GNU_RELRO" in headers
    assert re.search(r"GNU_STACK .* RW +0x", headers)
