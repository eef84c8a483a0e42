"""A runtime writes files of its own into the root file system, by a path that the image has made a symlink."""

from looks import tree


def test_nothing_is_written_into_the_image(bundle, victim):
    b = bundle("true").set("root.readonly", True)
    for name in (".krun_config.json", ".pyrun", "config.json", "run/.containerenv", "etc/hostname", "etc/resolv.conf", "etc/mtab", "pivot"):
        (b.rootfs / name).symlink_to(f"{'../' * 30}{victim.path}/file")
    for name in ("dev/pts", "dev/shm", "dev/mqueue"):
        (b.rootfs / name).mkdir()
    before = tree(b.rootfs)
    b.run()
    container = b.set("process.args", ["sleep", "100"]).detached()
    container.exec("true")
    container.delete("--force")
    assert tree(b.rootfs) == before
    assert victim.unchanged()


def test_the_bundle_is_only_read(bundle):
    b = bundle("true")
    b.run()
    assert sorted(path.name for path in b.directory.iterdir()) == ["config.json", "rootfs"]
