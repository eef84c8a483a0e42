"""What is built for: this machine or, by $ARCH (Debian's name of an architecture), another one.

Whatever of the build depends on the machine is asked of TARGET, and not of `platform`, `sysconfig` or the host's directories.
"""

from __future__ import annotations

import os
import platform
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Debian's name -> the kernel's.
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
# Jumps that go where the compiler meant none are refused by the processor.
GUARDS = {"x86_64": ["-fcf-protection"], "aarch64": ["-mbranch-protection=standard"]}


class Native:
    """This machine, with the libraries and the Python that it has."""

    SETTINGS = ("ARCH", "CC", "CFLAGS", "LDFLAGS")  # variables of the environment
    machine = platform.machine()
    build = ROOT / "build"  # what is made
    sysroot = ""  # what the paths of libraries and headers begin with
    prefix = ""  # what the names of binutils and gcc begin with
    emulator: list[str] = []  # what runs a program

    def __init__(self) -> None:
        sysroot = [f"--sysroot={self.sysroot}"] if self.sysroot else []
        self.cc = [*(shlex.split(os.environ.get("CC", "")) or [f"{self.prefix}gcc"]), *sysroot]
        self.config = sysconfig.get_config_vars()

    def path(self, name: str) -> Path:
        """A directory of Python's, by its name in `config`."""
        return Path(f"{self.sysroot}{self.config[name]}")

    def musl(self) -> list[object]:
        """The compiler of static programs: for musl, whose are small, where it is installed."""
        return ["musl-gcc"] if shutil.which("musl-gcc") else [*self.cc]


class Foreign(Native):
    """Another machine: Debian's cross compiler, with the libraries of Debian's packages in `sysroot`, and qemu's emulator of processes."""

    def __init__(self, arch: str) -> None:
        self.machine = MACHINES[arch]
        self.prefix = f"{self.machine}-linux-gnu-"
        self.build = ROOT / "build" / arch
        root = self.build / "sysroot"
        self.sysroot = str(root)
        python = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        packages = [f"lib{python}-dev", "libc6-dev", "libffi-dev", "libseccomp-dev", "libzstd-dev", "musl-dev", "zlib1g-dev"]
        if subprocess.run([ROOT / "csrc/sysroot.sh", arch, root, *packages], check=False).returncode:
            sys.exit(1)
        super().__init__()
        self.config = runpy.run_path(str(root / f"usr/lib/{python}/_sysconfigdata__{self.machine}-linux-gnu.py"))["build_time_vars"]
        [version] = re.findall(r'PY_VERSION\s+"(.*)"', (self.path("INCLUDEPY") / "patchlevel.h").read_text())
        if version != platform.python_version():
            sys.exit(f"build: Debian's Python for {arch} is {version}, but this one, {sys.executable}, is {platform.python_version()}")
        self.emulator = [f"qemu-{self.machine}"]

    def musl(self) -> list[object]:
        directory = f"{self.sysroot}/usr/lib/{self.machine}-linux-musl"
        specs = self.build / "musl.specs"
        specs.write_text(Path(f"{directory}/musl-gcc.specs").read_text().replace("/usr/", f"{self.sysroot}/usr/"))
        return [*self.cc, "-specs", specs]


def target() -> Native:
    arch = os.environ.get("ARCH") or next((name for name, machine in MACHINES.items() if machine == Native.machine), "")
    if arch and arch not in MACHINES:
        sys.exit(f"build: ARCH={arch} is none of {', '.join(MACHINES)}")
    return Native() if not arch or MACHINES[arch] == Native.machine else Foreign(arch)


TARGET = target()
