"""A registry of images for Kubernetes' own suites: what they want of each is made here, of busybox and programs of this machine.

Started as a program it serves them over HTTP: registry.py DIRECTORY PORT. All tags of a name are one image, unless the tag has one of its own.
"""

import http.server
import json
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NGINX = """user root root; daemon off; pid /var/run/nginx.pid; error_log stderr; events {{}}
http {{ access_log off; server {{ listen {port}; root /www; }} }}
"""
# For `nmeter -d0 %3t`, which Debian's busybox lacks.
NMETER = "#!/bin/sh\nexec date -u +%H:%M:%S.%3N\n"
PORTS = {"nginx": 80, "hostnet-nginx-amd64": 12003}
USERS = {"uid": "1002", "username": "www-data", "uid-group": "1003:1004", "username-group": "www-data:1004"}
ALONE = ("latest", "tag", "tag:all", "1", "2", "3", "tags", "digest")


def with_programs(root, *programs, origin=pathlib.Path("/")):
    """Puts programs of this machine, or of a package unpacked at `origin`, into a root file system, and the libraries that they load."""
    for program in programs:
        found = subprocess.run(["ldd", origin / program], capture_output=True, text=True, check=False).stdout
        for path in [origin / program, *map(pathlib.Path, re.findall(r"(/\S+) \(0x", found))]:
            target = root / (program if path == origin / program else path.relative_to("/"))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)  # it may be busybox, by another name
            shutil.copy(path, target)


def link(path, target):
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def make_base(root, make_rootfs):
    """busybox, whose names are hard links as in the usual image: one of them can be masked and the others stay.

    But the shell is bash: Debian's busybox runs its own `ls` and others whatever lies at their paths, and hands on no variable like `data-1`.
    """
    root.mkdir()
    make_rootfs(root)
    for name in (root / "bin").iterdir():
        if name.is_symlink():
            name.unlink()
            name.hardlink_to(root / "bin/busybox")
    with_programs(root, "bin/bash", "bin/date", "usr/bin/pgrep", "usr/bin/ipcs")
    link(root / "bin/sh", "bash")
    (root / "bin/nmeter").write_text(NMETER)
    (root / "bin/nmeter").chmod(0o755)
    (root / "www").mkdir()
    (root / "www/index.html").write_text("<h1>Welcome to nginx! It works!</h1>\n")
    with open(root / "etc/passwd", "a") as out:
        out.write("www-data:x:33:33::/:/bin/sh\ndefault-user:x:1001:1001::/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nuser:x:1000:\nwww-data:x:33:\ngroup-defined-in-image:x:50000:user,user-defined-in-image\n")


def made(make_rootfs, here, programs):
    """(name, root, config) of each image, made in a directory. programs: where agnhost, nnp and nginx are."""
    base = here / "base"
    make_base(base, make_rootfs)

    def copy(name):
        subprocess.run(["cp", "-a", base, here / name], check=True)
        return here / name

    for name in ("busybox", "ipc-utils"):
        yield name, base, {"Cmd": ["/bin/sh"]}
    yield "nonroot", base, {"User": "1234", "Cmd": ["/bin/sh"]}
    yield "httpd", base, {"Cmd": ["sh", "-c", "echo httpd -D FOREGROUND; exec busybox httpd -f -p 80 -h /www"]}
    yield "test-image-predefined-group", base, {"User": "1000", "Cmd": ["/bin/sh"]}
    for name, user in USERS.items():
        yield f"test-image-user-{name}", base, {"User": user, "Cmd": ["/bin/sh"]}
    for name in ALONE:
        other = copy(f"test-image-{name}")
        (other / "made-for").write_text(name)
        yield other.name, other, {"Cmd": ["/bin/sh"]}

    pause = here / "pause"
    pause.mkdir()
    subprocess.run(["gcc", "-O2", "-static", "-o", pause / "pause", HERE.parent / "e2e/pause.c"], check=True)
    yield "pause", pause, {"Entrypoint": ["/pause"]}

    agnhost = copy("agnhost")
    with_programs(agnhost, "usr/bin/curl", "bin/nc.openbsd")
    link(agnhost / "bin/nc", "nc.openbsd")  # busybox's knows no UDP
    link(agnhost / "agnhost-2", "agnhost")
    shutil.copy(programs / "agnhost", agnhost)
    (agnhost / "uploads").mkdir()
    files = ["-keyout", agnhost / "localhost.key", "-out", agnhost / "localhost.crt"]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", *files], capture_output=True, check=True)
    (agnhost / "localhost.key").chmod(0o644)
    passwd = agnhost / "etc/passwd"
    passwd.write_text(passwd.read_text().replace("user:x:1000:", "user-defined-in-image:x:1000:"))
    yield "agnhost", agnhost, {"Entrypoint": ["/agnhost"], "Cmd": ["pause"]}

    glibc = copy("glibc-dns-testing")
    with_programs(glibc, "bin/hostname")
    yield "glibc-dns-testing", glibc, {"Cmd": ["/bin/sh"]}

    nnp = copy("nonewprivs")
    (nnp / "usr/local/bin").mkdir(parents=True)
    shutil.copy(programs / "nnp", nnp / "usr/local/bin")
    (nnp / "usr/local/bin/nnp").chmod(0o6755)
    yield "nonewprivs", nnp, {"Cmd": ["nnp"]}

    for name, port in PORTS.items():
        web = copy(name)
        with_programs(web, "usr/sbin/nginx", origin=programs / "nginx")
        for directory in ("etc/nginx", "var/lib/nginx", "var/log/nginx", "var/run"):
            (web / directory).mkdir(parents=True, exist_ok=True)
        (web / "etc/nginx/nginx.conf").write_text(NGINX.format(port=port))
        yield name, web, {"Cmd": ["nginx", "-c", "/etc/nginx/nginx.conf"]}


def write(layout, images, put_image, blobs, raw):
    """Writes what Handler reads."""
    names, tars = {}, {}
    for name, root, config in images:
        if root not in tars:
            tars[root] = subprocess.run(["tar", "-C", root, "--numeric-owner", "-cf", "-", "."], capture_output=True, check=True).stdout
        names[name] = put_image(blobs, [raw(tars[root])], {"Env": [PATH], **config}, packer="plain")["digest"]
    (layout / "blobs/sha256").mkdir(parents=True)
    for digest, data in blobs.items():
        (layout / "blobs" / digest.replace(":", "/")).write_bytes(data)
    (layout / "names.json").write_text(json.dumps(names))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = self.path.partition("?")[0]
        found = re.fullmatch(r"/v2/(.*)/(manifests|blobs)/([^/]+)", path)
        if path == "/v2/":
            return self.answer(200, b"{}", "application/json")
        if not found:
            return self.answer(404, b"", "text/plain")
        name, kind, reference = found[1].rpartition("/")[2], found[2], found[3]
        names = json.loads((LAYOUT / "names.json").read_text())
        digest = reference if reference.startswith("sha256:") else names.get(f"{name}:{reference}", names.get(name))
        blob = LAYOUT / "blobs" / (digest or "none").replace(":", "/")
        if not blob.exists():
            return self.answer(404, b'{"errors": [{"code": "NAME_UNKNOWN"}]}', "application/json")
        media = "application/vnd.oci.image.manifest.v1+json" if kind == "manifests" else "application/octet-stream"
        return self.answer(200, blob.read_bytes(), media, digest)

    do_HEAD = do_GET

    def answer(self, code, data, media, digest=None):
        self.send_response(code)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(data)))
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)


if __name__ == "__main__":
    LAYOUT = pathlib.Path(sys.argv[1])
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
