"""A throw-away machine (tests/vm) as the place of a cluster: systemd, which makes the cgroups, must know the processes by its own pids."""

import pathlib
import shutil
import time

from e2e import sandbox

HERE = "vm.project=" in pathlib.Path("/proc/cmdline").read_text()
"""Whether this is one."""
SLOWNESS = 20 if HERE else 1
"""By how much its processor is slower than one that is not emulated: all waits are longer by that."""


class Machine(sandbox.Sandbox):
    """A Sandbox without namespaces, of which nothing is put back."""

    def __init__(self, directory):
        self.directory, self.cgroup, self.pid = directory, "", 1
        self.environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(directory), "TERM": "xterm"}

    def command(self, *args, env=None):
        settings = [f"{key}={value}" for key, value in {**self.environment, **(env or {})}.items()]
        return [shutil.which("env"), "-i", *settings, *map(str, args)]

    def run(self, *args, timeout=90, **options):
        return super().run(*args, timeout=timeout * SLOWNESS, **options)

    def close(self):
        pass


def soon(condition, timeout=20, what="condition"):
    """As that of a sandbox. In an emulated machine it asks less often, since each call of kubectl takes seconds of the processor."""

    def attempt():
        try:
            value = condition()
        except AssertionError:
            value = None
        if HERE and not value:
            time.sleep(2)
        return value

    return sandbox.soon(attempt, timeout * SLOWNESS, what)
