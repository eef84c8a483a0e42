"""The runtime as a test sees it: Runner, Bundle, Container, Terminal. conftest.py says how they are used."""

import contextlib
import json
import os
import pathlib
import pty
import select
import signal
import subprocess
import time

import pytest

PROJECT = pathlib.Path(__file__).resolve().parent.parent
BUSYBOX = pathlib.Path("/bin/busybox")
OPTIONS = os.environ.get("PYRUN_OPTIONS", "").split()
"""Options before every command: another way to do the same, like `--systemd-cgroup`, that the same tests must find right."""
SYSTEMD = "--systemd-cgroup" in OPTIONS
CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]


def default_config():
    """A config.json like that of `pyrun spec`, without a terminal and with a writable root file system."""
    flags = ["nosuid", "noexec", "nodev"]
    return {
        "ociVersion": "1.3.0",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": ["true"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {name: list(CAPABILITIES) for name in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": False},
        "hostname": "pyrun",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {
                "destination": "/dev",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
            },
            {
                "destination": "/dev/pts",
                "type": "devpts",
                "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            },
            {
                "destination": "/dev/shm",
                "type": "tmpfs",
                "source": "shm",
                "options": [*flags, "mode=1777", "size=65536k"],
            },
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": flags},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*flags, "ro"]},
            {
                "destination": "/sys/fs/cgroup",
                "type": "cgroup",
                "source": "cgroup",
                "options": [*flags, "relatime", "ro"],
            },
        ],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": name} for name in ("pid", "network", "ipc", "uts", "mount")],
            "maskedPaths": [
                "/proc/acpi",
                "/proc/asound",
                "/proc/kcore",
                "/proc/keys",
                "/proc/latency_stats",
                "/proc/timer_list",
                "/proc/sched_debug",
                "/proc/scsi",
                "/sys/firmware",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }


class Result:
    """What one call of the runtime gave: `code`, `out`, `err` (text), and `id`, the container's, where there is one."""

    def __init__(self, command, code, out, err, container_id=None):
        self.command, self.code, self.out, self.err, self.id = command, code, out, err, container_id

    def __repr__(self):
        return f"{' '.join(self.command)}\nexit code {self.code}\nstdout: {self.out}\nstderr: {self.err}"


class Runner:
    """Calls the runtime with this test's `--root`. See `__call__`."""

    def __init__(self, program, directory, token):
        self.program, self.directory, self.token = program, directory, token
        self.root = directory / "state"
        self.count = 0

    def new_id(self):
        self.count += 1
        return f"{self.token}-{self.count}"

    def command(self, *args, root=True):
        return [self.program, *OPTIONS, *(["--root", str(self.root)] if root else []), *map(str, args)]

    def __call__(self, *args, code=0, stdin=None, timeout=30, root=True, container_id=None, **popen):
        """Runs `pyrun --root ROOT ARGS…`, asserts its exit code and returns a Result.

        code: the exit code wanted (int), None for any. stdin: text, None for /dev/null. timeout: seconds, then it is
        killed and the test fails. root: False leaves `--root` out. Output goes to files, since `create` hands stdout
        and stderr on to the container. popen: cwd=, env=, pass_fds= … of subprocess.Popen.
        """
        self.count += 1
        paths = [self.directory / f"{self.count}.{name}" for name in ("out", "err")]
        command = self.command(*args, root=root)
        with open(paths[0], "wb") as out, open(paths[1], "wb") as err:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE, stdout=out, stderr=err, **popen
            )
            if not ended(process, stdin, timeout):
                process.kill()
                process.wait()
                pytest.fail(f"no end after {timeout} s: {' '.join(command)}\n{read(paths[0])}\n{read(paths[1])}")
        result = Result(command, process.returncode, read(paths[0]), read(paths[1]), container_id)
        result.out_path, result.err_path = paths
        assert code is None or result.code == code, f"wanted exit code {code}: {result!r}"
        return result


class Bundle:
    """A bundle directory: `config` (dict, written when it is used), `rootfs`, `directory`."""

    def __init__(self, run, directory, config):
        self.runner, self.directory, self.config = run, directory, config
        self.rootfs = directory / "rootfs"

    def set(self, path, value):
        """Sets `linux.resources.pids.limit` and the like; objects on the way are made. Returns the bundle."""
        *names, last = path.split(".")
        here = self.config
        for name in names:
            here = here.setdefault(name, {})
        here[last] = value
        return self

    def mount(self, destination, **mount):
        """Adds a mount (`type=`, `source=`, `options=`). Returns the bundle."""
        self.config.setdefault("mounts", []).append({"destination": destination, **mount})
        return self

    def write(self):
        """Writes config.json; the other methods do it by themselves."""
        (self.directory / "config.json").write_text(json.dumps(self.config, indent=1))
        return self

    def call(self, command, *flags, code=0, container_id=None, **options):
        """`pyrun COMMAND --bundle DIR FLAGS… ID` with a new id, or the one given; returns a Result."""
        self.write()
        name = container_id or self.runner.new_id()
        return self.runner(
            command, "--bundle", self.directory, *flags, name, code=code, container_id=name, **options
        )

    def run(self, *flags, **options):
        """`pyrun run` in the foreground; returns a Result."""
        return self.call("run", *flags, **options)

    def create(self, *flags, command="create", **options):
        """`pyrun create`; returns a Container."""
        pid_file = self.runner.directory / f"{self.runner.new_id()}.pid"
        result = self.call(command, "--pid-file", pid_file, *flags, **options)
        return Container(self, result, int(pid_file.read_text()))

    def detached(self, *flags, **options):
        """`pyrun run --detach`; returns a Container."""
        return self.create("--detach", *flags, command="run", **options)

    def terminal(self, *flags, container_id=None):
        """`pyrun run` on a new terminal; returns a Terminal."""
        self.write()
        name = container_id or self.runner.new_id()
        return Terminal(self.runner.command("run", "--bundle", self.directory, *flags, name), name)


class Container:
    """A container that was created; `id`, `pid` of its init on the host, `bundle`."""

    def __init__(self, bundle, result, pid):
        self.bundle, self.runner, self.id, self.pid = bundle, bundle.runner, result.id, pid
        self.created = result

    def start(self, **options):
        return self.runner("start", self.id, **options)

    def kill(self, *signal_and_flags, **options):
        """`kill("TERM")`, `kill("--all", "9")`."""
        flags = [word for word in signal_and_flags if str(word).startswith("--")]
        return self.runner("kill", *flags, self.id, *[w for w in signal_and_flags if w not in flags], **options)

    def delete(self, *flags, **options):
        return self.runner("delete", *flags, self.id, **options)

    def exec(self, *args, flags=(), **options):
        """`exec FLAGS… ID ARGS…`; returns a Result."""
        return self.runner("exec", *flags, self.id, *args, **options)

    def exec_terminal(self, *args, flags=()):
        """`exec --tty` on a new terminal; returns a Terminal."""
        return Terminal(self.runner.command("exec", "--tty", *flags, self.id, *args), self.id)

    def state(self):
        """`state`, decoded."""
        return json.loads(self.runner("state", self.id).out)

    def status(self):
        return self.state()["status"]

    @property
    def out(self):
        """What the container has written to stdout so far."""
        return read(self.created.out_path)

    @property
    def err(self):
        return read(self.created.err_path)

    def wait(self, timeout=20):
        """Waits for the end of the container's process; returns its exit code, 128+N for signal N."""
        until(lambda: os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG), timeout, "container ends")
        return exit_code(os.waitpid(self.pid, 0)[1])


class Terminal:
    """A program on a pty of its own, as a person in front of a shell sees it. Its output is kept in `text`."""

    def __init__(self, command, container_id=None):
        self.command, self.id, self.text = command, container_id, ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(command[0], command)

    def send(self, text):
        os.write(self.fd, text.encode())
        return self

    def expect(self, text, timeout=20):
        """Reads until `text` has been printed; what is before and up to it is cut off `text` and returned."""
        end = time.monotonic() + timeout
        while text not in self.text:
            if not self._read(end - time.monotonic()):
                pytest.fail(f"{' '.join(self.command)}: no {text!r} in {self.text!r}")
        seen, _, self.text = self.text.partition(text)
        return seen + text

    def wait(self, timeout=20):
        """Reads to the end; returns the exit code of the program, 128+N for signal N."""
        end = time.monotonic() + timeout
        while self._read(end - time.monotonic()):
            pass
        if time.monotonic() > end:
            os.kill(self.pid, signal.SIGKILL)
        code = exit_code(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        assert time.monotonic() < end, f"{' '.join(self.command)}: no end after {timeout} s: {self.text!r}"
        return code

    def _read(self, seconds):
        if not select.select([self.fd], [], [], max(seconds, 0))[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # EIO: nobody has the other side open any more
            return False
        self.text += data.decode(errors="surrogateescape")
        return bool(data)


def read(path):
    return path.read_bytes().decode(errors="surrogateescape")


def exit_code(status):
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def until(condition, timeout=20, what="condition"):
    """Calls `condition` until it gives something true, and returns that; fails after `timeout` seconds."""
    end = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > end:
            pytest.fail(f"waited {timeout} s in vain: {what}")
        time.sleep(0.01)
    return value


def ended(process, stdin, timeout):
    """Feeds a Popen its stdin (text or None) and waits for its end, but no longer than `timeout` seconds."""
    stdin = None if stdin is None else stdin.encode()
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        try:
            process.communicate(stdin, 0.05)
            return True
        except subprocess.TimeoutExpired:
            stdin = None  # communicate() has it already
            reap_guests()
    return False


def reap_guests():
    """Ends zombies that `exec --detach` has left to this process: a pid namespace can't end before they are gone.

    The container's own init stays, for Container.wait().
    """
    for pid in children():
        try:
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # another thread has waited for it
        fields = dict(line.split(":", 1) for line in status.splitlines())
        namespaced = fields["NSpid"].split()[1:]
        if fields["State"].split()[0] == "Z" and namespaced and namespaced[-1] != "1":
            os.waitpid(pid, 0)


def children():
    """Pids of this process's children, zombies too.

    A thread's file goes with the thread, even between listing and reading; its children then belong to another thread.
    """
    found = set()
    for task in pathlib.Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.update(map(int, (task / "children").read_text().split()))
    return found


def reap():
    """Ends the zombies that were reparented to this process; returns the children that live."""
    living = set()
    for pid in children():
        try:
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG) is None:
                living.add(pid)
        except ChildProcessError:
            pass
    return living


def cgroups_named(word):
    """Paths of all cgroups with `word` in their name, parents first. Others may come and go meanwhile."""
    found, rest = [], ["/sys/fs/cgroup"]
    while rest:
        path = rest.pop()
        try:
            names = [entry.name for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue
        found += [f"{path}/{name}" for name in names if word in name]
        rest += [f"{path}/{name}" for name in names]
    return sorted(found)


def cgroups_path(name):
    """(linux.cgroupsPath, the directory (str) on cgroup v2) of a cgroup of this name."""
    if SYSTEMD:
        return f"system.slice:{name}:box", f"/sys/fs/cgroup/system.slice/{name}-box.scope"
    return f"/{name}", f"/sys/fs/cgroup/{name}"


def units_named(word):
    """Names of the units of systemd with `word` in their name, if containers are made by systemd."""
    if not SYSTEMD:
        return []
    command = ["systemctl", "list-units", "--all", "--plain", "--no-legend", f"*{word}*"]
    return [line.split()[0] for line in subprocess.check_output(command, text=True).splitlines()]


def state_files(root):
    """The state directories below a `--root`; names with a leading dot are the runtime's caches."""
    return [path for path in root.glob("*") if not path.name.startswith(".")] if root.is_dir() else []


def make_rootfs(directory):
    """A small root file system of busybox-static, with root, `user` (1000) and nobody in passwd."""
    for name in ("bin", "dev", "etc", "home", "proc", "root", "run", "sbin", "sys", "usr/bin", "usr/sbin", "var"):
        (directory / name).mkdir(parents=True)
    (directory / "tmp").mkdir()
    (directory / "tmp").chmod(0o1777)
    (directory / "bin/busybox").write_bytes(BUSYBOX.read_bytes())
    (directory / "bin/busybox").chmod(0o755)
    for applet in subprocess.check_output([BUSYBOX, "--list"], text=True).split():
        if applet != "busybox":
            (directory / "bin" / applet).symlink_to("busybox")
    (directory / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
    )
    (directory / "etc/group").write_text("root:x:0:\nuser:x:1000:\nextra:x:2000:user\nnogroup:x:65534:\n")
    return directory
