"""Engines with the runtime under test plugged in, each as its documentation says (README.md, "Engines")."""

import json
import os
import re
import shutil

import pytest
from e2e.images import PATH
from e2e.sandbox import soon
from harness import PROJECT


def readme_block(heading, language):
    """The first code block of a language under a heading of README.md, with the path of an installed pyrun in it."""
    text = (PROJECT / "README.md").read_text()
    section = text[text.index(f"### {heading}\n") :]
    return re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)[1]


# What the tests want of containerd's CRI besides the README's lines, which name the version: {directory} is its own, {plugins} has the CNI's.
CRI_SETTINGS = {
    "version = 2\n": """
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{directory}/cni"
""",
    "version = 3\n": """
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "localhost/pause:1"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{plugins}"]
    conf_dir = "{directory}/cni"
""",
}


class Containerd:
    """containerd with the README's config.toml; `ctr()` and `crictl()`.

    heading: of the README's section. programs: the directory (str) of containerd, its shim and ctr, None for those on PATH.
    """

    def __init__(self, sandbox, runtime, crictl, heading="containerd", programs=None):
        self.sandbox, self.crictl_path = sandbox, crictl
        self.client = f"{programs}/ctr" if programs else "ctr"
        here = self.directory = sandbox.directory / heading.replace(" ", "")
        (here / "cni").mkdir(parents=True)
        self.address = f"{here}/containerd.sock"
        plugged_in = readme_block(heading, "toml").replace("/usr/local/bin/pyrun", runtime)
        version, settings = next(pair for pair in CRI_SETTINGS.items() if plugged_in.startswith(pair[0]))
        (here / "config.toml").write_text(
            f'{version}root = "{here}/root"\nstate = "{here}/run"\n[grpc]\n  address = "{self.address}"\n'
            + settings.format(directory=here, plugins="/usr/lib/cni")
            + plugged_in.removeprefix(version)
        )
        bridge = {
            "type": "bridge",
            "bridge": f"cni-{here.name[-8:]}",
            "isGateway": True,
            "ipam": {"type": "host-local", "dataDir": f"{here}/ipam", "ranges": [[{"subnet": "10.91.0.0/24"}]]},
        }
        (here / "cni/10-e2e.conflist").write_text(json.dumps({"cniVersion": "0.4.0", "name": "e2e", "plugins": [bridge]}))
        path = ":".join([*([programs] if programs else []), sandbox.environment["PATH"]])
        sandbox.background("env", f"PATH={path}", "containerd", "--config", here / "config.toml", log=f"{here.name}.log")
        soon(lambda: self.ctr("version"), what="containerd answers")

    def ctr(self, *args, namespace="e2e", **options):
        return self.sandbox.run(*self.ctr_command(*args, namespace=namespace), **options)

    def ctr_command(self, *args, namespace="e2e"):
        return [self.client, "--address", self.address, "--namespace", namespace, *args]

    def crictl(self, *args, **options):
        where = ["-r", f"unix://{self.address}", "-i", f"unix://{self.address}"]
        return self.sandbox.run(self.crictl_path, "--timeout", "60s", *where, *args, **options)  # by itself it is 2 s


class Docker:
    """dockerd with the README's daemon.json: `docker("run", …)`, by Debian's client.

    programs: the directory (Path) of another dockerd and its docker-proxy, None for those on PATH.
    """

    def __init__(self, sandbox, containerd, runtime, name="docker", *, programs=None, settings=None):
        self.sandbox, self.containerd, self.programs = sandbox, containerd, programs
        here = self.directory = sandbox.directory / name
        here.mkdir()
        plugged_in = json.loads(readme_block("dockerd", "json").replace("/usr/local/bin/pyrun", runtime))
        more = {"data-root": f"{here}/data", "exec-root": f"{here}/run", "pidfile": f"{here}/pid", "hosts": [f"unix://{here}/sock"]}
        config = {**plugged_in, **more, "containerd": containerd.address, "cgroup-parent": f"/{sandbox.cgroup}", **(settings or {})}
        (here / "daemon.json").write_text(json.dumps(config))
        self.env = {"DOCKER_HOST": f"unix://{here}/sock", "DOCKER_CONFIG": f"{here}/config", "DOCKER_CLI_HINTS": "false"}
        path = ":".join([*([str(programs)] if programs else []), sandbox.environment["PATH"]])
        # A newer one refuses older clients, of which docker-compose is the oldest, unless it is told not to.
        words = [f"PATH={path}", "DOCKER_MIN_API_VERSION=1.24", "dockerd", "--config-file", here / "daemon.json"]
        sandbox.background("env", *words, log=f"{name}.log")
        soon(lambda: self("version"), 40, what="dockerd answers")

    def stop(self):
        self.sandbox.shell(f"kill $(cat {self.directory}/pid)")
        soon(lambda: self.sandbox.shell(f"! test -e {self.directory}/pid"), 40, what="dockerd has ended")

    def __call__(self, *args, env=None, **options):
        return self.sandbox.run("/usr/bin/docker", *args, env={**self.env, **(env or {})}, **options)

    def terminal(self, *args):
        settings = [f"{key}={value}" for key, value in self.env.items()]
        return self.sandbox.terminal("env", *settings, "/usr/bin/docker", *args)

    def import_image(self, tar, name, command="/bin/sh"):
        self("import", "-c", f'CMD ["{command}"]', "-c", f"ENV {PATH}", tar, name)

    def state(self, name, field):
        return self("inspect", "-f", f"{{{{.State.{field}}}}}", name).out

    def pid(self, name):
        return int(self.state(name, "Pid"))

    def address(self, name):
        return self("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name).out

    def logs(self, name):
        done = self("logs", name)
        return done.out + done.err


class BuildKit:
    """buildkitd with the runtime as its worker's binary: `buildkit.build("FROM busybox\\nRUN …")`. Its programs are in build/e2e.

    base: an OCI image layout (Path) that a Dockerfile has by the name `busybox`.
    """

    def __init__(self, sandbox, runtime, base):
        self.sandbox = sandbox
        here = self.directory = sandbox.directory / "buildkit"
        here.mkdir()
        self.address = f"unix://{here}/sock"
        allowed = [f"--allow-insecure-entitlement={name}" for name in ("network.host", "security.insecure")]
        # buildkitd names no --root, and what it leaves when it is killed shall not stay on the machine.
        sandbox.shell("mkdir -p /run/pyrun; mount -t tmpfs -o mode=711 run /run/pyrun")
        worker = [f"--oci-worker-{name}" for name in (f"binary={runtime}", "net=bridge")] + ["--oci-cni-binary-dir=/usr/lib/cni"]
        command = [PROJECT / "build/e2e/buildkitd", "--root", here / "root", "--addr", self.address, "--containerd-worker=false"]
        (here / "config.toml").write_text(f'[worker.oci]\ndefaultCgroupParent = "{sandbox.cgroup}"\n')
        digest = json.loads((base / "index.json").read_text())["manifests"][0]["digest"]
        self.base = [f"--oci-layout=base={base}", f"--opt=context:busybox=oci-layout://base@{digest}"]
        sandbox.background(*command, "--config", here / "config.toml", *allowed, *worker, log="buildkitd.log")
        soon(lambda: sandbox.run(*self.command("debug", "workers")), 40, what="buildkitd answers")

    def command(self, *args):
        return [PROJECT / "build/e2e/buildctl", "--addr", self.address, *args]

    def build_command(self, context, *options):
        """The command line for a context (Path) with its Dockerfile."""
        local = [f"--local={name}={context}" for name in ("context", "dockerfile")]
        return self.command("build", "--progress=plain", "--frontend=dockerfile.v0", *self.base, *local, *options)

    def build(self, context, *options, **more):
        return self.sandbox.run(*self.build_command(context, *options), **more)


class Podman:
    """podman with the README's containers.conf, all of its own state; `podman("run", …)`. user: an ordinary one, by name."""

    def __init__(self, sandbox, runtime, user=None):
        self.sandbox, self.user = sandbox, user
        here = self.directory = sandbox.directory / ("podman" if user is None else f"podman-{user}")
        here.mkdir()
        plugged_in = readme_block("podman", "toml").replace("/usr/local/bin/pyrun", runtime)
        # The machine of the tests may have no systemd, and a hard limit of open files below podman's default.
        more = '[containers]\ndefault_ulimits = []\nlog_driver = "k8s-file"\n'
        settings = 'cgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
        (here / "containers.conf").write_text(more + plugged_in.replace("[engine]\n", "[engine]\n" + settings))
        self.env = {"CONTAINERS_CONF": f"{here}/containers.conf", "TMPDIR": f"{here}/tmp"}
        self.options = ["--root", f"{here}/data", "--runroot", f"{here}/run", "--network-config-dir", f"{here}/networks"]
        self.options += ["--tmpdir", f"{here}/libpod"] if user is None else []
        (here / "tmp").mkdir()
        self.prefix = []
        if user is not None:
            self.env |= {"HOME": f"{here}/home", "XDG_RUNTIME_DIR": f"{here}/xdg", "USER": user}
            for name in ("home", "xdg"):
                (here / name).mkdir()
            sandbox.run("chown", "-R", user, here)
            self.prefix = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--inh-caps=-all"]

    def command(self, *args):
        settings = [f"{key}={value}" for key, value in self.env.items()]
        return ["env", "-C", self.directory, *settings, *self.prefix, "podman", *self.options, *args]

    def __call__(self, *args, **options):
        return self.sandbox.run(*self.command(*args), **options)

    def terminal(self, *args):
        return self.sandbox.terminal(*self.command(*args))

    def state(self, name, field):
        return self("inspect", "-f", f"{{{{.State.{field}}}}}", name).out

    def logs(self, name):
        done = self("logs", name)
        return done.out + done.err


# Where engines look for their helpers, and the packages that are not called as the program is.
PLACES = f"{os.environ['PATH']}:/usr/sbin:/sbin:/usr/lib/podman:/usr/libexec/podman:/usr/lib/cni"
PACKAGES = {
    "/usr/bin/docker": "docker.io", "bridge": "containernetworking-plugins", "ctr": "containerd", "dockerd": "docker.io",
    "ip": "iproute2", "newuidmap": "uidmap", "nsenter": "util-linux", "unshare": "util-linux",
}  # fmt: skip


def needs(*programs):
    """Skips the test where one of these is not on this machine, with the name of its package."""
    absent = [PACKAGES.get(name, name) for name in programs if not shutil.which(name, path=PLACES)]
    if absent:
        pytest.skip(f"the package {', '.join(dict.fromkeys(absent))} is not on this machine: `make e2e` installs it")


