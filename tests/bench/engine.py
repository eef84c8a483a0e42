"""A dockerd of its own with the runtimes plugged in, where Docker is installed."""

import json
import shutil
import subprocess
import tarfile
import time


class Docker:
    """`with Docker(directory, runtimes) as docker: docker.command(runtime)`; its socket and data lie in the directory."""

    def __init__(self, directory, runtimes, rootfs):
        self.directory, self.rootfs = directory, rootfs
        self.host = f"unix://{directory}/sock"
        settings = {
            "runtimes": {runtime.name: {"path": runtime.path} for runtime in runtimes if runtime.name != "runc"},
            "data-root": f"{directory}/data", "exec-root": f"{directory}/exec", "pidfile": f"{directory}/pid", "hosts": [self.host],
            "bridge": "none", "iptables": False, "ip6tables": False, "exec-opts": ["native.cgroupdriver=cgroupfs"],
        }  # fmt: skip
        directory.mkdir()
        (directory / "daemon.json").write_text(json.dumps(settings))

    def __enter__(self):
        with (self.directory / "log").open("w") as log:
            self.process = subprocess.Popen(["dockerd", "--config-file", self.directory / "daemon.json"], stdout=log, stderr=log)
        for _ in range(300):
            if subprocess.run(["docker", "-H", self.host, "version"], capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.1)
        with tarfile.open(self.directory / "image.tar", "w") as archive:
            archive.add(self.rootfs, ".")
        subprocess.run(["docker", "-H", self.host, "import", self.directory / "image.tar", "bench"], check=True, stdout=subprocess.DEVNULL)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(60)

    def command(self, runtime):
        return [shutil.which("docker"), "-H", self.host, "run", "--rm", "--network", "none", "--runtime", runtime.name, "bench", "/bin/true"]


def missing():
    """The programs that are not there (list of str)."""
    return [name for name in ("docker", "dockerd", "containerd") if not shutil.which(name)]
