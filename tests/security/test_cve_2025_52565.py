"""/dev/console or /dev/pts/N leads elsewhere while the terminal is set up."""

import pytest
from looks import one_line


@pytest.mark.parametrize("link", ["victim", "/etc/passwd", "/proc/sys/kernel/core_pattern", "none"])
@pytest.mark.parametrize("own_dev", [True, False])
def test_console_is_a_symlink(bundle, victim, link, own_dev):
    b = bundle("tty; test -L /dev/console || echo no link; stat -c '%F' /etc/passwd; cat /proc/self/mountinfo", terminal=True)
    target = f"{'../' * 30}{victim.path}/file" if link == "victim" else link
    if own_dev:
        # A /dev of the config: a link there is the user's, and goes all the same.
        (b.directory / "dev/pts").mkdir(parents=True)
        b.config["mounts"][1] = {"destination": "/dev", "source": "dev", "options": ["bind"]}
        b.config["mounts"] = [entry for entry in b.config["mounts"] if entry["destination"] in ("/proc", "/dev", "/dev/pts")]
        b.set("linux.maskedPaths", [])
        (b.directory / "dev/console").symlink_to(target)
    else:
        b.config["mounts"] = [entry for entry in b.config["mounts"] if entry["destination"] in ("/proc", "/dev/pts")]
        (b.rootfs / "dev/console").symlink_to(target)
    terminal = b.terminal()
    seen = terminal.expect("regular")
    assert "/dev/pts/0" in seen and "no link" in seen
    mounts = terminal.expect("/dev/console")
    assert terminal.wait() == 0
    assert " /etc/passwd " not in mounts and "core_pattern" not in mounts
    assert victim.unchanged()


@pytest.mark.parametrize("what", ["regular file", "symlink to the host"])
def test_ptmx_is_not_what_it_seems(bundle, victim, what):
    """No devpts: what lies at /dev/pts/ptmx is the image's, and is not opened as a terminal."""
    b = bundle("tty", terminal=True)
    b.config["mounts"] = [entry for entry in b.config["mounts"] if entry["destination"] == "/proc"]
    (b.rootfs / "dev/pts").mkdir()
    if what == "regular file":
        (b.rootfs / "dev/pts/ptmx").touch()
    else:
        (b.rootfs / "dev/pts/ptmx").symlink_to(f"{'../' * 30}dev/ptmx")
    terminal = b.terminal()
    assert terminal.wait() == 1
    assert "process.terminal" in terminal.text and "/dev/pts/ptmx" in terminal.text
    assert victim.unchanged()


def test_exec_with_a_terminal(bundle, victim):
    """The container has replaced its /dev/pts and /dev/console meanwhile."""
    b = bundle(f"rm -f /dev/console; ln -s {victim.path}/file /dev/console; touch /tmp/done; exec sleep 100")
    container = b.detached()
    terminal = container.exec_terminal("sh", "-c", "while ! test -e /tmp/done; do :; done; tty")
    terminal.expect("/dev/pts/0")
    assert terminal.wait() == 0
    assert victim.unchanged()
    assert "process.args[0]" in one_line(container.exec("no-such-program", code=255))
