"""What a mount lands on is exchanged for a symlink to the host, as fast as another container that shares the volume can: each kind of target.

`make security` does it for longer: $SECONDS_EACH for each target.
"""

import os
import pathlib
import stat

import pytest

SECONDS = float(os.environ.get("SECONDS_EACH") or 1)
CORE_PATTERN = pathlib.Path("/proc/sys/kernel/core_pattern")
BASE = ("/proc", "/sys")
MOUNTS = {
    "bind": {"source": "/usr/share/doc", "options": ["rbind", "ro"]},
    "tmpfs": {"type": "tmpfs", "source": "tmpfs"},
    "proc": {"type": "proc", "source": "proc"},
    "sysfs": {"type": "sysfs", "source": "sysfs", "options": ["ro"]},
}
KINDS = [*MOUNTS, "masked directory", "masked file", "readonly", "device", "null", "pts"]


def target_of(b, volume, kind):
    """Sets the bundle up so that something is mounted on, or made at, a name in the volume. Returns that name, as it lies on the host."""
    target = volume / "x"
    if kind in ("masked file", "device"):
        target.write_text("of the volume\n")
    elif kind == "null":
        os.mknod(target := volume / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    else:
        target.mkdir()
    inside = f"/volume/{target.name}"
    if kind in MOUNTS:
        b.mount(inside, **MOUNTS[kind])
    elif kind == "pts":
        b.mount(inside, type="devpts", source="devpts", options=["newinstance", "ptmxmode=0666"])
    elif kind == "device":
        b.set("linux.devices", [{"path": f"{inside}-dir/full", "type": "c", "major": 1, "minor": 7}])
        target = volume / "x-dir"
        target.mkdir()
    elif kind == "null":
        b.mount("/dev", source=str(volume), options=["bind"])
        b.set("linux.maskedPaths", ["/masked"])
        (b.rootfs / "masked").touch()
    else:
        b.set("linux.maskedPaths" if kind.startswith("masked") else "linux.readonlyPaths", ["/proc/sys", inside][kind.startswith("masked") :])
    return target


@pytest.mark.parametrize("kind", KINDS)
def test_race(kind, bundle, victim, swapper):
    core_pattern = CORE_PATTERN.read_text()
    b = bundle("cat /volume/*/file /volume/x /dev/null/file ; echo pwned >/masked; true")
    b.config["mounts"] = [entry for entry in b.config["mounts"] if entry["destination"] in BASE]
    b.set("linux.maskedPaths", []).set("linux.readonlyPaths", ["/proc/sys"])
    volume = b.directory / "volume"
    volume.mkdir()
    b.mount("/volume", source=str(volume), options=["rbind"])
    target = target_of(b, volume, kind)
    file = kind in ("masked file", "null")
    (volume / "evil").symlink_to(CORE_PATTERN if kind == "null" else victim.path / ("file" if file else "dir"))
    outcomes = set()
    with swapper(target, volume / "evil") as race:
        for _ in race.rounds(SECONDS):
            result = b.run(code=None)
            outcomes.add(result.code)
            assert "of the host" not in result.out, result
            assert len([line for line in result.err.splitlines() if line.startswith("pyrun")]) <= 1, result
    print(f"{kind}: {race.count} swaps against {race.ran} creates, 0 escapes")
    assert outcomes <= {0, 1}
    assert victim.unchanged() and CORE_PATTERN.read_text() == core_pattern


@pytest.mark.parametrize("place", ["console", "pts"])
def test_race_of_a_terminal(place, bundle, victim, swapper):
    """/dev is a volume, and the program has a terminal, which comes from /dev/pts and is mounted on /dev/console."""
    b = bundle("tty; cat /dev/console/file /dev/pts/file; echo pwned >/dev/console; touch /dev/pts/pwned; true", terminal=True)
    volume = b.directory / "volume"
    (volume / "pts").mkdir(parents=True)
    (volume / "console").touch()
    (volume / "evil").symlink_to(victim.path / ("file" if place == "console" else "dir"))
    b.config["mounts"] = [entry for entry in b.config["mounts"] if entry["destination"] in ("/proc", "/dev", "/dev/pts")]
    b.config["mounts"][1] = {"destination": "/dev", "source": str(volume), "options": ["bind"]}
    b.set("linux.maskedPaths", [])
    outcomes = set()
    with swapper(volume / place, volume / "evil") as race:
        for _ in race.rounds(SECONDS):
            terminal = b.terminal()
            outcomes.add(terminal.wait())
            assert "of the host" not in terminal.text, terminal.text
            assert len([line for line in terminal.text.splitlines() if line.startswith("pyrun")]) <= 1, terminal.text
    print(f"{place}: {race.count} swaps against {race.ran} creates, 0 escapes")
    assert outcomes <= {0, 1}
    assert victim.unchanged()
