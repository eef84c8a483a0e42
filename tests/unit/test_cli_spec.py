"""`spec`."""

import json
import os

from checkout import pyrun


def test_spec_writes_a_config_beside_a_rootfs(tmp_path):
    assert pyrun("spec", cwd=tmp_path) == (0, "", "")
    text = (tmp_path / "config.json").read_text()
    assert text.startswith('{\n\t"ociVersion": "1.3.0",\n\t"process": {\n\t\t"terminal": true,\n')
    config = json.loads(text)
    assert (config["root"], config["process"]["args"], config["process"]["terminal"]) == ({"path": "rootfs", "readonly": True}, ["sh"], True)
    spaces = {"pid", "network", "ipc", "uts", "mount"} | ({"cgroup"} if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else set())
    assert {space["type"] for space in config["linux"]["namespaces"]} == spaces


def test_a_config_that_exists_is_kept(tmp_path):
    (tmp_path / "config.json").write_text("mine")
    assert pyrun("spec", "-b", tmp_path) == (1, "", "pyrun: File config.json exists. Remove it first\n")
    assert (tmp_path / "config.json").read_text() == "mine"


def test_a_dangling_link_is_kept(tmp_path):
    (tmp_path / "config.json").symlink_to("elsewhere")
    assert pyrun("spec", cwd=tmp_path)[0] == 1
    assert not (tmp_path / "elsewhere").exists()


def test_rootless(tmp_path):
    assert pyrun("spec", "--rootless", "--bundle", tmp_path) == (0, "", "")
    config = json.loads((tmp_path / "config.json").read_text())
    linux = config["linux"]
    spaces = {space["type"] for space in linux["namespaces"]}
    assert "user" in spaces
    assert "network" not in spaces
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    assert linux["gidMappings"] == [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    assert "resources" not in linux
    mounts = {mount["destination"]: mount for mount in config["mounts"]}
    assert mounts["/sys"]["options"] == ["rbind", "nosuid", "noexec", "nodev", "ro"]
    assert not [option for mount in mounts.values() for option in mount.get("options", []) if option.startswith(("uid=", "gid="))]


def test_a_bundle_that_is_missing(tmp_path):
    assert pyrun("spec", "-b", "/nowhere") == (1, "", "pyrun: open /nowhere/config.json: no such file or directory\n")


def test_a_full_disk_leaves_no_part_of_it(tmp_path):
    # RLIMIT_FSIZE 0 fails the write as a full disk does (SIGXFSZ is ignored by Python).
    shell = ("sh", "-c", 'ulimit -f 0; exec "$@"', "sh")
    code, out, err = pyrun("spec", "-b", tmp_path, prefix=shell)
    assert (code, out, err) == (1, "", f"pyrun: write {tmp_path}/config.json: file too large\n")
    assert not (tmp_path / "config.json").exists()
