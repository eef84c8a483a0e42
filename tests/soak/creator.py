"""One of the processes that make containers, while pyrun and init are killed at random.

    python -m soak.creator PYRUN ROOT BUNDLE NAME SECONDS SEED     NAME: what the containers' names begin with

Prints its figures as JSON; ends with 1 and a line where something was wrong: a command that was not disturbed and failed, or a
container of which `delete --force` has left something. Single-threaded, so what it reaps besides its commands is a container's.
"""

import ctypes
import glob
import json
import os
import random
import signal
import subprocess
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
PATIENCE = 60
LONGEST_DELAY = 0.08
"""Seconds after which a command is killed at the latest: a create takes about a third of it."""


class Wrong(Exception):
    pass


class Creator:
    def __init__(self, program, root, bundle, name, seed):
        self.command = [program, *os.environ.get("PYRUN_OPTIONS", "").split(), "--root", root]
        self.root, self.bundle, self.name = root, bundle, name
        self.chance = random.Random(seed)
        self.pid_file = f"{root}-{name}.pid"
        self.counts = {"containers": 0, "commands": 0, "commands killed": 0, "inits killed": 0}

    def call(self, *words, kill=False):
        """(exit code, stdout, stderr). kill: at a random moment, if it lasts till then."""
        self.counts["commands"] += 1
        process = subprocess.Popen([*self.command, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if kill:
            time.sleep(self.chance.uniform(0, LONGEST_DELAY))
            if process.poll() is None:
                process.kill()
                self.counts["commands killed"] += 1
        self.wait(process)
        said = []
        for pipe in (process.stdout, process.stderr):
            # Not to its end: a container has it too.
            os.set_blocking(pipe.fileno(), False)
            said.append((pipe.read() or b"").decode(errors="replace"))
            pipe.close()
        return process.returncode, *said

    def wait(self, process):
        """Waits for its end, and reaps what else ends: a pid namespace is not gone while there is a zombie in it."""
        signal.alarm(PATIENCE)
        while process.returncode is None and (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT).si_pid) != process.pid:
            os.waitpid(ended, 0)
        process.wait()
        signal.alarm(0)

    def right(self, *words):
        code, out, err = self.call(*words)
        if code != 0:
            raise Wrong(f"{' '.join(words)}: exit code {code}: {err.strip()}")
        return out

    def status(self, id):
        return json.loads(self.right("state", id))["status"]

    def init(self):
        try:
            with open(self.pid_file) as file:
                return int(file.read())
        except (FileNotFoundError, ValueError):
            return 0

    def one(self):
        """A container's life. Returns when nothing is left of it."""
        self.counts["containers"] += 1
        id = f"{self.name}-{self.counts['containers']}"
        if os.path.exists(self.pid_file):
            os.unlink(self.pid_file)
        create = ["create", "--bundle", self.bundle, "--pid-file", self.pid_file, id]
        disturbed = self.chance.choice(["create", "start", "exec", "delete", "init", "init", None])
        if disturbed == "create":
            self.call(*create, kill=True)
        else:
            self.right(*create)
            if self.status(id) != "created":
                raise Wrong(f"{id} is not created")
            self.live(id, disturbed)
        if disturbed is None:
            self.right("delete", id)
        elif disturbed == "delete":
            self.call("delete", "--force", id, kill=True)
        code, _, said = self.call("delete", "--force", id)
        if code != 0:
            raise Wrong(f"delete --force {id}: exit code {code}: {said.strip()}")
        self.reap()
        self.gone(id, f"{disturbed} was disturbed: {said.strip()}")

    def live(self, id, disturbed):
        if disturbed == "init":
            # It waits for `start`, or runs: with a start that comes at the same time.
            start = subprocess.Popen([*self.command, "start", id], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(self.chance.uniform(0, LONGEST_DELAY / 4))
            os.kill(self.init(), signal.SIGKILL)
            self.counts["inits killed"] += 1
            self.wait(start)
            self.until(lambda: self.status(id) == "stopped", f"{id}, whose init was killed, is stopped")
            return
        if disturbed == "start":
            self.call("start", id, kill=True)
            return
        self.right("start", id)
        if self.status(id) != "running":
            raise Wrong(f"{id} is not running")
        if disturbed == "exec":
            self.call("exec", id, "true", kill=True)
        else:
            self.right("exec", id, "true")
        if disturbed is None:
            self.right("kill", id, "KILL")
            self.until(lambda: self.status(id) == "stopped", f"{id}, which was killed, is stopped")

    def until(self, condition, what):
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise Wrong(f"waited in vain: {what}")
            self.reap()

    def reap(self):
        """What containers have left to this process, when they have ended."""
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass

    def gone(self, id, how):
        left = [path for path in (f"{self.root}/{id}",) if os.path.lexists(path)]
        for place in ("", "*/", "system.slice/*", "*/system.slice/*"):
            left += glob.glob(f"/sys/fs/cgroup/{place}{id}") + glob.glob(f"/sys/fs/cgroup/{place}{id}.scope")
        if left:
            raise Wrong(f"delete --force {id} has left {left}; {how}")


def too_long(*_):
    raise Wrong(f"a command does not end in {PATIENCE} s")


def main(program, root, bundle, name, seconds, seed):
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGALRM, too_long)
    creator = Creator(program, root, bundle, name, seed)
    end = time.monotonic() + float(seconds)
    try:
        while time.monotonic() < end:
            creator.one()
        deadline = time.monotonic() + PATIENCE
        while children := open("/proc/thread-self/children").read().split():
            creator.reap()
            if time.monotonic() > deadline:
                raise Wrong(f"processes are left: {children}")
    except Wrong as fault:
        print(fault, file=sys.stderr)
        return 1
    finally:
        if os.path.exists(creator.pid_file):
            os.unlink(creator.pid_file)
    print(json.dumps(creator.counts))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
