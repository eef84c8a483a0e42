"""The container's /dev/null is a symlink, and what is bound over masked paths is the link's target."""

import os
import pathlib
import stat

import pytest
from looks import one_line

CORE_PATTERN = pathlib.Path("/proc/sys/kernel/core_pattern")


@pytest.mark.parametrize("link", ["/proc/sys/kernel/core_pattern", "/etc/passwd", "/proc/self/fd/0", "none"])
@pytest.mark.parametrize("own_dev", [True, False])
def test_dev_null_is_a_symlink(bundle, link, own_dev):
    before = CORE_PATTERN.read_text()
    b = bundle("echo pwned >/masked; cat /masked; echo end")
    (b.rootfs / "masked").write_text("secret\n")
    b.set("linux.maskedPaths", ["/masked"])
    directory = b.directory / "dev" if own_dev else b.rootfs / "dev"
    directory.mkdir(exist_ok=True)
    (directory / "null").symlink_to(link)
    b.config["mounts"] = [{"destination": "/proc", "type": "proc", "source": "proc"}]
    if own_dev:
        b.mount("/dev", source=str(directory), options=["bind"])
    result = b.call("run", code=1)
    line = one_line(result)
    assert ("linux.maskedPaths[0]: " if own_dev else "default devices: mknod /dev/null: file exists") in line
    assert "end" not in result.out
    assert CORE_PATTERN.read_text() == before


def test_dev_null_is_another_device(bundle):
    b = bundle("cat /masked").set("linux.maskedPaths", ["/masked"])
    (b.rootfs / "masked").touch()
    (b.directory / "dev").mkdir()
    os.mknod(b.directory / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    b.config["mounts"] = [{"destination": "/dev", "source": "dev", "options": ["bind"]}]
    assert "linux.maskedPaths[0]" in one_line(b.call("run", code=1))


def test_swapped_in_a_shared_dev(bundle, swapper):
    """/dev is a volume that another container shares."""
    before = CORE_PATTERN.read_text()
    b = bundle("echo pwned >/masked; grep -c ' /masked ' /proc/self/mountinfo; stat -c %t:%T /masked").set("linux.maskedPaths", ["/masked"])
    (b.rootfs / "masked").touch()
    dev = b.directory / "dev"
    dev.mkdir()
    os.mknod(dev / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (dev / "evil").symlink_to("/proc/sys/kernel/core_pattern")
    b.config["mounts"] = [{"destination": "/proc", "type": "proc", "source": "proc"}, {"destination": "/dev", "source": "dev", "options": ["bind"]}]
    outcomes = set()
    with swapper(dev / "null", dev / "evil"):
        for _ in range(25):
            result = b.run(code=None)
            outcomes.add(result.code)
            assert result.code or result.out == "1\n1:3\n"
    assert CORE_PATTERN.read_text() == before
