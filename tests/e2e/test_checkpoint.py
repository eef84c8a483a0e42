"""Engines that save containers and bring them back: podman, docker, containerd."""

import shutil

import pytest
from checkpoints import COUNTER, criu
from e2e.engines import Docker
from e2e.sandbox import soon

IMAGE = "localhost/busybox:latest"


@pytest.fixture(scope="module", autouse=True)
def criu_in_reach(sandbox):
    if reason := criu():
        pytest.skip(reason)
    (sandbox.bin / "criu").symlink_to(shutil.which("criu"))


class Counted:
    """What the counter in a container has reached; call: gives the content of its file."""

    def __init__(self, call):
        self.call = call

    def now(self):
        return int(soon(self.call))

    def goes_on(self, reached=0):
        """Waits until it counts on, and asserts that it had not begun anew. Returns the count."""
        before = self.now()
        assert before >= reached
        soon(lambda: self.now() > before)
        return self.now()


@pytest.mark.parametrize("flags", [(), ("--leave-running",)])
def test_podman(podman, name, flags):
    podman("run", "-d", "--name", name, "--network", "none", IMAGE, "sh", "-c", COUNTER)
    count = Counted(lambda: podman("exec", name, "cat", "/count").out)
    reached = count.goes_on()
    podman("container", "checkpoint", *flags, name)
    assert podman.state(name, "Status") == ("running" if flags else "exited")
    if flags:
        podman("kill", name)
        podman("wait", name)
    podman("container", "restore", name)
    count.goes_on(reached)
    podman("rm", "--force", "--time", "0", name)


def test_podman_moves_one(podman, sandbox, name):
    podman("run", "-d", "--name", name, "--network", "none", "--memory", "100m", IMAGE, "sh", "-c", COUNTER)
    count = Counted(lambda: podman("exec", name, "cat", "/count").out)
    reached = count.goes_on()
    archive = sandbox.directory / f"{name}.tar.gz"
    podman("container", "checkpoint", "--export", archive, name)
    podman("rm", name)
    podman("container", "restore", "--import", archive, "--name", name)
    count.goes_on(reached)
    podman("rm", "--force", "--time", "0", name)


def test_docker(sandbox, containerd, runtime, busybox_tar, name):
    docker = Docker(sandbox, containerd, runtime, "docker-experimental", {"experimental": True, "bridge": "none"})
    docker.import_image(busybox_tar, "busybox")
    docker("run", "--detach", "--name", name, "--network", "none", "busybox", "sh", "-c", COUNTER)
    count = Counted(lambda: docker("exec", name, "cat", "/count").out)
    reached = count.goes_on()
    docker("checkpoint", "create", name, "saved")
    assert "saved" in docker("checkpoint", "ls", name).out
    soon(lambda: docker.state(name, "Status") == "exited")
    # What dockerd left in containerd's store is in its own way until it has been swept out (moby's issue 42900).
    soon(lambda: docker("start", "--checkpoint", "saved", name))
    count.goes_on(reached)
    docker("rm", "--force", name)


def test_containerd(any_containerd, runtime, sandbox, busybox_tar, name):
    from e2e import images

    archive = images.oci_archive(sandbox.directory / "saved.tar", busybox_tar, IMAGE, ["/bin/sh"])
    ctr = any_containerd.ctr
    ctr("image", "import", archive)
    group = ["--cgroup", f"/{sandbox.cgroup}/ctr-{name}"]
    ctr("run", "--runtime", "io.containerd.runc.v2", "--runc-binary", runtime, *group, "--detach", IMAGE, name, "sh", "-c", COUNTER)
    count = Counted(lambda: ctr("task", "exec", "--exec-id", "look", name, "cat", "/count").out)
    reached = count.goes_on()
    images_path = sandbox.directory / f"{name}-images"
    images_path.mkdir()
    ctr("task", "checkpoint", "--exit", "--image-path", images_path, name)
    assert (images_path / "inventory.img").exists()
    assert reached
    soon(lambda: "RUNNING" not in ctr("task", "ls").out)
    ctr("task", "rm", "--force", name, code=None)
    ctr("container", "rm", name)
