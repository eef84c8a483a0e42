"""Where mounts land, what is made for them, and in which order (config.md#mounts)."""

import os
import stat
import subprocess
import threading

import pytest
from looks import mount, mounted, one_line, seen, user_namespace


def mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


# --- the mode of a tmpfs


@pytest.mark.parametrize(
    "existing, options, wanted",
    [
        (0o710, [], "710"),
        (0o1777, [], "1777"),
        (0o2755, [], "2755"),
        (0o710, ["mode=1500"], "1500"),
        (0o755, ["mode=0444"], "444"),
        (None, [], "1777"),
        (None, ["mode=700"], "700"),
    ],
)
def test_the_mode_of_a_tmpfs(bundle, existing, options, wanted):
    """mode=, else that of the directory it covers, else the kernel's."""
    b = bundle("stat -c %a /a/b/c").mount("/a/b/c", type="tmpfs", source="tmpfs", options=options)
    if existing is not None:
        (b.rootfs / "a/b/c").mkdir(parents=True)
        (b.rootfs / "a/b/c").chmod(existing)
    for _ in range(2):  # what the first run has made must not change the second
        assert b.run(umask=0o077).out == wanted + "\n"
        if existing is None:
            os.rmdir(b.rootfs / "a/b/c")
        else:
            assert mode(b.rootfs / "a/b/c") == existing


@pytest.mark.arm64
def test_the_mode_of_other_file_systems_is_the_kernels(bundle):
    b = bundle("stat -c %a /proc /sys /dev/shm /dev/mqueue")
    for name in ("proc", "sys"):
        (b.rootfs / name).chmod(0o700)
    assert b.run().out.split() == ["555", "555", "1777", "1777"]


# --- targets


def test_missing_targets_are_made(bundle, tmp_path):
    (tmp_path / "file").write_text("from the host")
    b = bundle("cat /x/y/file; ls -d /x/y/dir")
    b.mount("/x/y/file", source=str(tmp_path / "file"), options=["bind"])
    b.mount("/x/y/dir", source=str(tmp_path), options=["bind"])
    assert b.run(umask=0o077).out == "from the host/x/y/dir\n"
    assert [mode(b.rootfs / path) for path in ("x", "x/y", "x/y/dir")] == [0o755] * 3
    made = os.lstat(b.rootfs / "x/y/file")
    assert stat.S_ISREG(made.st_mode) and made.st_size == 0


def test_parents_inherit_setgid(bundle):
    b = bundle().mount("/sg/a/b", type="tmpfs", source="tmpfs")
    (b.rootfs / "sg").mkdir()
    os.chown(b.rootfs / "sg", 0, 2000)
    (b.rootfs / "sg").chmod(0o2775)
    b.run()
    made = os.lstat(b.rootfs / "sg/a")
    assert (stat.S_IMODE(made.st_mode), made.st_gid) == (0o2755, 2000)


@pytest.mark.arm64
@pytest.mark.parametrize("link", ["/real", "real", "../../../real", "/../../real", "hop", "/gone/deep"])
def test_symlinks_in_a_target_stay_in_the_root(bundle, tmp_path, link):
    b = bundle("cat /link/sub/file").mount("/link/sub", source=str(tmp_path / "data"), options=["bind"])
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").write_text("data")
    (b.rootfs / "real").mkdir()
    (b.rootfs / "hop").symlink_to("/real")
    (b.rootfs / "link").symlink_to(link)
    assert b.run().out == "data"
    # A link to nowhere is followed in the root, too, and what it names is made there.
    where = "gone/deep" if link == "/gone/deep" else "real"
    assert (b.rootfs / where / "sub").is_dir()
    assert (b.rootfs / "link").is_symlink()


def test_a_dangling_symlink_as_the_target_of_a_file(bundle, tmp_path):
    (tmp_path / "file").write_text("data")
    b = bundle("cat /etc/resolv.conf").mount("/etc/resolv.conf", source=str(tmp_path / "file"), options=["bind"])
    (b.rootfs / "etc/resolv.conf").symlink_to("../run/none/resolv.conf")
    assert b.run().out == "data"
    assert os.path.isfile(b.rootfs / "run/none/resolv.conf")
    assert not os.path.exists("/run/none")


def test_a_loop_of_symlinks_is_an_error(bundle):
    b = bundle().mount("/loop/x", type="tmpfs", source="tmpfs")
    (b.rootfs / "loop").symlink_to("loop")
    assert "mounts[7]" in one_line(b.call("run", code=1))


@pytest.mark.parametrize("source, target", [("dir", "file"), ("file", "dir")])
def test_a_file_and_a_directory_do_not_fit(bundle, tmp_path, source, target):
    b = bundle().mount("/target", source=str(tmp_path / source), options=["bind"])
    (tmp_path / "dir").mkdir()
    (tmp_path / "file").touch()
    make = os.mkdir if target == "dir" else os.mknod
    make(b.rootfs / "target")
    line = one_line(b.call("run", code=1))
    assert "mounts[7]" in line and "not a directory" in line


@pytest.mark.parametrize("destination", ["data", "./data/", "/x/../data", "../../data", "//data//"])
def test_odd_destinations(bundle, tmp_path, destination):
    b = bundle("grep -c ' /data ' /proc/self/mountinfo").mount(destination, source=str(tmp_path), options=["bind"])
    assert b.run().out == "1\n"


def test_a_relative_source_is_below_the_bundle(bundle):
    b = bundle("cat /data/file").mount("/data", source="stuff/here", options=["bind"])
    (b.directory / "stuff/here").mkdir(parents=True)
    (b.directory / "stuff/here/file").write_text("mine")
    assert b.run(cwd="/").out == "mine"


@pytest.mark.parametrize("name", ["with space", "tab\there", "new\nline", "back\\slash", "ünïcödé", 'quo"te', "comma,colon:"])
def test_odd_names(bundle, tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "file").write_text("found")
    b = bundle(["cat", f"/{name}/file"]).mount(f"/{name}", source=str(tmp_path / name), options=["bind"])
    assert b.run().out == "found"


def test_sources_that_are_no_files(bundle, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    b = bundle("stat -c %F /fifo /null /link/file")
    b.mount("/fifo", source=str(tmp_path / "fifo"), options=["bind"])
    b.mount("/null", source="/dev/null", options=["bind"])
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir/file").write_text("x")
    (tmp_path / "link").symlink_to("dir")
    b.mount("/link", source=str(tmp_path / "link"), options=["bind"])
    assert b.run().out.splitlines() == ["fifo", "character special file", "regular file"]


# --- the root, order


def test_root_path(bundle):
    """Absolute, or relative to the bundle."""
    b = bundle(["cat", "/etc/mark"])
    (b.rootfs / "etc/mark").write_text("here\n")
    for path in ("rootfs", f"../{b.directory.name}/rootfs", str(b.rootfs)):
        assert b.set("root.path", path).run().out == "here\n"


@pytest.mark.arm64
@pytest.mark.kernels
def test_mounts_are_made_in_order(bundle, tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "below/file").write_text("below")
    b = bundle("cat /a/b/file; ls /a")
    b.mount("/a", type="tmpfs", source="tmpfs")
    b.mount("/a/b", source=str(tmp_path / "below"), options=["bind"])
    assert b.run().out == "belowb\n"
    # The other way round the second covers the first.
    b.config["mounts"][-2:] = reversed(b.config["mounts"][-2:])
    assert "can't open" in b.run(code=0).err


def test_a_source_below_an_earlier_mount(bundle):
    """The root file system as the source: what earlier entries have mounted on it is there."""
    b = bundle("cat /second/file")
    (b.rootfs / "first").mkdir()
    b.mount("/first", type="tmpfs", source="tmpfs")
    b.mount("/first/sub", source=str(b.directory / "data"), options=["bind"])
    b.mount("/second", source=str(b.rootfs / "first/sub"), options=["rbind"])
    (b.directory / "data").mkdir()
    (b.directory / "data/file").write_text("through both")
    assert b.run().out == "through both"


def test_one_point_several_times(bundle, tmp_path):
    b = bundle("ls /m")
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
        b.mount("/m", source=str(tmp_path / name), options=["bind"])
    assert b.run().out == "three\n"


@pytest.mark.kernels
@pytest.mark.parametrize("mapped", [False, True])
def test_three_hundred_mounts(bundle, tmp_path, mapped):
    """In a user namespace each of the sources is a file that the runtime opens."""
    b = bundle("grep -c /many/ /proc/self/mountinfo; cat /many/299/file")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").write_text("the last")
    for number in range(300):
        b.mount(f"/many/{number}", source=str(tmp_path / "data"), options=["rbind", "ro", "nosuid"])
    if mapped:
        user_namespace(b)
    assert b.run().out == "300\nthe last"


@pytest.mark.parametrize(
    ("number", "change", "reason"),
    [
        (250, {"destination": "/proc/self/x"}, 'mounts[{}].destination: "/proc/self/x" cannot be mounted because it is inside /proc'),
        (250, {"source": "/nonexistent"}, "mounts[{}].source: "),
        (3, {"source": "/nonexistent"}, "mounts[{}].source: "),
    ],
    ids=["forbidden", "failing", "failing-early"],
)
def test_one_of_three_hundred_mounts_is_wrong(bundle, tmp_path, number, change, reason):
    """init makes the first of them while the others are looked at."""
    b = bundle("true")
    (tmp_path / "data").mkdir()
    before = len(b.config["mounts"])
    for count in range(300):
        b.mount(f"/many/{count}", source=str(tmp_path / "data"), options=["rbind"])
    b.config["mounts"][before + number].update(change)
    result = b.run(code=1)
    assert result.err.count("\n") == 1
    assert reason.format(before + number) in result.err


def test_parallel_runs_on_one_root_file_system(bundle, run):
    """All of them make the same missing targets (BuildKit does this)."""
    b = bundle("echo fine")
    for number in range(30):
        b.mount(f"/made/{number}/deep", type="tmpfs", source="tmpfs", options=["size=4k"])
    b.write()
    results = []

    def one(name):
        with subprocess.Popen(run.command("run", "--bundle", b.directory, name), stdout=subprocess.PIPE, text=True) as process:
            results.append(process.stdout.read())

    threads = [threading.Thread(target=one, args=(run.new_id(),)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["fine\n"] * 6


# --- tmpcopyup


@pytest.mark.arm64
@pytest.mark.kernels
def test_tmpcopyup(bundle):
    b = bundle("cat /data/file /data/dir/inner; readlink /data/link; stat -c '%a %u:%g' /data /data/file /data/dir; echo new >/data/x")
    b.mount("/data", type="tmpfs", source="tmpfs", options=["tmpcopyup"])
    data = b.rootfs / "data"
    (data / "dir").mkdir(parents=True)
    (data / "file").write_text("file\n")
    (data / "dir/inner").write_text("inner\n")
    (data / "link").symlink_to("/etc/passwd")
    os.chown(data / "file", 1000, 2000)
    (data / "file").chmod(0o644)
    (data / "dir").chmod(0o2750)
    data.chmod(0o1775)
    assert b.run().out.splitlines() == ["file", "inner", "/etc/passwd", "1775 0:0", "644 1000:2000", "2750 0:0"]
    assert not (data / "x").exists()


@pytest.mark.kernels
def test_tmpcopyup_read_only_and_of_nothing(bundle):
    b = bundle("cat /data/file; touch /data/x; ls -A /none")
    b.mount("/data", type="tmpfs", source="tmpfs", options=["tmpcopyup", "ro"])
    b.mount("/none", type="tmpfs", source="tmpfs", options=["tmpcopyup"])
    (b.rootfs / "data").mkdir()
    (b.rootfs / "data/file").write_text("file\n")
    result = b.run()
    assert result.out == "file\n"
    assert "Read-only file system" in result.err


def test_tmpcopyup_needs_room(bundle):
    b = bundle().mount("/data", type="tmpfs", source="tmpfs", options=["tmpcopyup", "size=16k"])
    (b.rootfs / "data").mkdir()
    (b.rootfs / "data/big").write_bytes(bytes(100_000))
    line = one_line(b.call("run", code=1))
    assert "mounts[7]" in line and "no space left on device" in line


# --- cgroups


def test_cgroup_mount_without_a_namespace_shows_the_own_cgroup(bundle, token):
    b = bundle("cat /proc/self/cgroup; ls /sys/fs/cgroup; cat /sys/fs/cgroup/pids/cgroup.procs; touch /sys/fs/cgroup/pids/x 2>&1; true")
    b.set("linux.cgroupsPath", f"/{token}-box")
    out = b.run().out
    assert f":/{token}-box\n" in out
    assert "cpuset\n" in out and "memory\n" in out
    assert "\n1\n" in out
    assert "Read-only file system" in out


def test_cgroup_mount_with_a_namespace(bundle, token):
    b = bundle("cat /proc/self/cgroup; cat /sys/fs/cgroup/pids/cgroup.procs; cat /sys/fs/cgroup/pids/pids.max")
    b.set("linux.cgroupsPath", f"/{token}-box").set("linux.resources.pids.limit", 33)
    b.config["linux"]["namespaces"].append({"type": "cgroup"})
    out = b.run().out
    assert token not in out
    assert "pids:/\n" in out
    assert "\n33\n" in out


def test_cgroup_mount_is_writable_where_it_may_be(bundle, token):
    b = bundle("mkdir /sys/fs/cgroup/pids/inner && cat /sys/fs/cgroup/pids/inner/pids.max && rmdir /sys/fs/cgroup/pids/inner")
    b.set("linux.cgroupsPath", f"/{token}-box")
    b.config["linux"]["namespaces"].append({"type": "cgroup"})
    for entry in b.config["mounts"]:
        if entry["type"] == "cgroup":
            entry["options"].remove("ro")
    assert b.run().out == "max\n"


# --- the root


@pytest.mark.arm64
@pytest.mark.kernels
def test_read_only_root(bundle):
    b = bundle("touch /x; touch /dev/x && echo dev; touch /tmp/m/x && echo m").set("root.readonly", True)
    b.mount("/tmp/m", type="tmpfs", source="tmpfs")
    result = b.run()
    assert result.out == "dev\nm\n"
    assert "/x: Read-only file system" in result.err
    assert not (b.rootfs / "x").exists()


def test_read_only_root_makes_its_mount_points_first(bundle):
    b = bundle("ls -d /new/point").set("root.readonly", True).mount("/new/point", type="tmpfs", source="tmpfs")
    assert b.run().out == "/new/point\n"


def test_read_only_root_on_a_mount_with_flags(bundle):
    b = bundle().set("root.readonly", True)
    mount("--bind", b.rootfs, b.rootfs)
    try:
        mount("-o", "remount,bind,nosuid,nodev,noatime", b.rootfs)
        assert {"ro", "nosuid", "nodev", "noatime"} <= seen(b)["/"].options
    finally:
        subprocess.run(["umount", b.rootfs], check=True)


def test_read_only_dev_has_its_nodes(bundle):
    b = bundle("echo x >/dev/null && ls /dev/zero /dev/ptmx; touch /dev/new; true")
    b.config["mounts"][1]["options"].append("ro")
    result = b.run()
    assert result.out == "/dev/ptmx\n/dev/zero\n"
    assert "Read-only file system" in result.err


@pytest.mark.kernels
def test_the_root_may_be_a_mount_with_mounts_below(bundle, tmp_path):
    b = bundle("cat /inner/file")
    with mounted(b.rootfs / "inner") as inner:
        (inner / "file").write_text("inner")
        assert b.run().out == "inner"


def test_a_symlink_to_the_root(bundle):
    b = bundle("echo fine").set("root.path", "link")
    (b.directory / "link").symlink_to("rootfs")
    assert b.run().out == "fine\n"


@pytest.mark.arm64
@pytest.mark.parametrize("flags", [(), ("--no-pivot",)])
def test_nothing_of_the_host_is_left(bundle, flags):
    b = bundle("cut -d ' ' -f 5 /proc/self/mountinfo; ls /..; ls /../..")
    out = b.run(*flags).out.split()
    assert "bin" in out
    assert not {"work", "boot", "media"} & set(out)


def test_no_pivot_leaves_no_bare_proc(bundle):
    """A nested user namespace may mount a full procfs wherever one is in its mount namespace: none may be."""
    b = bundle("unshare -Urmpf sh -c 'mount -t proc proc /proc && echo mounted'; true").set("process.user", {"uid": 1000, "gid": 1000})
    result = b.run("--no-pivot")
    assert result.out == "" and "permission denied" in result.err
    # It is what is masked in the container's own procfs that forbids a full one.
    b.set("linux.maskedPaths", []).set("linux.readonlyPaths", [])
    assert b.run("--no-pivot").out == "mounted\n"
