"""What every test that runs containers uses. Needs root and a built runtime: build/pyrun, or the path in $PYRUN.

    def test_hostname(bundle):
        b = bundle("hostname")                       # a shell script; or a list: the program's args
        b.config["hostname"] = "box"                 # plain dict, as `pyrun spec` gives it; written when it runs
        assert b.run().out == "box\\n"                # `run`, asserts exit code 0; .out .err .code

    def test_life(bundle, run):
        c = bundle("sleep 100").create()             # `create`: .id .pid .status() .state() .start() .kill() .exec() ...
        c.start()
        assert c.exec("echo", "hi").out == "hi\\n"
        assert "running" in run("list").out          # any command, `--root` of this test is given for you
        assert "not stopped" in run("delete", c.id, code=1).err    # the exit code expected; None: any
        c.kill("KILL"); c.wait(); c.delete()

    bundle("cat /data/x").mount("/data", source=str(tmp_path), options=["rbind", "ro"])    # sets add up: b.set(), b.mount()
    bundle("true").set("linux.resources.pids.limit", 5).call("create", code=1)             # a call that shall fail

    t = bundle("stty size", terminal=True).terminal()    # `run` on a pty: t.send("ls\\n"), t.expect("text"), t.wait() -> code

`from harness import …`: until(condition), read(path), Terminal(command), default_config(), make_rootfs(path).

A container that a test leaves is removed with `delete --force`. After that no process, mount, cgroup or state file of
the test may be left: else the test fails. Names that a test makes up (cgroupsPath, ids) should hold `token`.
"""

import ctypes
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import uuid

import pytest
from harness import PROJECT, SYSTEMD, Bundle, Runner, cgroups_named, children, default_config, make_rootfs, reap, state_files, units_named, until

PR_SET_CHILD_SUBREAPER = 36
OWN_DIRECTORY = pytest.StashKey[str]()
PASSED = pytest.StashKey[bool]()


def pytest_addoption(parser):
    parser.addoption("--renew-plans", action="store_true", help="write tests/unit/plans anew (test_golden_plans.py)")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    """A directory of this run alone. In the one that pytest gives all runs of a user, another run would close to other users
    what open_to_all() has opened, and tidy up what this one uses.
    """
    # nohup(1) has it ignored, and so would the runtimes that are to be ended by it.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if config.option.basetemp is None:
        config.option.basetemp = tempfile.mkdtemp(prefix="pyrun-tests-")
        config.stash[OWN_DIRECTORY] = config.option.basetemp


def pytest_sessionfinish(session, exitstatus):
    """After a failure it stays, to be looked at."""
    if exitstatus == 0 and OWN_DIRECTORY in session.config.stash:
        subprocess.run(["rm", "-rf", "--one-file-system", session.config.stash[OWN_DIRECTORY]], check=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """The files of a test that failed stay as well. Those of some thousands that passed are gigabytes, and go at once:
    after the look at what is left behind, for nothing may be mounted there.
    """
    report = yield
    item.stash[PASSED] = item.stash.get(PASSED, True) and not report.failed
    if report.when == "teardown" and item.stash[PASSED] and "tmp_path" in item.funcargs:
        subprocess.run(["rm", "-rf", "--one-file-system", item.funcargs["tmp_path"]], check=False)
    return report


def pytest_collection_modifyitems(config, items):
    """What is known not to concern a world is left out of it, rather than skipped.

    Tests of the cgroup code itself, which take `inside`, look at the kernel's files in any case; those that take
    `undelegated` see to it that no cgroup can be made, which systemd does in their place.
    """
    if SYSTEMD:
        left = [item for item in items if {"inside", "undelegated"} & set(item.fixturenames)]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


@pytest.fixture(scope="session", autouse=True)
def usual_caller():
    """Makes this process one that all runs of the tests have in common.

    What the runtime leaves behind becomes a child of it: nothing can hide, and everything is reaped. No signal is ignored,
    as SIGINT is where a shell has put the tests in the background. It has no size of a terminal, which the library of Python's
    readline, where something imports it, puts into the environment without Python's knowing.
    """
    os.unsetenv("COLUMNS")
    os.unsetenv("LINES")
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="session")
def pyrun():
    """The path of the runtime (str): $PYRUN or build/pyrun."""
    path = pathlib.Path(os.environ.get("PYRUN") or PROJECT / "build/pyrun").resolve()
    if not os.access(path, os.X_OK):
        pytest.fail(f"{path} is not there: run `make build`, or set PYRUN")
    return str(path)


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory):
    """A busybox root file system (Path) that is shared: copy it (or use `bundle`) rather than write into it."""
    return make_rootfs(tmp_path_factory.mktemp("busybox") / "rootfs")


@pytest.fixture
def token():
    """A word that is in every name this test makes: container ids, cgroups."""
    return f"pyrun-test-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def run(pyrun, tmp_path, token):
    """A Runner: `run("state", id)` calls the runtime."""
    if os.geteuid() != 0:
        pytest.fail("tests that make containers need root, but for test_rootless*.py")
    return Runner(pyrun, tmp_path, token)


@pytest.fixture
def bundle(run, rootfs, tmp_path):
    """A factory of Bundles: `bundle("echo a shell script")`, `bundle(["echo", "args"], terminal=True)`."""

    def make(args=("true",), *, terminal=False):
        directory = tmp_path / f"bundle-{run.new_id()}"
        directory.mkdir()
        subprocess.run(["cp", "-a", rootfs, directory / "rootfs"], check=True)
        config = default_config()
        config["process"]["terminal"] = terminal
        config["process"]["args"] = ["sh", "-c", args] if isinstance(args, str) else list(args)
        return Bundle(run, directory, config)

    return make


def left_behind(root, token, directory, before):
    """What a test has left: lines that say so."""
    # A killed process needs a moment to be gone; everything else must be gone at once.
    end = time.monotonic() + 2
    while reap() - before and time.monotonic() < end:
        time.sleep(0.001)
    found = [f"state: {path}" for path in state_files(root)]
    found += [f"cgroup: {path}" for path in cgroups_named(token)]
    found += [f"unit: {name}" for name in units_named(token)]
    with open("/proc/self/mountinfo") as lines:
        found += [f"mount: {line.strip()}" for line in lines if token in line or str(directory) in line]
    for pid in reap() - before:
        command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        found.append(f"process: {pid} {command}")
    return found


def sweep(token, directory, before):
    """Removes by force what a test has left, so that the next one starts clean."""
    for pid in reap() - before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not reap() - before, what="killed processes end")
    with open("/proc/self/mountinfo") as lines:
        mounts = [line.split()[4] for line in lines if str(directory) in line.split()[4]]
    for mount in reversed(mounts):
        subprocess.run(["umount", "--lazy", mount], check=False)
    for path in reversed(cgroups_named(token)):
        subprocess.run(["find", path, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"], check=False)


@pytest.fixture
def leftovers(run, token, tmp_path):
    """A function: lines that say what the test's containers have left so far. Processes it started before do not count."""
    before = children()
    return lambda: left_behind(run.root, token, tmp_path, before)


@pytest.fixture(autouse=True)
def nothing_left(request):
    """After a test that ran the runtime: its containers are deleted by force, and nothing may be left."""
    if "run" not in request.fixturenames:
        yield
        return
    run, token, directory = (request.getfixturevalue(name) for name in ("run", "token", "tmp_path"))
    before = children()
    yield
    for path in state_files(run.root):
        run("delete", "--force", path.name, code=None)
    found = left_behind(run.root, token, directory, before)
    if found:
        sweep(token, directory, before)
        pytest.fail("left behind:\n" + "\n".join(found))
