"""The runtime in a user namespace: under unshare(1), where root has no privileges of the host's, and in a container of its own."""

import os
import pathlib

import pytest
from harness import default_config
from looks import one_line
from ordinary import around_namespaces, map_range, without, without_user_namespace

from pyrun.plan.process import CAPABILITIES

ROOT_ALONE = [{"containerID": 0, "hostID": 0, "size": 1}]


@pytest.fixture
def run(user, pyrun, tmp_path, token):
    return user.runner(pyrun, tmp_path, token)


@pytest.fixture
def bundle(user, run, rootfs):
    return user.bundles(run, rootfs)


@pytest.fixture
def mapped_root(run):
    """The caller is root in a user namespace that has its one id, as under `unshare --map-root-user`; its mounts are the host's."""
    with around_namespaces(run, "--user", "--map-root-user"):
        yield


def root_alone(bundle):
    """Root maps its own id in that namespace."""
    for name in ("uidMappings", "gidMappings"):
        bundle.set(f"linux.{name}", ROOT_ALONE)
    return bundle


def test_without_another_user_namespace(bundle, mapped_root):
    c = without_user_namespace(bundle("sleep 100")).detached()
    assert c.exec("sh", "-c", "id -u; cat /proc/self/setgroups; readlink /proc/self/ns/user").out.split() == [
        "0", "deny", os.readlink(f"/proc/{c.pid}/ns/user")
    ]  # fmt: skip
    assert os.readlink(f"/proc/{c.pid}/ns/user") != os.readlink("/proc/self/ns/user")
    c.kill("KILL")
    assert c.wait() == 137
    c.delete()


@pytest.mark.parametrize("mounts", [[], ["--mount"]], ids=["the host's mounts", "its own mounts"])
def test_with_another_user_namespace(bundle, run, tmp_path, mounts):
    """Bind mounts work all the same: cloned by the runtime where it may, by init where not."""
    (run.directory / "data").mkdir()
    (run.directory / "data/file").write_text("reached\n")
    with around_namespaces(run, "--user", "--map-root-user", *mounts):
        b = root_alone(bundle("cat /proc/self/uid_map /m/file")).mount("/m", source=str(run.directory / "data"), options=["rbind", "ro"])
        assert b.run().out.split() == ["0", "0", "1", "reached"]


def test_the_config_of_the_real_root(bundle, run, mapped_root):
    """What `spec` writes without --rootless, but for the group of the terminals, which is not mapped here."""
    b = bundle("id -u; cat /sys/class/net/lo/flags; test -c /dev/null && echo device")
    args = b.config["process"]["args"]
    b.config = default_config()
    b.config["process"]["args"] = args
    del b.config["linux"]["resources"]
    for entry in b.config["mounts"]:
        entry["options"] = [option for option in entry.get("options", []) if option != "gid=5"]
    assert b.run().out.split() == ["0", "0x9", "device"]


def test_ids_that_the_caller_does_not_have(bundle, mapped_root):
    b = root_alone(bundle()).set("linux.uidMappings", [{"containerID": 0, "hostID": 0, "size": 2}])
    line = one_line(b.call("create", code=1))
    assert "linux.uidMappings: write /proc/" in line and "must lie within one range of the caller's own ids" in line


def test_groups_are_asked_for_that_cannot_be_set(bundle, mapped_root):
    """Engines add those of the image's /etc/group by themselves: as with runc that is no error, but a warning."""
    result = without_user_namespace(bundle("id -u")).set("process.user.additionalGids", [0]).run()
    assert result.out == "0\n"
    assert "warning" in one_line(result) and "additionalGids: not set: setgroups is denied" in one_line(result)


def test_the_state_directory_of_a_root_that_is_none(run, mapped_root):
    """As runc: /run is not its own, unless $USER says that it keeps the name of root."""
    (run.directory / "xdg").mkdir()
    run.user.owns(run.directory / "xdg")
    run.around = [*run.around, "env", "-u", "USER", f"XDG_RUNTIME_DIR={run.directory}/xdg"]
    run("list", root=False)
    assert (run.directory / "xdg/pyrun").is_dir()


# --- in a container


def engine(bundle, run, user):
    """A bundle in which the runtime runs, with a part of the host in it, as the root of a range of ids."""
    outer = map_range(bundle(), user, size=5000)
    for path in ("/lib", "/lib64", "/usr/lib"):
        if os.path.isdir(path):
            outer.mount(path, source=path, options=["rbind", "ro"])
    outer.mount("/runtime", source=str(pathlib.Path(run.program).parent), options=["rbind", "ro"])
    linux = outer.config["linux"]
    # A procfs that is covered in places would keep the container in it from one of its own.
    linux["maskedPaths"] = linux["readonlyPaths"] = []
    outer.set("process.noNewPrivileges", False)
    outer.set("process.capabilities", {kind: list(CAPABILITIES) for kind in ("bounding", "effective", "permitted")})
    return outer


def inside(outer, inner, run):
    """The inner bundle, run by the runtime in the outer one."""
    inner.write()
    outer.mount(str(inner.directory), source=str(inner.directory), options=["bind"])
    program = f"/runtime/{pathlib.Path(run.program).name}"
    outer.config["process"]["args"] = [program, "--root", "/tmp/state", "run", "--bundle", str(inner.directory), "inner"]
    return outer


@pytest.mark.parametrize("user_namespace", [True, False])
def test_a_container_in_a_container(bundle, run, user, user_namespace):
    inner = bundle("echo pid $$; id -u; id -G; cat /proc/self/uid_map; test -c /dev/zero && echo device")
    inner.set("process.user", {"uid": 3, "gid": 3, "additionalGids": [4]})
    if user_namespace:
        for name in ("uidMappings", "gidMappings"):
            inner.set(f"linux.{name}", [{"containerID": 0, "hostID": 10, "size": 100}])
    else:
        without_user_namespace(inner)
    out = inside(engine(bundle, run, user), inner, run).run().out.split()
    assert out[:5] == ["pid", "1", "3", "3", "4"] and out[-1] == "device"
    if user_namespace:
        assert out[5:-1] == ["0", "10", "100"]


def test_a_procfs_that_is_covered(bundle, run, user):
    """The kernel lets no user namespace mount more of a procfs than it sees. The message says so."""
    outer = engine(bundle, run, user)
    outer.set("linux.maskedPaths", ["/proc/keys"])
    line = one_line(inside(outer, root_alone(bundle()), run).run(code=1))
    assert 'error mounting "proc" to rootfs at "/proc": mounts[0]' in line and "covered in places" in line


def test_the_covered_procfs_may_be_shared(bundle, run, user):
    """Without a pid namespace of its own the container gets what the caller sees, with its covers."""
    outer = engine(bundle, run, user)
    outer.set("linux.maskedPaths", ["/proc/keys"])
    inner = without(without_user_namespace(bundle("wc -c </proc/keys; cat /proc/1/comm")), "pid")
    assert inside(outer, inner, run).run().out.split() == ["0", pathlib.Path(run.program).name]
