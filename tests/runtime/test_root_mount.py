"""A mount on "/" becomes the root of the container: what is mounted is what is seen."""

import pytest
from looks import mounted, one_line, seen


@pytest.fixture
def other(bundle, tmp_path, rootfs):
    """Another root file system, with a file /other."""
    found = bundle().rootfs
    (found / "other").touch()
    return found


@pytest.mark.parametrize("flags", [(), ("--no-pivot",)])
@pytest.mark.parametrize("destination", ["/", "/./", "/to-the-root"])
def test_a_bind(bundle, other, flags, destination):
    b = bundle("ls /other; test -c /dev/null && test -d /proc/self && test -d /late && cat /proc/self/mountinfo | grep -c ' /late '")
    (b.rootfs / "to-the-root").symlink_to("/")
    b.config["mounts"].insert(0, {"destination": destination, "source": str(other), "type": "bind", "options": ["rbind"]})
    b.mount("/late", type="tmpfs", source="tmpfs")
    assert b.run(*flags).out == "/other\n1\n"
    assert not (b.rootfs / "late").exists()


def test_a_read_only_bind(bundle, other):
    b = bundle()
    b.config["mounts"].insert(0, {"destination": "/", "source": str(other), "type": "bind", "options": ["rbind", "ro"]})
    table = seen(b, "touch /x 2> /dev/null && exit 1; test -e /other")
    assert "ro" in table["/"].options


def test_in_the_middle_of_the_list(bundle, other):
    """What was mounted before lies below it, unseen; and nothing of it passes for what is there."""
    b = bundle("ls /other; ls /proc | wc -l; ls /sys | wc -l")
    b.mount("/", source=str(other), type="bind", options=["bind"])
    b.config["linux"].pop("maskedPaths", None)
    b.config["linux"].pop("readonlyPaths", None)
    assert b.run().out == "/other\n0\n0\n"


def test_a_tmpfs(bundle, tmp_path, rootfs):
    b = bundle(["/bin/busybox", "grep", " / ", "/proc/self/mountinfo"])
    b.config["mounts"].insert(0, {"destination": "/", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]})
    b.config["mounts"].insert(1, {"destination": "/bin", "source": str(rootfs / "bin"), "type": "bind", "options": ["bind"]})
    out = b.run().out
    assert " tmpfs " in out and " ro" in out


def test_a_shared_one(bundle, other):
    """pivot_root refuses a shared root."""
    with mounted(other) as shared:
        b = bundle()
        b.config["mounts"].insert(0, {"destination": "/", "source": str(shared), "type": "bind", "options": ["rbind", "rshared"]})
        b.set("linux.rootfsPropagation", "shared")
        assert "executable file not found" in one_line(b.call("run", code=1))  # it is empty


def test_it_is_never_copied_into_memory(bundle):
    line = one_line(bundle().mount("/", type="tmpfs", source="tmpfs", options=["tmpcopyup"]).call("run", code=1))
    assert "mounts[7].options" in line and "tmpcopyup" in line


def test_protected_paths(bundle):
    b = bundle("touch /x 2>&1; true")
    b.config["linux"]["readonlyPaths"].append("/")
    assert "Read-only" in b.run().out
    b.config["linux"]["maskedPaths"].append("/")
    assert "cannot be masked" in one_line(b.call("run", code=1))
