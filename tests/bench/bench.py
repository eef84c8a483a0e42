"""Times and memory of pyrun beside other runtimes, whole processes as a caller sees them. `make bench` runs it, as root.

RUNS      how often each command runs (50); the runtimes take turns, so that all see the same machine
RUNTIMES  names or paths; default: build/pyrun, and runc and crun where they are on PATH
CGROUPS   v2: on a hybrid host with nothing but its cgroup v2 (v1)

The figures go to results/figures.json, or figures-v2.json, and from there into the README and a chart (report.py).
"""

import ctypes
import json
import os
import pathlib
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import engine

import bundles

HERE = pathlib.Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
RUNS = int(os.environ.get("RUNS") or 50)
VIEW = os.environ.get("CGROUPS") or "v1"
ALIVE = (1, 10, 100, 1000)
AT_ONCE = (1, 4, 16, 64, 100)
MOUNTS = (1, 10, 100, 300, 1000)
GROWTH_RUNS = 10
SETTLE = 0.03
"""Seconds before a command: the kernel takes the namespaces of the last container apart after its end, and new ones wait for that."""
DOCKER_RUNS = 10
PR_SET_CHILD_SUBREAPER = 36
INNER = "PYRUN_BENCH_INNER"


class Runtime:
    """One runtime: `name`, `path`, and what was measured: `times[row]` in milliseconds (list), `memory[row]` in KiB."""

    def __init__(self, path, directory):
        self.path, self.name = path, os.path.basename(path)
        self.root = directory / "run" / f"root-{self.name}"
        self.root.mkdir()
        self.times, self.memory = {}, {}

    def version(self):
        return " ".join(subprocess.check_output([self.path, "--version"], text=True).splitlines()[:2])

    def command(self, *args):
        return [self.path, "--root", str(self.root), *map(str, args)]


class Bench:
    def __init__(self, directory, peak, made):
        self.directory, self.peak, self.bundles = directory, peak, made
        self.log = directory / "run/stderr"
        self.pid_file = directory / "run/pid"

    def start(self, command):
        """Starts a command, stdio on /dev/null and a log; returns its pid."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, str(self.log), flags, 0o600),
        ]
        return os.posix_spawn(command[0], command, os.environ, file_actions=actions)

    def finish(self, pid, command):
        if os.waitpid(pid, 0)[1]:
            sys.exit(f"bench: {' '.join(command)} failed: {self.log.read_text()}")

    def spawn(self, command):
        """Runs a command; returns its milliseconds. Ends the benchmark if it fails."""
        begin = time.perf_counter_ns()
        self.finish(self.start(command), command)
        return (time.perf_counter_ns() - begin) / 1e6

    def life(self, runtime, name, call):
        """A container's whole life. call(row, argv) runs each command."""
        call("run", runtime.command("run", "--bundle", self.bundles["true"], name))
        call("run, docker's config", runtime.command("run", "--bundle", self.bundles["docker"], name))
        call("create", runtime.command("create", "--bundle", self.bundles["sleep"], "--pid-file", self.pid_file, name))
        call("state", runtime.command("state", name))
        call("start", runtime.command("start", name))
        call("exec", runtime.command("exec", name, "/bin/true"))
        call("kill", runtime.command("kill", name, "KILL"))
        os.waitpid(int(self.pid_file.read_text()), 0)  # an orphan of the runtime, so a child of this subreaper
        call("delete", runtime.command("delete", name))

    def in_turns(self, runtimes, runs, function):
        """function(runtime, turn, call): call(row, argv) runs and notes a command; the first turn is not noted."""
        for turn in range(runs + 1):
            for runtime in runtimes[turn % len(runtimes) :] + runtimes[: turn % len(runtimes)]:

                def call(row, argv, runtime=runtime, warm=turn > 0):
                    time.sleep(SETTLE)
                    milliseconds = self.spawn(argv)
                    if warm:
                        runtime.times.setdefault(row, []).append(milliseconds)

                function(runtime, turn, call)

    def measure_lives(self, runtimes):
        self.in_turns(runtimes, RUNS, lambda runtime, turn, call: self.life(runtime, f"bench-{os.getpid()}-{turn}", call))

    def measure_alive(self, runtimes):
        """What the commands take as more and more containers run."""
        for number in range(1, ALIVE[-1] + 1):
            for runtime in runtimes:
                self.spawn(runtime.command("run", "--detach", "--bundle", self.bundles["listed"], f"listed-{runtime.name}-{number}"))
            if number in ALIVE:
                self.among(runtimes, number)
        remove_all(runtimes)

    def among(self, runtimes, number):
        def commands(runtime, turn, call):
            name = f"among-{runtime.name}-{turn}"
            call(f"create, {number} containers", runtime.command("create", "--bundle", self.bundles["listed"], "--pid-file", self.pid_file, name))
            call(f"state, {number} containers", runtime.command("state", name))
            os.kill(int(self.pid_file.read_text()), signal.SIGKILL)
            os.waitpid(int(self.pid_file.read_text()), 0)
            call(f"delete, {number} containers", runtime.command("delete", name))
            call(f"list, {number} containers", runtime.command("list"))

        self.in_turns(runtimes, RUNS if number == ALIVE[-1] else GROWTH_RUNS, commands)

    def measure_mounts(self, runtimes):
        for number in MOUNTS:
            bundle = self.bundles[f"mounts-{number}"]
            self.in_turns(
                runtimes, RUNS if number == 300 else GROWTH_RUNS,
                lambda runtime, turn, call, bundle=bundle, number=number: call(
                    f"run, {number} mounts", runtime.command("run", "--bundle", bundle, f"mounts-{runtime.name}-{turn}")
                ),
            )  # fmt: skip

    def measure_crowds(self, runtimes):
        """So many creates at once, and what the created containers hold."""
        for number in AT_ONCE:
            self.in_turns(runtimes, GROWTH_RUNS, lambda runtime, turn, _, number=number: self.crowd(runtime, turn, number))

    def crowd(self, runtime, turn, number):
        ids = [f"crowd-{runtime.name}-{turn}-{index}" for index in range(number)]
        commands = [runtime.command("create", "--bundle", self.bundles["sleep"], id) for id in ids]
        begin = time.perf_counter_ns()
        started = [(self.start(command), command) for command in commands]
        for pid, command in started:
            self.finish(pid, command)
        if turn:
            runtime.times.setdefault(f"{number} creates at once", []).append((time.perf_counter_ns() - begin) / 1e6)
        rollups = [smaps_rollup(pid) for pid in children()]
        runtime.memory[f"{number} created containers, private"] = sum(r["Private_Clean"] + r["Private_Dirty"] for r in rollups)
        remove_all([runtime])

    def measure_memory(self, runtime):
        def call(row, argv):
            self.spawn([str(self.peak), str(self.directory / "peak.out"), *argv])
            if row in ("create", "start", "exec", "state"):
                peak, own = map(int, (self.directory / "peak.out").read_text().split())
                runtime.memory[f"{row}: peak"], runtime.memory[f"{row}: its own"] = peak, own

        self.life(runtime, f"bench-{os.getpid()}-memory", call)

    def measure_docker(self, runtimes):
        absent = engine.missing() if bundles.pids_are_limited() else ["controllers of cgroup v2, without which docker's crun does not run"]
        if absent:
            print(f"`docker run` is left out: no {', '.join(absent)}")
            return
        with engine.Docker(self.directory / "dockerd", runtimes, self.bundles["true"] / "rootfs") as docker:
            self.in_turns(runtimes, DOCKER_RUNS, lambda runtime, _, call: call("docker run", docker.command(runtime)))


def children():
    """Pids of this process's children."""
    return pathlib.Path("/proc/thread-self/children").read_text().split()


def remove_all(runtimes):
    for pid in children():  # the containers' processes
        os.kill(int(pid), signal.SIGKILL)
    for runtime in runtimes:
        for state in runtime.root.iterdir():
            if state.name[0] != ".":
                subprocess.run(runtime.command("delete", "--force", state.name), check=False)
    while children():
        os.wait()


def smaps_rollup(pid):
    """/proc/PID/smaps_rollup as {name: KiB}."""
    lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) for line in lines}


def find_runtimes(directory):
    words = os.environ.get("RUNTIMES")
    words = words.split() if words else [str(PROJECT / "build/pyrun"), "runc", "crun"]
    paths = [os.path.realpath(path) if "/" in word else path for word in words if (path := shutil.which(word))]
    if not paths:
        sys.exit(f"bench: none of these is there: {' '.join(words)}")
    # Copies: how a file lies in the page cache, in small pieces or in large ones, comes of its past, and makes a third of a short command.
    programs = directory / "programs"
    programs.mkdir()
    return [Runtime(shutil.copy(path, programs), directory) for path in paths]


def describe_machine(cgroups):
    model = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    memory = int(open("/proc/meminfo").readline().split()[1]) // 1024
    return f"{os.cpu_count()} × {model}, {memory} MiB, Linux {platform.release()}, cgroup {cgroups}"


def private_view():
    """Runs this file again in a mount namespace of its own, where a hybrid host is one of v1 or of v2: crun knows no hybrid ones.

    Returns the name of the cgroup layout.
    """
    hybrid = os.path.ismount("/sys/fs/cgroup/unified")
    if INNER not in os.environ:
        os.environ[INNER] = f"hybrid, shown as {VIEW}" if hybrid else "v2" if os.path.exists("/sys/fs/cgroup/cgroup.procs") else "v1"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv])
    if hybrid and VIEW == "v1":
        subprocess.run(["umount", "/sys/fs/cgroup/unified"], check=True)
    elif hybrid:
        subprocess.run(["umount", "--recursive", "/sys/fs/cgroup"], check=True)
        subprocess.run(["mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"], check=True)
    return os.environ[INNER]


def figures(runtimes, machine, floor):
    """What results/figures.json holds: times[row][runtime] = [best, median] in ms, memory[row][runtime] in KiB."""
    return {
        "machine": machine,
        "date": time.strftime("%Y-%m-%d"),
        "runs": RUNS,
        "load": os.getloadavg()[0],
        "floor": [round(min(floor), 2), round(statistics.median(floor), 2)],
        "runtimes": {runtime.name: runtime.version() for runtime in runtimes},
        "times": {
            row: {runtime.name: [round(min(runtime.times[row]), 2), round(statistics.median(runtime.times[row]), 2)] for runtime in runtimes}
            for row in runtimes[0].times
        },
        "memory": {row: {runtime.name: runtime.memory[row] for runtime in runtimes} for row in runtimes[0].memory},
    }


def main():
    if os.geteuid() != 0:
        sys.exit("bench: making containers needs root")
    cgroups = private_view()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory(prefix="pyrun-bench-", dir="/var/tmp") as name:
        directory = pathlib.Path(name)
        # As /run is, where runtimes keep their state: on a disk's file system each new inode would cost more the more have gone before.
        (directory / "run").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "run", directory / "run"], check=True)
        peak = directory / "peak"
        subprocess.run(["cc", "-O2", "-static", "-o", peak, HERE / "peak.c"], check=True)
        runtimes = find_runtimes(directory)
        bench = Bench(directory, peak, bundles.make_all(directory, runtimes[0].path, MOUNTS))
        try:
            floor = [bench.spawn(["/bin/true"]) for _ in range(RUNS)]
            bench.measure_lives(runtimes)
            for runtime in runtimes:
                bench.measure_memory(runtime)
            bench.measure_mounts(runtimes)
            bench.measure_crowds(runtimes)
            bench.measure_alive(runtimes)
            bench.measure_docker(runtimes)
        finally:
            remove_all(runtimes)
            subprocess.run(["umount", directory / "run"], check=True)
        found = figures(runtimes, describe_machine(cgroups), floor)
    (HERE / "results").mkdir(exist_ok=True)
    name = "figures-v2.json" if cgroups.endswith("v2") else "figures.json"
    (HERE / "results" / name).write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
