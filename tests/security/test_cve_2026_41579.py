"""/dev of the image is a symlink: nodes and links are made, and files removed, on the host."""

import pytest
from looks import tree


@pytest.mark.parametrize("kind", ["absolute", "relative", "two steps"])
@pytest.mark.parametrize("terminal", [False, True])
def test_dev_is_a_symlink(bundle, tmp_path, kind, terminal):
    host = tmp_path / "host-dev"
    (host / "pts").mkdir(parents=True)
    for name in ("ptmx", "null", "console"):
        (host / name).write_text("of the host")
    before = tree(host)
    b = bundle("ls /dev/", terminal=terminal)
    b.config["mounts"] = [entry for entry in b.config["mounts"] if entry["destination"] in ("/proc", "/dev/pts")]
    up = "../" * 30
    (b.rootfs / "dev").rmdir()
    (b.rootfs / "hop").symlink_to(f"{up}{host}")
    (b.rootfs / "dev").symlink_to({"absolute": str(host), "relative": f"{up}{host}", "two steps": "/hop"}[kind])
    if terminal:
        b.terminal().wait()
    else:
        assert "urandom" in b.run().out.split()
    assert tree(host) == before
    # In the root the same path is what the link means.
    assert (b.rootfs / str(host)[1:] / "urandom").is_char_device()
