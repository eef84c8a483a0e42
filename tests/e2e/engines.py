"""Engines with the runtime under test plugged in, each as its documentation says (README.md, "Engines")."""

import json
import re
import shutil

from e2e.images import PATH
from e2e.sandbox import soon
from harness import PROJECT


def readme_block(heading, language):
    """The first code block of a language under a heading of README.md, with the path of an installed pyrun in it."""
    text = (PROJECT / "README.md").read_text()
    section = text[text.index(f"### {heading}\n") :]
    return re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)[1]


class Containerd:
    """containerd with the README's config.toml; `ctr()` and `crictl()`."""

    def __init__(self, sandbox, runtime, crictl=None):
        self.sandbox, self.crictl_path = sandbox, crictl
        here = self.directory = sandbox.directory / "containerd"
        (here / "cni").mkdir(parents=True)
        self.address = f"{here}/containerd.sock"
        plugged_in = readme_block("containerd", "toml").replace("/usr/local/bin/pyrun", runtime)
        (here / "config.toml").write_text(
            f'version = 2\nroot = "{here}/root"\nstate = "{here}/run"\n[grpc]\n  address = "{self.address}"\n'
            '[plugins."io.containerd.grpc.v1.cri"]\n  sandbox_image = "localhost/pause:1"\n  restrict_oom_score_adj = true\n'
            f'  [plugins."io.containerd.grpc.v1.cri".cni]\n    bin_dir = "/usr/lib/cni"\n    conf_dir = "{here}/cni"\n'
            + plugged_in.removeprefix("version = 2\n")
        )
        bridge = {
            "type": "bridge",
            "bridge": "cni-e2e",
            "isGateway": True,
            "ipam": {"type": "host-local", "dataDir": f"{here}/ipam", "ranges": [[{"subnet": "10.91.0.0/24"}]]},
        }
        (here / "cni/10-e2e.conflist").write_text(json.dumps({"cniVersion": "0.4.0", "name": "e2e", "plugins": [bridge]}))
        sandbox.background("containerd", "--config", here / "config.toml", log="containerd.log")
        soon(lambda: self.ctr("version"), what="containerd answers")

    def ctr(self, *args, namespace="e2e", **options):
        return self.sandbox.run(*self.ctr_command(*args, namespace=namespace), **options)

    def ctr_command(self, *args, namespace="e2e"):
        return ["ctr", "--address", self.address, "--namespace", namespace, *args]

    def crictl(self, *args, **options):
        return self.sandbox.run(self.crictl_path, "-r", f"unix://{self.address}", "-i", f"unix://{self.address}", *args, **options)


class Docker:
    """dockerd with the README's daemon.json: `docker("run", …)`."""

    def __init__(self, sandbox, containerd, runtime, name="docker", settings=None):
        self.sandbox = sandbox
        here = self.directory = sandbox.directory / name
        here.mkdir()
        plugged_in = json.loads(readme_block("dockerd", "json").replace("/usr/local/bin/pyrun", runtime))
        more = {"data-root": f"{here}/data", "exec-root": f"{here}/run", "pidfile": f"{here}/pid", "hosts": [f"unix://{here}/sock"]}
        config = {**plugged_in, **more, "containerd": containerd.address, "cgroup-parent": f"/{sandbox.cgroup}", **(settings or {})}
        (here / "daemon.json").write_text(json.dumps(config))
        self.env = {"DOCKER_HOST": f"unix://{here}/sock", "DOCKER_CONFIG": f"{here}/config", "DOCKER_CLI_HINTS": "false"}
        sandbox.background("dockerd", "--config-file", here / "daemon.json", log=f"{name}.log")
        soon(lambda: self("version"), 40, what="dockerd answers")

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


def missing(*programs):
    """Those that are not on this machine: words for a skip, empty if there are all."""
    absent = [name for name in programs if not shutil.which(name)]
    return f"{', '.join(absent)}: not on this machine; `make e2e` installs it" if absent else ""


