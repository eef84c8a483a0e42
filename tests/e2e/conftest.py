"""Real engines on the runtime: dockerd, containerd (ctr and the kubelet's interface), podman, from Debian's packages.

`docker("run", "--rm", "busybox", "true")` is a command against a dockerd of the tests' own; `ctr`, `podman` … likewise.
All of it lives in one Sandbox for the session; what is not installed is skipped and says so.
"""

import pathlib
import shutil
import subprocess
import tempfile
import uuid

import pytest
from e2e import images
from e2e.engines import BuildKit, Containerd, Docker, Podman, needs
from e2e.sandbox import Sandbox
from harness import PROJECT

HERE = pathlib.Path(__file__).parent


def pytest_collection_modifyitems(items):
    """These come last: they are the slowest, and no engine runs beside other tests."""
    items.sort(key=lambda item: HERE in item.path.parents)


@pytest.fixture(scope="session")
def sandbox():
    needs("unshare", "nsenter", "ip", "iptables")
    # Not below pytest's own directory: users in containers must be able to pass through, and sockets' paths be short.
    with tempfile.TemporaryDirectory(prefix="e2e-", dir="/var/tmp") as name:
        directory = pathlib.Path(name)
        directory.chmod(0o755)
        box = Sandbox(directory)
        yield box
        box.close()


@pytest.fixture(scope="session")
def runtime(pyrun, sandbox):
    """The runtime's path; it is also the `runc` on PATH, which BuildKit and ctr look for."""
    (sandbox.bin / "runc").symlink_to(pyrun)
    return pyrun


@pytest.fixture(scope="session")
def busybox_tar(tmp_path_factory):
    return images.busybox(tmp_path_factory.mktemp("busybox-image"), [HERE / "memeat.c", PROJECT / "tests/runtime/say.c"])


@pytest.fixture(scope="session")
def debian_tar():
    needs("debootstrap")
    return images.debian()


@pytest.fixture(scope="session")
def crictl():
    """Its path, or None."""
    return shutil.which("crictl") or shutil.which(PROJECT / "build/e2e/crictl")


@pytest.fixture(scope="session")
def containerd(sandbox, runtime, crictl):
    needs("containerd", "ctr", "bridge")
    return Containerd(sandbox, runtime, crictl)


@pytest.fixture(scope="session")
def containerd2(sandbox, runtime, crictl):
    """The second major version, which Debian 12 does not have."""
    programs = PROJECT / "build/e2e/containerd2"
    if not shutil.which(programs / "containerd"):
        pytest.skip("no containerd 2 in build/e2e: `make e2e` builds it where there is Go")
    return Containerd(sandbox, runtime, crictl, "containerd 2", str(programs))


@pytest.fixture(scope="module", params=["containerd", "containerd2"])
def any_containerd(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def cri(any_containerd, sandbox, busybox_tar):
    """`cri("runp", …)`: crictl, with its images."""
    if not any_containerd.crictl_path:
        pytest.skip("crictl is no Debian package and not on PATH; `make e2e` builds it where there is Go")
    root = sandbox.directory / "pause-root"
    root.mkdir(exist_ok=True)
    source = HERE / "pause.c"
    subprocess.run(["gcc", "-O2", "-static", "-o", root / "pause", source], check=True)
    pause = images.pack(root, sandbox.directory / "pause-layer.tar")
    for layer, name, command in ((pause, "localhost/pause:1", "/pause"), (busybox_tar, "localhost/busybox:1", "/bin/sh")):
        archive = images.oci_archive(sandbox.directory / "cri.tar", layer, name, [command])
        any_containerd.ctr("image", "import", archive, namespace="k8s.io")
    return any_containerd.crictl


@pytest.fixture(scope="session", params=["debian", "newest"])
def docker(request, sandbox, runtime, busybox_tar):
    """Debian's dockerd, and the newest one, one after the other."""
    needs("dockerd", "/usr/bin/docker")
    programs = PROJECT / "build/e2e/moby" if request.param == "newest" else None
    if programs and not shutil.which(programs / "dockerd"):
        pytest.skip("no dockerd in build/e2e/moby: `make build/e2e/moby/dockerd` builds it where there is Go, in some minutes")
    containerd = request.getfixturevalue("containerd2" if programs else "containerd")
    engine = Docker(sandbox, containerd, runtime, f"docker-{request.param}", programs=programs)
    engine.import_image(busybox_tar, "busybox")
    yield engine
    engine.stop()
    # The next one finds neither its bridge nor its firewall.
    sandbox.shell("ip link delete docker0; for t in nat filter raw; do iptables -t $t -F; iptables -t $t -X; done", code=None)


@pytest.fixture(scope="session")
def compiler(docker, debian_tar):
    """The name of an image that has gcc."""
    docker.import_image(debian_tar, "debian-gcc", "/bin/bash")
    return "debian-gcc"


@pytest.fixture(scope="session")
def buildkit(sandbox, runtime, busybox_tar):
    needs("bridge", "iptables")
    if not shutil.which(PROJECT / "build/e2e/buildkitd"):
        pytest.skip("no buildkitd in build/e2e: `make build/e2e/buildkitd` builds it where there is Go, in some minutes")
    return BuildKit(sandbox, runtime, images.oci_archive(sandbox.directory / "base", busybox_tar, "busybox:latest", ["/bin/sh"]))


@pytest.fixture(scope="session")
def podman(sandbox, runtime, busybox_tar):
    needs("podman", "conmon", "netavark")
    engine = Podman(sandbox, runtime)
    engine("import", "-c", f"ENV {images.PATH}", busybox_tar, "localhost/busybox:latest")
    return engine


@pytest.fixture(scope="session")
def user_podman(sandbox, runtime, busybox_tar):
    """podman of an ordinary user, who exists in the sandbox only."""
    needs("podman", "newuidmap")
    name = "e2euser"
    sandbox.add_user(name, 41000, 600000)
    readable = sandbox.directory / "busybox.tar"
    readable.write_bytes(busybox_tar.read_bytes())
    engine = Podman(sandbox, runtime, name)
    engine("import", "-c", f"ENV {images.PATH}", readable, "localhost/busybox:latest")
    return engine


@pytest.fixture
def name():
    """A name for a container."""
    return f"c{uuid.uuid4().hex[:8]}"


@pytest.fixture
def started(docker, name):
    """`started("--init", "busybox", "sleep", "100")`: `docker run --detach`; returns its name. It is removed after the test."""

    def start(*args):
        docker("run", "--detach", "--name", name, *args)
        return name

    yield start
    docker("rm", "--force", name, code=None)
