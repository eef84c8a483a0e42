"""`pyrun unpack` of images that engines wrote, compared file by file with what `docker export` gives of the same image."""

import hashlib
import os
import stat
import tarfile

import pytest

# Four layers, with all that a layer can have: files replaced, removed, moved; directories emptied and made anew.
DOCKERFILE = """
FROM busybox
RUN mkdir -p /a/b/c /gone/x /again/old && echo one >/a/one && echo two >/a/b/two && ln /a/one /a/hard && ln -s ../a/one /a/soft \\
    && ln -s /a/b /way && touch /gone/x/file /again/old/file && mkfifo /a/fifo && mknod /a/null c 1 3 \\
    && chown 33:34 /a/b/two && chmod 4751 /a/one && chmod 2770 /a/b \\
    && dd if=/dev/zero of=/a/large bs=1k count=3000 2>/dev/null && touch -d '2001-02-03 04:05:06' /a/b/c && touch "/a/ä ö"
RUN rm -r /gone && rm -r /again && mkdir /again && echo new >/again/new && echo through >/way/through && rm /a/hard && rm /a/soft && mkdir /a/soft
RUN echo changed >>/a/b/two && mv /a/b/c /a/d && rmdir /again/none 2>/dev/null; chmod 700 /again; mkdir -p /data/in && echo v >/data/in/v
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["cat /data/in/v; id; echo $WORD; pwd"]
ENV WORD=word
WORKDIR /srv/made
USER 33:34
"""
# What docker makes for each container, and the directories that this changes the time of.
DOCKERS = {".dockerenv", "dev/console", "dev/pts", "dev/shm", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab"}
TOUCHED = {"", "dev", "etc"}


@pytest.fixture(scope="module")
def image(docker):
    """(name of the image, what `docker export` gives of it)."""
    context = docker.directory / "unpack"
    context.mkdir()
    (context / "Dockerfile").write_text(DOCKERFILE)
    docker("build", "--tag", "unpack:1", context, env={"DOCKER_BUILDKIT": "0"})
    container = docker("create", "unpack:1").out
    docker("export", "--output", context / "export.tar", container)
    docker("rm", container)
    return "unpack:1", exported(context / "export.tar")


@pytest.fixture(scope="module")
def saved(docker, image):
    path = docker.directory / "saved.tar"
    docker("save", "--output", path, image[0])
    return path


def facts(kind, mode, uid, gid, name, *, mtime, target="", device=0, content=b""):
    """What is compared of a file; a symlink's mode means nothing."""
    mode, mtime = 0 if kind == "l" else mode & 0o7777, None if name in TOUCHED else int(mtime)
    return kind, mode, uid, gid, mtime, target, device, hashlib.sha256(content).hexdigest()


def exported(path):
    """{name: facts} of a tar archive. Hard links are as the files that they are to."""
    found, kinds = {}, {tarfile.REGTYPE: "f", tarfile.LNKTYPE: "f", tarfile.SYMTYPE: "l", tarfile.DIRTYPE: "d"}
    kinds |= {tarfile.FIFOTYPE: "p", tarfile.CHRTYPE: "c"}
    with tarfile.open(path) as archive:
        for entry in archive:
            name = os.path.normpath(entry.name)
            name = "" if name == "." else name
            if name in DOCKERS:
                continue
            content = archive.extractfile(entry).read() if entry.isreg() or entry.islnk() else b""
            about = archive.getmember(entry.linkname) if entry.islnk() else entry
            found[name] = facts(
                kinds.get(entry.type, "?"), about.mode, about.uid, about.gid, name, mtime=about.mtime, content=content,
                target=entry.linkname if entry.issym() else "", device=os.makedev(entry.devmajor, entry.devminor) if entry.ischr() else 0,
            )  # fmt: skip
    return found


def unpacked(root):
    """{name: facts} of a root file system."""
    found = {}
    for path in [root, *root.rglob("*")]:
        about, name = path.lstat(), str(path.relative_to(root))
        name = "" if name == "." else name
        if name in DOCKERS:
            continue
        kind = {stat.S_IFREG: "f", stat.S_IFLNK: "l", stat.S_IFDIR: "d", stat.S_IFIFO: "p", stat.S_IFCHR: "c"}[stat.S_IFMT(about.st_mode)]
        found[name] = facts(
            kind, about.st_mode, about.st_uid, about.st_gid, name, mtime=about.st_mtime,
            target=os.readlink(path) if kind == "l" else "", content=path.read_bytes() if kind == "f" else b"",
            device=about.st_rdev,
        )  # fmt: skip
    return found


def differences(found, wanted):
    """What is in one alone, or otherwise in both. The root's own entry is not in every export."""
    names = (found.keys() | wanted.keys()) - {""}
    return {name: (found.get(name), wanted.get(name)) for name in sorted(names) if found.get(name) != wanted.get(name)}


def check(run, directory, image, wanted):
    """Unpacks an image, compares it and runs it."""
    bundle = directory / "bundle"
    run("unpack", image, bundle)
    assert differences(unpacked(bundle / "rootfs"), wanted) == {}
    done = run("run", bundle)
    assert done.out == "v\nuid=33 gid=34 groups=34\nword\n/srv/made\n"


def test_docker_save(run, tmp_path, saved, image):
    check(run, tmp_path, saved, image[1])


def test_docker_save_of_several_images(run, tmp_path, docker, image):
    docker("save", "--output", tmp_path / "both.tar", image[0], "busybox:latest")
    where = "docker.io/library/" if docker.programs else ""  # what docker's newest image store has before names
    said = run("unpack", tmp_path / "both.tar", tmp_path / "none", code=1).err
    assert f"use --tag with {where}busybox:latest, {where}unpack:1" in said
    run("unpack", "--tag", "unpack:1", tmp_path / "both.tar", tmp_path / "bundle")
    assert differences(unpacked(tmp_path / "bundle/rootfs"), image[1]) == {}


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "oci-dir"])
def test_podman_save(run, tmp_path, podman, saved, image, form):
    name = podman("load", "--input", saved).out.split()[-1]
    target = tmp_path / "podman-image"
    podman("save", "--format", form, "--output", target, name)
    check(run, tmp_path, target, image[1])


# --- BuildKit


@pytest.fixture(scope="module")
def built(buildkit, docker):
    """(build(output), what `docker export` gives of the same image)."""
    context = docker.directory / "unpack-buildkit"
    context.mkdir()
    (context / "Dockerfile").write_text(DOCKERFILE)
    archive, listing = context / "docker.tar", context / "export.tar"

    def build(output):
        buildkit.build(context, "--output", output)

    build(f"type=docker,name=unpack:buildkit,dest={archive}")
    docker("load", "--input", archive)
    container = docker("create", "unpack:buildkit").out
    docker("export", "--output", listing, container)
    docker("rm", container)
    return build, exported(listing)


OUTPUTS = ["type=docker", "type=oci", "type=oci,tar=false", *(f"type=oci,force-compression=true,compression={how}" for how in ("zstd", "estargz"))]


@pytest.mark.parametrize("output", OUTPUTS)
def test_buildkit(run, tmp_path, built, output):
    build, wanted = built
    build(f"{output},dest={tmp_path}/image")
    check(run, tmp_path, tmp_path / "image", wanted)
