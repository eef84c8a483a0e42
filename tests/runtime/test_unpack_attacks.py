"""`pyrun unpack` of images that were made to do harm: nothing outside of the new root is written or read, and nothing half-made stays."""

import io
import json
import os
import subprocess
import tarfile

import images
import pytest
from harness import Runner
from images import Blobs, Layer, Raw, archive, layout, put_image, sha


@pytest.fixture
def outside(tmp_path):
    """A directory beside the bundle, which no image may change."""
    path = tmp_path / "outside"
    path.mkdir()
    (path / "file").write_text("mine")
    yield path
    assert os.listdir(path) == ["file"] and (path / "file").read_text() == "mine" and (path / "file").stat().st_nlink == 1


@pytest.fixture
def attempt(pyrun, tmp_path, token, outside):
    """attempt(layers…): unpacks an image of these layers; the root file system. error: what is to be said, and then nothing stays."""

    run = Runner(pyrun, tmp_path, token)  # the fixture looks for what containers leave: there are none

    def make(*layers, error=None, image=None, timeout=30, **about):
        image = image or layout(tmp_path / f"image-{run.new_id()}", layers, **about)
        bundle = tmp_path / "bundle"
        said = run("unpack", image, bundle, code=1 if error else 0, timeout=timeout).err
        if error:
            assert error in said and len(said.splitlines()) == 1
            assert not bundle.exists()
        return bundle / "rootfs"

    return make


# --- names


@pytest.mark.parametrize("name", ["../outside/file", "a/../../outside/new", "a/..", "..", "/../outside/file"])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE])
def test_a_name_that_goes_up(attempt, name, kind):
    attempt(Layer().directory("a").add(name, kind, target="x"), error='has a ".." in it')


def test_an_absolute_name_is_one_in_the_root(attempt, outside):
    root = attempt(Layer().file(f"{outside}/file", b"theirs"))
    assert (root / str(outside)[1:] / "file").read_text() == "theirs"


def test_names_with_zero_bytes(attempt):
    attempt(Layer().file("x", pax={"path": "a\0b"}), error="a name with a zero byte")


@pytest.mark.parametrize("name", [".", "/", ""])
def test_the_root_is_a_directory(attempt, name):
    attempt(Layer().symlink(name, "/etc"), error="the root itself is a symlink")


def test_a_name_that_is_too_long(attempt):
    attempt(Layer().file("a" * 300), error="file name too long")


def test_a_way_that_is_too_deep(attempt):
    name = "/".join(["d" * 100] * 30)
    layer = Layer().directory(name).symlink("l", name).directory(f"l/{name}")
    attempt(layer, error="name too long")


# --- symlinks in the way


@pytest.mark.parametrize("target", ["{outside}", "../../outside", "/proc/self/root{outside}", "../" * 30 + "{outside}"])
def test_a_symlink_leads_nowhere_outside(attempt, outside, target):
    target = target.format(outside=outside)
    upper = Layer().file("way/file", b"theirs").directory("way/d").link("way/hard", "way/file").file("way/.wh.file").file("way/.wh..wh..opq")
    attempt(Layer().symlink("way", target), upper)


def test_a_directory_that_becomes_a_symlink(attempt, outside):
    root = attempt(
        Layer().directory("dir/sub").file("dir/sub/file", b"1"),
        Layer().symlink("dir/sub", str(outside)).file("dir/sub/file", b"2"),
        Layer().symlink("dir", str(outside.parent)).file("dir/outside/file", b"3").file("dir/outside/.wh..wh..opq"),
    )
    assert os.readlink(root / "dir") == str(outside.parent)
    assert (root / str(outside)[1:] / "file").read_text() == "3"


def test_a_file_is_not_written_through_a_symlink(attempt, outside):
    root = attempt(Layer().symlink("x", f"{outside}/file"), Layer().file("x", b"theirs", mode=0o777, uid=5))
    assert not (root / "x").is_symlink()


def test_a_symlink_gets_attributes_not_its_target(attempt, outside):
    before = (outside / "file").stat()
    attempt(Layer().symlink("x", f"{outside}/file", uid=5, mtime=1, xattrs={"user.x": b"1"}))
    after = (outside / "file").stat()
    assert (before.st_uid, before.st_mode, before.st_mtime) == (after.st_uid, after.st_mode, after.st_mtime)
    assert os.listxattr(outside / "file") == []


@pytest.mark.parametrize("path", ["loop/file", "a/file"])
def test_symlinks_in_a_circle(attempt, path):
    attempt(Layer().symlink("loop", "loop").symlink("a", "b").symlink("b", "a").file(path), error="too many levels of symbolic links")


def test_a_file_in_the_place_of_a_directory(attempt):
    attempt(Layer().file("a").file("a/b"), error='"a/b": not a directory')


# --- hard links


@pytest.mark.parametrize("target", ["../outside/file", "a/../../outside/file"])
def test_a_hard_link_that_goes_up(attempt, target):
    attempt(Layer().link("x", target), error='has a ".." in it')


def test_a_hard_link_to_a_file_of_the_host(attempt, outside):
    attempt(Layer().link("x", f"{outside}/file"), error="which is not there")


def test_a_hard_link_by_a_symlink_leads_nowhere_outside(attempt, outside):
    attempt(Layer().symlink("way", str(outside)).link("x", "way/file"), error="which is not there")


def test_a_hard_link_to_a_symlink_is_to_the_symlink(attempt, outside):
    root = attempt(Layer().symlink("s", f"{outside}/file").link("x", "s"), Layer().file("x", b"theirs"))
    assert not (root / "x").is_symlink() and (root / "s").is_symlink()


def test_hard_links_to_what_cannot_have_one(attempt):
    attempt(Layer().directory("d").link("x", "d"), error="which is a directory")
    attempt(Layer().link("x", ""), error="which is not there")
    attempt(Layer().file("d/f").link("d", "d/f"), error="which is not there")


def test_a_hard_link_to_itself(attempt):
    root = attempt(Layer().file("x", b"1").link("x", "x"), Layer().link("x", "./x"))
    assert (root / "x").read_text() == "1"


# --- whiteouts


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "d/.wh..."])
def test_a_whiteout_of_no_file(attempt, name):
    attempt(Layer().directory("d"), Layer().file(name), error="a whiteout of no file")


def test_a_whiteout_of_a_symlink_removes_the_symlink(attempt, outside):
    root = attempt(Layer().symlink("x", str(outside)), Layer().file(".wh.x"))
    assert os.listdir(root) == []


def test_an_opaque_root(attempt):
    root = attempt(Layer().file("old").directory("dir"), Layer().file("new").file(".wh..wh..opq"))
    assert os.listdir(root) == ["new"]


def test_a_whiteout_of_what_lies_deep(attempt):
    """Deeper than Python's stack, and than there may be open files."""
    name = "/".join("d" * 900)
    root = attempt(Layer().directory(name).directory("keep"), Layer().symlink("l", name).directory(f"l/{name}"), Layer().file(".wh.d"))
    assert sorted(os.listdir(root)) == ["keep", "l"]


def test_notes_of_aufs_are_left_out(attempt):
    root = attempt(Layer().directory(".wh..wh.plnk").file(".wh..wh.plnk/1.2", b"x").file("d/.wh..wh.orph/x").file("file"))
    assert os.listdir(root) == ["file"]


# --- what is in the way of users and groups


def test_users_are_not_read_from_the_host(attempt):
    layer = Layer().symlink("etc/passwd", "/proc/self/root/etc/passwd").symlink("etc/group", "../../../../../../dev/../etc/group-")
    attempt(layer, config={"Cmd": ["x"], "User": "daemon"}, error='"daemon", who is not in its etc/passwd')


def test_a_list_of_users_that_is_a_fifo(attempt):
    attempt(Layer().add("etc/passwd", tarfile.FIFOTYPE), error="etc/passwd of the image is no file")


@pytest.mark.parametrize("member", ["WorkingDir", "Volumes"])
def test_directories_of_the_config_stay_inside(attempt, outside, member):
    path = "/way/new"
    root = attempt(Layer().symlink("way", str(outside)), config={"Cmd": ["x"], member: path if member == "WorkingDir" else {path: {}}})
    assert (root / str(outside)[1:] / "new").is_dir()


def test_a_volume_that_is_everything(attempt):
    attempt(Layer().symlink("way", "."), config={"Cmd": ["x"], "Volumes": {"/way": {}}}, error="is all of its root file system")


# --- sizes and numbers


def header(**about):
    """A tar header with fields as they are."""
    entry = tarfile.TarInfo("x")
    block = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
    for start, value in about.values():
        block[start : start + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(records):
    return header(size=(124, b"%011o\0" % len(records)), kind=(156, b"x")) + records.ljust(512, b"\0")


NEGATIVE = b"\xff" * 12
DAMAGED = {
    "a negative size": (header(size=(124, NEGATIVE)), "a negative size"),
    "a negative owner": (header(uid=(108, NEGATIVE[:8])), "a negative size or owner"),
    "no number": (header(size=(124, b"99999999999\0")), "is no number"),
    "a wrong checksum": (b"x" * 512, "checksum is wrong"),
    "no whole header": (header()[:300], "ends in a header"),
    "no whole file": (header(size=(124, b"00000010000\0")) + bytes(512), "the layer ends too early"),
    "a huge file": (header(size=(124, b"\x80" + b"\xff" * 11)), "the layer ends too early"),
    "an extended header without end": (header(size=(124, b"77777777777\0"), kind=(156, b"x")), "an extended header of 8589934591 bytes"),
    "a long name without end": (header(size=(124, b"77777777777\0"), kind=(156, b"L")), "an extended header of 8589934591 bytes"),
    "a pax record that ends nowhere": (pax(b"999 a=b\n"), "a damaged pax header"),
    "a pax record of no length": (pax(b"0 a=bcd\n"), "a damaged pax header"),
    "nothing after an extended header": (pax(b"6 a=b\n"), "after an extended header"),
    "an unknown type": (header(kind=(156, b"~")), 'of the unknown type "~"'),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_headers(attempt, name):
    data, error = DAMAGED[name]
    attempt(Raw(Layer().file("before").entries[0] + data + bytes(1024) * (not data.startswith(header()[:300]))), error=error)


def test_times_beyond_all_measure(attempt):
    attempt(Layer(tarfile.GNU_FORMAT).file("x", mtime=1 << 60), error="no such time")
    attempt(Layer().file("x", pax={"mtime": "1" * 5000}), error="is no number")


MAPS = {
    "beyond the file": "0,10",
    "twice the same place": "0,2,1,2",
    "of odd length": "0,4,5",
    "of another size": "0,1",
    "negative": "0,-4",
    "no numbers": "x,y",
}


def test_an_id_that_stands_for_no_change(attempt):
    root = attempt(Layer().directory("d", uid=5).file("x", pax={"uid": str((1 << 32) - 1), "gid": str(1 << 63)}))
    assert ((root / "x").stat().st_uid, (root / "x").stat().st_gid) == (0, 0)


@pytest.mark.parametrize("name", MAPS)
def test_damaged_maps_of_sparse_files(attempt, name):
    pax = {"GNU.sparse.name": "x", "GNU.sparse.size": "4", "GNU.sparse.map": MAPS[name]}
    attempt(Layer().file("x", b"data", pax=pax), error="no number" if name == "no numbers" else "map of a sparse file")


@pytest.mark.parametrize("count", ["1000000000", "-1", "x", "1" * 400])
def test_maps_in_the_file_that_are_too_large(attempt, count):
    pax = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x", "GNU.sparse.realsize": "4"}
    attempt(Layer().file("x", f"{count}\n".encode().ljust(512, b"\0"), pax=pax), error="entry 1: ")


def test_a_sparse_file_larger_than_any_can_be(attempt):
    pax = {"GNU.sparse.name": "x", "GNU.sparse.size": str(1 << 62), "GNU.sparse.map": ""}
    attempt(Layer().file("x", pax=pax), error='"x": file too large')


@pytest.mark.parametrize("packer", ["gzip", "zstd"])
def test_a_layer_that_would_fill_the_disk(pyrun, tmp_path, packer):
    """On a file system of 64 MiB a layer of some KiB that unpacks to 128."""
    small = tmp_path / "small"
    small.mkdir()
    image = layout(tmp_path / "image", [Layer().file("zeros", bytes(128 << 20))], packer=packer)
    assert max(path.stat().st_size for path in (image / "blobs/sha256").iterdir()) < 1 << 20
    script = 'mount -t tmpfs -o size=64m none "$1"; shift; "$@"; code=$?; ls -A "$0"; exit $code'
    command = ["unshare", "--mount", "sh", "-c", script, small, small, pyrun, "unpack", image, small / "bundle"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the layers unpack to more than 57 MiB" in done.stderr


# --- digests


def test_a_changed_layer(attempt, tmp_path):
    image = layout(tmp_path / "image", [Layer().file("x", b"1" * 1000)], packer="plain")
    blob = max((image / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob.write_bytes(blob.read_bytes().replace(b"1" * 1000, b"2" * 1000))
    attempt(image=image, error="the image is damaged or was changed")


def test_a_layer_that_is_not_of_the_config(attempt, tmp_path):
    blobs = Blobs()
    config = {"os": "linux", "architecture": images.ARCHITECTURE, "config": {"Cmd": ["x"]}, "rootfs": {"diff_ids": [sha(b"another")]}}
    layer = blobs.put(Layer().file("x").tar(), "layer.v1.tar")
    manifest = blobs.put({"config": blobs.put(config, "config.v1+json"), "layers": [layer]}, "manifest.v1+json")
    attempt(image=layout(tmp_path / "image", images=[manifest], blobs=blobs), error="its diff_id, the digest of what is in it, is sha256:")


@pytest.mark.parametrize("part", ["manifest", "config", "layer"])
def test_changed_documents(attempt, tmp_path, part):
    blobs = Blobs()
    manifest = put_image(blobs, [Layer().file("x")], packer="plain")
    names = {"manifest": manifest["digest"]}
    names["config"], names["layer"] = [name for name in blobs if name != manifest["digest"]][:2]
    blobs[names[part]] = blobs[names[part]][:-1] + b" "
    attempt(image=layout(tmp_path / "image", images=[manifest], blobs=blobs), error="the image is damaged or was changed")


def test_a_blob_of_another_size(attempt, tmp_path):
    blobs = Blobs()
    manifest = put_image(blobs, [Layer().file("x")]) | {"size": 5}
    attempt(image=layout(tmp_path / "image", images=[manifest], blobs=blobs), error="bytes, and not the 5 that")


@pytest.mark.parametrize("digest", ["sha256:../../../../etc/passwd", "sha256:" + "A" * 64, "md5:" + "0" * 32, "../x", 5])
def test_digests_that_are_none(attempt, tmp_path, digest):
    image = layout(tmp_path / "image", images=[{"digest": digest, "size": 1}])
    attempt(image=image, error="none of SHA-256" if isinstance(digest, str) else "digest is not what it should be")


@pytest.mark.parametrize("packer", ["gzip", "zstd"])
def test_a_layer_that_ends_too_early(attempt, tmp_path, packer):
    data = Layer().file("x", os.urandom(100_000)).tar()
    blobs = Blobs()
    layer = blobs.put(images.PACKERS[packer](data)[:50_000], "layer.v1.tar")
    config = {"os": "linux", "architecture": images.ARCHITECTURE, "config": {"Cmd": ["x"]}, "rootfs": {"diff_ids": [sha(data)]}}
    manifest = blobs.put({"config": blobs.put(config, "config.v1+json"), "layers": [layer]}, "manifest.v1+json")
    attempt(image=layout(tmp_path / "image", images=[manifest], blobs=blobs), error="ends too early")


# --- documents


def test_indexes_in_one_another(attempt, tmp_path):
    blobs = Blobs()
    inner = put_image(blobs, [Layer()])
    for _ in range(6):
        inner = blobs.put({"manifests": [inner]}, "index.v1+json")
    attempt(image=layout(tmp_path / "image", images=[inner], blobs=blobs), error="more than 5 indexes in one another")


def test_an_index_that_is_in_itself(attempt, tmp_path):
    """That takes another digest than its own: so it ends."""
    blobs = Blobs()
    text = b'{"manifests": [{"mediaType": "application/vnd.oci.image.index.v1+json", "digest": "sha256:%s", "size": 1000}]}' % (b"0" * 64)
    blobs[f"sha256:{'0' * 64}"] = text.ljust(1000)
    index = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": f"sha256:{'0' * 64}", "size": 1000}
    attempt(image=layout(tmp_path / "image", images=[index], blobs=blobs), error="the image is damaged or was changed")


INDEXES = {
    "[]": "no JSON object",
    "{": "line 1",
    '{"manifests": 5}': "manifests is not what it should be",
    '{"manifests": [5]}': "a member that is no object",
    '{"manifests": []}': "there is no image",
    '{"manifests": [{}]}': "digest is missing",
    json.dumps({"manifests": [{}] * 1001}): "more than 1000",
    "[" * 100000: "line 1",
}


@pytest.mark.parametrize("text", INDEXES, ids=lambda text: text[:20])
def test_indexes_that_are_none(attempt, tmp_path, text):
    (tmp_path / "image").mkdir()
    (tmp_path / "image/index.json").write_text(text)
    attempt(image=tmp_path / "image", error=INDEXES[text])


def test_documents_that_are_too_large(attempt, tmp_path):
    (tmp_path / "image").mkdir()
    (tmp_path / "image/index.json").write_text(" " * (5 << 20))
    attempt(image=tmp_path / "image", error="more than 4 MiB")


@pytest.mark.parametrize("target", ["{outside}/file", "../outside/file"])
def test_an_image_directory_is_no_way_to_files_of_the_host(attempt, tmp_path, outside, target):
    (tmp_path / "image").mkdir()
    (tmp_path / "image/index.json").symlink_to(target.format(outside=outside))
    attempt(image=tmp_path / "image", error="invalid cross-device link")


def test_a_fifo_in_an_image(attempt, tmp_path):
    (tmp_path / "image").mkdir()
    os.mkfifo(tmp_path / "image/index.json")
    attempt(image=tmp_path / "image", error="not a regular file")


def test_layers_of_docker_save_stay_in_the_archive(attempt, tmp_path):
    image = archive(tmp_path / "image.tar", [Layer().file("x")])
    with tarfile.open(image, "a") as tar:
        for name, target in {"manifest.json": "../../../../etc/passwd", "loop": "loop"}.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry, io.BytesIO())
    attempt(image=image, error="no image")


CONFIGS = [
    {"Cmd": "ls"}, {"Cmd": [5]}, {"Env": {}}, {"User": 5}, {"WorkingDir": []}, {"Volumes": []}, {"Labels": []}, {"ExposedPorts": 1},
    {"Cmd": ["a\0b"]}, {"WorkingDir": "/a\0b"},
]  # fmt: skip


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_configs_that_are_none(attempt, config):
    attempt(Layer(), config={"Cmd": ["x"]} | config, error="the image's config: ")
