"""process.cwd: a directory that the root lacks is made, as a pod's workingDir relies on."""

import pytest
from looks import one_line, user_namespace

pytestmark = pytest.mark.machine


@pytest.mark.parametrize("command", ["run", "create"])
def test_a_missing_one_is_made_with_its_parents(bundle, command):
    b = bundle("pwd; stat -c %a:%u:%g . ..").set("process.cwd", "/srv/app/work")
    if command == "run":
        out = b.run().out
    else:
        c = b.create()
        c.start()
        assert c.wait() == 0
        out = c.out
    assert out == "/srv/app/work\n755:0:0\n755:0:0\n"


def test_a_read_only_root(bundle):
    assert bundle("pwd; touch x 2>&1").set("process.cwd", "/srv/work").set("root.readonly", True).run(code=1).out.startswith("/srv/work\n")


def test_below_a_mount(bundle):
    b = bundle("pwd; ls -d /tmp/a").set("process.cwd", "/tmp/a/b").mount("/tmp", type="tmpfs", source="tmpfs")
    assert b.run().out == "/tmp/a/b\n/tmp/a\n"
    assert not (b.rootfs / "tmp/a").exists()


def test_through_symlinks_of_the_image(bundle, tmp_path):
    """One that leads nowhere is followed inside the root, never outside."""
    b = bundle("/bin/pwd").set("process.cwd", f"/link{tmp_path}/new")
    (b.rootfs / "link").symlink_to("../../../..")
    assert b.run().out == f"{tmp_path}/new\n"
    assert not (tmp_path / "new").exists()
    (b.rootfs / "dangling").symlink_to("/made/here")
    assert b.set("process.cwd", "/dangling").run().out == "/made/here\n"


def test_it_belongs_to_root_of_the_user_namespace(bundle):
    b = bundle("pwd; stat -c %a:%u .").set("process.cwd", "/tmp/new").set("process.user", {"uid": 5, "gid": 5})
    b.mount("/tmp", type="tmpfs", source="tmpfs")
    user_namespace(b)
    assert b.run().out == "/tmp/new\n755:0\n"


def test_one_that_cannot_be_made(bundle):
    line = one_line(bundle().set("process.cwd", "/etc/passwd/x").call("run", code=1))
    assert "process.cwd" in line and "not a directory" in line
    b = bundle().set("process.cwd", "/m/x").mount("/m", type="tmpfs", source="tmpfs", options=["ro"])
    line = one_line(b.call("run", code=1))
    assert "process.cwd: mkdir /m/x: read-only file system" in line


def test_exec_makes_none(bundle):
    c = bundle("sleep 100").detached()
    line = one_line(c.exec("true", flags=("--cwd", "/none"), code=255))
    assert 'chdir to cwd ("/none")' in line and "no such file" in line
