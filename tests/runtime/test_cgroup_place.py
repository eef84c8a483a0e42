"""Where a container's cgroup lies, and who is in it."""

import contextlib
import json
import os
import signal

import pytest
from cgroup_worlds import MIB, ROOT, Missing, answer, ended, spawn, sub_cgroup, value
from harness import cgroups_path
from limits import PURE_V2, cgroup_file

from pyrun import cgroup
from pyrun.base.errors import ConfigError, Error
from pyrun.cgroup import tree

pytestmark = pytest.mark.worlds


def test_a_container_is_in_the_cgroup_of_its_config(bundle, token):
    path, on_v2 = cgroups_path(f"{token}-place")
    container = bundle("sleep 100").set("linux.cgroupsPath", path).create()
    assert str(cgroup_file(container.pid, "pids.max").parent) == (on_v2 if PURE_V2 else f"/sys/fs/cgroup/pids/{token}-place")


def test_paths(inside):
    def body(world):
        top = {mount.names[0]: mount.point for mount in world.open().mounts}
        own = {mount.names[0]: mount.own for mount in world.open().mounts}
        for name, path in world.open({"cgroupsPath": f"/../a/../{world.token}/b"}).paths.items():
            if name in top:
                assert path == f"{top[name]}/{world.token}/b"
        for name, path in world.open({"cgroupsPath": f"../{world.token}"}).paths.items():
            if name in top:
                below = own[name] if world.layout != "v2" else own[name].rpartition("/")[0]
                assert path == f"{top[name]}{below}/{world.token}"
        for name, path in world.open().paths.items():
            if name in top:
                assert path.startswith(f"{top[name]}/{world.token}-")
        for path in ("/", "..", "/a/..", "a\0b"):
            with pytest.raises(ConfigError, match="linux.cgroupsPath"):
                world.open({"cgroupsPath": path})

    inside(body)


def test_a_process_joins_every_hierarchy(inside):
    """A path that is new down to the last but one, with cpuset's settings inherited all the way."""

    def body(world):
        group = world.make(cgroupsPath=f"/{world.token}/a/b")
        own = answer(group, lambda: tree.read("/proc/self/cgroup")).splitlines()
        joined = {line.split(":", 2)[1]: line.split(":", 2)[2] for line in own}
        for name in group.paths:
            assert joined[name] == f"/{world.token}/a/b", own
        if "cpuset" in group.paths:
            assert value(group, "cpuset.cpus") == tree.read(f"{ROOT}/cpuset/cpuset.cpus").strip()
        pid = spawn(group)
        again = cgroup.from_state(json.loads(json.dumps(group.to_state())))
        assert again.pids() == [pid]
        again.kill(signal.SIGKILL)
        assert ended(pid) == -signal.SIGKILL
        again.delete()
        assert not any(os.path.exists(path) for path in group.paths.values())
        for path in group.paths.values():  # the parents stay, as they do for runc
            for parent in (tree.parent(path), tree.parent(tree.parent(path))):
                with contextlib.suppress(FileNotFoundError):
                    os.rmdir(parent)

    inside(body)


def test_a_cgroup_with_processes_is_refused(inside):
    def body(world):
        group = world.make(cgroupsPath=f"/{world.token}")
        pid = spawn(group)
        with pytest.raises(Error, match=r"container's cgroup is not empty: 1 process\(es\) found"):
            world.make(cgroupsPath=f"/{world.token}")
        assert group.pids() == [pid]
        group.kill(signal.SIGKILL)
        ended(pid)
        second = world.make(cgroupsPath=f"/{world.token}")  # empty now, and so taken over
        second.delete()

    inside(body)


def test_a_refused_container_does_no_harm_to_the_one_that_is_there(inside):
    """Neither when its creation is undone, nor when the runtime was killed before it, and `delete --force` cleans up."""

    def body(world):
        linux = {"cgroupsPath": f"/{world.token}"}
        group = world.make(**linux)
        inner = sub_cgroup(group._main(), "inner")
        pid = spawn(group)
        second = world.open(linux)
        on_disk = json.loads(json.dumps(second.to_state()))
        with pytest.raises(Error, match="not empty"):
            second.create()
        for other in (cgroup.from_state(second.to_state()), cgroup.from_state(on_disk)):
            other.kill(signal.SIGKILL)
            other.kill(signal.SIGTERM)
            other.delete()
        assert group.pids() == [pid]
        assert os.path.exists(inner)
        assert all(os.path.exists(file) for file in group.procs_files())
        group.kill(signal.SIGKILL)
        ended(pid)
        group.delete()

    inside(body)


def test_delete_after_the_runtime_was_killed_while_it_made_the_cgroup(inside):
    def body(world):
        group = world.open()
        on_disk = json.loads(json.dumps(group.to_state()))
        paths = list(dict.fromkeys(group.paths.values()))
        for path in paths[: len(paths) // 2 + 1]:
            os.mkdir(path)
        cgroup.from_state(on_disk).delete()
        assert not any(os.path.exists(path) for path in paths)

    inside(body)


def test_a_frozen_cgroup_is_refused_and_nothing_else_made(inside):
    def body(world):
        linux = {"cgroupsPath": f"/{world.token}/x"}
        path = world.open(linux).paths["" if world.layout == "v2" else "freezer"]
        os.makedirs(path)
        tree.write(f"{path}/cgroup.freeze" if world.layout == "v2" else f"{path}/freezer.state", "1" if world.layout == "v2" else "FROZEN")
        group = world.open(linux)
        paths = list(group.paths.values())
        with pytest.raises(Error, match="container's cgroup unexpectedly frozen"):
            group.create()
        cgroup.from_state(group.to_state()).delete()
        assert [one for one in paths if os.path.exists(one)] == [path]
        assert sum(os.path.exists(tree.parent(one)) for one in paths) == 1
        os.rmdir(path)
        os.rmdir(tree.parent(path))

    inside(body)


def test_sub_cgroups_of_exec(inside):
    def body(world):
        group = world.make()
        neighbour = world.make(cgroupsPath=f"/{world.token}-1-neighbour")
        for path in dict.fromkeys(group.paths.values()):
            sub_cgroup(path, "sub")
        for bad in ("..", "../", "sub/../..", f"../{world.token}-1-neighbour", f"/../{world.token}-1-neighbour"):
            with pytest.raises(Error, match="bad sub cgroup path"):
                group.sub([bad])
        with pytest.raises(Error, match=r"error adding pid to cgroups: open .*/none/cgroup.procs: no such file or directory"):
            group.sub(["none"])
        with pytest.raises(Error, match="unknown controller whaaat"):
            group.sub(["whaaat:/"])
        with pytest.raises(Error, match="invalid --cgroup argument"):
            group.sub(["sub", "cpu:sub"])
        assert group.sub(["/"]) == group.procs_files()
        assert group.sub(["/sub/./"]) == ["/sub/".join(file.rsplit("/", 1)) for file in group.procs_files()]
        if "cpu" in group.paths:
            files = group.sub(["cpu,memory:sub"])
            assert group.paths["cpu"] + "/sub/tasks" in files
            assert group.paths["pids"] + "/tasks" in files
        pid = spawn(group, files=group.sub(["sub"]))
        assert group.pids() == [pid]
        assert group.pids(recursive=False) == []
        group.kill(signal.SIGKILL)
        ended(pid)
        group.delete()
        neighbour.delete()

    inside(body)


def test_exec_follows_init_where_the_cgroup_takes_no_process(inside):
    def body(world):
        group = world.make()
        if world.layout != "v2":
            group.delete()
            raise Missing("v2")
        path = group.paths[""]
        os.mkdir(path + "/sub")
        init = spawn(group, files=[path + "/sub/cgroup.procs"])
        assert group.procs_files(init) == [path + "/cgroup.procs"]
        domain = [name for name in tree.read(path + "/cgroup.controllers").split() if name in ("memory", "io", "hugetlb")]
        if domain:
            tree.write(path + "/cgroup.subtree_control", "+" + domain[0])
            assert group.procs_files(init) == [path + "/sub/cgroup.procs"]
            second = spawn(group, files=group.procs_files(init))
            assert sorted(group.pids()) == sorted([init, second])
        group.kill(signal.SIGKILL)
        group.delete()
        assert group.procs_files(os.getpid())[0] != path + "/cgroup.procs"

    inside(body)


def test_below_a_threaded_cgroup(inside):
    """There a cgroup can only be threaded, too, and have no limit that needs a domain."""

    def body(world):
        parent = world.make()
        if world.layout != "v2":
            parent.delete()
            raise Missing("v2")
        path = parent.paths[""]
        os.mkdir(path + "/thread")
        tree.write(path + "/thread/cgroup.type", "threaded")
        inner = f"/{os.path.basename(path)}/a/b"
        with pytest.raises(Error, match="cannot enter cgroupv2 .* with domain controllers"):
            world.make({"memory": {"limit": 64 * MIB}}, cgroupsPath=inner)
        assert not os.path.exists(path + "/a")
        group = world.make(cgroupsPath=inner)
        assert value(group, "cgroup.type") == "threaded"
        pid = spawn(group)
        assert group.pids() == [pid]
        group.kill(signal.SIGKILL)
        assert ended(pid) == -signal.SIGKILL
        parent.delete()

    inside(body)


def test_the_owner_of_a_delegated_cgroup(inside):
    """config-linux.md, Cgroup ownership: the container's root owns its cgroup, if it can write to it and sees no other."""

    mount = {"destination": "/sys/fs/cgroup/", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "rw"]}
    maps = {"uidMappings": [{"containerID": 0, "hostID": 100000, "size": 1000}]}
    spaces = [{"type": "user"}, {"type": "cgroup"}]

    def owner(world, linux, **config):
        group = world.open(linux, **config)
        group.create()
        path = group._main()
        owners = {name: os.stat(f"{path}/{name}").st_uid for name in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.events") if
                  os.path.exists(f"{path}/{name}")}
        group.delete()
        return owners

    def body(world):
        given = owner(world, maps | {"namespaces": spaces}, mounts=[mount])
        if world.layout != "v2":
            assert set(given.values()) == {0}
            return
        assert given == {"": 100000, "cgroup.procs": 100000, "cgroup.subtree_control": 100000, "cgroup.events": 0}
        user = {"process": {"user": {"uid": 7}}}
        assert owner(world, maps | {"namespaces": spaces}, mounts=[mount], **user)[""] == 100007
        assert owner(world, {"namespaces": spaces[1:]}, mounts=[mount], **user)[""] == 7
        for linux, mounts in (
            (maps | {"namespaces": spaces}, [mount | {"options": ["ro"]}]),
            (maps | {"namespaces": spaces}, []),
            (maps | {"namespaces": spaces[:1]}, [mount]),
            (maps | {"namespaces": [{"type": "user"}, {"type": "cgroup", "path": "/proc/1/ns/cgroup"}]}, [mount]),
        ):
            assert set(owner(world, linux, mounts=mounts).values()) == {0}

    inside(body)


def test_rootless(inside):
    """No permission: no cgroup, and no error, unless a cgroup or a limit was asked for."""

    def body(world):
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        space = {"namespaces": [{"type": "pid"}]}
        group = world.open(space)
        group.create()
        group.apply({})
        assert group.procs_files() == []
        again = cgroup.from_state(json.loads(json.dumps(group.to_state())))
        assert (again.pids(), again.frozen()) == ([], False)
        again.kill(signal.SIGKILL)
        again.delete()
        with pytest.raises(Error, match="unable to apply cgroup configuration: .*: permission denied"):
            world.open(space | {"cgroupsPath": f"/{world.token}"}).create()
        group = world.open(space)
        group.create()
        with pytest.raises(ConfigError, match="rootless needs no limits .*: cannot set pids limit: container could not join or create cgroup"):
            group.apply({"pids": {"limit": 5}})
        with pytest.raises(Error, match="unable to apply cgroup configuration: .*: permission denied"):
            world.open(space, rootless="false").create()

    inside(body)
