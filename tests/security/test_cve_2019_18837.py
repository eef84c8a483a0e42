"""Symlinks of the image on the way to a mount's target lead to the host."""

import pytest


@pytest.mark.parametrize("kind", ["absolute", "relative", "in the middle", "dangling"])
def test_a_target_behind_a_symlink(bundle, victim, kind):
    b = bundle("ls /evil; cat /proc/self/mountinfo")
    b.mount("/evil/deep/new" if kind == "dangling" else "/evil/dir", type="tmpfs", source="tmpfs")
    b.mount("/evil/file", source="/etc/hostname", options=["bind"])
    up = "../" * 30
    link = {
        "absolute": str(victim.path),
        "relative": f"{up}{victim.path}",
        "in the middle": f"/tmp/{up}/{victim.path}/../{victim.path.name}",
        "dangling": f"{victim.path}/none",
    }[kind]
    (b.rootfs / "evil").symlink_to(link)
    b.run(code=None)
    assert victim.unchanged()
    # The same path in the root is what the link means.
    inside = b.rootfs / str(victim.path)[1:]
    assert (inside / "none/deep/new" if kind == "dangling" else inside / "dir").is_dir()
