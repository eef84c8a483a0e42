"""/proc or /sys of the image is a symlink, so that what protects them lies elsewhere (also CVE-2023-27561, CVE-2023-28642)."""


import pytest
from looks import one_line


@pytest.mark.parametrize("name", ["proc", "sys"])
@pytest.mark.parametrize("link", ["evil/level1", "/evil/level1", "../../evil/level1", "tmp", "none"])
@pytest.mark.parametrize("flags", [(), ("--no-pivot",)])
def test_a_symlink_is_refused(bundle, victim, name, link, flags):
    b = bundle("echo started")
    (b.rootfs / "evil/level1").mkdir(parents=True)
    (b.rootfs / name).rmdir()
    (b.rootfs / name).symlink_to(link)
    line = one_line(b.call("run", *flags, code=1))
    assert "must be mounted on ordinary directory" in line and f'"/{name}"' in line


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_a_file_is_refused(bundle, name):
    b = bundle("echo started")
    (b.rootfs / name).rmdir()
    (b.rootfs / name).touch()
    assert "must be mounted on ordinary directory" in one_line(b.call("run", code=1))


def test_a_parent_that_is_a_symlink(bundle):
    b = bundle("echo started").mount("/chroot/proc", type="proc", source="proc")
    (b.rootfs / "chroot").symlink_to("tmp")
    assert "must be mounted on ordinary directory" in one_line(b.call("run", code=1))


def test_swapped_while_it_is_mounted(bundle, swapper):
    """A second container that shares the volume on which /proc lies swaps it for a symlink and back."""
    with open("/proc/sys/kernel/core_pattern") as file:
        same = file.read().strip()
    write = f"(echo '{same}' >/proc/sys/kernel/core_pattern) 2>/dev/null && echo writable"
    b = bundle(f"for n in 1 2 3 4 5; do {write}; ls /proc/acpi; done; echo end")
    shared = b.rootfs
    (shared / "evil").mkdir()
    (shared / "link").symlink_to("evil")
    codes = []
    with swapper(shared / "proc", shared / "link") as race:
        for _ in race.rounds(2, lambda: 0 in codes):
            result = b.run(code=None)
            codes.append(result.code)
            # Either it was refused, or whatever of the procfs the program finds is protected.
            assert set(result.out.split()) <= {"end", "/proc/acpi"}
    assert not (shared / "evil/sys").exists()
