"""Closed stdio is replaced by the container's /dev/null, a symlink, and the file behind it given to the user."""

import os

import pytest


@pytest.mark.parametrize("closed", [(0,), (1, 2), (0, 1, 2), ()])
@pytest.mark.parametrize("target", ["victim", "inside"])
def test_closed_stdio_and_a_hostile_dev_null(bundle, victim, closed, target):
    b = bundle("true").set("process.user", {"uid": 1000, "gid": 1000}).set("linux.maskedPaths", [])
    (b.directory / "dev").mkdir()
    (b.rootfs / "inside").write_text("of the image")
    (b.directory / "dev/null").symlink_to(f"{'../' * 30}{victim.path}/file" if target == "victim" else "/inside")
    b.config["mounts"] = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "source": "dev", "options": ["bind"]},
    ]
    before = os.stat("/dev/null")

    def close():
        for descriptor in closed:
            os.close(descriptor)

    b.run(preexec_fn=close)
    container = b.set("process.args", ["sleep", "100"]).detached(preexec_fn=close)
    container.exec("true", preexec_fn=close)
    assert victim.unchanged()
    inside = os.stat(b.rootfs / "inside")
    assert (inside.st_uid, inside.st_size) == (0, 12)
    after = os.stat("/dev/null")
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
