"""A throw-away machine (tests/vm) as the place of a cluster: systemd, which makes the cgroups, must know the processes by its own pids."""

import pathlib
import shutil

from e2e.sandbox import Sandbox


class Machine(Sandbox):
    """A Sandbox without namespaces, of which nothing is put back."""

    def __init__(self, directory):
        self.directory, self.cgroup, self.pid = directory, "", 1
        self.environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(directory), "TERM": "xterm"}

    def command(self, *args, env=None):
        settings = [f"{key}={value}" for key, value in {**self.environment, **(env or {})}.items()]
        return [shutil.which("env"), "-i", *settings, *map(str, args)]

    def close(self):
        pass


def is_one():
    return "vm.project=" in pathlib.Path("/proc/cmdline").read_text()
