"""pyrun.cgroup on the kernel: real cgroups in every layout this machine can show. Needs root.

Each test that takes `inside` (runtime/conftest.py) runs in a process of its own, in a mount namespace that shows one
layout: what the machine has (`hybrid`, or `v1` or `v2` alone), and of a hybrid machine the v1 hierarchies alone (`v1`) and
cgroup v2 alone (`v2`, with the few controllers that v1 leaves to it).
"""

import contextlib
import ctypes
import os
import pathlib
import signal
import subprocess
import time

import pytest

from pyrun import cgroup
from pyrun.cgroup import tree
from pyrun.config import normal

ROOT = pathlib.Path("/sys/fs/cgroup")
PURE_V2 = (ROOT / "cgroup.controllers").exists()
HYBRID = (ROOT / "unified").is_mount()
LAYOUTS = ["v2"] if PURE_V2 else ["hybrid", "v1", "v2"] if HYBRID else ["v1"]
CLONE_NEWNS = 0x20000
MIB = 1 << 20
DENY_ALL = {"allow": False, "access": "rwm"}

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes cgroups")


class Glob:
    systemd_cgroup = False

    def __init__(self, rootless="auto"):
        self.rootless = rootless


class Missing(Exception):
    """The layout has no such controller."""


class World:
    """One layout, and the names a test may use in it."""

    def __init__(self, layout, token):
        self.layout, self.token = layout, token
        self.count = 0

    def enter(self):
        assert ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) == 0
        commands = ["mount --make-rprivate /"]
        if self.layout == "v1" and HYBRID:
            commands.append("umount /sys/fs/cgroup/unified")
        elif self.layout == "v2" and not PURE_V2:
            commands.append("mount -t cgroup2 none /sys/fs/cgroup")
        for command in commands:
            subprocess.run(command.split(), check=True)

    def open(self, linux=None, rootless="auto", **config):
        self.count += 1
        return cgroup.open(normal.config_of({"linux": linux or {}} | config), f"{self.token}-{self.count}", Glob(rootless))

    def make(self, resources=None, needs=(), **linux):
        """A cgroup, made and limited. needs: controllers without which the test makes no sense."""
        group = self.open({"resources": resources or {}} | linux)
        group.create()
        for controller in needs:
            if not self.has(group, controller):
                group.delete()
                raise Missing(controller)
        group.apply(resources)
        return group

    def has(self, group, controller):
        if controller in group.paths:
            return True
        return "" in group.paths and controller in tree.read(group.paths[""] + "/cgroup.controllers").split()


def sweep(left):
    for path in sorted(left, reverse=True):
        for pid in (path / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        for _ in range(100):
            with contextlib.suppress(OSError):
                path.rmdir()
                break
            time.sleep(0.02)


def join(group, files=None):
    for file in group.procs_files() if files is None else files:
        tree.write(file, "0")


def spawn(group, body=None, files=None):
    """A process in the cgroup that runs body() (default: sleeps for ever). Returns its pid when it has joined."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            join(group, files)
            os.write(writer, b"x")
            os.close(writer)
            os.close(reader)
            if body is None:
                while True:  # and no pause(): a signal that came right before it would never be handled
                    time.sleep(0.1)
            body()
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    assert os.read(reader, 1) == b"x"
    os.close(reader)
    return pid


def answer(group, body):
    """What body() (-> str) gives in a process of the cgroup."""
    reader, writer = os.pipe()
    pid = spawn(group, lambda: os.write(writer, body().encode()))
    os.close(writer)
    with open(reader) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return text


def ended(pid, seconds=5):
    """Waits for a child of the test; its exit status as os.waitstatus_to_exitcode gives it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (done := os.waitpid(pid, os.WNOHANG))[0]:
            return os.waitstatus_to_exitcode(done[1])
        time.sleep(0.005)
    raise AssertionError(f"{pid} does not end")


def value(group, *files):
    """The text of the first of these files that the container has."""
    for file in files:
        for path in dict.fromkeys(group.paths.values()):
            if os.path.exists(f"{path}/{file}"):
                return tree.read(f"{path}/{file}").strip()
    raise Missing(files[0])


def sub_cgroup(path, name):
    """A cgroup that the workload makes below its own, ready to take processes."""
    os.mkdir(f"{path}/{name}")
    for file in ("cpuset.cpus", "cpuset.mems"):
        if os.path.exists(f"{path}/{file}") and os.path.exists(f"{path}/cpuset.cpu_exclusive"):
            tree.write(f"{path}/{name}/{file}", tree.read(f"{path}/{file}").strip())
    return f"{path}/{name}"
