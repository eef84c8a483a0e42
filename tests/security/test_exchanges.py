"""What a mount lands on is exchanged for a symlink to the host, as fast as another container that shares the volume can: each kind of target.

`make security` does it for longer: $SECONDS_EACH for each target.
"""

import contextlib
import itertools
import os
import pathlib
import stat
import subprocess
import tempfile

import pytest

SECONDS = float(os.environ.get("SECONDS_EACH") or 1)
AT_ONCE = 4
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


def some_of(b):
    """Containers of a bundle that are made at the same time: (exit code, stdout, stderr) of each, when they have ended."""
    with contextlib.ExitStack() as files:
        said = [[files.enter_context(tempfile.TemporaryFile("w+")) for _ in range(2)] for _ in range(AT_ONCE)]
        running = []
        for out, err in said:
            command = b.runner.command("run", "--bundle", b.directory, b.runner.new_id())
            running.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err))
        codes = [process.wait(60) for process in running]
        for file in itertools.chain(*said):
            file.seek(0)
        return [(code, out.read(), err.read()) for code, (out, err) in zip(codes, said, strict=True)]


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
            for code, out, err in some_of(b.write()):
                outcomes.add(code)
                assert "of the host" not in out, err
                assert len([line for line in err.splitlines() if line.startswith("pyrun")]) <= 1, err
    print(f"{kind}: {race.count} swaps against {race.ran * AT_ONCE} creates, 0 escapes")
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
            for terminal in [b.terminal() for _ in range(AT_ONCE)]:
                outcomes.add(terminal.wait())
                assert "of the host" not in terminal.text, terminal.text
                assert len([line for line in terminal.text.splitlines() if line.startswith("pyrun")]) <= 1, terminal.text
    print(f"{place}: {race.count} swaps against {race.ran * AT_ONCE} creates, 0 escapes")
    assert outcomes <= {0, 1}
    assert victim.unchanged()
