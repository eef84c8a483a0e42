"""Configs and images with very much of something: they work in a time that grows with it, or a limit is named at once."""

import json
import resource

import pytest
from looks import one_line, user_namespace

ALLOW = {"allow": True, "type": "c", "access": "rw"}


@pytest.mark.parametrize("hard", [256, 4096])
def test_more_mounts_than_open_files(bundle, tmp_path, hard):
    """In a user namespace the runtime opens the sources; and the program has the limit that the caller has."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").touch()
    b = bundle("ulimit -Sn; ulimit -Hn; ls -d /m/*/file | wc -l")
    b.config["process"].pop("rlimits", None)
    for index in range(400):
        b.mount(f"/m/{index}", source=str(tmp_path / "data"), options=["rbind", "ro"])
    user_namespace(b)
    limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))  # noqa: E731
    assert b.run(preexec_fn=limit).out.split() == ["256", str(hard), "400"]


def test_more_idmapped_mounts_than_open_files(bundle, tmp_path):
    (tmp_path / "data").mkdir()
    b = bundle("stat -c %u /m/* | sort | uniq -c")
    b.config["process"].pop("rlimits", None)
    ids = [{"containerID": 0, "hostID": 1000, "size": 1}]
    for index in range(150):
        b.mount(f"/m/{index}", source=str(tmp_path / "data"), options=["bind"], uidMappings=ids, gidMappings=ids)
    limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))  # noqa: E731
    assert b.run(preexec_fn=limit).out.split() == ["150", "1000"]


def test_a_source_that_init_asks_for_and_that_is_not_there(bundle, tmp_path):
    b = bundle()
    for index in range(100):
        b.mount(f"/m/{index}", source=str(tmp_path), options=["rbind"])
    b.mount("/n", source="/none", options=["rbind"])
    user_namespace(b)
    line = one_line(b.call("run", code=1))
    assert f"mounts[{len(b.config['mounts']) - 1}].source: open_tree: no such file or directory" in line


@pytest.mark.parametrize("shape", ["sparse", "one line"])
def test_a_passwd_without_end(bundle, shape):
    """It is the image's: it cannot hold up what starts."""
    b = bundle("echo $HOME")
    b.config["process"]["env"] = ["PATH=/bin"]
    with open(b.rootfs / "etc/passwd", "r+" if shape == "sparse" else "w") as passwd:
        if shape == "one line":
            passwd.write("root:x:0:0:" + "r" * 100_000)
        passwd.truncate(64 << 30)
    assert b.run().out == {"sparse": "/root\n", "one line": "/\n"}[shape]


def test_many_masked_paths(bundle):
    b = bundle("ls /m/7")
    (b.rootfs / "m/7/x").mkdir(parents=True)
    b.set("linux.maskedPaths", [f"/m/{index}" for index in range(40_000)])
    assert b.run().out == ""


def test_many_device_rules(bundle):
    b = bundle("echo fine").set("linux.resources.devices", [{"allow": False, "access": "rwm"}])
    for index in range(4000):
        b.config["linux"]["resources"]["devices"].append(ALLOW | {"major": 300 + index % 500, "minor": index // 500})
    assert b.run().out == "fine\n"


def test_many_seccomp_rules(bundle, run):
    rule = {"names": [f"call{index}" for index in range(1000)], "action": "SCMP_ACT_ALLOW"}
    b = bundle().set("linux.seccomp", {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule] * 500}).write()
    expected = "linux.seccomp.syscalls: too many rules: they name 500000 system calls, at most 65536"
    assert expected in one_line(b.call("create", code=1))
    found = json.loads(run("validate", "--format", "json", "--bundle", b.directory, root=False, code=1).out)
    assert any(f"{one['path']}: {one['message']}".startswith(expected) for one in found)


def test_deep_json(bundle, run):
    b = bundle().write()
    path = b.directory / "config.json"
    path.write_text(path.read_text().rstrip()[:-1] + ',"x":' + "[" * 1000 + "]" * 1000 + "}")
    line = one_line(run("create", "--bundle", b.directory, run.new_id(), code=1))
    assert "config.json: syntax error" in line and "nested too deeply" in line
    assert "nested too deeply" in run("validate", "--bundle", b.directory, code=1).out


def test_validate_of_long_lists(bundle, run):
    b = bundle().set("linux.resources.devices", [{"allow": False, "access": "rwm"}] * 100_000 + [{"allow": 5}]).write()
    (fault,) = json.loads(run("validate", "--format", "json", "--bundle", b.directory, root=False, code=1).out)
    assert (fault["path"], fault["message"]) == ("linux.resources.devices[100000].allow", "must be true or false, not 5")
