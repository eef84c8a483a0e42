"""The regression of CVE-2019-19921: a symlink at /proc was accepted again when the mount had options of its own."""

import pytest
from looks import one_line


@pytest.mark.parametrize(
    "mount",
    [
        {"type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {"type": "proc", "source": "/tmp/x", "options": ["rshared"]},
        {"type": "proc", "source": "proc", "options": ["hidepid=2", "ro"]},
    ],
)
@pytest.mark.parametrize("link", ["/bad-proc", "bad-proc"])
def test_a_symlink_at_proc(bundle, mount, link):
    b = bundle("echo started")
    b.config["mounts"][0] = {"destination": "/proc", **mount}
    (b.rootfs / "bad-proc").mkdir()
    (b.rootfs / "proc").rmdir()
    (b.rootfs / "proc").symlink_to(link)
    assert "must be mounted on ordinary directory" in one_line(b.call("run", code=1))
    assert list((b.rootfs / "bad-proc").iterdir()) == []
