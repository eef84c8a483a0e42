"""Images made by hand, for the tests of `pyrun unpack`.

    layer = Layer().file("bin/true", BYTES, mode=0o755).directory("tmp", mode=0o1777).symlink("lib", "usr/lib")
    path = layout(tmp_path / "image", [layer, Layer().file("tmp/.wh.x")], config={"Cmd": ["/bin/true"]})
    path = archive(tmp_path / "image.tar", [layer])              # what `docker save` wrote until version 24
"""

import gzip
import hashlib
import io
import json
import pathlib
import platform
import subprocess
import tarfile

from harness import BUSYBOX

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
LINKS = ("sh", "ls", "cat", "id", "echo", "env", "stat", "pwd", "sleep", "touch", "mkdir", "rm", "mknod", "su", "chown", "tty")


class Layer:
    """A tar archive of entries, in the order they are added."""

    def __init__(self, format=tarfile.PAX_FORMAT):
        self.format, self.entries = format, []

    def add(
        self, name, kind=tarfile.REGTYPE, data=b"", *, mode=0o644, uid=0, gid=0, mtime=1_000_000_000, target="", device=(0, 0), xattrs=None, pax=None
    ):  # fmt: skip
        entry = tarfile.TarInfo(name)
        entry.name = name  # as it is, slashes included
        entry.type, entry.mode, entry.uid, entry.gid, entry.mtime, entry.linkname = kind, mode, uid, gid, mtime, target
        entry.devmajor, entry.devminor = device
        entry.size = len(data)
        entry.pax_headers = {f"SCHILY.xattr.{key}": value.decode("utf-8", "surrogateescape") for key, value in (xattrs or {}).items()} | (pax or {})
        self.entries.append(entry.tobuf(self.format, "utf-8", "surrogateescape") + data + bytes(-len(data) % 512))
        return self

    def file(self, name, data=b"", **about):
        return self.add(name, data=data, **about)

    def directory(self, name, mode=0o755, **about):
        return self.add(name, tarfile.DIRTYPE, mode=mode, **about)

    def symlink(self, name, target, **about):
        return self.add(name, tarfile.SYMTYPE, target=target, mode=0o777, **about)

    def link(self, name, target, **about):
        return self.add(name, tarfile.LNKTYPE, target=target, **about)

    def raw(self, data):
        self.entries.append(data)
        return self

    def tar(self):
        return b"".join(self.entries) + bytes(1024)


class Raw(Layer):
    """A layer of any bytes."""

    def __init__(self, data):
        Layer.__init__(self)
        self.data = data

    def tar(self):
        return self.data


def busybox():
    """A layer with a shell and a few programs, a user and a group."""
    layer = Layer().directory("bin").file("bin/busybox", BUSYBOX.read_bytes(), mode=0o755)
    for name in LINKS:
        layer.symlink(f"bin/{name}", "busybox")
    for name in ("etc", "proc", "sys", "dev", "root", "tmp"):
        layer.directory(name)
    layer.file("etc/passwd", b"root:x:0:0::/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n")
    return layer.file("etc/group", b"root:x:0:\nweb:x:34:\nlog:x:40:web,other\nrest:x:41:other\n")


def zstd(data):
    return subprocess.run(["zstd", "-q", "-c"], input=data, capture_output=True, check=True).stdout


PACKERS = {"plain": lambda data: data, "gzip": gzip.compress, "zstd": zstd}


def sha(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Blobs(dict):
    """Blobs of a layout, by digest."""

    def put(self, data, kind, **more):
        data = data if isinstance(data, bytes) else json.dumps(data).encode()
        self[sha(data)] = data
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": sha(data), "size": len(data), **more}


def image_json(layers, config, *, architecture=ARCHITECTURE, variant=None, **more):
    tars = [layer.tar() for layer in layers]
    about = {"os": "linux", "architecture": architecture, "config": config, "rootfs": {"type": "layers", "diff_ids": [sha(data) for data in tars]}}
    return about | ({"variant": variant} if variant else {}) | more, tars


def put_image(blobs, layers, config=None, packer="gzip", platform=None, **about):
    """Puts an image into blobs; its descriptor."""
    content, tars = image_json(layers, config if config is not None else {"Cmd": ["sh"]}, **about)
    manifest = {
        "schemaVersion": 2,
        "config": blobs.put(content, "config.v1+json"),
        "layers": [blobs.put(PACKERS[packer](data), "layer.v1.tar") for data in tars],
    }
    return blobs.put(manifest, "manifest.v1+json", **({"platform": platform} if platform else {}))


def layout(path, layers=(), config=None, *, images=None, blobs=None, **about):
    """An OCI image layout: a directory, or a tar file where the path ends so. images: descriptors, in place of one image of layers."""
    blobs = Blobs() if blobs is None else blobs
    manifests = [put_image(blobs, layers, config, **about)] if images is None else images
    files = {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": manifests}).encode(),
        **{f"blobs/{digest.replace(':', '/')}": data for digest, data in blobs.items()},
    }
    return write(path, files)


def archive(path, layers, config=None, tags=("localhost/test:1",), **about):
    """What `docker save` wrote until version 24."""
    content, tars = image_json(layers, config if config is not None else {"Cmd": ["sh"]}, **about)
    text = json.dumps(content).encode()
    name = f"{hashlib.sha256(text).hexdigest()}.json"
    files = {name: text} | {f"{number}/layer.tar": data for number, data in enumerate(tars)}
    listed = [{"Config": name, "RepoTags": list(tags), "Layers": [f"{number}/layer.tar" for number in range(len(tars))]}]
    return write(path, files | {"manifest.json": json.dumps(listed).encode()})


def write(path, files):
    path = pathlib.Path(path)
    if path.suffix == ".tar":
        with tarfile.open(path, "w") as tar:
            for name, data in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        return path
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path
