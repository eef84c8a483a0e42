"""A directory on the way to a mount's target is exchanged for a symlink to the host while it is mounted."""

import time

import pytest


@pytest.mark.parametrize("target", ["/vol/x/deep/new", "/vol/x/file"])
def test_race_for_a_target(bundle, victim, swapper, target):
    b = bundle("cat /vol/x/file; ls /vol/x/; cat /proc/self/mountinfo")
    volume = b.directory / "volume"
    (volume / "x").mkdir(parents=True)
    (volume / "evil").symlink_to(victim.path)
    b.mount("/vol", source=str(volume), options=["rbind"])
    if target.endswith("file"):
        b.mount(target, source="/etc/hostname", options=["bind"])
    else:
        b.mount(target, type="tmpfs", source="tmpfs")
        b.mount(target + "/below", type="tmpfs", source="tmpfs")
    ran, end = 0, time.monotonic() + 1.5
    with swapper(volume / "x", volume / "evil") as race:
        while time.monotonic() < end:
            result = b.run(code=None)
            ran += 1
            assert "of the host" not in result.out
            assert len([line for line in result.err.splitlines() if line.startswith("pyrun")]) <= 1
    assert race.count > 100 and ran > 5
    assert victim.unchanged()
