"""`pyrun unpack` and `run` by an ordinary user."""

import errno
import os
import shutil
import subprocess
import tarfile

import pytest
from images import busybox, layout


@pytest.fixture
def run(user, pyrun, tmp_path, token):
    return user.runner(pyrun, tmp_path, token)


@pytest.fixture
def unpack(user, run):
    """unpack(layers…): (the bundle, what was said)."""

    def make(*layers, code=0, **about):
        image = user.owns(layout(run.directory / "image", layers, about.pop("config", None)))
        said = run("unpack", image, run.directory / "bundle", code=code, **about).err
        return run.directory / "bundle", said

    return make


@pytest.fixture
def without_tools(tmp_path):
    """An environment whose $PATH lacks newuidmap."""
    path = tmp_path / "bin"
    path.mkdir()
    (path / "setpriv").symlink_to(shutil.which("setpriv"))
    return {"PATH": str(path)}


SEEN = "stat -c '%u:%g %a %n' /owned /secret/file /tmp; cat /secret/file; id -u"


def image():
    return (
        busybox()
        .directory("secret", mode=0o500)
        .file("secret/file", b"content\n", mode=0o600)
        .file("owned", uid=33, gid=34, mode=0o4755)
        .add("null", tarfile.CHRTYPE, device=(1, 3))
        .add("fifo", tarfile.FIFOTYPE)
        .file("user", xattrs={"user.x": b"1", "security.capability": bytes.fromhex("0100000200040000000000000000000000000000")})
    )


def has_user_xattrs(directory):
    """Whether its file system has such attributes: tmpfs does since Linux 6.6."""
    try:
        os.setxattr(directory, "user.test", b"1")
    except OSError as fault:
        assert fault.errno == errno.EOPNOTSUPP
        return False
    return True


def test_owners_are_subordinate_ids(run, user, unpack):
    first, size = user.range
    if size < 65536:
        pytest.skip("few subordinate ids")
    bundle, said = unpack(image(), config={"Cmd": ["sh", "-c", SEEN]})
    left = ["devices, which only root may make, the node of null"]
    if not has_user_xattrs(bundle):
        left.append("the extended attribute user.x of user")
    assert said == "".join(f"pyrun: warning: left out: {what}\n" for what in left)
    about = (bundle / "rootfs/owned").stat()
    assert (about.st_uid, about.st_gid) == (first + 32, first + 33)
    assert (bundle / "rootfs/secret").stat().st_uid == user.uid
    assert len(os.getxattr(bundle / "rootfs/user", "security.capability")) == 24  # it names the user namespace's root
    assert run("run", bundle).out == "33:34 4755 /owned\n0:0 600 /secret/file\n0:0 755 /tmp\ncontent\n0\n"


def test_a_program_of_another_user(run, user, unpack):
    if user.range[1] < 65536:
        pytest.skip("few subordinate ids")
    bundle, _ = unpack(image(), config={"Cmd": ["sh", "-c", "id -u; cat /secret/file || echo no"], "User": "web"})
    assert run("run", bundle).out == "33\nno\n"


def test_without_newuidmap_all_belongs_to_the_user(run, user, unpack, without_tools):
    bundle, said = unpack(image(), config={"Cmd": ["sh", "-c", SEEN]}, env=without_tools)
    assert "left out: owners of owned\n" in said
    assert (bundle / "rootfs/owned").stat().st_uid == user.uid
    assert run("run", bundle, env=without_tools).out == "0:0 4755 /owned\n0:0 600 /secret/file\n0:0 755 /tmp\ncontent\n0\n"


def test_without_newuidmap_there_is_no_other_user(run, unpack, without_tools):
    bundle, said = unpack(image(), config={"Cmd": ["id", "-u"], "User": "web"}, env=without_tools)
    assert "the program will run as root, which is you: there is no id for the image's user 33:34\n" in said
    assert run("run", bundle, env=without_tools).out == "0\n"


def test_nothing_stays_of_what_fails(unpack):
    bundle, said = unpack(image().directory("locked", mode=0).file("locked/x/y").file("../x"), code=1)
    assert '"../x" has a ".." in it' in said
    assert not bundle.exists()


def test_the_user_can_remove_it(user, unpack, without_tools):
    bundle, _ = unpack(busybox().directory("d", mode=0o700).file("d/x"), env=without_tools)
    subprocess.run(user.command(["rm", "-rf", bundle]), check=True)
    assert not bundle.exists()
