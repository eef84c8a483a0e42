"""Why a program was not started, or ended badly: one line more, of what the kernel knows."""

import json
import os
import signal
import struct
import subprocess

import pytest
from harness import BUSYBOX, SYSTEMD, until
from seccomp_model import NATIVE, names, profile, rule

EATER = "x=12345678; while :; do x=$x$x; done"
LIMIT = 32 << 20
OOM = "memory ran out, a process was killed: linux.resources.memory.limit is 32 MiB"
# systemd removes a cgroup as soon as it is empty, and with it what it tells.
log = pytest.mark.skipif(not os.access("/dev/kmsg", os.R_OK), reason="there is no log of the kernel here")
gone = pytest.mark.skipif(SYSTEMD, reason="systemd may have removed the cgroup")


def place(b, path, content, mode=0o755):
    """A file in the root file system."""
    file = b.rootfs / path.lstrip("/")
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    file.chmod(mode)
    return b


def of_machine(number):
    """busybox, as if it were for another machine."""
    data = bytearray(BUSYBOX.read_bytes())
    data[18:20] = struct.pack("<H", number)
    return bytes(data)


def loaded_by(loader):
    """An ELF file of this machine that has this loader."""
    data = bytearray(64) + struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, len(loader) + 1, len(loader) + 1, 1) + loader.encode() + b"\0"
    data[:64] = BUSYBOX.read_bytes()[:64]
    data[16:18] = struct.pack("<H", 2)
    data[32:40], data[54:58] = struct.pack("<Q", 64), struct.pack("<HH", 56, 1)
    return bytes(data)


OTHER = {"x86_64": (183, "aarch64"), "aarch64": (62, "x86_64")}[os.uname().machine]
FILES = {
    "interpreter": ("#!/bin/bash -e\n", "exec /prog: no such file or directory (its interpreter /bin/bash (#! line) is not there)"),
    "DOS line ends": ("#!/bin/sh\r\necho\r\n", "exec /prog: no such file or directory (its #! line ends with a carriage return"),
    "interpreter of the interpreter": (
        "#!/bin/second\n",
        "exec /prog: no such file or directory (its interpreter /bin/second (#! line): its interpreter /none (#! line) is not there)",
    ),
    "loader": (loaded_by("/lib/ld-none.so.1"), "exec /prog: no such file or directory (its loader /lib/ld-none.so.1 is not there)"),
    "link": ("#!/bin/dangling\n", "no such file or directory (its interpreter /bin/dangling (#! line) is a link to /lib/none, which is not there)"),
    "machine": (of_machine(OTHER[0]), f"exec /prog: exec format error (it is for {OTHER[1]}, and this machine is {os.uname().machine})"),
    "no #! line": ("echo hi\n", "exec /prog: exec format error (it is neither an ELF file nor a script that begins with #!)"),
    "empty": ("", "exec /prog: exec format error (it is empty)"),
    "cut short": (BUSYBOX.read_bytes()[:100], "exec /prog: exec format error (it is an ELF file that was cut short"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_executed(name, bundle):
    """`run`, `start` and `exec` say so in the one line with which they fail."""
    content, said = FILES[name]
    b = place(place(bundle(["/prog"]), "/prog", content), "/bin/second", "#!/none\n")
    (b.rootfs / "bin/dangling").symlink_to("../lib/none")
    running = bundle("sleep 100").detached()
    for file in ("prog", "bin/second"):
        (running.bundle.rootfs / file).write_bytes((b.rootfs / file).read_bytes())
        (running.bundle.rootfs / file).chmod(0o755)
    (running.bundle.rootfs / "bin/dangling").symlink_to("../lib/none")
    created = b.create()
    for error in (b.run(code=1).err, created.start(code=1).err, running.exec("/prog", code=255).err):
        assert error.count("\n") == 1 and said in error
    assert created.status() == "stopped"


def test_a_program_looked_up_by_its_name(bundle):
    b = place(bundle(["tool"]), "/usr/bin/tool", "#!/bin/bash\n")
    assert (
        'exec: "tool": executable file not found in $PATH (/usr/bin/tool: its interpreter /bin/bash (#! line) is not there)\n'
        in b.run(code=1).err
    )


def test_engines_find_it_in_the_log(bundle, run, tmp_path):
    b = place(bundle(["/prog"]), "/prog", "#!/bin/bash\n").write()
    run("--log", tmp_path / "log", "--log-format", "json", "run", "--bundle", b.directory, run.new_id(), code=1)
    (line,) = map(json.loads, (tmp_path / "log").read_text().splitlines())
    assert line["level"] == "error"
    assert line["msg"].endswith("exec /prog: no such file or directory (its interpreter /bin/bash (#! line) is not there)")


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda b: place(b, "/prog", "#!/bin/sh\n", 0o644), "permission denied (nobody may execute it (mode 0644, of user 0): chmod +x)"),
        (lambda b: (b.rootfs / "prog").mkdir(), "permission denied (it is a directory)"),
        (lambda b: place(b, "/prog", "#!/bin/sh\n", 0o700), "permission denied (user 1000 may not execute it (mode 0700, of user 0))"),
        (lambda b: place(b, "/prog", "#!/root/x\n"), "permission denied (its interpreter /root/x (#! line): user 1000 may not search /root"),
    ],
)
def test_permissions(change, said, bundle):
    b = bundle(["/prog"]).set("process.user", {"uid": 1000, "gid": 1000})
    (b.rootfs / "root").chmod(0o700)
    change(b)
    assert said in b.run(code=1).err


def test_a_mount_that_is_noexec(bundle, tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "run").write_text("#!/bin/sh\n")
    (volume / "run").chmod(0o755)
    b = bundle(["/data/run"]).mount("/data", source=str(volume), options=["bind", "noexec"])
    assert f"permission denied (mounts[{len(b.config['mounts']) - 1}], on /data, has the option noexec)" in b.run(code=1).err
    b.config["process"]["args"] = ["sleep", "100"]
    assert "permission denied (it lies on the mount /data, which is noexec)" in b.detached().exec("/data/run", code=255).err


def test_a_file_in_a_volume(bundle, tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "run").write_text("#!/data/none\n")
    (volume / "run").chmod(0o755)
    (volume / "link").symlink_to("/data/run")
    b = bundle(["/data/link"]).mount("/data", source=str(volume), options=["rbind", "ro"])
    assert "no such file or directory (its interpreter /data/none (#! line) is not there)" in b.run(code=1).err


def test_a_hostile_root_file_system(bundle):
    """Nothing of the host is read, and nothing waited for."""
    b = bundle(["/prog"])
    os.mkfifo(b.rootfs / "fifo", 0o755)
    (b.rootfs / "loop").symlink_to("loop")
    with (b.rootfs / "prog").open("wb") as file:
        file.truncate(1 << 40)
    (b.rootfs / "prog").chmod(0o755)
    assert "exec format error (it is neither an ELF file" in b.run(code=1, timeout=10).err
    said = {"fifo": "permission denied (its interpreter /fifo (#! line) is no regular file)", "loop": "too many levels of symbolic links"}
    for name, words in said.items():
        place(b, "/prog", f"#!/{name}\n")
        assert words in b.run(code=1, timeout=10).err
    (b.rootfs / "up").symlink_to("../../../../../../../../etc/hostname")
    place(b, "/prog", "#!/up\n")
    assert "its interpreter /up (#! line) is a link to /etc/hostname, which is not there)" in b.run(code=1).err
    data = bytearray(BUSYBOX.read_bytes()[:4096])
    data[32:40] = struct.pack("<Q", (1 << 63) + 5)
    place(b, "/prog", bytes(data))
    assert "exec format error" in b.run(code=1).err


@pytest.mark.worlds
def test_memory(bundle):
    b = bundle(["sh", "-c", EATER]).set("linux.resources.memory", {"limit": LIMIT, "swap": LIMIT})
    error = b.run(code=137).err
    assert error.startswith(f"pyrun: the program was killed by signal 9: {OOM}")
    assert SYSTEMD or error.endswith(" were used\n")
    assert error.count("\n") == 1


@pytest.mark.worlds
@gone
def test_memory_of_a_child(bundle):
    """The program only tells that something went wrong."""
    b = bundle(["sh", "-c", f"sh -c '{EATER}'; exit 3"]).set("linux.resources.memory", {"limit": LIMIT, "swap": LIMIT})
    error = b.run(code=3).err
    assert f"pyrun: the program ended with status 3: {OOM}" in error


@log
def test_memory_of_a_further_process(bundle):
    c = bundle("sleep 100").set("linux.resources.memory", {"limit": LIMIT, "swap": LIMIT}).detached()
    assert "pyrun: the program was killed by signal 9: it was sent from another process" in c.exec("sh", "-c", "kill -9 $$", code=137).err
    error = c.exec("sh", "-c", EATER, code=137).err
    assert f"pyrun: the program was killed by signal 9: {OOM}" in error
    assert "it was sent from another process, or by the kernel: memory ran out, " in c.exec("sh", "-c", "kill -9 $$", code=137).err
    assert c.exec("false", code=1).err == ""


@pytest.mark.worlds
@gone
def test_the_number_of_processes(bundle):
    b = bundle(["sh", "-c", "sleep 1 & sleep 1 & sleep 1 & sleep 1 & wait; exit 4"]).set("linux.resources.pids.limit", 2)
    error = b.run(code=None).err
    assert "pyrun: the program ended with status 2: the limit of processes was reached, once: linux.resources.pids.limit is 2\n" in error


@log
@pytest.mark.parametrize("command", ["run", "exec"])
def test_seccomp_names_the_call(command, bundle):
    allowed = [name for name in names(NATIVE).values() if name != "mkdirat" and name != "mkdir"]
    b = bundle(["mkdir", "/tmp/x"]).set("linux.seccomp", profile("KILL_PROCESS", rule("ALLOW", *allowed)))
    call = b.run
    if command == "exec":
        b.config["process"]["args"] = ["sleep", "100"]
        c = b.detached()

        def call(code):
            return c.exec("mkdir", "/tmp/x", code=code)

    # The kernel writes only so many such records within some seconds.
    until(lambda: "killed by signal 31: linux.seccomp does not allow the system call mkdir" in call(code=159).err)


@log
def test_seccomp_that_kills_init(bundle):
    allowed = [name for name in names(NATIVE).values() if name != "execve"]
    b = bundle().set("linux.seccomp", profile("KILL_PROCESS", rule("ALLOW", *allowed)))
    until(lambda: "bad system call) (seccomp has killed it: linux.seccomp does not allow the system call execve)" in b.run(code=1).err)


def test_sigkill_from_outside(bundle, run):
    b = bundle("echo up; sleep 100").write()
    name = run.new_id()
    command = run.command("run", "--bundle", b.directory, name)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "up\n"
        run("kill", name, "KILL")
        _, error = process.communicate(timeout=20)
    assert process.returncode == 137
    assert error == "pyrun: the program was killed by signal 9: it was sent from outside of the container, memory has not run out\n"


def test_limits_of_the_process(bundle):
    b = bundle(["sh", "-c", "while :; do :; done"]).set("process.rlimits", [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}])
    error = b.run(code=137).err
    assert "killed by signal 9: after " in error and error.endswith(" s of CPU time; process.rlimits[0].hard (RLIMIT_CPU) is 1\n")
    # The first process of a pid namespace does not get that signal.
    b.config["linux"]["namespaces"].remove({"type": "pid"})
    b.set("process.args", ["dd", "if=/dev/zero", "of=/big"]).set("process.rlimits", [{"type": "RLIMIT_FSIZE", "soft": 512, "hard": 512}])
    error = b.run(code=128 + signal.SIGXFSZ).err
    assert error == "pyrun: the program was killed by signal 25: as it wrote to a large file; process.rlimits[0].soft (RLIMIT_FSIZE) is 512\n"


@pytest.mark.parametrize("script, code", [("exit 1", 1), ("exit 137", 137), ("kill -TERM $$; exit 5", 5)])
def test_what_a_program_chooses_is_not_commented_on(script, code, bundle):
    assert bundle(script).run(code=code).err == ""


def test_a_signal_of_the_program_itself(bundle):
    b = bundle(["sh", "-c", "kill -SEGV $$"])
    b.config["linux"]["namespaces"].remove({"type": "pid"})
    assert b.run(code=128 + signal.SIGSEGV).err == "pyrun: the program was killed by signal 11: segmentation fault\n"
