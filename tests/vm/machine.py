#!/usr/bin/env python3
"""A throw-away Debian machine: systemd is its pid 1, it has cgroup v2 alone, AppArmor and every capability. Needs root.

    machine.py [--user] [--arch ARCH] [--debian RELEASE] [--seconds N] [--console FILE] COMMAND

runs COMMAND (for bash) in it, in the checkout, and ends with its exit code; 125: the machine did not come up, 124: it took
longer than N seconds (default: 900). Output and errors come as one stream on stdout. --user: as an ordinary user with a
session of systemd's, a delegated cgroup and subordinate ids, instead of root. --arch: amd64 or arm64 (default: the host's).
--debian: the release whose kernel it is, such as bullseye for Linux 5.10 (default: the host's own release). --console: where the
kernel's and systemd's messages go.

The root file system is the host's own (virtiofs, read-only) with what is written to it in memory; the checkout is shared
at its own path and can be written to. For another architecture it is Debian's packages, unpacked. They and the kernel are downloaded
into build/vm/RELEASE-ARCH and not installed, and there is no systemd; the initramfs beside them is made anew when its recipe
changes. The processor is qemu's TCG: KVM is not there in most places where tests run, and a test must not depend on it.
`make vm-needs` installs what is used here.
"""

import argparse
import fcntl
import gzip
import hashlib
import os
import pathlib
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
BASE = PROJECT / "build/vm"
MIRROR = "http://deb.debian.org/debian"
MODULES = ("virtio_pci", "virtio_console", "virtio_blk", "virtiofs", "overlay")
"""What reaches the root file system, the host and a disk; the machine loads what else it uses by itself."""
RECIPE = ("machine.py", "init.sh", "command.sh", "units/vm.target", "units/vm-command.service")
VIRTIOFSD = "/usr/lib/qemu/virtiofsd"
HOST = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "")
QEMU = {
    # A processor without AVX: C libraries use it where it is, and TCG is several times slower at it than at SSE.
    "amd64": ("qemu-system-x86_64", "-M", "q35,usb=off,vmport=off,smbus=off,sata=off", "-cpu", "Nehalem"),
    # Pointers are authenticated, by an algorithm that is quick to emulate.
    "arm64": ("qemu-system-aarch64", "-M", "virt", "-cpu", "max,pauth-impdef=on,sve=off,sme=off"),
}
CONSOLES = {"amd64": "ttyS0", "arm64": "ttyAMA0"}
PACKAGES = (
    "?essential", "base-passwd", "busybox-static", "iproute2", "kmod", "libseccomp2", "mount", "procps", "python3", "python3-cffi-backend",
)  # fmt: skip
"""What the root file system of another architecture is made of. Without systemd it is up in a third of the time."""
APPEND = (
    "quiet panic=-1 mitigations=off audit=0 random.trust_cpu=on tsc=reliable nowatchdog apparmor=1 security=apparmor "
    "systemd.unified_cgroup_hierarchy=1 systemd.unit=vm.target systemd.show_status=no systemd.firstboot=no systemd.gpt_auto=no "
    f"systemd.machine_id={'c0ffee00' * 4} fstab=no"
)


# --- the kernel and the initramfs -----------------------------------------------------------------------------------------


def prepare(arch, debian):
    """The directory of the kernel of a release of Debian: kernel (the package's files), initrd.gz, of this recipe, and root."""
    base = BASE / f"{debian}-{arch}"
    base.mkdir(parents=True, exist_ok=True)
    recipe = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in RECIPE)).hexdigest()
    stamp = base / "recipe"
    with open(base / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != recipe:
            stamp.unlink(missing_ok=True)
            if not (base / "kernel").exists():
                download(base, arch, debian)
            root(base, arch)
            initramfs(base)
            stamp.write_text(recipe)
    return base


def output(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout


def host_release():
    return platform.freedesktop_os_release().get("VERSION_CODENAME", "")


def root(base, arch):
    """base/root: the root file system."""
    place = base / "root"
    if arch == HOST:
        place.unlink(missing_ok=True)
        place.symlink_to("/")
        return
    subprocess.run([PROJECT / "csrc/sysroot.sh", arch, place, *PACKAGES], check=True)
    # What packages do when they are installed.
    for name in ("passwd", "group"):
        shutil.copy(place / f"usr/share/base-passwd/{name}.master", place / f"etc/{name}")
    subprocess.run([sys.executable, "-m", "compileall", "-q", *place.glob("usr/lib/python3*")], check=True, stdout=subprocess.DEVNULL)


def download(base, arch, debian):
    """base/kernel: the release's kernel's package, unpacked. It is looked up by an apt that knows this release alone."""
    with tempfile.TemporaryDirectory(dir=base) as directory:
        sources = pathlib.Path(directory, "sources.list")
        sources.write_text(f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {MIRROR} {debian} main\n")
        places = {"Dir::Etc::sourcelist": sources, "Dir::Etc::sourceparts": "-", "Dir::State": directory, "Dir::Cache": directory}
        # apt's own user cannot write there.
        places |= {"APT::Sandbox::User": "root", "APT::Architecture": arch, "APT::Architectures": arch}
        options = [word for name, value in places.items() for word in ("-o", f"{name}={value}")]
        output("apt-get", *options, "-q", "update")
        package = output("apt-cache", *options, "depends", f"linux-image-cloud-{arch}").partition("Depends: ")[2].split()[0]
        output("apt-get", *options, "-q", "download", package, cwd=directory)
        [deb] = pathlib.Path(directory).glob("*.deb")
        output("dpkg-deb", "-x", deb, f"{directory}/kernel")
        output("depmod", "-b", f"{directory}/kernel", release(directory))
        os.rename(f"{directory}/kernel", base / "kernel")


def release(base):
    return next(pathlib.Path(base, "kernel/lib/modules").iterdir()).name


def initramfs(base):
    """base/initrd.gz: busybox, the modules in the order in which they are loaded, init.sh, and systemd's units."""
    with tempfile.TemporaryDirectory(dir=base) as directory:
        top = pathlib.Path(directory)
        for name in ("bin", "modules", "proc", "sys", "dev", "run", "host", "memory", "root"):
            (top / name).mkdir()
        shutil.copy(base / "root/bin/busybox", top / "bin")
        shutil.copy(HERE / "init.sh", top / "init")
        shutil.copy(HERE / "command.sh", top)
        shutil.copytree(HERE / "units", top / "units")
        (top / "init").chmod(0o755)
        steps = "".join(
            output("modprobe", "-d", base / "kernel", "-S", release(base), "--show-depends", name) for name in MODULES
        )
        files = dict.fromkeys(line.split()[1] for line in steps.splitlines() if line.startswith("insmod "))
        for number, file in enumerate(files):
            shutil.copy(file, top / f"modules/{number:02}.ko")
        names = b"\n".join(bytes(path.relative_to(top)) for path in sorted(top.rglob("*")))
        packed = subprocess.run(["busybox", "cpio", "-o", "-H", "newc"], input=names, cwd=top, check=True, capture_output=True)
        (base / "initrd.gz").write_bytes(gzip.compress(packed.stdout, 1))


# --- running --------------------------------------------------------------------------------------------------------------


def share(directory, name, source, read_only):
    """virtiofsd for `source`; returns the process. It ends with qemu.

    Read-only is a bind mount in a mount namespace of its own, without what is mounted below: the daemon has no such option.
    """
    place = directory / name
    place.mkdir()
    script = 'mount --bind "$1" "$2" && { [ "$3" = rw ] || mount -o remount,bind,ro "$2"; } && shift 3 && exec "$@"'
    daemon = [VIRTIOFSD, "-f", f"--socket-path={place}.sock", "-o", f"source={place}", "-o", "sandbox=chroot", "-o", "xattr"]
    # What the host changes meanwhile is not seen; each start of a program would read its file anew otherwise.
    daemon += ["-o", "cache=always", "--rlimit-nofile=0"]
    mode = "ro" if read_only else "rw"
    with open(f"{place}.log", "w") as log:
        process = subprocess.Popen(
            ["unshare", "--mount", "--propagation=private", "sh", "-ec", script, "share", source, place, mode, *daemon],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    end = time.monotonic() + 20
    while not pathlib.Path(f"{place}.sock").exists():
        if process.poll() is not None or time.monotonic() > end:
            sys.exit(f"machine: no virtiofsd: {pathlib.Path(f'{place}.log').read_text()}")
        time.sleep(0.02)
    return process


def qemu(base, arch, directory, console, out, seconds):
    memory, processors = 3072, min(os.cpu_count(), 4)
    command = ["timeout", "--signal=KILL", str(seconds), *QEMU[arch]]
    command += ["-accel", "tcg,thread=multi,tb-size=512", "-smp", str(processors), "-m", str(memory)]
    # virtiofsd reads and writes the machine's memory itself
    command += ["-object", f"memory-backend-memfd,id=memory,size={memory}M,share=on", "-numa", "node,memdev=memory"]
    command += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", f"file:{console}"]
    for name in ("host", "project"):
        command += ["-chardev", f"socket,id={name},path={directory / name}.sock"]
        command += ["-device", f"vhost-user-fs-pci,chardev={name},tag={name},queue-size=1024"]
    command += ["-device", "virtio-serial-pci", "-chardev", f"file,id=out,path=/dev/fd/{out}"]
    command += ["-device", "virtserialport,chardev=out,name=out"]
    # A disk, empty for ever, whose transfers can be limited
    command += ["-blockdev", "driver=null-co,node-name=disk,size=16777216,read-zeroes=on", "-device", "virtio-blk-pci,drive=disk"]
    command += ["-kernel", base / f"kernel/boot/vmlinuz-{release(base)}", "-initrd", base / "initrd.gz"]
    command += ["-append", f"console={CONSOLES[arch]} {APPEND} vm.project={PROJECT} vm.kernel={base}/kernel vm.run={directory}"]
    return command


def run(base, arch, command, user, seconds, console):
    """Boots the machine, copies its output to stdout, and returns the exit code."""
    with tempfile.TemporaryDirectory(dir=base, prefix="run-") as name:
        directory = pathlib.Path(name)
        (directory / "command").write_text(command + "\n")
        (directory / "settings").write_text(f"PROJECT={shlex.quote(str(PROJECT))}\nRUN={shlex.quote(name)}\nAS={user}\n")
        directory.chmod(0o755)
        console = console or directory / "console"
        console.write_text("")
        reader, writer = os.pipe()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        started = []
        try:
            started = [share(directory, "host", base / "root", True), share(directory, "project", PROJECT, False)]
            machine = subprocess.Popen(qemu(base, arch, directory, console, writer, seconds), stdin=subprocess.DEVNULL, pass_fds=[writer])
            started.append(machine)
            os.close(writer)
            while data := os.read(reader, 65536):
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
            late = machine.wait() == -signal.SIGKILL  # so timeout(1) ends when it has killed the command
        finally:
            for process in reversed(started):
                process.terminate()
                process.wait()
        code = directory / "code"
        if code.exists():
            return int(code.read_text())
        print(f"machine: {f'stopped after {seconds} s' if late else 'died'}\n{console.read_text()[-3000:]}", file=sys.stderr)
        return 124 if late else 125


def main():
    parser = argparse.ArgumentParser(description="runs a command in a throw-away Debian machine")
    parser.add_argument("--user", action="store_const", const="user", default="root")
    parser.add_argument("--arch", choices=QEMU, default=HOST)
    parser.add_argument("--debian", default=host_release())
    parser.add_argument("--seconds", type=int, default=900)
    parser.add_argument("--console", type=pathlib.Path)
    parser.add_argument("command")
    options = parser.parse_args()
    return run(prepare(options.arch, options.debian), options.arch, options.command, options.user, options.seconds, options.console)


if __name__ == "__main__":
    sys.exit(main())
