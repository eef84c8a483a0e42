"""A place for engines: mount, network, pid and uts namespaces of its own, a directory, and a cgroup name.

Daemons, bridges, iptables rules and mounts stay inside. When the sandbox is closed its pid namespace ends, and all of it.
"""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import time

from harness import Terminal, until

# Kernel files of this machine, as engines may change them: with cgroup v1, podman makes plain directories in the tmpfs
# /sys/fs/cgroup, so the hierarchies are moved onto a tmpfs that only this mount namespace has.
SETUP = r"""
set -e
ip link set lo up
if [ "$(stat -f -c %T /sys/fs/cgroup)" = tmpfs ]; then
    mount -t tmpfs -o mode=755 cgroup "$1"
    for path in /sys/fs/cgroup/*; do
        name=${path##*/}
        if [ -L "$path" ]; then cp -P "$path" "$1"
        elif mountpoint -q "$path"; then mkdir "$1/$name"; mount --move "$path" "$1/$name"; fi
    done
    mount --move "$1" /sys/fs/cgroup
    mount -o remount,ro /sys/fs/cgroup
fi
# The locks of podman lie in /dev/shm, where it resets those of another podman of this machine when it starts. All of /etc
# is a copy, as a mount on a file of it goes when somebody on the host renames another to its place, which useradd does.
mount -t tmpfs -o mode=1777 shm /dev/shm
cp -a /etc "$2"
mount --bind "$2" /etc
mount --make-rshared /
echo ready
read -r _
"""


class Result:
    """`code`, `out`, `err`: out without newlines at its end."""

    def __init__(self, command, code, out, err):
        self.command, self.code, self.out, self.err = command, code, out.rstrip("\n"), err

    def __repr__(self):
        return f"{shlex.join(map(str, self.command))}\nexit code {self.code}\nstdout: {self.out}\nstderr: {self.err}"


class Sandbox:
    """`run()` commands in it, `daemon()`s, a `terminal()`; `directory` (Path) is for everything; `cgroup` a name for its cgroups."""

    def __init__(self, directory):
        self.directory = directory
        self.cgroup = f"pyrun-e2e-{os.getpid()}"
        self.bin = directory / "bin"
        self.bin.mkdir()
        self.daemons = []
        self.environment = {
            "PATH": f"{self.bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(directory),
            "LANG": "C.UTF-8",
            "TERM": "xterm",
        }
        (directory / "cgroup").mkdir()
        namespaces = ["--mount", "--net", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
        self.holder = subprocess.Popen(
            ["unshare", *namespaces, "bash", "-c", SETUP, "sandbox", directory / "cgroup", directory / "etc"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        said = self.holder.stdout.readline()
        assert said == "ready\n", said + self.holder.stdout.read()
        self.pid = int(pathlib.Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children").read_text())

    def command(self, *args, env=None):
        """The command line that runs `args` inside."""
        settings = [f"{key}={value}" for key, value in {**self.environment, **(env or {})}.items()]
        enter = [shutil.which("nsenter"), "--target", str(self.pid), "--mount", "--net", "--pid", "--uts", "--"]
        return [*enter, "env", "-i", *settings, *map(str, args)]

    def run(self, *args, code=0, stdin=None, timeout=90, env=None):
        """Runs a command; asserts its exit code (None: any); returns a Result. stdin: text."""
        bounded = self.command("timeout", "--kill-after=5", timeout, *args, env=env)
        done = subprocess.run(bounded, input=stdin if stdin is not None else "", capture_output=True, check=False, text=True, errors="replace")
        result = Result(args, done.returncode, done.stdout, done.stderr)
        assert code is None or result.code == code, f"wanted exit code {code}: {result!r}"
        return result

    def shell(self, script, **options):
        return self.run("sh", "-c", script, **options)

    def background(self, *args, log):
        """A process that runs on until the sandbox ends; its output goes to a file of this name."""
        with open(self.directory / log, "wb") as out:
            self.daemons.append(subprocess.Popen(self.command(*args), stdin=subprocess.DEVNULL, stdout=out, stderr=out))

    def terminal(self, *args):
        """A program on a pty."""
        return Terminal(self.command(*args))

    def add_user(self, name, uid, subordinate):
        """An ordinary user, who exists inside alone. subordinate: the first of 65536 ids."""
        lines = {"passwd": f"{name}:x:{uid}:{uid}::/nonexistent:/bin/sh", "group": f"{name}:x:{uid}:"}
        lines |= {file: f"{name}:{subordinate}:65536" for file in ("subuid", "subgid")}
        for file, line in lines.items():
            self.shell(f"echo {line} >>/etc/{file}")

    def read(self, path):
        """A file as the sandbox sees it: /proc/PID is of its own pids, /sys of its own cgroups."""
        return self.run("cat", path).out

    def links(self, pid):
        """The namespaces of a process inside: {"mnt": "mnt:[…]", …}."""
        return dict(line.split(" ", 1) for line in self.shell(f"cd /proc/{pid}/ns; for n in *; do echo $n $(readlink $n); done").out.splitlines())

    def controller(self, pid, name):
        """The cgroup directory (str) of a process, in the hierarchy of a controller."""
        for line in self.read(f"/proc/{pid}/cgroup").splitlines():
            _, names, path = line.split(":", 2)
            if name in names.split(","):
                return f"/sys/fs/cgroup/{name}{path}"
        line = self.shell(f"grep ^0: /proc/{pid}/cgroup").out
        return f"/sys/fs/cgroup{line.removeprefix('0::')}"

    def has_v1(self):
        return os.path.isdir("/sys/fs/cgroup/memory")

    def close(self):
        self.holder.stdin.close()
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()
        for daemon in self.daemons:
            daemon.wait()
        end = time.monotonic() + 10
        while self._remove_cgroups() and time.monotonic() < end:
            time.sleep(0.1)

    def _remove_cgroups(self):
        """Removes the cgroups of this sandbox; returns those that are left."""
        found = subprocess.run(
            ["find", "/sys/fs/cgroup", "-depth", "-type", "d", "-path", f"*/{self.cgroup}*"], capture_output=True, text=True, check=False
        ).stdout.split("\n")
        left = []
        for path in filter(None, found):
            try:
                os.rmdir(path)
            except OSError:
                left.append(path)
        return left


def soon(condition, timeout=20, what="condition"):
    """Calls `condition` until it gives something true, and returns that; a failed assertion of it is only "not yet"."""

    def attempt():
        try:
            return condition()
        except AssertionError:
            return False

    return until(attempt, timeout, what)


def says(text, *patterns):
    """Asserts that every regular expression is found in the text; returns the text."""
    for pattern in patterns:
        assert re.search(pattern, text, re.MULTILINE), f"no {pattern!r} in {text!r}"
    return text
