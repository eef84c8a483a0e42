"""A directory on the way to a mount's target is exchanged for a symlink to the host while it is mounted."""

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
    with swapper(volume / "x", volume / "evil") as race:
        for _ in race.rounds(1.5):
            result = b.run(code=None)
            assert "of the host" not in result.out
            assert len([line for line in result.err.splitlines() if line.startswith("pyrun")]) <= 1
    assert victim.unchanged()
