"""A volume of the image on /proc, or in it: writes that are meant for the kernel go to files of the attacker."""

import pytest
from looks import one_line


def fake_proc(bundle):
    fake = bundle.directory / "fake"
    for path in ("self/attr/exec", "self/attr/apparmor/exec", "self/oom_score_adj", "sys/net/ipv4/ip_forward", "1/oom_score_adj"):
        (fake / path).parent.mkdir(parents=True, exist_ok=True)
        (fake / path).write_text("fake")
    return fake


def test_a_volume_on_proc(bundle):
    b = bundle()
    b.config["mounts"][0] = {"destination": "/proc", "source": str(fake_proc(b)), "options": ["rbind"]}
    line = one_line(b.call("run", code=1))
    assert "mounts[0]" in line and "procfs" in line


@pytest.mark.parametrize("kind", ["tmpfs", "sysfs", "devpts"])
def test_another_file_system_on_proc(bundle, kind):
    b = bundle()
    b.config["mounts"][0] = {"destination": "/proc", "type": kind, "source": kind}
    line = one_line(b.call("run", code=1))
    assert "mounts[0].destination" in line and '"proc"' in line


@pytest.mark.parametrize("destination", ["/proc/self/attr", "/proc/sys", "proc/1/", "/x/../proc/self", "/proc/./self"])
def test_a_volume_in_proc(bundle, destination):
    b = bundle().mount(destination, source=str(bundle().directory), options=["bind"])
    line = one_line(b.call("run", code=1))
    assert "mounts[7].destination" in line and "inside /proc" in line


@pytest.mark.parametrize("link, below", [("/proc/self", "/attr"), ("/proc/sys", ""), ("../proc", "/sys"), ("/proc", "")])
@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
def test_a_symlink_into_proc(bundle, link, below, kind):
    """The destination looks harmless; the image says where it leads."""
    b = bundle()
    options = {"source": str(fake_proc(b)), "options": ["bind"]} if kind == "bind" else {"type": "tmpfs", "source": "tmpfs"}
    b.mount(f"/data{below}", **options)
    (b.rootfs / "data").symlink_to(link)
    line = one_line(b.call("run", code=1))
    assert "mounts[7]" in line and "/data" in line and "symlink" in line


def test_files_that_may_be_replaced(bundle):
    """As lxcfs does it."""
    b = bundle("cat /proc/meminfo")
    (b.directory / "meminfo").write_text("MemTotal: 1 kB\n")
    b.mount("/proc/meminfo", source="meminfo", options=["bind", "ro"])
    assert b.run().out == "MemTotal: 1 kB\n"
