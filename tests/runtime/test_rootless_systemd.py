"""--systemd-cgroup of an ordinary user: the unit is one of the user's own systemd."""

import os
import pathlib
import subprocess

import pytest
from looks import one_line
from ordinary import UserRunner

MIB = 1 << 20
DIRECTORY = pathlib.Path(os.environ.get("XDG_RUNTIME_DIR") or "/none")
BOOTED = pathlib.Path("/run/systemd/system").is_dir()
needs_systemd = pytest.mark.skipif(not BOOTED, reason="systemd is not running here")
needs_own = pytest.mark.skipif(
    os.geteuid() == 0 or not (BOOTED and (DIRECTORY / "systemd/private").exists()), reason="systemd is not running here for an ordinary user"
)


class SystemdRunner(UserRunner):
    def command(self, *args, root=True):
        return super().command("--systemd-cgroup", *args, root=root)


@pytest.fixture
def run(user, pyrun, tmp_path, token):
    made = user.runner(pyrun, tmp_path, token)
    made.__class__ = SystemdRunner
    return made


@pytest.fixture
def bundle(user, run, rootfs):
    return user.bundles(run, rootfs)


def systemctl(*args):
    return subprocess.check_output(["systemctl", "--user", *args], text=True)


def units(word):
    return systemctl("list-units", "--all", "--plain", "--no-legend", f"*{word}*").split("\n")[:-1]


@needs_own
def test_the_user_s_systemd_makes_the_scope(bundle, run, token):
    above = systemctl("show", "--property=ControlGroup", "--value", "init.scope").strip().removesuffix("/init.scope")
    b = bundle("sleep 1000").set("linux.resources", {"pids": {"limit": 20}, "memory": {"limit": 64 * MIB}})
    container = b.detached()
    expected = f"{above}/user.slice/pyrun-{container.id}.scope"
    assert pathlib.Path(f"/proc/{container.pid}/cgroup").read_text() == f"0::{expected}\n"
    directory = pathlib.Path(f"/sys/fs/cgroup{expected}")
    assert [(directory / name).read_text() for name in ("pids.max", "memory.max")] == ["20\n", f"{64 * MIB}\n"]
    assert container.exec("cat", "/proc/self/cgroup").out.strip().endswith(f"pyrun-{container.id}.scope")
    run("update", "--pids-limit", "30", container.id)
    systemctl("daemon-reload")
    assert (directory / "pids.max").read_text() == "30\n"
    run("pause", container.id)
    assert container.status() == "paused"
    run("resume", container.id)
    container.delete("--force")
    assert units(token) == []


@needs_own
def test_where_it_is_asked_for(bundle, token):
    container = bundle("sleep 1000").set("linux.cgroupsPath", f"app.slice:box:{token}").detached()
    assert pathlib.Path(f"/proc/{container.pid}/cgroup").read_text().endswith(f"/app.slice/box-{token}.scope\n")
    container.delete("--force")
    assert units(token) == []


@needs_systemd
@pytest.mark.skipif(os.geteuid() == 0, reason="root has the system's systemd")
def test_a_user_without_a_systemd_is_told_what_is_missing(bundle, tmp_path, monkeypatch, leftovers):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    line = one_line(bundle("true").call("create", code=1))
    assert "--systemd-cgroup: systemd cannot be reached: " in line
    assert all(word in line for word in ("dbus-user-session", "XDG_RUNTIME_DIR", "enable-linger"))
    assert leftovers() == []
