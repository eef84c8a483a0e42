"""Images without a registry: busybox-static, and Debian with a compiler and Apache's httpd by debootstrap."""

import hashlib
import json
import os
import pathlib
import platform
import subprocess

import images
from harness import make_rootfs

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Kept between runs: debootstrap takes a minute.
CACHE = pathlib.Path(os.environ.get("PYRUN_E2E_CACHE", "/var/cache/pyrun-e2e"))


def busybox(directory, sources):
    """A tar file (Path) of a small root: busybox, a page for httpd, and programs compiled from C sources (Paths)."""
    root = directory / "busybox-root"
    make_rootfs(root)
    (root / "www").mkdir()
    (root / "www/index.html").write_text("<h1>it works</h1>\n")
    for source in sources:
        subprocess.run(["gcc", "-O2", "-static", "-o", root / "bin" / source.stem, source], check=True)
    return pack(root, directory / "busybox.tar")


def debian():
    """A tar file (Path) of Debian 12 with gcc and apache2."""
    path = CACHE / "debian-gcc-apache2.tar"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        root = CACHE / f"root-{os.getpid()}"
        command = ["debootstrap", "--variant=minbase", "--include=gcc,libc6-dev,apache2", "bookworm", root]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        for waste in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "usr/share/man"):
            subprocess.run(["rm", "-rf", root / waste], check=True)
        pack(root, CACHE / f"part-{os.getpid()}.tar").rename(path)
        subprocess.run(["rm", "-rf", "--one-file-system", root], check=True)
    return path


def pack(root, path):
    subprocess.run(["tar", "-C", root, "--numeric-owner", "--one-file-system", "-cf", path, "."], check=True)
    return path


def oci_archive(path, layer, name, command):
    """An OCI image archive with one layer (a tar file), for `ctr image import`."""
    blobs = {}

    def blob(data, media_type):
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": f"application/vnd.oci.{media_type}", "digest": f"sha256:{digest}", "size": len(data)}

    packed = blob(layer.read_bytes(), "image.layer.v1.tar")
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()],
        "os": "linux",
        "config": {"Cmd": command, "Env": [PATH]},
        "rootfs": {"type": "layers", "diff_ids": [packed["digest"]]},
    }
    image = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(json.dumps(config).encode(), "image.config.v1+json"),
        "layers": [packed],
    }
    manifest = blob(json.dumps(image).encode(), "image.manifest.v1+json")
    manifest["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
    files = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode(),
        **{f"blobs/sha256/{digest}": data for digest, data in blobs.items()},
    }
    return images.write(path, files)
