"""`pyrun unpack`: an image to a bundle that `pyrun run` runs."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import tarfile

import images
import pytest
from harness import Runner, Terminal, until
from images import Blobs, Layer, archive, busybox, layout, put_image


@pytest.fixture
def call(pyrun, tmp_path, token):
    """As `run`, which looks for what containers have left, for tests without one."""
    return Runner(pyrun, tmp_path, token)


@pytest.fixture
def unpack(call, tmp_path):
    """unpack(layers…): the root file system (Path) of an image of these layers."""

    def make(*layers, options=(), **about):
        path = layout(tmp_path / f"image-{call.new_id()}", layers, **about)
        bundle = tmp_path / f"bundle-{call.new_id()}"
        call("unpack", *options, path, bundle)
        return bundle / "rootfs"

    return make


@pytest.fixture
def refused(call, tmp_path):
    """refused(layers…): what is said of an image that is not unpacked. Nothing of it stays."""

    def check(*layers, image=None, **about):
        path = image or layout(tmp_path / f"image-{call.new_id()}", layers, **about)
        bundle = tmp_path / f"bundle-{call.new_id()}"
        said = call("unpack", path, bundle, code=1).err
        assert not bundle.exists()
        assert len(said.splitlines()) == 1
        return said

    return check


def config_of(rootfs):
    return json.loads((rootfs.parent / "config.json").read_text())


# --- from an image file to a container


@pytest.mark.parametrize("make", [layout, archive])
@pytest.mark.parametrize("name", ["image", "image.tar"])
def test_an_image_runs(run, tmp_path, make, name):
    image = make(tmp_path / name, [busybox(), Layer().file("etc/motd", b"welcome\n")], {"Cmd": ["cat", "/etc/motd"], "Env": ["A=b"]})
    run("unpack", image, tmp_path / "bundle")
    assert "valid" in run("validate", tmp_path / "bundle").out
    assert run("run", tmp_path / "bundle").out == "welcome\n"


@pytest.mark.parametrize("packer", images.PACKERS)
def test_layers_are_packed_in_any_way(unpack, packer):
    content = bytes(range(256)) * 20000
    assert (unpack(Layer().file("data", content), packer=packer) / "data").read_bytes() == content


def test_a_packed_layer_may_come_in_several_parts(unpack, tmp_path, call):
    data = Layer().file("data", os.urandom(300_000)).tar()
    for name in ("gzip", "zstd"):
        pack = images.PACKERS[name]
        blobs = Blobs()
        blob = blobs.put(pack(data[:1000]) + pack(data[1000:]), "layer.v1.tar")
        config = {"os": "linux", "architecture": images.ARCHITECTURE, "config": {"Cmd": ["x"]}, "rootfs": {"diff_ids": [images.sha(data)]}}
        manifest = blobs.put({"config": blobs.put(config, "config.v1+json"), "layers": [blob]}, "manifest.v1+json")
        call("unpack", layout(tmp_path / name, images=[manifest], blobs=blobs), tmp_path / f"{name}-bundle")
        assert (tmp_path / f"{name}-bundle/rootfs/data").stat().st_size == 300_000


def test_what_docker_saves_since_version_25(call, tmp_path):
    """An OCI image layout, with manifest.json beside it for older versions: the blobs are the layers of both."""
    blobs = Blobs()
    descriptor = put_image(blobs, [Layer().file("x", b"1")]) | {"annotations": {"io.containerd.image.name": "docker.io/library/x:1"}}
    manifest = json.loads(blobs[descriptor["digest"]])
    paths = [f"blobs/{part['digest'].replace(':', '/')}" for part in (manifest["config"], *manifest["layers"])]
    image = layout(tmp_path / "image", images=[descriptor], blobs=blobs)
    (image / "manifest.json").write_text(json.dumps([{"Config": paths[0], "RepoTags": ["x:1"], "Layers": paths[1:]}]))
    for number, index in enumerate((True, False)):
        if not index:
            (image / "index.json").unlink()
        call("unpack", image, tmp_path / f"bundle{number}")
        assert (tmp_path / f"bundle{number}/rootfs/x").read_text() == "1"


def test_layers_that_are_links_to_others(call, tmp_path):
    """docker has an equal layer once in an archive, and a symlink in the other's place."""
    image = archive(tmp_path / "image.tar", [Layer().file("x", b"1"), Layer().file("x", b"1")])
    with tarfile.open(image) as tar, tarfile.open(tmp_path / "other.tar", "w") as other:
        for entry in tar:
            content = tar.extractfile(entry)
            if entry.name == "1/layer.tar":
                entry.type, entry.linkname, entry.size, content = tarfile.SYMTYPE, "../0/layer.tar", 0, None
            other.addfile(entry, content)
    call("unpack", tmp_path / "other.tar", tmp_path / "bundle")
    assert (tmp_path / "bundle/rootfs/x").read_text() == "1"


# --- files


def test_every_kind_of_file(unpack):
    root = unpack(
        Layer()
        .directory("dir", mode=0o2750, uid=7, gid=8, mtime=12345)
        .file("dir/file", b"content", mode=0o4751, uid=1000, gid=1001, mtime=1_234_567_890)
        .link("dir/same", "dir/file")
        .symlink("dir/symlink", "../nowhere", uid=5, gid=6, mtime=77)
        .link("dir/same-symlink", "dir/symlink")
        .add("null", tarfile.CHRTYPE, device=(1, 3), mode=0o666, mtime=99)
        .add("disk", tarfile.BLKTYPE, device=(7, 200), mode=0o660, gid=6)
        .add("fifo", tarfile.FIFOTYPE, mode=0o604, uid=3)
        .directory("locked", mode=0o0)
        .file("locked/inside", b"x")
    )
    assert (root / "dir/file").read_text() == "content"
    about = (root / "dir/file").stat()
    assert (stat.S_IMODE(about.st_mode), about.st_uid, about.st_gid, about.st_mtime) == (0o4751, 1000, 1001, 1_234_567_890)
    assert (about.st_nlink, about.st_ino) == (2, (root / "dir/same").stat().st_ino)
    about = (root / "dir").stat()
    assert (stat.S_IMODE(about.st_mode), about.st_uid, about.st_gid, about.st_mtime) == (0o2750, 7, 8, 12345)
    about = (root / "dir/symlink").lstat()
    assert (os.readlink(root / "dir/symlink"), about.st_uid, about.st_gid, about.st_mtime, about.st_nlink) == ("../nowhere", 5, 6, 77, 2)
    null, disk, fifo = ((root / name).lstat() for name in ("null", "disk", "fifo"))
    assert stat.S_ISCHR(null.st_mode) and (null.st_rdev, stat.S_IMODE(null.st_mode), null.st_mtime) == (os.makedev(1, 3), 0o666, 99)
    assert stat.S_ISBLK(disk.st_mode) and (disk.st_rdev, stat.S_IMODE(disk.st_mode), disk.st_gid) == (os.makedev(7, 200), 0o660, 6)
    assert stat.S_ISFIFO(fifo.st_mode) and (stat.S_IMODE(fifo.st_mode), fifo.st_uid) == (0o604, 3)
    assert stat.S_IMODE((root / "locked").stat().st_mode) == 0


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_and_odd_ones(unpack, format):
    long = "/".join(["a" * 200] * 10)
    odd = os.fsdecode(b"caf\xe9 \xc3\xa9\n=")
    root = unpack(Layer(format).file(f"{long}/file", b"1").symlink("link", long).file(odd, b"2"))
    assert (root / long / "file").read_text() == "1"
    assert os.readlink(root / "link") == long
    assert (root / odd).read_text() == "2"


def test_an_old_tar_with_a_prefix(unpack):
    name = "/".join(["d" * 60] * 3) + "/file"
    assert (unpack(Layer(tarfile.USTAR_FORMAT).file(name, b"1")) / name).read_text() == "1"


def test_large_numbers(unpack):
    root = unpack(Layer(tarfile.GNU_FORMAT).file("gnu", uid=3_000_000_000), Layer().file("pax", uid=3_000_000_000, mtime=1.25))
    assert [(root / name).stat().st_uid for name in ("gnu", "pax")] == [3_000_000_000] * 2
    assert (root / "pax").stat().st_mtime_ns == 1_250_000_000


def test_extended_attributes(unpack):
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    xattrs = {"security.capability": capability, "user.note": b"a\0b\xff=\n"}
    of_directory = {"user.dir": b"d", "trusted.overlay.opaque": b"y"}
    root = unpack(Layer().file("ping", b"x", mode=0o755, uid=9, xattrs=xattrs).directory("dir", xattrs=of_directory))
    assert os.getxattr(root / "ping", "security.capability") == capability
    assert os.getxattr(root / "ping", "user.note") == b"a\0b\xff=\n"
    assert os.listxattr(root / "dir") == ["user.dir"]


@pytest.mark.parametrize("how", [["--format=gnu"], *(["--format=pax", f"--sparse-version={version}"] for version in ("0.0", "0.1", "1.0"))])
def test_sparse_files_stay_sparse(unpack, tmp_path, how):
    source = tmp_path / "source"
    source.mkdir()
    with open(source / "sparse", "wb") as file:
        for number in range(60):  # more parts than a header has room for
            file.seek(number << 20)
            file.write(f"part {number}".encode())
        file.truncate(100 << 20)
    (source / "after").write_text("after")
    subprocess.run(["tar", *how, "--sparse", "-C", source, "-cf", tmp_path / "sparse.tar", "."], check=True)
    root = unpack(images.Raw((tmp_path / "sparse.tar").read_bytes()))
    assert (root / "sparse").stat().st_blocks * 512 < 2 << 20
    subprocess.run(["cmp", source / "sparse", root / "sparse"], check=True)
    assert (root / "after").read_text() == "after"


# --- layers onto layers


def test_files_take_the_place_of_others(unpack):
    root = unpack(
        Layer().file("a", b"old").directory("b").file("b/in", b"x").symlink("c", "b").directory("d", mode=0o700).file("d/stays", b"s").file("e"),
        Layer().directory("a").file("a/new", b"n").file("b", b"file").file("c", b"no symlink").directory("d", mode=0o711, uid=4).symlink("e", "a"),
    )
    assert (root / "a/new").read_text() == "n"
    assert (root / "b").read_text() == "file"
    assert (root / "c").read_text() == "no symlink"
    assert ((root / "d/stays").read_text(), stat.S_IMODE((root / "d").stat().st_mode), (root / "d").stat().st_uid) == ("s", 0o711, 4)
    assert os.readlink(root / "e") == "a"


def test_whiteouts(unpack):
    root = unpack(
        Layer().file("file").directory("dir").file("dir/in").directory("dir/sub").file("dir/sub/in").file("keep").file("new", b"old"),
        Layer().file(".wh.file").file(".wh.dir").file(".wh.nosuch").file("new", b"new").file(".wh.new").file("none/.wh.file"),
    )
    assert sorted(os.listdir(root)) == ["keep", "new"]
    assert (root / "new").read_text() == "new"  # a whiteout is for what lower layers have


@pytest.mark.parametrize("first", [True, False])
def test_opaque_directories(unpack, first):
    lower = Layer().directory("d").file("d/old").directory("d/sub").file("d/sub/old").directory("d/gone").file("d/gone/x").file("other")
    upper = [("d/.wh..wh..opq", b""), ("d/new", b"n"), ("d/sub/new", b"n")]
    layer = Layer()
    for name, data in upper if first else reversed(upper):
        layer.file(name, data)
    root = unpack(lower, layer)
    assert sorted(os.listdir(root)) == ["d", "other"]
    assert sorted(os.listdir(root / "d")) == ["new", "sub"]
    assert os.listdir(root / "d/sub") == ["new"]


def test_a_symlink_leads_where_it_leads_in_the_container(unpack):
    root = unpack(
        Layer().directory("usr").directory("usr/lib").symlink("lib", "/usr/lib").symlink("run", "../../../var/run"),
        Layer().file("lib/libc.so", b"c").file("run/lock/pid", b"1").file("lib/gone", b"x").link("hard", "lib/libc.so"),
        Layer().file("lib/.wh.gone"),
    )
    assert (root / "usr/lib/libc.so").read_text() == (root / "hard").read_text() == "c"
    assert (root / "var/run/lock/pid").read_text() == "1"
    assert os.listdir(root / "usr/lib") == ["libc.so"]


def test_times_of_directories_are_those_of_the_image(unpack):
    root = unpack(Layer().directory("./", mode=0o755, mtime=10).directory("d", mtime=20), Layer().file("d/later"), Layer().file("d/.wh.later"))
    assert (root.stat().st_mtime, (root / "d").stat().st_mtime) == (10, 20)


# --- which image


def test_a_tag_is_chosen(call, tmp_path):
    blobs = Blobs()
    names = {"one": "docker.io/library/one:1", "two": "quay.io/two:latest"}
    found = [
        put_image(blobs, [busybox()], {"Cmd": ["echo", name]}) | {"annotations": {"org.opencontainers.image.ref.name": full}}
        for name, full in names.items()
    ]
    image = layout(tmp_path / "image.tar", images=found, blobs=blobs)
    said = call("unpack", image, tmp_path / "b", code=1).err
    assert "use --tag with docker.io/library/one:1, quay.io/two:latest" in said
    assert 'no image is called "three"' in call("unpack", "--tag", "three", image, tmp_path / "b", code=1).err
    for number, (tag, name) in enumerate({"library/one:1": "one", "quay.io/two:latest": "two", "latest": "two"}.items()):
        call("unpack", "--tag", tag, image, tmp_path / f"b{number}")
        assert config_of(tmp_path / f"b{number}/rootfs")["process"]["args"] == ["echo", name]


def test_one_image_with_two_tags_needs_no_choice(call, tmp_path):
    blobs = Blobs()
    found = put_image(blobs, [Layer()])
    listed = [found | {"annotations": {"io.containerd.image.name": name}} for name in ("a:1", "a:2")]
    call("unpack", layout(tmp_path / "image", images=listed, blobs=blobs), tmp_path / "b")


def test_the_platform_is_this_machines_or_the_one_asked_for(call, tmp_path):
    blobs = Blobs()
    platforms = [("linux", images.ARCHITECTURE, ""), ("linux", "riscv64", ""), ("linux", "arm", "v6"), ("linux", "arm", "v7")]
    found = []
    for os_name, architecture, variant in platforms:
        about = {"os": os_name, "architecture": architecture} | ({"variant": variant} if variant else {})
        found.append(put_image(blobs, [Layer()], {"Cmd": [architecture + variant]}, platform=about, architecture=architecture, variant=variant))
    attestation = blobs.put({"layers": []}, "manifest.v1+json", annotations={"vnd.docker.reference.type": "attestation-manifest"})
    index = blobs.put({"manifests": [*found, attestation]}, "index.v1+json")
    image = layout(tmp_path / "image", images=[index], blobs=blobs)
    wanted = {"": images.ARCHITECTURE, "linux/riscv64": "riscv64", "linux/arm": "armv7", "linux/arm/v6": "armv6"}
    for number, (platform, args) in enumerate(wanted.items()):
        call("unpack", *(["--platform", platform] if platform else []), image, tmp_path / f"b{number}")
        assert config_of(tmp_path / f"b{number}/rootfs")["process"]["args"] == [args]
    said = call("unpack", "--platform", "linux/s390x", image, tmp_path / "b", code=1).err
    assert "there is no image for linux/s390x, but for linux/" in said
    assert 'invalid platform "arm"' in call("unpack", "--platform", "arm", image, tmp_path / "b", code=1).err


def test_an_image_of_another_machine_is_not_taken_by_mistake(refused):
    assert "for linux/mips64le: --platform takes another" in refused(Layer(), architecture="mips64le")


# --- config.json


def test_config_of_the_image(unpack):
    root = unpack(
        busybox(),
        config={
            "Entrypoint": ["/bin/echo"], "Cmd": ["hi"], "Env": ["PATH=/x", "A=1"], "WorkingDir": "/srv/www", "User": "web", "StopSignal": "SIGQUIT",
            "Labels": {"name": "n", "org.opencontainers.image.author": "label", "run.oci.keep_original_groups": "1", "org.systemd.property.X": "1"},
            "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        },
        author="field", created="2020-01-01T00:00:00Z",
    )  # fmt: skip
    config = config_of(root)
    process = config["process"]
    assert process["args"] == ["/bin/echo", "hi"]
    assert process["env"] == ["PATH=/x", "A=1"]
    assert process["cwd"] == "/srv/www" and (root / "srv/www").is_dir()
    assert process["user"] == {"uid": 33, "gid": 34, "additionalGids": [34, 40]}
    assert "effective" not in process["capabilities"] and "CAP_CHOWN" in process["capabilities"]["bounding"]
    assert config["annotations"] == {
        "org.opencontainers.image.author": "label",
        "org.opencontainers.image.created": "2020-01-01T00:00:00Z",
        "org.opencontainers.image.os": "linux",
        "org.opencontainers.image.architecture": images.ARCHITECTURE,
        "org.opencontainers.image.stopSignal": "SIGQUIT",
        "org.opencontainers.image.exposedPorts": "53/udp,80/tcp",
        "name": "n",
    }


@pytest.mark.parametrize(
    "user, found",
    [
        ("", {"uid": 0, "gid": 0, "additionalGids": [0]}),
        ("33", {"uid": 33, "gid": 34, "additionalGids": [34, 40]}),
        ("500", {"uid": 500, "gid": 0, "additionalGids": [0]}),
        ("web:log", {"uid": 33, "gid": 40, "additionalGids": [40]}),
        ("500:600", {"uid": 500, "gid": 600, "additionalGids": [600]}),
        (":web", {"uid": 0, "gid": 34, "additionalGids": [34]}),
    ],
)
def test_users(unpack, user, found):
    assert config_of(unpack(busybox(), config={"Cmd": ["x"], "User": user}))["process"]["user"] == found


@pytest.mark.parametrize(
    "user, message", [("nobody", 'the image\'s user is "nobody"'), ("web:none", 'group is "none"'), ("99999999999", "no user or group id")]
)
def test_users_that_are_not_there(refused, user, message):
    assert message in refused(busybox(), config={"Cmd": ["x"], "User": user})


def test_options_take_the_place_of_the_images_words(unpack):
    config = {"Entrypoint": ["/bin/echo"], "Cmd": ["hi"], "Env": ["A=1"]}
    given = {
        "cmd": ["--cmd", "'two words' x"],
        "entrypoint": ["--entrypoint", "ls -l"],
        "both": ["--entrypoint=ls", "--cmd=/"],
        "env": ["-e", "A=2", "--env", "B="],
        "tty": ["--tty"],
    }
    said = {}
    for name, options in given.items():
        said[name] = config_of(unpack(Layer(), config=config, options=options))["process"]
    assert said["cmd"]["args"] == ["/bin/echo", "two words", "x"]
    assert said["entrypoint"]["args"] == ["ls", "-l"]
    assert said["both"]["args"] == ["ls", "/"]
    assert said["env"]["env"][1:] == ["A=2", "B="]
    assert (said["tty"]["terminal"], said["env"]["terminal"]) == (True, False)


def test_an_image_without_a_program_needs_one(refused, unpack):
    assert "--cmd" in refused(Layer(), config={})
    assert config_of(unpack(Layer(), config={}, options=["--cmd", "/x"]))["process"]["args"] == ["/x"]


def test_volumes_are_directories_of_the_bundle(run, unpack):
    script = "cat /data/sub/old; echo new >/data/new; stat -c %a:%u /data"
    config = {"Cmd": ["sh", "-c", script], "Volumes": {"/data": {}, "/data/sub": {}, "/fresh": {}}}
    root = unpack(busybox().directory("data", mode=0o711, uid=5).directory("data/sub").file("data/sub/old", b"old\n"), config=config)
    bundle = root.parent
    assert [mount["destination"] for mount in config_of(root)["mounts"]][-3:] == ["/data", "/data/sub", "/fresh"]
    assert run("run", bundle).out == "old\n711:5\n"
    assert (bundle / "volumes/0/new").read_text() == "new\n"
    assert os.listdir(root / "data") == []


def test_the_program_has_what_docker_gives_it(run, unpack):
    script = """
        grep -E '^(Cap(Eff|Bnd)|Seccomp|NoNewPrivs):' /proc/self/status
        mount -t tmpfs x /tmp; unshare -U true; cat /proc/kcore; echo 1 >/proc/sys/kernel/panic; mknod /tmp/n p; chown 5 /tmp/n && echo fine
    """
    layer = busybox().symlink("bin/grep", "busybox").symlink("bin/mount", "busybox").symlink("bin/unshare", "busybox")
    done = run("run", unpack(layer, config={"Cmd": ["sh", "-c", script]}).parent)
    assert "CapEff:\t00000000a80425fb\n" in done.out and "CapBnd:\t00000000a80425fb\n" in done.out
    assert "Seccomp:\t2\n" in done.out and "NoNewPrivs:\t0\n" in done.out and "fine" in done.out
    for said in ("mount: permission denied", "unshare(0x10000000): Operation not permitted", "can't create /proc/sys/kernel/panic: Read-only"):
        assert said in done.err


def test_a_user_of_the_image_without_power(run, unpack):
    done = run("run", unpack(busybox(), config={"Cmd": ["sh", "-c", "id; touch /x || echo no"], "User": "web"}).parent)
    assert done.out == "uid=33(web) gid=34(web) groups=34(web),40(log)\nno\n"


# --- the bundle's directory


def test_a_directory_with_something_in_it_is_left_alone(call, tmp_path):
    image = layout(tmp_path / "image", [Layer().file("x")])
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/mine").write_text("mine")
    assert "not empty" in call("unpack", image, tmp_path / "bundle", code=1).err
    assert os.listdir(tmp_path / "bundle") == ["mine"]
    (tmp_path / "bundle/mine").unlink()
    call("unpack", image, tmp_path / "bundle")
    assert sorted(os.listdir(tmp_path / "bundle")) == ["config.json", "rootfs"]


def test_an_empty_directory_is_empty_after_a_failure(call, tmp_path):
    image = layout(tmp_path / "image", [Layer().directory("d", mode=0).file("d/x"), Layer().file("../x")])
    (tmp_path / "bundle").mkdir()
    call("unpack", image, tmp_path / "bundle", code=1)
    assert os.listdir(tmp_path / "bundle") == []


def test_nobody_else_can_look_into_the_bundle(unpack):
    assert stat.S_IMODE(unpack(Layer()).parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_it_and_nothing_stays(call, tmp_path, number):
    layer = Layer()
    for name in range(5000):
        layer.file(f"d{name % 50}/{name}", b"x" * 500)
    image, bundle = layout(tmp_path / "image", [layer, layer], packer="plain"), tmp_path / "bundle"
    process = subprocess.Popen(call.command("unpack", image, bundle), stderr=subprocess.PIPE, text=True)
    until(lambda: (bundle / "rootfs/d9").exists(), what="it is at work")
    process.send_signal(signal.Signals[number])
    assert process.communicate(timeout=30)[1] == f"pyrun: interrupted by signal {signal.Signals[number].value}\n"
    assert process.returncode == 128 + signal.Signals[number].value
    assert not bundle.exists()


# --- what is seen of it


def test_it_says_nothing_on_a_pipe(call, tmp_path):
    done = call("unpack", layout(tmp_path / "image", [Layer().file("x", bytes(5 << 20))]), tmp_path / "bundle")
    assert (done.out, done.err) == ("", "")


def test_a_bar_on_a_terminal(call, tmp_path):
    image = layout(tmp_path / "image", [Layer().file("x", os.urandom(1000)), Layer().file("y", os.urandom(9 << 20))], packer="plain")
    terminal = Terminal(call.command("unpack", image, tmp_path / "bundle"))
    terminal.expect("unpacking [")
    assert terminal.wait() == 0
    assert re.search(r"#+ +\] +\d+% of 9.4 MB", terminal.text)
    assert terminal.text.endswith("\r\x1b[K")  # the line is clean again


def test_what_is_no_image(call, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("no image" * 1000)
    (tmp_path / "packed.tar.gz").write_bytes(images.gzip.compress(b"x" * 1000))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{tmp_path}/socket")
    said = {
        "empty": "neither index.json",
        "text": "no tar header",
        "packed.tar.gz": "packed with gzip",
        "nosuch": "no such file",
        "socket": "no such device",
    }
    for name, words in said.items():
        assert words in call("unpack", tmp_path / name, tmp_path / "bundle", code=1).err
    assert not (tmp_path / "bundle").exists()
