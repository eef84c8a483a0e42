"""Idmapped mounts of the file systems that have them, crun's option for their maps, and that the host keeps what it had."""

import contextlib
import os
import shutil
import subprocess

import pytest
from looks import mounted, one_line, user_namespace

pytestmark = pytest.mark.machine

# Ids in the file system (containerID) are seen as others (hostID).
MAPS = {name: [{"containerID": 0, "hostID": 5000, "size": 10000}] for name in ("uidMappings", "gidMappings")}


def fill(directory):
    """Gives a directory a file of root's and one of 1000:2000."""
    for name, uid, gid in (("root", 0, 0), ("user", 1000, 2000)):
        (directory / name).write_text(name)
        os.chown(directory / name, uid, gid)
    return directory


@contextlib.contextmanager
def ext4(directory):
    if not shutil.which("mkfs.ext4"):
        pytest.skip("no mkfs.ext4 here")
    image = directory / "image"
    image.write_bytes(b"")
    os.truncate(image, 8 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    with mounted(directory / "source", "-o", "loop", image) as source:
        yield source


@contextlib.contextmanager
def overlay(directory):
    for name in ("lower", "upper", "work"):
        (directory / name).mkdir()
    # The upper directory lies on a tmpfs: an overlay cannot be written to on top of another.
    with mounted(directory / "upper"):
        for name in ("upper", "work"):
            (directory / "upper" / name).mkdir()
        options = f"lowerdir={directory}/lower,upperdir={directory}/upper/upper,workdir={directory}/upper/work"
        with mounted(directory / "source", "-t", "overlay", "-o", options, "overlay") as source:
            yield source


@contextlib.contextmanager
def tmpfs(directory):
    with mounted(directory / "source") as source:
        yield source


KINDS = {"ext4": ext4, "overlay": overlay, "tmpfs": tmpfs}
# The first Linux in which it has idmapped mounts. An overlay has none: only its layers may be such mounts.
SINCE = {"ext4": (5, 15), "overlay": (99,), "tmpfs": (6, 3)}


def release():
    return tuple(int(number) for number in os.uname().release.split(".")[:2])


@pytest.fixture(params=KINDS)
def source(request, tmp_path):
    """A directory on a file system of its own; where this kernel cannot map its ids, `error` names it."""
    with KINDS[request.param](tmp_path) as path:
        yield fill(path), request.param if release() < SINCE[request.param] else ""


def test_owners(bundle, source):
    path, missing = source
    b = bundle("stat -c '%u:%g' /m/root /m/user").mount("/m", source=str(path), options=["bind"], **MAPS)
    if missing:
        line = one_line(b.call("run", code=1))
        assert "mounts[7]" in line and f"{missing} must support idmapped mounts" in line
        return
    assert b.run().out.split() == ["5000:5000", "6000:7000"]
    assert os.lstat(path / "root").st_uid == 0


def test_owners_in_a_user_namespace(bundle, source):
    """The container's maps: what is root's on the disk is the container's root's."""
    path, missing = source
    b = user_namespace(bundle("stat -c '%u:%g' /m/root /m/user; touch /m/new")).mount("/m", source=str(path), options=["bind", "idmap"])
    (path / ".").chmod(0o755)
    if missing:
        line = one_line(b.call("run", code=1))
        assert "mounts[7]" in line and f"{missing} must support idmapped mounts" in line
        return
    assert b.run().out.split() == ["0:0", "1000:2000"]
    assert os.lstat(path / "new").st_uid == 0


@pytest.mark.parametrize("path, name", [("/proc/sys", "proc"), ("/sys/kernel", "sysfs"), ("/dev/pts", "devpts")])
@pytest.mark.parametrize("userns", [False, True])
def test_a_file_system_that_has_none(bundle, path, name, userns):
    """The message names the place in the config, the path, the file system, and which ones can do it."""
    b = bundle().mount("/m", source=path, options=["bind", "idmap"], **MAPS)
    line = one_line((user_namespace(b) if userns else b).call("run", code=1))
    for words in ("mounts[7]", f'"{path}"', f"{name} must support idmapped mounts", "ext4"):
        assert words in line, line


# --- crun's option


@pytest.fixture
def disk(tmp_path):
    """A directory on a disk with ids to map."""
    with ext4(tmp_path) as path:
        yield fill(path)


@pytest.mark.parametrize(
    "option, owners",
    [
        ("idmap=uids=0-5000-10000;gids=0-6000-10000", ["5000:6000", "6000:8000"]),
        ("idmap=uids=1000-0-1#0-7-1;gids=0-1-1#2000-0-1", ["7:1", "0:0"]),
        ("ridmap=gids=0-6000-10000;uids=0-5000-10000", ["5000:6000", "6000:8000"]),
    ],
)
def test_maps_in_the_option(bundle, disk, option, owners):
    b = bundle("stat -c '%u:%g' /m/root /m/user").mount("/m", source=str(disk), options=["bind", option])
    assert b.run().out.split() == owners


def test_maps_in_the_option_by_ids_of_the_container(bundle, disk):
    """`@`: 1000 of the disk is 3 of the container, which is 100003 of the host."""
    b = user_namespace(bundle("stat -c '%u:%g' /m/root /m/user"))
    b.mount("/m", source=str(disk), options=["bind", "idmap=uids=@1000-3-1#@0-0-1;gids=@0-0-1#@2000-4-1"])
    assert b.run().out.split() == ["0:0", "3:4"]


@pytest.mark.parametrize(
    "option, words",
    [
        ("idmap=uids=0-0-1", "must have both uid and gid mappings"),
        ("idmap=uids=0-0;gids=0-0-1", "'0-0' is no FIRST-FIRST-SIZE"),
        ("idmap=uids=x-0-1;gids=0-0-1", "'x-0-1' is no FIRST-FIRST-SIZE"),
        ("idmap=names=0-0-1;gids=0-0-1", "'names=0-0-1' is neither uids=… nor gids=…"),
        ("idmap=uids=@0-0-1;gids=0-0-1", "the container has no id 0, to which @ refers"),
        ("idmap=uids=0-5-10#8-100-1;gids=0-0-1", "overlaps"),
    ],
)
def test_a_wrong_option(bundle, tmp_path, option, words):
    line = one_line(bundle().mount("/m", source=str(tmp_path), options=["bind", option]).call("create", code=1))
    assert "mounts[7]" in line and words in line


# --- the host's side


@pytest.mark.parametrize("options, owner", [([], "65534"), (["idmap"], "0")])
def test_a_mount_on_another_stays_the_containers(bundle, disk, options, owner):
    """Even where the host's mounts are shared."""
    subprocess.run(["mount", "--make-shared", disk], check=True)
    (disk / "below").mkdir()
    before = mounts_of(disk)
    b = user_namespace(bundle("touch /m/below/x; stat -c %u /m/root /m/below/root"))
    fill(disk / "below")
    b.mount("/m", source=str(disk), options=["rbind", *options])
    b.mount("/m/below", source=str(disk / "below"), options=["rbind", "ro", *options])
    result = b.run()
    assert result.out.split() == [owner, owner] and "Read-only file system" in result.err
    assert mounts_of(disk) == before


def mounts_of(directory):
    with open("/proc/self/mountinfo") as lines:
        return [line.split()[4] for line in lines if str(directory) in line]


def test_a_mapping_that_lacks_the_ids_of_a_file(bundle, disk):
    """What has no id through the mount is nobody's; who has none in it can make no file there (EOVERFLOW)."""
    b = bundle("stat -c '%u:%g' /m/root /m/user; touch /m/new")
    b.mount("/m", source=str(disk), options=["bind", "idmap=uids=1000-4-1;gids=2000-4-1"])
    for names in b.config["process"]["capabilities"].values():
        names.append("CAP_DAC_OVERRIDE")
    result = b.run(code=1)
    assert result.out.split() == ["65534:65534", "4:4"] and "Value too large" in result.err
