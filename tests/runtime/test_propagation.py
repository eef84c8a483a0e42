"""Mounts that are made later: whether they come into the container, and that none of its own goes to the host."""

import errno
import os
import subprocess

import pytest
from looks import mount, mount_table, mounted, seen, user_namespace
from seccomp_tools import refuse

MOUNT_SETATTR = 442

WORDS = {
    "private": set(), "rprivate": set(), "slave": {"master"}, "rslave": {"master"}, "shared": {"shared"}, "rshared": {"shared"},
    "unbindable": {"unbindable"}, "runbindable": {"unbindable"},
}  # fmt: skip


@pytest.fixture
def source(tmp_path):
    """A shared mount of the host with the directories `host` and `container`."""
    with mounted(tmp_path / "source") as path:
        mount("--make-shared", path)
        for name in ("host", "container"):
            (path / name).mkdir()
        yield path


def mount_points():
    with open("/proc/self/mountinfo") as lines:
        return set(mount_table(lines.read()))


def running(bundle, source, word, root=None):
    """A container with the source on /m that may mount."""
    b = bundle("while :; do sleep 1; done").mount("/m", source=str(source), options=["rbind", word])
    for names in b.config["process"]["capabilities"].values():
        names.append("CAP_SYS_ADMIN")
    if root:
        b.set("linux.rootfsPropagation", root)
    return b.detached()


@pytest.mark.kernels
@pytest.mark.parametrize(
    "word, root, comes, goes",
    [
        ("rprivate", None, False, False),
        ("private", None, False, False),
        ("rslave", None, True, False),
        ("slave", None, True, False),
        ("rshared", "shared", True, True),
        ("rshared", "rshared", True, True),
        ("rslave", "rshared", True, False),
        ("rprivate", "rshared", False, False),
        ("rshared", "rslave", True, False),
        ("rprivate", "rprivate", False, False),
        # Without r the word of the root is about the mount at / alone: a volume may still be a peer of the host's mount.
        ("shared", "slave", True, True),
        ("rshared", "slave", True, True),
        ("rslave", "slave", True, False),
        ("rshared", "private", True, True),
        ("rprivate", "private", False, False),
        ("rshared", "unbindable", True, True),
        ("rshared", "runbindable", False, False),
        ("rshared", None, True, False),
    ],
)
def test_later_mounts(bundle, source, word, root, comes, goes):
    container = running(bundle, source, word, root)
    mount("-t", "tmpfs", "tmpfs", source / "host")
    (source / "host/new").touch()
    assert container.exec("ls", "/m/host").out == ("new\n" if comes else "")
    container.exec("mount", "-t", "tmpfs", "tmpfs", "/m/container")
    container.exec("touch", "/m/container/own")
    assert os.path.exists(source / "container/own") == goes
    # Nor may what ends with the container end on the host.
    container.delete("--force")
    assert str(source / "host") in mount_points()


@pytest.mark.kernels
@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM])
@pytest.mark.parametrize("options", [["rbind"], ["rbind", "ro"], ["rbind", "private"]], ids=" ".join)
def test_no_mount_of_a_user_namespace_goes_to_the_host_without_mount_setattr(bundle, source, options, error):
    """Linux 5.10 has none: init sets the options and the propagation of what the runtime has cloned."""
    (source / "below").mkdir()
    with mounted(source / "below") as below:
        mount("--make-shared", below)
        (below / "container").mkdir()
        b = bundle("touch /m/x; for at in /m /m/below; do mount -t tmpfs tmpfs $at/container; touch $at/container/own; done; ls /m/below/container")
        b.mount("/m", source=str(source), options=options)
        for names in b.config["process"]["capabilities"].values():
            names.append("CAP_SYS_ADMIN")
        user_namespace(b)
        source.chmod(0o777)
        result = b.run(preexec_fn=refuse([MOUNT_SETATTR], error))
        assert result.out == "own\n"
        assert ("/m/x: Read-only" in result.err) == ("ro" in options)
        assert not os.path.exists(source / "container/own") and not os.path.exists(below / "container/own")


@pytest.mark.parametrize("word", WORDS)
def test_rootfs_propagation(bundle, word):
    b = bundle().set("linux.rootfsPropagation", word)
    table = seen(b)
    # Nothing of this host is shared, so that there is no master to be had.
    assert table["/"].propagation == WORDS[word] - {"master"}
    if word in ("rshared", "runbindable"):
        assert table["/dev/shm"].propagation == WORDS[word]
    if word in ("shared", "unbindable"):
        assert table["/dev/shm"].propagation == set()


# Of the root, and of a volume that is bound as a slave: where the host's mounts have not arrived, there is no master.
ON_SHARED_MOUNTS = {
    None: (set(), {"master"}), "private": (set(), {"master"}), "rprivate": (set(), set()),
    "slave": ({"master"}, {"master"}), "rslave": ({"master"}, {"master"}),
    "shared": ({"shared"}, {"master"}), "rshared": ({"shared"}, {"shared", "master"}),
    "unbindable": ({"unbindable"}, {"master"}), "runbindable": ({"unbindable"}, {"unbindable"}),
}  # fmt: skip


@pytest.mark.parametrize("word", ON_SHARED_MOUNTS)
def test_rootfs_propagation_on_shared_mounts(bundle, tmp_path, source, word):
    with mounted(tmp_path / "shared") as shared:
        mount("--make-shared", shared)
        b = bundle()
        subprocess.run(["cp", "-a", b.rootfs, shared], check=True)
        b.set("root.path", str(shared / "rootfs"))
        if word:
            b.set("linux.rootfsPropagation", word)
        b.mount("/m", source=str(source), options=["rbind", "rslave"])
        table = seen(b)
        assert (table["/"].propagation, table["/m"].propagation) == ON_SHARED_MOUNTS[word]


@pytest.mark.parametrize("word", [None, *WORDS])
@pytest.mark.parametrize("flags", [(), ("--no-pivot",)])
def test_a_shared_root_of_the_host_stays_as_it_is(bundle, tmp_path, word, flags):
    """The bundle lies on a shared mount, as everything does where systemd runs."""
    with mounted(tmp_path / "shared") as shared:
        mount("--make-rshared", shared)
        b = bundle("echo fine")
        subprocess.run(["cp", "-a", b.rootfs, shared], check=True)
        b.set("root.path", str(shared / "rootfs")).mount("/tmp", type="tmpfs", source="tmpfs")
        if word:
            b.set("linux.rootfsPropagation", word)
        before = mount_points()
        assert b.run(*flags).out == "fine\n"
        assert mount_points() == before
        with open("/proc/self/mountinfo") as lines:
            assert mount_table(lines.read())[str(shared)].propagation == {"shared"}


def test_nothing_leaks_while_the_container_runs(bundle, source):
    before = mount_points()
    b = bundle("sleep 100").mount("/m", source=str(source), options=["rbind", "rshared"])
    b.mount("/m/container", type="tmpfs", source="tmpfs")
    b.detached()
    assert mount_points() == before


def test_shared_volume_and_a_mount_of_the_config_below_it(bundle, source):
    """With a shared root, what the config mounts below a shared volume shows on the host: that is what was asked for."""
    b = bundle("sleep 100").set("linux.rootfsPropagation", "shared")
    b.mount("/m", source=str(source), options=["rbind", "rshared"])
    b.mount("/m/container", type="tmpfs", source="tmpfs")
    b.detached()
    assert str(source / "container") in mount_points()
