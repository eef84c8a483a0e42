"""Where commands are struck: a state root, a bundle, a bystander that must not be touched; and what must hold after each."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

from checkpoints import COUNTER
from faults.following import spawn
from harness import children, default_config, make_rootfs, reap, state_files

PATIENCE = 15
"""Seconds after which a command hangs."""
ENDS = 3
"""Seconds that what was killed may take to be gone."""


class Hangs(Exception):
    pass


@contextlib.contextmanager
def limit(seconds):
    """Raises Hangs in the block."""

    def ring(*_):
        raise Hangs

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class World:
    """name is in all names that it makes up. After use close() it."""

    def __init__(self, program, directory, name):
        self.program, self.directory, self.name, self.count = program, directory, name, 0
        self.root = directory / "state"
        self.out, self.err = directory / "out", directory / "err"
        self.count_file = directory / "bundle/rootfs/count"
        self.foreign = children()
        self.ended = {}  # exit codes by pid, of those that nobody has asked for
        make_rootfs(directory / "bundle/rootfs")
        (directory / "volume").mkdir()
        self.bundles = []
        self.bundle = self._bundle("bundle", ["/bin/sleep", "1000000"])  # a sweep takes hours
        self.short = self._bundle("short", ["/bin/echo", "done"])
        self.counter = self._bundle("counter", ["/bin/sh", "-c", f"exec </dev/null >/dev/null 2>&1; {COUNTER}"])  # no file of ours is saved
        self.bystander = self.made("run", "--detach")
        self.foreign |= {self.bystander.pid}
        self.record = self.root / self.bystander.id / "state.json"
        self.untouched = self._look()

    def _bundle(self, name, args):
        config = default_config()
        config["process"]["args"] = args
        config["root"]["path"] = str(self.directory / "bundle/rootfs")
        config["hooks"] = {name: [{"path": "/bin/true"}] for name in ("createRuntime", "poststop")}
        config["mounts"] += [{"destination": "/volume", "source": str(self.directory / "volume"), "options": ["rbind", "ro"]}]
        config["linux"]["cgroupsPath"] = f"/{self.name}/ID"
        config["linux"]["resources"]["pids"] = {"limit": 100}
        config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]}
        path = self.directory / name
        path.mkdir(exist_ok=True)
        self.config = config
        (path / "config.json").write_text(json.dumps(config))
        self.bundles.append(path)
        return path

    def new_id(self):
        """An id, for which the bundles' cgroup is named too."""
        self.count += 1
        name = f"{self.name}-{self.count}"
        for bundle in self.bundles:
            path = bundle / "config.json"
            config = json.loads(path.read_text())
            config["linux"]["cgroupsPath"] = f"/{self.name}/{name}"
            path.write_text(json.dumps(config))
        return name

    def command(self, *words):
        return [self.program, "--root", str(self.root), *map(str, words)]

    def call(self, *words, code=0, out="call.out", err="call.err"):
        """Calls the runtime; its exit code (asserted, unless that is None), output, errors."""
        files = [self.directory / name for name in (out, err)]
        found = self.wait(self.begin(words, *files))
        said = [file.read_text() for file in files]
        assert code in (None, found), f"{words}: {found}: {said[1]}"
        return found, *said

    def begin(self, words, out, err):
        """Starts a command; its pid."""
        pid = spawn(self.command(*words), out, err)
        self.ended.pop(pid, None)  # of another that had this pid before
        return pid

    def wait(self, pid):
        """Waits for a child's end; its exit code, -N for signal N."""
        with limit(PATIENCE):
            while pid not in self.ended:  # a pid namespace does not end before its dead are reaped, and we are the parent of them all
                ended, status = os.waitpid(-1, 0)
                self.ended[ended] = os.waitstatus_to_exitcode(status)
        return self.ended.pop(pid)

    def made(self, *command, bundle=None):
        """A container that one of the commands has made."""
        name = self.new_id()
        self.call(*command, "--bundle", bundle or self.bundle, "--pid-file", self.directory / "pid", name, out="made.out", err="made.err")
        return Made(self, name, int((self.directory / "pid").read_text()))

    def counting(self):
        """A container that counts, and has begun to."""
        self.count_file.write_text("none")
        made = self.made("run", "--detach", bundle=self.counter)
        assert self.counts()
        return made

    def counts(self):
        """Whether it goes on."""
        before, end = self.count_file.read_text(), time.monotonic() + ENDS
        while (count := self.count_file.read_text()) == before and time.monotonic() < end:
            time.sleep(0.01)
        return count != before

    def saved(self):
        """The directory of a checkpoint of one."""
        images = self.directory / "saved"
        if not images.exists():
            self.call("checkpoint", "--image-path", images, self.counting().id)
        return images

    # --- what must hold

    def _look(self):
        """What of the bystander must stay."""
        stat = pathlib.Path(f"/proc/{self.bystander.pid}/stat").read_text().rpartition(")")[2].split()
        cgroups = {file.read_text() for file in self.cgroups(self.bystander.id, "pids.max")}
        return stat[0] in "SRI", stat[19], self.record.read_bytes(), cgroups

    def cgroups(self, name, file=""):
        """Directories, or files in them, of the cgroup of this name."""
        return [path for above in ("", "*/") for path in pathlib.Path("/sys/fs/cgroup").glob(f"{above}{self.name}/{name}/{file}")]

    def living(self):
        return reap() - self.foreign

    def forgotten(self, name):
        """Lines: processes of a container that no record is of."""
        end = time.monotonic() + ENDS  # an init without a runtime ends by itself
        while living := self.living():
            if name in self.call("list", "--quiet")[1].split():
                return []
            if time.monotonic() > end:
                return [f"forgotten: {living}"]
            time.sleep(0.002)
        return []

    def removed(self, name):
        """Lines: what `delete --force` has left, or said."""
        code, _, said = self.call("delete", "--force", name, code=None)
        return ([f"delete --force: {code}: {said}"] if code or said else []) + self.left()

    def left(self):
        end = time.monotonic() + ENDS
        while (living := self.living()) and time.monotonic() < end:
            time.sleep(0.0005)
        found = [f"process {pid}" for pid in living]
        found += [f"state {path}" for path in state_files(self.root) if path.name != self.bystander.id]
        found += [f"cgroup {path}" for path in self.cgroups("*", "") if path.name != self.bystander.id and path.is_dir()]
        with open("/proc/self/mountinfo") as lines:
            found += [f"mount {line.strip()}" for line in lines if str(self.directory) in line]
        return found

    def touched(self):
        try:
            return [] if self._look() == self.untouched else ["the bystander is touched"]
        except OSError as error:
            return [f"the bystander is gone: {error}"]

    def sweep(self):
        """Ends by force what a wrong point has left, so that the next one starts clean."""
        for pid in self.living():
            os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + ENDS
        while self.living() and time.monotonic() < end:
            time.sleep(0.001)
        for path in state_files(self.root):
            if path.name != self.bystander.id:
                shutil.rmtree(path)
        for path in self.cgroups("*", ""):
            if path.name != self.bystander.id and path.is_dir():
                subprocess.run(["find", path, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"], check=False)

    def close(self):
        self.sweep()
        self.call("delete", "--force", self.bystander.id)
        self.foreign.discard(self.bystander.pid)
        self.living()
        for above in ("", "*/"):
            for path in pathlib.Path("/sys/fs/cgroup").glob(f"{above}{self.name}"):
                path.rmdir()


class Made:
    """A container."""

    def __init__(self, world, id, pid):
        self.world, self.id, self.pid = world, id, pid

    def call(self, command, *words, **options):
        self.world.call(command, self.id, *words, **options)
        return self

    def status(self):
        """Its status, '' if there is none."""
        code, out, _ = self.world.call("state", self.id, code=None)
        return "" if code else json.loads(out)["status"]

    def ends(self):
        """Waits for init's end; whether it came."""
        end = time.monotonic() + ENDS
        while self.pid in self.world.living() and time.monotonic() < end:
            time.sleep(0.0005)
        return self.pid not in self.world.living()

    def processes(self):
        return max((len(file.read_text().split()) for file in self.world.cgroups(self.id, "cgroup.procs")), default=0)

    def pids_limits(self):
        return {file.read_text() for file in self.world.cgroups(self.id, "pids.max")}
