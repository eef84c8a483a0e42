"""Idmapped mounts: the same files with other owners (config.md#mounts, uidMappings; mount_setattr(2))."""

import os

import pytest
from looks import mounted, one_line, user_namespace

MAP = [{"containerID": 0, "hostID": 100000, "size": 65536}]
IDENTITY = [{"containerID": 0, "hostID": 0, "size": 65536}]


@pytest.fixture(params=["tmpfs", "disk"])
def source(request, tmp_path):
    """A directory with a file of root and one of 1000:2000."""

    def fill(directory):
        for name, uid, gid in (("root", 0, 0), ("user", 1000, 2000)):
            (directory / name).write_text(name)
            os.chown(directory / name, uid, gid)
        return directory

    if request.param == "tmpfs":
        with mounted(tmp_path / "source") as path:
            yield fill(path)
    else:
        (tmp_path / "source").mkdir()
        yield fill(tmp_path / "source")


@pytest.mark.parametrize("options", [["bind"], ["bind", "idmap"], ["rbind", "ridmap"]])
def test_owners_are_mapped(bundle, source, options):
    b = bundle("stat -c '%u:%g' /m/root /m/user; touch /m/new").mount("/m", source=str(source), options=options)
    for names in b.config["process"]["capabilities"].values():
        names.append("CAP_DAC_OVERRIDE")
    b.config["mounts"][-1] |= {
        "uidMappings": [{"containerID": 0, "hostID": 5000, "size": 10000}],
        "gidMappings": [{"containerID": 0, "hostID": 6000, "size": 10000}],
    }
    # The mapping is that of a user namespace: ids in the file system (left) -> ids that are seen (right). The container's
    # root has no id in it, so it can't make files there.
    result = b.run(code=1)
    assert result.out.split() == ["5000:6000", "6000:8000"]
    assert "Value too large" in result.err
    assert os.lstat(source / "root").st_uid == 0


def test_in_a_user_namespace_with_its_mappings(bundle, source):
    """The container's root is 100000 on the host; through the mount it makes files of the host's root."""
    b = bundle("stat -c '%u:%g' /m/root /m/user; touch /m/new; stat -c %u /m/new").mount("/m", source=str(source), options=["bind", "idmap"])
    user_namespace(b)
    assert b.run().out.split() == ["0:0", "1000:2000", "0"]
    assert os.lstat(source / "new").st_uid == 0


def test_in_a_user_namespace_of_what_an_earlier_mount_brought(bundle, source):
    """The source lies in the root, where only the container sees the earlier mount; only the host may map its ids."""
    b = bundle("stat -c '%u:%g' /here/root /here/user").mount("/m", source=str(source), options=["bind"])
    b.mount("/here", source=f"{b.rootfs}/m", options=["bind", "idmap"])
    user_namespace(b)
    assert b.run().out.split() == ["0:0", "1000:2000"]


def test_idmap_is_for_the_top_ridmap_for_all(bundle, source):
    (source / "below").mkdir()
    with mounted(source / "below") as below:
        (below / "file").touch()
        b = bundle("stat -c %u /one/root /one/below/file /all/root /all/below/file")
        for point, options in (("/one", ["rbind", "idmap"]), ("/all", ["rbind", "ridmap"])):
            b.mount(point, source=str(source), options=options, uidMappings=MAP, gidMappings=MAP)
        assert b.run().out.split() == ["100000", "0", "100000", "100000"]


def test_with_flags(bundle, source):
    b = bundle("stat -c %u /m/root; touch /m/x; true")
    b.mount("/m", source=str(source), options=["rbind", "rro", "idmap"], uidMappings=IDENTITY, gidMappings=IDENTITY)
    result = b.run()
    assert result.out == "0\n"
    assert "Read-only file system" in result.err


def test_a_file_system_that_cannot_do_it(bundle):
    """procfs has no idmapped mounts. The message says what is not possible where."""
    b = bundle().mount("/m", source="/proc/sys", options=["bind"], uidMappings=MAP, gidMappings=MAP)
    line = one_line(b.call("run", code=1))
    for word in ("mounts[7]", "/proc/sys", "idmap", "proc"):
        assert word in line, line


@pytest.mark.parametrize(
    "changes, word",
    [
        ({"options": ["bind"], "uidMappings": MAP}, "gid"),
        ({"options": ["bind", "idmap"]}, "uidMappings"),
        ({"type": "tmpfs", "uidMappings": MAP, "gidMappings": MAP}, "bind"),
        ({"options": ["bind"], "uidMappings": [*MAP, *MAP], "gidMappings": MAP}, "overlaps"),
    ],
)
def test_what_makes_no_sense(bundle, tmp_path, changes, word):
    b = bundle().mount("/m", source=str(tmp_path), **changes)
    line = one_line(b.call("run", code=1))
    assert "mounts[7]" in line and word in line
