"""`pyrun validate`: every fault with its line and cure, whether it will run on this host, and what a script or a person gets of it."""

import json
import os
import shutil
import subprocess

import pytest
from harness import Terminal
from looks import user_namespace

HELLO = 'int main(void) { return 0; }'


@pytest.fixture
def judge(run):
    """judge(directory, code): what `validate --format json` finds there, as a list of dicts, after asserting the exit code."""

    def call(*args, code):
        return json.loads(run("validate", "--format", "json", *args, code=code).out)

    return call


@pytest.fixture
def found(bundle, judge):
    """found(change, code): (severity, level, path) of all that is found in a bundle that was changed; the whole is in .last."""

    def call(change, code):
        made = bundle("true")
        change(made)
        call.last = judge(made.write().directory, code=code)
        return [(one["severity"], one["level"], one["path"]) for one in call.last]

    return call


# --- where -------------------------------------------------------------------------------------------------------------

# What is wrong carries its line as a value, so that the text says itself what is to be found.
PLACES = r"""{
 "ociVersion": "1.2.0",
 "process": {
  "cwd": "/", "args": ["true", 5, {"x": "]}\" ,[", "y": [6]}],
  "env": ["A=b",
   "PATH=/bin", 7],
  "terminal": 8, "term\u0069nal":
   9, "\u0075ser":
  {"uid": "10", "gid": 0, "uid":
    "11"}
 },
 "root": {"path": "rootfs", "readonly": 12},
 "mounts": [[], {"destination": "/x", "options": ["ro",
  "rw", 14
 ]}],
 "linux": {"sysctl": {"net.ipv4.ip_forward": 16,
   "a\"b": 17, "net/ipv4/conf/eth0.1/x":
   18},
 "devices": [
 {"path": "/dev/x"} ] },
 "annotations": {"org.x.y": 21}, "annotations": {"org.x.y":
 22}}"""
LINES = {
    "process.args[1]": 4, "process.args[2]": 4, "process.env[2]": 6, "process.terminal": 7, "process.user.uid": 9, "root.readonly": 12,
    "mounts[0]": 13, "mounts[1].options[2]": 14, 'linux.sysctl["net.ipv4.ip_forward"]': 16, 'linux.sysctl["a"b"]': 17,
    'linux.sysctl["net/ipv4/conf/eth0.1/x"]': 17, "linux.devices[0].type": 20, 'annotations["org.x.y"]': 21,
}  # fmt: skip


@pytest.mark.parametrize("form", ["LF", "CRLF", "byte order mark", "one line"])
def test_lines(form, bundle, judge):
    """Keys that come twice, escapes, nested lists; a member is where its name is, what is missing where it should be."""
    directory = bundle("true").directory
    text = {"CRLF": PLACES.replace("\n", "\r\n"), "byte order mark": "\ufeff" + PLACES, "one line": PLACES.replace("\n", " ")}.get(form, PLACES)
    (directory / "config.json").write_bytes(text.encode())
    found = {one["path"]: one["line"] for one in judge(directory, code=1) if one["level"] == "schema"}
    assert found.pop(None, None) == (1 if form == "byte order mark" else None)
    assert found == (dict.fromkeys(LINES, 1) if form == "one line" else LINES)


@pytest.mark.parametrize(
    ("text", "line", "cure"),
    [
        ('{\n"a": [1,\n2,\n]}', 4, "take the comma before ] away"),
        ('{\n"a": 1\n"b": 2}', 3, "put a comma before it"),
        ('{"a": 1, // so\n"b": 2}', 1, "JSON has no comments: take it out"),
        ("{\n'a': 1}", 2, 'put strings in "'),
        ("{\n", 2, "correct column 1"),
        ("[]", 1, "correct column 1"),
    ],
)
def test_what_is_no_json(text, line, cure, bundle, judge):
    directory = bundle("true").directory
    (directory / "config.json").write_text(text)
    (one,) = judge(directory, code=1)
    assert (one["level"], one["line"], one["cure"]) == ("schema", line, cure)


# --- what --------------------------------------------------------------------------------------------------------------


def change(path, value):
    return lambda made: made.set(path, value)


def seccomp(**members):
    return change("linux.seccomp", {"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"]} | members)


def unmapped(made):
    user_namespace(made)
    made.config["process"]["user"] = {"uid": 4000000000, "gid": 0}


KVM = {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}
SEMANTICS = {
    "the same place": (lambda made: made.mount("/proc", type="proc"), 0, "warning", "mounts[7].destination"),
    "above an earlier one": (lambda made: made.mount("/dev", type="tmpfs"), 0, "warning", "mounts[7].destination"),
    "an unmapped user": (unmapped, 1, "error", "process.user.uid"),
    "soft above hard": (change("process.rlimits", [{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]), 1, "error", "process.rlimits[0].soft"),
    "not in the bounding set": (
        change("process.capabilities", {"bounding": [], "permitted": ["CAP_KILL"]}), 0, "warning", "process.capabilities.permitted[0]"),
    "an unknown capability": (change("process.capabilities", {"bounding": ["CAP_X"]}), 0, "warning", "process.capabilities.bounding[0]"),
    "swap below memory": (change("linux.resources.memory", {"limit": 1 << 26, "swap": 1 << 25}), 1, "error", "linux.resources.memory.swap"),
    "more reserved than there is": (
        change("linux.resources.memory", {"limit": 1 << 26, "reservation": 1 << 27}), 0, "warning", "linux.resources.memory.reservation"),
    "a period of days": (change("linux.resources.cpu", {"period": 10**9}), 1, "error", "linux.resources.cpu.period"),
    "a device nobody may open": (change("linux.devices", [KVM]), 0, "warning", "linux.devices[0]"),
    "a filter without execve": (seccomp(), 1, "error", "linux.seccomp.defaultAction"),
    "a filter against execve": (
        seccomp(defaultAction="SCMP_ACT_ALLOW", syscalls=[{"names": ["execve"], "action": "SCMP_ACT_KILL"}]), 1, "error",
        "linux.seccomp.syscalls[0].action"),
}  # fmt: skip


@pytest.mark.parametrize("case", SEMANTICS)
def test_semantics(case, found):
    change, code, severity, path = SEMANTICS[case]
    assert (severity, "semantics", path) in found(change, code)
    assert all(one["cure"] and one["message"] for one in found.last)


def test_what_a_finding_says(found):
    found(lambda made: made.set("process.oomScoreAdj", 2000).set("linux.namespaces", [{"type": "mnt"}]), 1)
    one, two = (one for one in found.last if one["level"] == "schema")
    assert (one["found"], one["allowed"], one["cure"]) == ('"oomScoreAdj": 2000', "from -1000 to 1000", "take a number of that range")
    assert (two["found"], two["cure"]) == ('"type": "mnt"', "is mount meant?")


def test_all_levels_at_once(found):
    """A fault of one member does not hide those of another."""
    def change(made):
        made.set("process.user", {"uid": "1"}).set("linux.resources.memory", {"limit": 1 << 26, "swap": 1})
        made.set("hooks", {"poststop": [{"path": "/no/hook"}]}).mount("/x", type="bind", source="/no/source")

    places = [("schema", "process.user.uid"), ("semantics", "linux.resources.memory.swap")]
    places += [("host", "mounts[7].source"), ("host", "hooks.poststop[0].path")]
    assert sorted(found(change, 1)) == sorted(("error", *place) for place in places)


# --- here --------------------------------------------------------------------------------------------------------------


def program(name, content, mode=0o755):
    def change(made):
        path = made.rootfs / name
        path.write_bytes(content)
        path.chmod(mode)
        made.config["process"]["args"] = [f"/{name}"]

    return change


def compiled(made):
    (made.directory / "x.c").write_text(HELLO)
    subprocess.run(["cc", "-o", made.rootfs / "x", made.directory / "x.c"], check=True)
    made.config["process"]["args"] = ["/x"]


def of_another_machine(made):
    program("x", (made.rootfs / "bin/busybox").read_bytes())(made)
    with open(made.rootfs / "x", "r+b") as file:
        file.seek(18)
        file.write(b"\x15\x00")  # ppc64


def idmapped_proc(made):
    ids = [{"containerID": 0, "hostID": 1000, "size": 1}]
    made.mount("/x", type="bind", source="/proc", options=["bind"], uidMappings=ids, gidMappings=ids)


def joined(path):
    return change("linux.namespaces", [{"type": "mount"}, {"type": "uts"}, {"type": "network", "path": path}])


HERE = {
    "no such program": (change("process.args", ["nosuch"]), "process.args[0]", 'there is no "nosuch" in the root file system, in none of'),
    "not executable": (program("x", b"#!/bin/sh\n", 0o644), "process.args[0]", "/x: nobody may execute it (mode 0644"),
    "no interpreter": (program("x", b"#!/bin/python9 -I\n"), "process.args[0]", "/x: its interpreter /bin/python9 (#! line) is not there"),
    "no form of a program": (program("x", b"echo hi\n"), "process.args[0]", "/x: it is neither an ELF file nor a script"),
    "no loader": (compiled, "process.args[0]", "/x: its loader /lib"),
    "another machine's": (of_another_machine, "process.args[0]", "/x: it is for ppc64le"),
    "noexec": (
        lambda made: made.mount("/bin", type="bind", source=str(made.rootfs / "bin"), options=["bind", "noexec"]), "process.args[0]",
        "has the option noexec"),
    "no root": (change("root.path", "nowhere"), "root.path", "no such file or directory"),
    "no source": (lambda made: made.mount("/x", type="bind", source="/no/source"), "mounts[7].source", "/no/source: no such file"),
    "a file system without id maps": (idmapped_proc, "mounts[7]", "proc must support idmapped mounts"),
    "no file system": (lambda made: made.mount("/x", type="nosuchfs"), "mounts[7].type", "no file system nosuchfs"),
    "no sysctl": (change("linux.sysctl", {"net.ipv4.nosuch": "1"}), 'linux.sysctl["net.ipv4.nosuch"]', "no sysctl net.ipv4.nosuch"),
    "no CPU": (change("linux.resources.cpu", {"cpus": "0,4000"}), "linux.resources.cpu.cpus", "4000 not online here"),
    "no page size": (
        change("linux.resources.hugepageLimits", [{"pageSize": "3MB", "limit": 0}]), "linux.resources.hugepageLimits[0]", "hugetlb"),
    "no block device": (
        change("linux.resources.blockIO", {"throttleReadBpsDevice": [{"major": 255, "minor": 3, "rate": 1}]}),
        "linux.resources.blockIO.throttleReadBpsDevice[0]", "no block device 255:3"),
    "no network device": (change("linux.netDevices", {"eth9": {}}), "linux.netDevices.eth9", "no network device eth9"),
    "no namespace": (joined("/etc/passwd"), "linux.namespaces[2].path", "/etc/passwd is no namespace"),
    "another namespace": (joined("/proc/self/ns/uts"), "linux.namespaces[2].path", "of another kind than network"),
    "no profile": (change("process.apparmorProfile", "pyrun-nosuch"), "process.apparmorProfile", "pyrun-nosuch"),
    "no label": (change("process.selinuxLabel", "nosuch_t"), "process.selinuxLabel", "SELinux is not enabled"),
    "more files than the kernel has": (
        change("process.rlimits", [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1 << 40}]), "process.rlimits[0].hard", "fs.nr_open"),
    "no agent": (seccomp(defaultAction="SCMP_ACT_ALLOW", listenerPath="/no/agent"), "linux.seccomp.listenerPath", "no agent listens"),
}  # fmt: skip


@pytest.mark.parametrize("case", HERE)
def test_this_host(case, found):
    change, path, words = HERE[case]
    assert ("error", "host", path) in found(change, 2)
    assert any(words in one["message"] for one in found.last if one["path"] == path), found.last


def test_what_is_mounted_counts(bundle, judge, tmp_path):
    """The program may come by a bind mount, and by symbolic links through it; what nobody can see before, on a tmpfs, is not judged."""
    made = bundle("true")
    shutil.copytree(made.rootfs / "bin", tmp_path / "tools/bin", symlinks=True)
    made.mount("/opt", type="bind", source=str(tmp_path / "tools"), options=["rbind"])
    (made.rootfs / "link").symlink_to("../opt/bin")
    made.config["process"]["args"] = ["/link/true"]
    assert judge(made.write().directory, code=0) == []
    made.config["process"]["args"] = ["/opt/bin/nosuch"]
    (one,) = judge(made.write().directory, code=2)
    assert one["path"] == "process.args[0]"
    made.mount("/new", type="tmpfs").config["process"]["args"] = ["/new/program"]
    assert judge(made.write().directory, code=0) == []


def test_a_terminal_without_devpts(bundle, judge):
    made = bundle("true", terminal=True)
    assert judge(made.write().directory, code=0) == []
    made.config["mounts"] = [mount for mount in made.config["mounts"] if mount["destination"] != "/dev/pts"]
    (one,) = judge(made.write().directory, code=2)
    assert (one["path"], one["level"]) == ("process.terminal", "host")


# --- other files -------------------------------------------------------------------------------------------------------


def test_a_process(judge, tmp_path):
    file = tmp_path / "p.json"
    file.write_text('{"cwd": "/", "args": ["ls"]}')
    assert judge("--process", file, code=0) == []
    file.write_text('{"cwd": "/",\n"args": [],\n"usr": {},\n"rlimits": [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]}')
    found = [(one["path"], one["line"]) for one in judge("--process", file, code=1)]
    assert found == [("process.args", 2), ("process.usr", 3), ("process.rlimits[0].soft", 4)]


def test_resources(run, judge, tmp_path):
    assert run("validate", "--resources", "-", stdin='{"pids": {"limit": 3}}').out == "- is valid\n"
    file = tmp_path / "r.json"
    file.write_text('{"memory": {"limit": "1"},\n"cpu": {"quota": 1000,\n"burst": 2000}}')
    found = [(one["path"], one["line"]) for one in judge("--resources", file, code=1)]
    assert found == [("linux.resources.memory.limit", 1), ("linux.resources.cpu.burst", 3)]
    assert "exclude each other" in run("validate", "-r", file, "-p", file, code=1).err


# --- for people --------------------------------------------------------------------------------------------------------


def test_text(bundle, run):
    """What is wrong, where, and what can be done: three lines."""
    made = bundle("true").set("process.cwd", "x").write()
    line = (made.directory / "config.json").read_text().split("\n").index('  "cwd": "x",') + 1
    assert run("validate", made.directory, code=1).out == (
        f"""error[schema]: process.cwd: Cwd must be an absolute path: "x"
  --> {made.directory}/config.json:{line}    "cwd": "x"
  cure: let it begin with /

{made.directory}/config.json is not valid: 1 error
"""
    )


def test_colours(bundle, run, monkeypatch):
    """On a terminal alone, and not with NO_COLOR. What stands in the file cannot send codes to the terminal."""
    made = bundle("true").set("process.selinuxLabel", "\x1b[31m").write()
    command = run.command("validate", made.directory)
    for name, value, coloured in (("NO_COLOR", "", True), ("NO_COLOR", "1", False)):
        monkeypatch.setenv(name, value)
        terminal = Terminal(command)
        assert terminal.wait() == 2
        assert ("\x1b[1;31merror[host]\x1b[0m" in terminal.text) == coloured
        assert "\x1b[31m" not in terminal.text
    assert "\x1b" not in run("validate", made.directory, code=2).out


def test_other_formats_are_refused(bundle, run):
    assert "invalid format option: use text or json" in run("validate", "-f", "yaml", bundle("true").write().directory, code=1).err


def test_nothing_is_made(bundle, judge, run, leftovers):
    made = bundle("true").set("linux.resources.pids", {"limit": 5}).write()
    assert judge(made.directory, code=0) == []
    assert leftovers() == []
    assert not os.path.exists(run.root)
