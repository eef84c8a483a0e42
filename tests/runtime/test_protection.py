"""linux.maskedPaths and linux.readonlyPaths."""

import os
import stat

import pytest
from looks import one_line, seen


@pytest.fixture
def guarded(bundle):
    """A bundle with /data/file, /data/dir/inner; its config masks and protects nothing yet."""

    def make(script="true"):
        b = bundle(script).set("linux.maskedPaths", []).set("linux.readonlyPaths", [])
        (b.rootfs / "data/dir").mkdir(parents=True)
        (b.rootfs / "data/file").write_text("secret")
        (b.rootfs / "data/dir/inner").write_text("secret")
        return b

    return make


@pytest.mark.kernels
@pytest.mark.parametrize("read_only_root", [False, True])
@pytest.mark.parametrize("flags", [(), ("--no-pivot",)])
def test_masked(guarded, read_only_root, flags):
    b = guarded("cat /data/file; ls -A /data/dir; touch /data/dir/x; echo x >/data/file; stat -c '%t:%T %F' /data/file; ls /data")
    b.set("linux.maskedPaths", ["/data/file", "/data/dir", "/data/missing", "/data/file/below"]).set("root.readonly", read_only_root)
    result = b.run(*flags)
    assert result.out == "1:3 character special file\ndir\nfile\n"
    assert "/data/dir/x: Read-only file system" in result.err
    assert (b.rootfs / "data/file").read_text() == "secret"


def test_masked_directories_share_one_file_system(guarded):
    b = guarded()
    names = [f"/data/{number}" for number in range(5)]
    for name in names:
        (b.rootfs / name[1:]).mkdir()
    b.set("linux.maskedPaths", names)
    table = seen(b)
    assert len({table[name].device for name in names}) == 1
    assert all({"ro", "nosuid", "nodev", "noexec"} <= table[name].options for name in names)


@pytest.mark.parametrize("read_only_root", [False, True])
def test_read_only(guarded, read_only_root):
    b = guarded("echo x >/data/file; touch /data/dir/x; cat /data/file; touch /data/y && echo open")
    b.set("linux.readonlyPaths", ["/data/file", "/data/dir", "/data/missing"]).set("root.readonly", read_only_root)
    result = b.run(code=1 if read_only_root else 0)
    assert result.out == "secret" + ("" if read_only_root else "open\n")
    assert "/data/file: Read-only file system" in result.err
    assert "/data/dir/x: Read-only file system" in result.err


def test_read_only_keeps_the_flags_and_the_mounts_below(guarded):
    b = guarded()
    b.mount("/m", type="tmpfs", source="tmpfs", options=["nosuid", "noexec", "nodev"])
    b.mount("/m/below", type="tmpfs", source="tmpfs")
    b.set("linux.readonlyPaths", ["/m"])
    table = seen(b)
    assert {"ro", "nosuid", "noexec", "nodev"} <= table["/m"].options
    assert "rw" in table["/m/below"].options


def test_masked_through_a_symlink_of_the_image(guarded):
    """The link is resolved in the root: what it names there is masked."""
    b = guarded("cat /data/file; cat /link; echo end").set("linux.maskedPaths", ["/link"])
    (b.rootfs / "link").symlink_to("../../data/file")
    assert b.run().out == "end\n"


def test_masked_and_read_only_at_once(guarded):
    b = guarded("ls -A /data/dir; touch /data/dir/x; echo end")
    b.set("linux.maskedPaths", ["/data/dir", "/data"]).set("linux.readonlyPaths", ["/data/dir", "/data"])
    assert b.run().out == "end\n"


@pytest.mark.kernels
def test_the_defaults_hold(bundle):
    script = """
    cat /proc/keys /proc/timer_list; ls /proc/acpi /sys/firmware
    value=$(cat /proc/sys/kernel/core_pattern); echo "$value" >/proc/sys/kernel/core_pattern; mkdir /proc/sys/x /sys/x; echo end
    """
    result = bundle(script).run()
    assert result.out.split() == ["/proc/acpi:", "/sys/firmware:", "end"]
    assert "can't create /proc/sys/kernel/core_pattern: Read-only file system" in result.err


def test_no_dev_null_no_mask(guarded):
    """Whatever lies at /dev/null must be it (CVE-2025-31133); here a bound /dev does not have one."""
    b = guarded().set("linux.maskedPaths", ["/data/file"])
    (b.directory / "dev").mkdir()
    os.mknod(b.directory / "dev/null", stat.S_IFREG | 0o666)
    b.config["mounts"] = [{"destination": "/dev", "source": "dev", "options": ["bind"]}]
    line = one_line(b.call("run", code=1))
    assert "linux.maskedPaths[0]" in line and "/data/file" in line
    os.unlink(b.directory / "dev/null")
    assert "linux.maskedPaths[0]" in one_line(b.call("run", code=1))


def test_a_new_mount_namespace_is_needed(guarded):
    b = guarded().set("linux.maskedPaths", ["/data/file"])
    b.config["linux"]["namespaces"] = [{"type": "pid"}, {"type": "uts"}]
    assert "linux.maskedPaths" in one_line(b.call("run", code=1))
