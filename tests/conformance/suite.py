"""The OCI's conformance suite, runtime-tools' validation programs, against a runtime. `make conformance` runs it, as root.

RUNTIME   name or path of the runtime; default: build/pyrun
PROGRAMS  names of programs; default: all

Prints one table: program, assertions, result, known reason; what each program said is in build/conformance/output. The
exit status is 1 if a program fails that reasons.py does not explain. A run of all programs against build/pyrun is kept in
specs/conformance.md.

The suite knows cgroup v1 alone, so it runs in a mount namespace of its own, in which a hybrid machine's cgroup2 is
unmounted.
"""

import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import tempfile

from harness import PROJECT, make_rootfs
from reasons import REASONS, TRIES
from tap import PASSED, judge

MODULE = "github.com/opencontainers/runtime-tools"
VERSION = "v0.9.1-0.20251205004911-5e639034dcdc"
PROGRAMS = PROJECT / "build/conformance" / VERSION
OUTPUT = PROJECT / "build/conformance/output"
KEPT = PROJECT / "specs/conformance.md"
TIME_LIMIT = 60
PRIVATE = "PYRUN_CONFORMANCE_PRIVATE"
# What Go calls the machines that Python names otherwise.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def install():
    """The programs of the pinned version, static, below build/."""
    if (PROGRAMS / "runtimetest").exists():
        return
    go = shutil.which("go", path=f"{os.environ['PATH']}:/usr/local/go/bin") or sys.exit("conformance: Go is missing: install golang")
    environ = os.environ | {"GOBIN": str(PROGRAMS), "CGO_ENABLED": "0"}
    # runtimetest comes last: it says that all are there.
    for package in ("validation/...", "cmd/runtimetest"):
        subprocess.run([go, "install", f"{MODULE}/{package}@{VERSION}"], env=environ, check=True)


def in_private_view(directory):
    """Runs this program again where mounts are its own and cgroups are seen as v1. Returns the exit status.

    The directory is removed from outside: some containers have no mount namespace, and leave their mounts in it.
    """
    script = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$0" "$@"'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, sys.executable, __file__]
    return subprocess.run(command, env=os.environ | {PRIVATE: directory}, check=False).returncode


class Suite:
    """The suite at work in a directory of its own."""

    def __init__(self, directory, runtime):
        self.directory, self.runtime = directory, runtime
        self.root = directory / "state"
        self.root.mkdir()
        OUTPUT.mkdir(exist_ok=True)
        # The root of a user namespace is another user.
        directory.chmod(0o755)
        shutil.copy(PROGRAMS / "runtimetest", directory)
        rootfs = make_rootfs(directory / "rootfs")
        # One program runs it without having copied it there.
        shutil.copy(PROGRAMS / "runtimetest", rootfs)
        architecture = ARCHITECTURES.get(platform.machine(), platform.machine())
        subprocess.run(["tar", "-czf", directory / f"rootfs-{architecture}.tar.gz", "-C", rootfs, "."], check=True)
        # The programs know a runtime's name alone; its containers shall be where we find those that they leave.
        self.wrapper = directory / "runtime"
        self.wrapper.write_text(f'#!/bin/sh\nexec {runtime} --root {self.root} "$@"\n')
        self.wrapper.chmod(0o755)

    def run_patiently(self, name):
        """As run(); a program that races with its own container is tried again."""
        for _ in range(TRIES.get(name, 1)):
            count, result = self.run(name)
            if result == PASSED:
                break
        return count, result

    def run(self, name):
        """(number of assertions, result) of one program."""
        output = OUTPUT / f"{name}.tap"
        environ = os.environ | {"RUNTIME": str(self.wrapper), "TMPDIR": str(self.directory)}
        with open(output, "wb") as out, open(OUTPUT / f"{name}.err", "wb") as err:
            program = subprocess.Popen(
                [PROGRAMS / name], cwd=self.directory, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                start_new_session=True,
            )  # fmt: skip
            try:
                code = program.wait(TIME_LIMIT)
            except subprocess.TimeoutExpired:
                os.killpg(program.pid, signal.SIGKILL)
                program.wait()
                code = None
        for left in self.root.iterdir():
            if not left.name.startswith("."):
                subprocess.run([self.wrapper, "delete", "--force", left.name], check=False, capture_output=True)
        return judge(output.read_text(errors="replace"), code)


def table(results, version):
    """The results as text: {program: (assertions, result)}."""
    passed = sum(result == PASSED for _, result in results.values())
    silent = sum("YAML" in result for _, result in results.values())
    lines = [
        "# The OCI's conformance suite",
        "",
        f"{MODULE} {VERSION}, {version}, Linux {platform.release()}, cgroup v1. `make conformance` makes this page.",
        "",
        f"{passed} of {len(results)} programs pass; {silent} more pass by TAP's rules and tell a failure in YAML alone.",
        "",
        "| program | assertions | result | known reason |",
        "|---|---|---|---|",
    ]
    for name, (count, result) in results.items():
        lines.append(f"| {name} | {count} | {result} | {'' if result == PASSED else REASONS.get(name, '')} |")
    return "\n".join(lines) + "\n"


def main():
    runtime = shutil.which(os.environ.get("RUNTIME") or PROJECT / "build/pyrun") or sys.exit("conformance: no such runtime")
    runtime = os.path.abspath(runtime)
    if os.geteuid():
        sys.exit("conformance: needs root")
    if PRIVATE not in os.environ:
        install()
        with tempfile.TemporaryDirectory(prefix="pyrun-conformance-") as directory:
            sys.exit(in_private_view(directory))
    names = os.environ.get("PROGRAMS", "").split()
    every = sorted(path.name for path in PROGRAMS.iterdir() if path.name not in ("runtimetest", "util"))
    suite = Suite(pathlib.Path(os.environ[PRIVATE]), runtime)
    results = {name: suite.run_patiently(name) for name in names or every}
    version = subprocess.check_output([runtime, "--version"], text=True).splitlines()[0]
    text = table(results, version)
    print(text, end="")
    if not names and runtime == str(PROJECT / "build/pyrun"):
        KEPT.write_text(text)
    unexplained = [name for name, (_, result) in results.items() if result != PASSED and name not in REASONS]
    if unexplained:
        sys.exit(f"conformance: without a known reason: {' '.join(unexplained)}")


if __name__ == "__main__":
    main()
