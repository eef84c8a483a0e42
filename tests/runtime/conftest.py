"""Fixtures of the cgroup tests, of those that an ordinary user runs, and of the packages."""

import os
import pathlib
import subprocess
import traceback

import ordinary
import pytest
from cgroup_worlds import LAYOUTS, ROOT, Missing, World, sweep
from harness import PROJECT

from pyrun.base.facts import facts


@pytest.fixture(scope="session")
def deb():
    """The path of Debian's package, as `make deb` makes it."""
    made = subprocess.run(["make", "deb"], cwd=PROJECT, capture_output=True, text=True, timeout=600, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    (path,) = PROJECT.glob("dist/*.deb")
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
        reader, writer = os.pipe()
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
                os.write(writer, f"no {missing} controller in this layout".encode())
            except BaseException:
                os.write(writer, traceback.format_exc().encode()[-60000:])
            finally:
                os._exit(code)
        os.close(writer)
        with open(reader) as pipe:
            text = pipe.read()
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        # Other cgroups come and go meanwhile, which os.walk bears.
        left = [pathlib.Path(path) for path, _, _ in os.walk(ROOT) if token in os.path.basename(path)]
        sweep(left)
        if code == 77:
            pytest.skip(text)
        assert code == 0, text
        assert not left

    return run
