"""Freezing, killing and removing a container's cgroup."""

import contextlib
import errno
import os
import signal
import time
import traceback

import pytest
from cgroup_worlds import ended, spawn, sub_cgroup
from harness import cgroups_path

from pyrun.cgroup import tree

pytestmark = pytest.mark.worlds


def test_freeze_and_thaw(inside):
    def body(world):
        group = world.make()
        pid = spawn(group, lambda: [time.sleep(0.001) for _ in range(20000)])
        assert not group.frozen()
        group.freeze()
        assert group.frozen()
        before = tree.read(f"/proc/{pid}/schedstat")
        time.sleep(0.05)
        assert tree.read(f"/proc/{pid}/schedstat") == before
        group.kill(signal.SIGTERM)
        assert group.frozen()  # a paused container stays so. v2 lets it die of the signal, v1 when it goes on
        group.thaw()
        assert not group.frozen()
        assert ended(pid) == -signal.SIGTERM
        group.delete()
        assert not group.frozen()
        group.thaw()

    inside(body)


def test_a_signal_reaches_all(inside):
    def body(world):
        group = world.make()
        inner = sub_cgroup(group._main(), "inner") + "/cgroup.procs"
        signal.signal(signal.SIGUSR1, lambda *_: os._exit(7))
        pids = [spawn(group), spawn(group, files=[*group.procs_files()[:-1], inner]), spawn(group)]
        group.kill(signal.SIGUSR1)
        assert [ended(pid) for pid in pids] == [7] * 3
        group.delete()

    inside(body)


def test_kill_ends_what_is_frozen_and_nested(inside):
    """runc#2105: below the container a frozen cgroup, made by the workload; the container itself is paused, too."""

    def body(world):
        group = world.make()
        freezer = group.paths.get("freezer", group._main())
        inner = sub_cgroup(freezer, "inner")
        pids = [spawn(group), spawn(group), spawn(group, files=[*group.procs_files(), inner + "/cgroup.procs"])]
        tree.write(f"{inner}/freezer.state" if "freezer" in group.paths else f"{inner}/cgroup.freeze", "FROZEN" if "freezer" in group.paths else "1")
        group.freeze()
        started = time.monotonic()
        group.kill(signal.SIGKILL)
        assert group.pids() == []
        assert [ended(pid) for pid in pids] == [-signal.SIGKILL] * 3
        assert time.monotonic() - started < 2
        group.delete()

    inside(body)


def test_kill_ends_a_fork_bomb(inside):
    def bomb():
        while True:
            with contextlib.suppress(OSError):
                if os.fork() == 0:
                    continue
            time.sleep(0.001)

    def body(world):
        group = world.make({"pids": {"limit": 60}}, ["pids"])
        pid = spawn(group, bomb)
        while len(group.pids()) < 30:
            time.sleep(0.01)
        group.kill(signal.SIGKILL)
        assert group.pids() == []
        assert ended(pid) == -signal.SIGKILL
        group.delete()

    inside(body)


def test_delete_removes_what_the_workload_made(inside):
    """runc#3226: sub-cgroups, on v2 threaded ones too; and it kills who is left in them."""

    def body(world):
        group = world.make()
        for path in dict.fromkeys(group.paths.values()):
            os.makedirs(path + "/a/b/c")
            os.mkdir(path + "/d")
        pids = []
        if world.layout == "v2":
            threaded = group.paths[""] + "/threaded"
            os.mkdir(threaded)
            tree.write(threaded + "/cgroup.type", "threaded")
            pid = spawn(group)
            tree.write(threaded + "/cgroup.threads", str(pid))
            assert group.pids() == [pid]
            pids.append(pid)
        else:
            pids.append(spawn(group, files=[path + "/d/cgroup.procs" for name, path in group.paths.items() if name != "cpuset"]))
        group.delete()
        assert [ended(pid) for pid in pids] == [-signal.SIGKILL]
        assert not any(os.path.exists(path) for path in group.paths.values())
        group.delete()

    inside(body)


def test_delete_waits_for_a_process_that_is_ending(inside):
    def body(world):
        for _ in range(20):
            group = world.make()
            pid = spawn(group)
            os.kill(pid, signal.SIGKILL)
            group.delete()
            ended(pid)

    inside(body)


def test_very_deep_cgroups_are_removed(inside):
    def body(world):
        group = world.make()
        path = group._main()
        for _ in range(1200):
            path += "/x"
            try:
                os.mkdir(path)
            except OSError as fault:  # how deep the kernel goes is its own affair
                assert fault.errno in (errno.EAGAIN, errno.ENAMETOOLONG, errno.ENOMEM), fault
                break
        group.delete()
        assert not os.path.exists(group._main())

    inside(body)


def test_many_at_once_below_one_new_parent(inside):
    def life(world, number):
        group = world.make(cgroupsPath=f"/{world.token}-parent/{number}")
        pid = spawn(group)
        group.kill(signal.SIGKILL)
        ended(pid)
        group.delete()

    def body(world):
        children = []
        for number in range(20):
            if (pid := os.fork()) == 0:
                try:
                    for _ in range(5):
                        life(world, number)
                    os._exit(0)
                finally:
                    traceback.print_exc()
                    os._exit(1)
            children.append(pid)
        assert [ended(pid, 60) for pid in children] == [0] * 20
        for path in world.open({"cgroupsPath": f"/{world.token}-parent"}).paths.values():
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(path)

    inside(body)


def test_containers_that_share_a_cgroups_path(bundle, token):
    """The second is refused, and the first goes on."""
    path, _ = cgroups_path(f"{token}-shared")
    first = bundle("sleep 1000").set("linux.cgroupsPath", path).create()
    first.start()
    for command in ("create", "run"):
        refused = bundle("true").set("linux.cgroupsPath", path).call(command, code=1)
        assert "container's cgroup is not empty" in refused.err
        assert first.status() == "running"
    assert first.exec("echo", "alive").out == "alive\n"
    first.kill("KILL")
    first.wait()
    first.delete()
