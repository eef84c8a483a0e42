"""/proc is a symlink, and the config mounts over the link's target: what confines the program is read from there."""

from looks import one_line


def test_proc_behind_a_symlink_and_a_mount_on_its_target(bundle):
    b = bundle("echo started")
    (b.rootfs / "proc").rmdir()
    (b.rootfs / "proc").symlink_to("tmp/proc")
    b.config["mounts"].insert(0, {"destination": "/tmp/proc", "type": "tmpfs", "source": "tmpfs"})
    line = one_line(b.call("run", code=1))
    assert "mounts[1]" in line and "must be mounted on ordinary directory" in line


def test_a_link_that_the_config_itself_mounts_behind(bundle):
    """A bind mount brings the symlink into the root: a tmpfs on /proc is refused before anything is mounted."""
    b = bundle("echo started")
    b.config["mounts"].insert(0, {"destination": "/proc", "type": "tmpfs", "source": "tmpfs"})
    assert "mounts[0].destination" in one_line(b.call("run", code=1))
