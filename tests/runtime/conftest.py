"""Fixtures of the cgroup tests, of those that an ordinary user runs, and of the packages."""

import os
import pathlib
import subprocess
import tempfile
import traceback

import ordinary
import pytest
from cgroup_worlds import LAYOUTS, ROOT, Missing, World, sweep
from harness import PROJECT

from pyrun.base.facts import facts

SOURCES = [
    "pyrun", "csrc", "specs", "tests", "bundles", "Makefile", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE",
    "pyproject.toml",
]  # fmt: skip


@pytest.fixture
def copy(tmp_path):
    """A function: a copy of the sources in a directory of this name, with the Python environment that there is already."""

    def make(name):
        target = tmp_path / name
        target.mkdir()
        for source in SOURCES:
            subprocess.run(["cp", "-a", PROJECT / source, target], check=True)
        for made in ("pyrun/_build_info.py", "pyrun/cli/_argv_table.py", "pyrun/plan/_ops.py", "pyrun/config/_checks.py", *target.glob("pyrun/*.so")):
            (target / made).unlink(missing_ok=True)
        (target / ".venv").symlink_to(PROJECT / ".venv")
        (target / "build").mkdir()
        for downloaded in PROJECT.glob("build/cffi-*"):
            subprocess.run(["cp", "-a", downloaded, target / "build"], check=True)
        return target

    return make


@pytest.fixture(scope="session")
def deb():
    """The path of Debian's package, as `make deb` makes it."""
    made = subprocess.run(["make", "deb"], cwd=PROJECT, capture_output=True, text=True, timeout=600, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    arch = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()
    (path,) = PROJECT.glob(f"dist/*_{arch}.deb")
    return path


@pytest.fixture(scope="session")
def user():
    """The ordinary user (ordinary.User) who calls the runtime in the tests of test_rootless*.py."""
    if os.geteuid():
        yield ordinary.myself()
        return
    with ordinary.made(f"pyrun-test-{os.getpid()}") as user:
        yield user


@pytest.fixture
def delegated(run, token):
    """The runtime is called in a cgroup that was delegated to the user."""
    with ordinary.delegated(run, token):
        yield


@pytest.fixture(params=LAYOUTS)
def inside(request, token):
    """inside(body): runs body(world) in a process that sees one layout; its failure is the test's."""

    def run(body):
        said = tempfile.TemporaryFile()  # and no pipe: what a body that fails leaves running would keep it open
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                world = World(request.param, token)
                world.enter()
                vars(facts).clear()  # what was asked in this process before is not so for the body
                body(world)
                code = 0
            except Missing as missing:
                code = 77
                os.write(said.fileno(), f"no {missing} controller in this layout".encode())
            except BaseException:
                os.write(said.fileno(), traceback.format_exc().encode()[-60000:])
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with said:
            said.seek(0)
            text = said.read().decode()
        # Other cgroups come and go meanwhile, which os.walk bears.
        left = [pathlib.Path(path) for path, _, _ in os.walk(ROOT) if token in os.path.basename(path)]
        sweep(left)
        if code == 77:
            pytest.skip(text)
        assert code == 0, text
        assert not left

    return run
