"""Times and memory of pyrun beside other runtimes, whole processes as a caller sees them. `make bench` runs it, as root.

RUNS      how often each command runs (50); the runtimes take turns, so that all see the same machine
RUNTIMES  names or paths; default: build/pyrun, and runc and crun where they are on PATH
"""

import ctypes
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

PROJECT = pathlib.Path(__file__).resolve().parent.parent.parent
RUNS = int(os.environ.get("RUNS") or 50)
COMMANDS = ["run", "create", "state", "start", "exec", "kill", "delete"]
PR_SET_CHILD_SUBREAPER = 36
INNER = "PYRUN_BENCH_INNER"


class Runtime:
    """One runtime: `name`, `path`, and what was measured: `times[command]` in milliseconds, `memory[what]` in KiB."""

    def __init__(self, path, directory):
        self.path, self.name = path, os.path.basename(path)
        self.root = directory / f"root-{self.name}"
        self.root.mkdir()
        self.times = {command: [] for command in COMMANDS}
        self.memory = {}

    def version(self):
        return subprocess.check_output([self.path, "--version"], text=True).splitlines()[0]

    def command(self, *args):
        return [self.path, "--root", str(self.root), *map(str, args)]


class Bench:
    def __init__(self, directory, peak):
        self.directory, self.peak = directory, peak
        self.log = directory / "stderr"
        self.pid_file = directory / "pid"

    def spawn(self, command):
        """Runs a command, stdio on /dev/null and a log; returns its milliseconds. Ends the benchmark if it fails."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, str(self.log), flags, 0o600),
        ]
        begin = time.perf_counter_ns()
        pid = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
        _, status, _ = os.wait4(pid, 0)
        end = time.perf_counter_ns()
        if status:
            sys.exit(f"bench: {' '.join(command)} failed: {self.log.read_text()}")
        return (end - begin) / 1e6

    def life(self, runtime, name, call, created=lambda: None):
        """A container's whole life. call(command, argv) runs each command; created() is called between create and start."""
        call("run", runtime.command("run", "--bundle", self.directory / "true", name))
        call("create", runtime.command("create", "--bundle", self.directory / "sleep", "--pid-file", self.pid_file, name))
        created()
        call("state", runtime.command("state", name))
        call("start", runtime.command("start", name))
        call("exec", runtime.command("exec", name, "/bin/true"))
        call("kill", runtime.command("kill", name, "KILL"))
        os.waitpid(int(self.pid_file.read_text()), 0)  # an orphan of the runtime, so a child of this subreaper
        call("delete", runtime.command("delete", name))

    def measure_times(self, runtimes):
        for turn in range(RUNS + 1):
            for runtime in runtimes[turn % len(runtimes) :] + runtimes[: turn % len(runtimes)]:

                def call(command, argv, runtime=runtime, warm=turn > 0):
                    milliseconds = self.spawn(argv)
                    if warm:
                        runtime.times[command].append(milliseconds)

                self.life(runtime, f"bench-{os.getpid()}-{turn}", call)

    def measure_memory(self, runtime):
        def call(command, argv):
            self.spawn([str(self.peak), str(self.directory / "peak.out"), *argv])
            runtime.memory[f"peak of {command}"] = int((self.directory / "peak.out").read_text())

        def created():
            # Everything that create leaves behind is a child of this process by now.
            pids = pathlib.Path("/proc/thread-self/children").read_text().split()
            rollups = [smaps_rollup(pid) for pid in pids]
            runtime.memory["created, private"] = sum(r["Private_Clean"] + r["Private_Dirty"] for r in rollups)
            runtime.memory["created, Pss"] = sum(r["Pss"] for r in rollups)
            runtime.memory["created, processes"] = len(pids)

        self.life(runtime, f"bench-{os.getpid()}-memory", call, created)


def smaps_rollup(pid):
    """/proc/PID/smaps_rollup as {name: KiB}."""
    lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) for line in lines}


def make_bundle(directory, runtime, args, busybox):
    """A bundle like `spec` writes it, with a busybox root file system and without a terminal."""
    (directory / "rootfs/bin").mkdir(parents=True)
    shutil.copy(busybox, directory / "rootfs/bin/busybox")
    for applet in ("true", "sleep", "sh"):
        (directory / "rootfs/bin" / applet).symlink_to("busybox")
    subprocess.run([runtime.path, "spec"], cwd=directory, check=True)
    path = directory / "config.json"
    config = json.loads(path.read_text())
    config["ociVersion"] = "1.0.2"  # crun 1.8 knows no newer one
    config["process"].update(terminal=False, args=args)
    path.write_text(json.dumps(config))


def find_runtimes(directory):
    words = os.environ.get("RUNTIMES")
    words = words.split() if words else [str(PROJECT / "build/pyrun"), "runc", "crun"]
    paths = [os.path.realpath(path) if "/" in word else path for word in words if (path := shutil.which(word))]
    if not paths:
        sys.exit(f"bench: none of these is there: {' '.join(words)}")
    return [Runtime(path, directory) for path in paths]


def print_machine(bench, runtimes, cgroups):
    model = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    memory = int(open("/proc/meminfo").readline().split()[1]) // 1024
    print(f"machine   {os.cpu_count()} x {model}, {memory} MiB, Linux {platform.release()}, cgroup {cgroups}")
    for runtime in runtimes:
        print(f"{runtime.name:9} {runtime.path}: {runtime.version()}")
    floor = [bench.spawn(["/bin/true"]) for _ in range(RUNS)]
    print(f"floor     {min(floor):.2f} / {statistics.median(floor):.2f} ms for a /bin/true without a runtime")


def print_table(title, rows, runtimes, cell, value):
    """One line per row; cell(runtime, row) is its text, value(runtime, row) the number that the ratios are made of."""
    ratios = [f"{runtimes[0].name}:{other.name}" for other in runtimes[1:]]
    print(f"\n{title:34}" + "".join(f"{runtime.name:>16}" for runtime in runtimes) + "".join(f"{r:>14}" for r in ratios))
    for row in rows:
        line = f"{row:34}" + "".join(f"{cell(runtime, row):>16}" for runtime in runtimes)
        for other in runtimes[1:]:
            line += f"{value(runtimes[0], row) / value(other, row):14.2f}"
        print(line)


def private_view():
    """Runs this file again in a mount namespace of its own. crun 1.8 needs pure v1 there: cgroup v2's mount is taken away.

    Returns the name of the cgroup layout.
    """
    hybrid = os.path.ismount("/sys/fs/cgroup/unified")
    if INNER not in os.environ:
        os.environ[INNER] = "hybrid, shown as v1" if hybrid else "v2" if os.path.exists("/sys/fs/cgroup/cgroup.procs") else "v1"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, __file__])
    if hybrid:
        subprocess.run(["umount", "/sys/fs/cgroup/unified"], check=True)
    return os.environ[INNER]


def main():
    if os.geteuid() != 0:
        sys.exit("bench: making containers needs root")
    cgroups = private_view()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory(prefix="pyrun-bench-") as name:
        directory = pathlib.Path(name)
        peak = directory / "peak"
        subprocess.run(["cc", "-O2", "-static", "-o", peak, pathlib.Path(__file__).with_name("peak.c")], check=True)
        runtimes = find_runtimes(directory)
        for bundle, args in (("true", ["/bin/true"]), ("sleep", ["/bin/sleep", "100"])):
            make_bundle(directory / bundle, runtimes[0], args, shutil.which("busybox"))
        bench = Bench(directory, peak)
        try:
            print_machine(bench, runtimes, cgroups)
            bench.measure_times(runtimes)
            for runtime in runtimes:
                bench.measure_memory(runtime)
        finally:
            for runtime in runtimes:
                for state in runtime.root.iterdir():
                    subprocess.run(runtime.command("delete", "--force", state.name), check=False)

    def times(runtime, row):
        return f"{min(runtime.times[row]):.2f} / {statistics.median(runtime.times[row]):.2f}"

    print_table(
        f"ms, best / median of {RUNS}", COMMANDS, runtimes, times, lambda r, row: statistics.median(r.times[row])
    )
    print_table(
        "memory, KiB", list(runtimes[0].memory), runtimes, lambda r, row: str(r.memory[row]), lambda r, row: r.memory[row]
    )


if __name__ == "__main__":
    main()
