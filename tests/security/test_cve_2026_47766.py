"""The same as CVE-2026-41579 by way of the nodes of the config, whose parents are symlinks of the image."""

import os

import pytest
from looks import one_line, tree


@pytest.mark.parametrize("path", ["/dev/made", "/dev/sub/made", "/evil/made"])
def test_parents_of_a_node(bundle, victim, path):
    b = bundle("true").set("linux.devices", [{"path": path, "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}])
    b.config["mounts"] = b.config["mounts"][:1]
    link = f"{'../' * 30}{victim.path}"
    if path.startswith("/dev"):
        (b.rootfs / "dev").rmdir()
        (b.rootfs / "dev").symlink_to(link)
    else:
        (b.rootfs / "evil").symlink_to(link)
    b.run()
    assert victim.unchanged()
    assert (b.rootfs / str(victim.path)[1:] / path.removeprefix("/dev/").removeprefix("/evil/")).is_char_device()


def test_the_node_itself(bundle, victim):
    """chmod and chown of a node that is a symlink would be the host's file's."""
    b = bundle("true")
    b.set("linux.devices", [{"path": "/dev/made", "type": "c", "major": 1, "minor": 3, "fileMode": 0o777, "uid": 1000, "gid": 1000}])
    b.config["mounts"] = b.config["mounts"][:1]
    (b.rootfs / "dev/made").symlink_to(f"{'../' * 30}{victim.path}/file")
    assert "linux.devices[0]" in one_line(b.call("run", code=1))
    assert victim.unchanged()


def test_race_for_the_node(bundle, victim, swapper):
    b = bundle("true")
    devices = [{"path": f"/dev/sub/made{number}", "type": "c", "major": 1, "minor": 3, "fileMode": 0o777, "uid": 1000} for number in range(30)]
    b.set("linux.devices", devices)
    b.config["mounts"] = b.config["mounts"][:1]
    (b.rootfs / "dev/sub").mkdir()
    (b.rootfs / "dev/evil").symlink_to(f"{'../' * 30}{victim.path}")
    before = tree(victim.path)
    with swapper(b.rootfs / "dev/sub", b.rootfs / "dev/evil"):
        for _ in range(10):
            b.run(code=None)
    assert tree(victim.path) == before and os.listdir(victim.path / "dir") == []
