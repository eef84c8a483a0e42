"""While missing targets are made, a directory is exchanged for a symlink: files and directories appear on the host."""

from looks import tree


def test_race_for_what_is_made(bundle, victim, swapper):
    b = bundle("true")
    volume = b.directory / "volume"
    (volume / "x").mkdir(parents=True)
    (volume / "evil").symlink_to(f"../../../../../../../../{victim.path}")
    b.mount("/vol", source=str(volume), options=["rbind"])
    with swapper(volume / "x", volume / "evil") as race:
        for ran in race.rounds(1.5):
            # New names each time: what is there already is not made again.
            b.config["mounts"][8:] = [
                {"destination": f"/vol/x/dir{ran}/deep/er", "type": "tmpfs", "source": "tmpfs"},
                {"destination": f"/vol/x/file{ran}", "source": "/etc/hostname", "options": ["bind"]},
            ]
            b.run(code=None)
    assert victim.unchanged()


def test_a_dangling_symlink_as_a_file_target(bundle, victim):
    """open(O_CREAT) would follow it out of the root."""
    b = bundle("true").mount("/place", source="/etc/hostname", options=["bind"])
    (b.rootfs / "place").symlink_to(f"{'../' * 30}{victim.path}/made")
    b.run()
    assert victim.unchanged()
    assert str(b.rootfs / str(victim.path)[1:] / "made") in tree(b.rootfs)
