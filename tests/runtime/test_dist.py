"""`make dist` and `pip install`: what leaves the checkout is whole, and the same each time."""

import email
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from harness import PROJECT

import pyrun

pytestmark = pytest.mark.once


def call(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_two_builds_are_the_same(copy):
    """Wherever they are made, and whatever signals the caller ignores."""
    digests = []
    for root, ignored in [(copy("one"), ""), (copy("another"), "HUP INT USR1")]:
        call("sh", "-c", f"trap '' {ignored}; exec make dist" if ignored else "exec make dist", cwd=root)
        (tarball,) = root.glob("dist/*.tar.gz")
        call("sha256sum", "--check", f"{tarball.name}.sha256", cwd=tarball.parent)
        digests.append(hashlib.sha256(tarball.read_bytes()).hexdigest())
        (root / "out").mkdir()
        call("tar", "-xf", tarball, "-C", root / "out")
        (binary,) = root.glob("out/*/pyrun")
        assert os.access(binary, os.X_OK)
        assert call(binary, "--version").startswith("pyrun version")
        shutil.rmtree(root / "out")
    assert digests[0] == digests[1]


def test_the_wheels_script_is_the_binary(tmp_path):
    environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    call(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", tmp_path, PROJECT, env=environment)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (script,) = [name for name in archive.namelist() if name.endswith("/scripts/pyrun")]
        assert archive.read(script) == (PROJECT / "build/pyrun").read_bytes()
        assert "pyrun/specs/config.schema.json" in archive.namelist()


def test_pip_installs_the_executable_alone(tmp_path):
    """What it is made of it carries: no package is brought that it would not use."""
    call(sys.executable, "-m", "venv", tmp_path)
    before = call(tmp_path / "bin/pip", "list", "--format=freeze").splitlines()
    call(tmp_path / "bin/pip", "install", "--no-index", PROJECT, env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    after = call(tmp_path / "bin/pip", "list", "--format=freeze").splitlines()
    assert [line.partition("==")[0] for line in after if line not in before] == ["pyrun"]
    assert call(tmp_path / "bin/pyrun", "--version") == call(PROJECT / "build/pyrun", "--version")


@pytest.fixture(scope="module")
def wheel():
    """The wheel of the executable, as `make wheel` makes it."""
    call("make", "wheel", cwd=PROJECT)
    (path,) = PROJECT.glob(f"dist/*_{os.uname().machine}.whl")
    return path


def test_the_wheel_gives_an_environment_pyrun_and_its_manual(wheel, tmp_path, bundle, run):
    call(sys.executable, "-m", "venv", tmp_path / "venv")
    call(tmp_path / "venv/bin/pip", "install", "--no-index", wheel, env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    run.program = "pyrun"
    assert bundle(["echo", "hello"]).run(env=os.environ | {"PATH": f"{tmp_path}/venv/bin"}).out == "hello\n"
    assert (tmp_path / "venv/share/man/man8/pyrun-run.8").is_file()


def test_the_wheel_asks_for_nothing_but_a_linux_of_its_architecture(wheel):
    with zipfile.ZipFile(wheel) as archive:
        fields = email.message_from_bytes(archive.read(f"pyrun-{pyrun.__version__}.dist-info/METADATA"))
        tags = email.message_from_bytes(archive.read(f"pyrun-{pyrun.__version__}.dist-info/WHEEL")).get_all("Tag")
    assert [fields[name] for name in ("Requires-Dist", "Requires-Python", "License-Expression")] == [None, None, "Apache-2.0"]
    machine = os.uname().machine
    assert tags == [f"py3-none-{system}_{machine}" for system in ("manylinux_2_17", "manylinux2014", "musllinux_1_1")]
    assert wheel.name == f"pyrun-{pyrun.__version__}-py3-none-{'.'.join(tag.split('-')[2] for tag in tags)}.whl"


def test_the_version_names_the_commit_and_whether_it_was_changed(copy):
    root = copy("repository")
    info = root / "pyrun/_build_info.py"

    def built():
        call(PROJECT / ".venv/bin/python", "-c", "import build; build.write_build_info()", cwd=root / "csrc")
        return info.read_text()

    git = ["git", "-C", root, "-c", "user.name=a", "-c", "user.email=a@b"]
    assert built() == 'COMMIT = "unknown"\n'
    call(*git, "init", "--quiet")
    call(*git, "add", "README.md")
    call(*git, "commit", "--quiet", "--message=one")
    commit = call(*git, "rev-parse", "HEAD").strip()
    assert built() == f'COMMIT = "{commit}"\n'
    call("chown", "-R", "nobody:", root)  # `sudo make install` in a user's clone
    assert built() == f'COMMIT = "{commit}"\n'
    (root / "README.md").write_text("changed")
    assert built() == f'COMMIT = "{commit}-dirty"\n'


def test_a_build_without_a_network_says_what_it_lacks(copy):
    root = copy("offline")
    (root / ".venv").unlink()
    names = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    done = subprocess.run(
        ["unshare", "--net", "make"], cwd=root, env=names | {"PIP_CONFIG_FILE": "/dev/null"}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert 'make: the packages of csrc/requirements.txt are missing; without a network see "Without a network" in README.md\n' in done.stderr
    assert "\n### Without a network\n" in (PROJECT / "README.md").read_text()


@pytest.mark.parametrize(
    ("prefix", "code", "message"),
    [
        (["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"], 1, "which root installs: apt-get install no-such-package\n"),
        (["env", "PATH=/nowhere"], 0, "wanted are, by Debian's names: bash no-such-package\n"),
    ],
)
def test_debians_packages_that_cannot_be_installed_are_named(prefix, code, message):
    script = (PROJECT / "csrc/needs.sh").read_text()
    command = [*prefix, "/bin/sh", "-s", "bash", "no-such-package"]
    shown = subprocess.run(command, input=script, capture_output=True, text=True, timeout=60, check=False)
    assert (shown.returncode, shown.stdout) == (code, "")
    assert shown.stderr.endswith(message)


def test_the_source_archive_has_all_that_a_build_needs(tmp_path):
    call(sys.executable, "-c", f"import package; package.build_sdist({str(tmp_path)!r})", cwd=PROJECT / "csrc")
    (path,) = tmp_path.glob("*.tar.gz")
    call("tar", "-xf", path, "-C", tmp_path)
    (root,) = tmp_path.glob("pyrun-*/")
    (root / ".venv").symlink_to(PROJECT / ".venv")
    call("make", "ext", cwd=root)
    assert call(PROJECT / ".venv/bin/python", "-m", "pyrun", "--version", cwd=root).startswith("pyrun version")
