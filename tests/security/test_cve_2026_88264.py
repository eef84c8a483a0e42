"""/dev has no mount of its own, and /dev/console of the image leads to a path of the attacker's choice."""

import pytest


@pytest.mark.parametrize("path", ["etc/passwd", "bin/target", "dir"])
def test_the_terminal_covers_nothing_but_dev_console(bundle, path):
    b = bundle(f"tty; stat -c %F /{path}; stat -c %F /dev/console", terminal=True)
    b.config["mounts"] = [entry for entry in b.config["mounts"] if entry["destination"] in ("/proc", "/dev/pts")]
    place = b.rootfs / path
    if path == "dir":
        place.mkdir()
    else:
        place.write_text("root:x:0:0::/:/bin/sh\n")
    (b.rootfs / "dev/console").symlink_to(f"../{path}")
    terminal = b.terminal()
    seen = terminal.expect("character special file")
    assert terminal.wait() == 0
    assert ("directory" if path == "dir" else "regular file") in seen


@pytest.mark.parametrize("what", ["directory", "regular", "device"])
def test_what_else_may_lie_there(bundle, what):
    import os
    import stat

    b = bundle("tty; stat -c %F /dev/console", terminal=True)
    b.config["mounts"] = [entry for entry in b.config["mounts"] if entry["destination"] in ("/proc", "/dev/pts")]
    console = b.rootfs / "dev/console"
    if what == "directory":
        console.mkdir()
    else:
        os.mknod(console, stat.S_IFREG | 0o600 if what == "regular" else stat.S_IFCHR | 0o600, os.makedev(1, 5))
    terminal = b.terminal()
    if what == "directory":
        assert terminal.wait() == 1 and "process.terminal" in terminal.text
    else:
        terminal.expect("/dev/pts/0")
        terminal.expect("character special file")
        assert terminal.wait() == 0
    assert console.is_dir() == (what == "directory")
