"""The image's own /etc/passwd and /etc/group are whatever can keep a reader busy for ever, fill its memory, or lead it out of the root."""

import os
import resource
import tarfile

import pytest
from harness import Runner
from images import Layer, layout
from looks import one_line

MEMORY = 384 << 20
SHAPES = ("fifo", "directory", "sparse", "short lines", "link to the host")


def put(path, shape, victim):
    """Makes what lies in the place of passwd."""
    if shape == "fifo":
        os.mkfifo(path)
    elif shape == "directory":
        path.mkdir()
    elif shape == "link to the host":
        (victim.path / "passwd").write_text("root:x:0:0::/of-the-host:/b\n")
        path.symlink_to(f"../../../../../../../../../../{victim.path}/passwd")
    else:
        path.write_text("" if shape == "sparse" else "a\n" * (9 << 20))
        os.truncate(path, 64 << 30)


@pytest.mark.parametrize("shape", SHAPES)
def test_exchanged_while_exec_reads_it(shape, bundle, victim, swapper):
    """HOME is that of the file that was there, whole, or none."""
    b = bundle("sleep 100").set("process.env", ["PATH=/bin"])
    put(b.rootfs / "etc/evil", shape, victim)
    container = b.detached()
    with swapper(b.rootfs / "etc/passwd", b.rootfs / "etc/evil") as race:
        homes = {container.exec("sh", "-c", "echo $HOME", timeout=5).out for _ in range(8)}
    assert race.count > 100
    assert homes <= {"/root\n", "/\n"}


@pytest.fixture
def unpack(pyrun, tmp_path, token):
    """unpack(layer, user): its one line of error; it may use so much memory and no more."""
    run = Runner(pyrun, tmp_path, token)

    def make(layer, user):
        image = layout(tmp_path / "image", [layer], config={"Cmd": ["x"], "User": user})
        result = run("unpack", image, tmp_path / "bundle", code=1, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)))
        assert not (tmp_path / "bundle").exists()
        return one_line(result)

    return make


@pytest.mark.parametrize("name", ["passwd", "group"])
@pytest.mark.parametrize("shape", ["fifo", "device", "directory", "too large", "loop", "short lines", "one line"])
def test_of_an_image(name, shape, unpack):
    path = f"etc/{name}"
    layer = Layer()
    if shape == "device":
        layer.add(path, tarfile.CHRTYPE, device=(1, 5))
    elif shape == "loop":
        layer.symlink(path, name)
    elif shape in ("fifo", "directory"):
        layer.add(path, tarfile.FIFOTYPE if shape == "fifo" else tarfile.DIRTYPE)
    else:
        layer.file(path, {"too large": b"a\n" * (9 << 20), "short lines": b"ab\n" * (3 << 20), "one line": b":" * (15 << 20)}[shape])
    line = unpack(layer, "web" if name == "passwd" else "0:web")
    if shape in ("short lines", "one line"):
        assert '"web", ' in line and f"not in its {path}" in line
    elif shape == "loop":
        assert f"{path} of the image: too many levels of symbolic links" in line
    else:
        assert f"{path} of the image is no file, or one of more than 16 MiB" in line
