"""The same tests in every world that a runtime must live in. Needs root; `make test-vm` runs it.

    [PYRUN=PATH] worlds.py [WORLD …]

A test that is marked `worlds` concerns cgroups and is run in each world: with the cgroups of this host as they are, in a view
that shows the v1 hierarchies alone, and in a machine of its own (machine.py) that has cgroup v2 alone, by the files and by
systemd. By the files the machine also runs those that are marked `machine`: they concern what its kernel and its root have and
a host may lack. It also runs what an ordinary user does, test_rootless*.py, and test_checkpoint*.py, for which criu must know
the kernel; and, with older kernels, the tests that are marked `kernels`. What is marked `arm64` is run in a machine of that
architecture, with an executable that was built for it here and that is tried (crossed.py) in qemu's emulator of processes. A table
tells how each file fared; the exit code is 1 if a test failed, or if a world that is to be had did not come up.
"""

import concurrent.futures
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

import machine

HERE = pathlib.Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
REPORTS = PROJECT / "build/vm"
TESTS = PROJECT / "tests/runtime"
PURE_V2 = pathlib.Path("/sys/fs/cgroup/cgroup.controllers").exists()
UNIFIED = pathlib.Path("/sys/fs/cgroup/unified")
SECONDS = 2700
"""How long a world in the machine may take: several times what the longest takes on a processor of its own."""
OTHER = "build/arm64/pyrun"
PACKAGES = "/usr/lib/python3/dist-packages"
"""Where the machine has the modules in C that .venv has for the host."""
AT_ONCE = 2
"""A world keeps little more than one processor busy."""


def marked(*marks):
    """pytest's arguments for the tests with one of these marks. It need not import the modules that name none of them."""
    named = [path for path in modules("test_*.py") if any(f"pytest.mark.{mark}" in path.read_text() for mark in marks)]
    return ["-m", " or ".join(marks), *named]


def modules(pattern):
    return sorted(TESTS.glob(pattern))


def on_host(command, _):
    return ["sh", "-c", command]


def with_v1_alone(command, _):
    """Other processes keep their cgroup v2: it goes in a mount namespace of the tests' own."""
    return ["unshare", "--mount", "--propagation=private", "sh", "-c", f"umount {UNIFIED} && {command}"]


def in_machine(*flags):
    def wrap(command, name):
        return [sys.executable, HERE / "machine.py", "--seconds", str(SECONDS), "--console", REPORTS / f"{name}.console", *flags, command]

    return wrap


def crossed(command, name):
    """What is made for the other machine, tried in qemu's emulator of processes, and then in that machine."""
    steps = [
        ["make", "ext", "build", "ARCH=arm64"],
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", HERE / "crossed.py"],
        in_machine("--arch", "arm64")(command, name),
    ]
    return ["sh", "-c", " && ".join(shlex.join(map(str, step)) for step in steps)]


def no_hybrid():
    return "" if not PURE_V2 else "the host has cgroup v2 alone"


def no_v1():
    return no_hybrid() or ("" if UNIFIED.is_mount() else "the host has cgroup v1 alone: see `host`")


def no_machine(arch=machine.HOST):
    if arch not in machine.QEMU:
        return f"the machine is one of {', '.join(machine.QEMU)}, and its programs are this host's"
    program = machine.QEMU[arch][0]
    return "" if shutil.which(program) else f"no {program} here: `make vm-needs` installs it"


def no_arm64():
    return "this is one: the other worlds are it" if machine.HOST == "arm64" else no_machine("arm64")


class World:
    """wrap: shell command, the world's name -> argv that runs it there. missing() -> why it is not to be had here, or "".

    tests: pytest's arguments. settings: environment.
    """

    def __init__(self, about, wrap, missing, tests, settings=""):
        self.about, self.wrap, self.missing, self.tests, self.settings = about, wrap, missing, tests, settings


WORLDS = {
    "host": World("this host's cgroups as they are: hybrid, or v2", on_host, lambda: "", marked("worlds")),
    "v1": World("the v1 hierarchies alone", with_v1_alone, no_v1, marked("worlds")),
    "v2": World("machine: cgroup v2 alone, by the files", in_machine(), no_machine, marked("worlds", "machine")),
    "systemd": World("machine: the same by systemd", in_machine(), no_machine, marked("worlds", "systemd"), "PYRUN_OPTIONS=--systemd-cgroup "),
    "rootless": World("machine: an ordinary user", in_machine("--user"), no_machine, modules("test_rootless*.py")),
    "linux-5.10": World("machine: Debian 11's kernel", in_machine("--debian", "bullseye"), no_machine, marked("kernels")),
    "linux-6.1": World("machine: Debian 12's kernel", in_machine("--debian", "bookworm"), no_machine, marked("kernels")),
    "arm64": World("machine: built here for arm64", crossed, no_arm64, marked("arm64"), f"PYRUN={OTHER} PYTHONPATH={PACKAGES} "),
    "criu": World("machine: checkpoint and restore", in_machine(), no_machine, modules("test_checkpoint*.py")),
}


def run(name):
    """counts() of one world, and the exit code of pytest in it."""
    world = WORLDS[name]
    report = REPORTS / f"{name}.xml"
    report.unlink(missing_ok=True)
    # The user of the machine may not write to the checkout's files, only to this one.
    report.touch()
    report.chmod(0o666)
    # A bundle each would fill the machine's memory; nobody looks at them there.
    options = ["-q", "--durations=15", "-p", "no:cacheprovider", "-o", "tmp_path_retention_policy=none", f"--junitxml={report}"]
    if world.missing in (no_machine, no_arm64):
        # An emulated processor stands still when the host has other work, and what waits for a test may run out of time.
        options += ["--reruns", "1"]
    program = f"PYRUN={shlex.quote(os.environ['PYRUN'])} " if "PYRUN" in os.environ else ""
    command = program + world.settings + shlex.join([sys.executable, "-m", "pytest", *options, *map(str, world.tests)])
    # On the host, another run of pytest would tidy up the directories of this one.
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            world.wrap(command, name), cwd=PROJECT, env=os.environ | {"TMPDIR": directory}, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
    print(f"\n--- {name} ({world.about})\n{done.stdout}", flush=True)
    return counts(report), done.returncode


def counts(report):
    """{file: [passed, failed, skipped, of those that passed at the second try]}."""
    found = {}
    if not report.stat().st_size:
        return found
    places, again = {}, set()
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        test = case.get("classname").split(".")[2], case.get("name")
        if test in places:
            again.add(test)
        places[test] = 2 if case.find("skipped") is not None else 1 if case.find("failure") is not None or case.find("error") is not None else 0
    for test, place in places.items():
        numbers = found.setdefault(test[0], [0, 0, 0, 0])
        numbers[place] += 1
        numbers[3] += test in again and place == 0
    return found


def cell(numbers):
    if numbers is None:
        return ""
    passed, failed, skipped, again = numbers
    words = [f"{passed} passed" + f" ({again} at the second try)" * bool(again)]
    return ", ".join(words + [f"**{failed} failed**"] * bool(failed) + [f"{skipped} skipped"] * bool(skipped))


def table(results):
    """A Markdown table: a row for each file, a column for each world."""
    files = sorted({file for found in results.values() for file in found})
    totals = {name: [sum(column) for column in zip(*found.values(), strict=True)] or None for name, found in results.items()}
    rows = [[file, *(cell(found.get(file)) for found in results.values())] for file in files]
    rows.append(["all", *map(cell, totals.values())])
    rows = [["", *results], ["---"] * (len(results) + 1), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main():
    names = sys.argv[1:] or list(WORLDS)
    if wrong := [name for name in names if name not in WORLDS]:
        sys.exit(f"worlds: no {' '.join(wrong)}; there are {' '.join(WORLDS)}")
    REPORTS.mkdir(parents=True, exist_ok=True)
    reasons = {name: reason for name in names if (reason := WORLDS[name].missing())}
    there = [name for name in names if name not in reasons]
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        done = dict(zip(there, pool.map(run, there), strict=True))
    absent = [f"{name}: not run, {reason}" for name, reason in reasons.items()]
    broken = [f"{name}: exit code {code}" for name, (_, code) in done.items() if code]
    print("\n" + "\n".join([table({name: found for name, (found, _) in done.items()}), *absent, *broken]))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
