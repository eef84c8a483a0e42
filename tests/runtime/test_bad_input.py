"""Whatever is wrong with what a user gives: one line that names the place and the cure, runc's exit code, nothing left."""

import json
import socket

import pytest

SIGN = "pyrun create failed: "


def one_line(result, *words):
    """Asserts that stderr is one line with all these words."""
    assert result.err.count("\n") == 1 and result.err.endswith("\n"), result
    assert [word for word in words if word not in result.err] == [], result
    return result


@pytest.fixture
def refuse(bundle, run, leftovers, tmp_path):
    """refuse(change, *words): `create` of a bundle that was changed fails with 1, and says the same in a JSON log."""

    def call(change, *words, flags=(), name=None):
        made = bundle("true")
        change(made)
        log = tmp_path / "log"
        log.unlink(missing_ok=True)
        pid_file = tmp_path / "pid"
        args = ["--log", log, "--log-format", "json", "create", "--bundle", made.directory, "--pid-file", pid_file, *flags, name or run.new_id()]
        if not (made.directory / "config.json").exists() and not getattr(made, "bare", False):
            made.write()
        result = one_line(run(*args, code=1), SIGN, *words)
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        errors = [line["msg"] for line in lines if line["level"] == "error"]
        assert errors == [result.err.strip()]
        assert leftovers() == []
        assert not pid_file.exists()
        return result

    return call


def config(path, value):
    """A change of the config: `linux.resources.pids` and the like; numbers are indexes."""

    def change(made):
        *names, last = [int(name) if name.isdigit() else name for name in path.split(".")]
        here = made.config
        for name in names:
            here = here[name] if isinstance(name, int) else here.setdefault(name, {})
        here[last] = value

    return change


def text(content):
    def change(made):
        (made.directory / "config.json").write_text(content)

    return change


def no_config(made):
    made.bare = True


def mount(**entry):
    return lambda made: made.config["mounts"].append({"destination": "/x", **entry})


def both(*changes):
    return lambda made: [change(made) for change in changes]


def touch(path, mode=0o644):
    def change(made):
        (made.rootfs / path).touch()
        (made.rootfs / path).chmod(mode)

    return change


def root_is_a_file(made):
    config("root.path", "config.json")(made)
    made.write()


def linked_proc(made):
    (made.rootfs / "proc").rmdir()
    (made.rootfs / "proc").symlink_to("etc")


ARGS = "process.args"
CASES = {
    # the file
    "no config": (no_config, "/config.json: no such file or directory", "`pyrun spec`"),
    "syntax error": (text('{\n "a": 1,\n "b" 2}'), "config.json: ", "syntax error", "line 3 column 6"),
    "unfinished": (text('{"a": '), "config.json: ", "line 1 column 7"),
    "empty file": (text(""), "config.json: ", "line 1 column 1"),
    "no object": (text("[]"), "config.json: must be an object"),
    "no version": (text("{}"), "config.json: ociVersion: missing"),
    "version of another time": (config("ociVersion", "3.0.0"), "ociVersion: ", '"3.0.0"'),
    # types and words
    "text for a number": (config("process.user.uid", "0"), "process.user.uid: must be an integer", '"0"'),
    "number for a list": (config(ARGS, 1), "process.args: must be a list"),
    "number in a list": (config(ARGS, ["sh", 1]), "process.args[1]: must be a string"),
    "no args": (config(ARGS, []), "process.args: "),
    "zero byte": (config(ARGS, ["a\0b"]), "process.args[0]: "),
    "relative cwd": (config("process.cwd", "tmp"), "process.cwd: ", '"tmp"'),
    "empty program": (config(ARGS, [""]), 'process.args[0]: exec: "": executable file not found in $PATH'),
    "deep": (text('{"a": ' + "[" * 1000 + "]" * 1000 + "}"), "nested too deeply"),
    "env without =": (config("process.env", ["A"]), "process.env[0]: ", "NAME=VALUE"),
    "unknown namespace": (config("linux.namespaces.0.type", "pids"), "linux.namespaces[0].type: ", '"pids"', "pid"),
    "namespace twice": (config("linux.namespaces.0.type", "mount"), "duplicated namespace", "keep one of them"),
    "unknown rlimit": (config("process.rlimits.0.type", "RLIMIT_X"), "process.rlimits[0].type: ", "RLIMIT_X"),
    "hostname without uts": (config("linux.namespaces", [{"type": "mount"}]), "hostname: ", "uts"),
    "sysctl of the host": (config("linux.sysctl", {"kernel.panic": "1"}), "linux.sysctl", "kernel.panic", "host"),
    "unknown sysctl": (config("linux.sysctl", {"net.no_such": "1"}), "linux.sysctl[net.no_such]", "no such file or directory"),
    "namespace that is gone": (config("linux.namespaces.1.path", "/run/no/ns"), "linux.namespaces[1].path: ", "/run/no/ns: no such file"),
    "namespace of another kind": (config("linux.namespaces.1.path", "/proc/self/ns/ipc"), "linux.namespaces[1].path", "setns", "invalid argument"),
    "bad seccomp action": (config("linux.seccomp", {"defaultAction": "SCMP_ACT_X"}), "linux.seccomp.defaultAction: ", "SCMP_ACT_X"),
    # the root
    "missing rootfs": (config("root.path", "none"), "root.path: invalid rootfs: ", "/none: no such file or directory"),
    "rootfs is a file": (root_is_a_file, "root.path: invalid rootfs: ", "not a directory"),
    "proc is a link": (linked_proc, "mounts[0]", "must be mounted on ordinary directory"),
    # the program
    "cwd is a file": (config("process.cwd", "/etc/passwd"), "process.cwd: ", "not a directory"),
    "cwd below a file": (config("process.cwd", "/etc/passwd/x"), "process.cwd: mkdir /etc/passwd/x: not a directory", "change cwd"),
    "too many groups": (config("process.user.additionalGids", list(range(65537))), "process.user.additionalGids: must be at most 65536 groups"),
    "missing program": (config(ARGS, ["none"]), 'process.args[0]: exec: "none": executable file not found in $PATH'),
    "missing path": (config(ARGS, ["/none"]), 'process.args[0]: exec: "/none": stat /none: no such file or directory'),
    "forbidden program": (both(touch("plain"), config(ARGS, ["/plain"])), 'process.args[0]: exec: "/plain": permission denied'),
    "program is a directory": (config(ARGS, ["/etc"]), 'process.args[0]: exec: "/etc": '),
    # mounts
    "missing source": (mount(source="/no/such", options=["rbind"]), "mounts[7].source", "/no/such", "no such file or directory", "create"),
    "missing relative source": (mount(source="such", options=["bind"]), "mounts[7].source", '/such" to rootfs', "no such file or directory"),
    "unknown file system": (mount(type="nofs", source="x"), "mounts[7].type", "nofs", "no such device", "/proc/filesystems"),
    "unknown option": (mount(type="tmpfs", options=["nosuchoption"]), "mounts[7]", "nosuchoption"),
    "no type": (mount(source="/etc"), "mounts[7].type: ", "bind"),
    "in proc": (lambda made: made.mount("/proc/x", type="tmpfs"), "mounts[7].destination: ", "inside /proc"),
    "directory over file": (mount(destination="/etc/passwd", source="/etc", options=["bind"]), "mounts[7]", "not a directory"),
    # cgroups and labels
    "no cgroup of its own": (config("linux.cgroupsPath", "/a/../.."), "linux.cgroupsPath: "),
    "limit too large": (config("linux.resources.cpu", {"period": 10**18}), "linux.resources.cpu.period", "invalid argument"),
    "AppArmor is off": (config("process.apparmorProfile", "box"), "process.apparmorProfile: ", '"box"', "AppArmor is not enabled"),
    "SELinux is off": (config("process.selinuxLabel", "box"), "process.selinuxLabel: ", '"box"', "SELinux is not enabled"),
    # hooks
    "missing hook": (config("hooks", {"createRuntime": [{"path": "/no/hook"}]}), "hooks.createRuntime[0]: ", "/no/hook: no such file"),
    "failing hook": (config("hooks", {"prestart": [{"path": "/bin/false"}]}), "hooks.prestart[0]: /bin/false failed: exit status 1"),
    "relative hook": (config("hooks", {"poststop": [{"path": "hook"}]}), "hooks.poststop[0].path: ", '"hook"'),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_config(case, refuse):
    change, *words = CASES[case]
    refuse(change, *words)


def unchanged(made):
    pass


def terminal(made):
    made.config["process"]["terminal"] = True


@pytest.mark.parametrize("name", ["../../x", "a/b", ".", "..", ".x", "a b", "ü", "x" * 2000, "a\nb", "$(id)"])
def test_id(name, refuse):
    refuse(unchanged, "invalid container ID format: ", name=name)


def test_an_id_that_is_taken(bundle, run):
    container = bundle("true").create()
    one_line(bundle("true").call("create", container_id=container.id, code=1), "container with given ID already exists")
    assert container.status() == "created"


@pytest.mark.parametrize("command", ["state", "start", "kill", "delete"])
def test_no_such_container(command, run):
    one_line(run(command, "nobody", code=1), "pyrun: container does not exist")
    one_line(run(command, "../nobody", code=1), "invalid container ID format: ")


def test_exec_without_container(run):
    one_line(run("exec", "nobody", "true", code=255), "pyrun: exec failed: container does not exist")


def test_bundle_that_is_missing(run, tmp_path):
    one_line(run("create", "--bundle", tmp_path / "none", "x", code=1), SIGN, f"{tmp_path}/none/config.json: no such file or directory")


def test_options(refuse, tmp_path):
    refuse(unchanged, "--preserve-fds 2: fd 3 is not open", flags=["--preserve-fds", "2"])
    refuse(terminal, "process.terminal", "give --console-socket")
    refuse(terminal, f"--console-socket {tmp_path}/none: ", "no such file or directory", flags=["--console-socket", tmp_path / "none"])
    refuse(unchanged, "--console-socket", "process.terminal", flags=["--console-socket", tmp_path / "none"])
    refuse(unchanged, f"--pid-file {tmp_path}/none/pid: no such file or directory", flags=["--pid-file", tmp_path / "none/pid"])
    refuse(unchanged, f"--pidfd-socket {tmp_path}/none: no such file or directory", flags=["--pidfd-socket", tmp_path / "none"])


def test_console_socket_that_nobody_listens_on(refuse, tmp_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead"))
    refuse(terminal, f"--console-socket {tmp_path}/dead: ", "connection refused", flags=["--console-socket", tmp_path / "dead"])


def test_seccomp_agent_that_is_gone(bundle, run, leftovers, tmp_path):
    """It is missed when the filter is installed: by `start`."""
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(tmp_path / "none"),
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
    }
    container = bundle("true").set("linux.seccomp", profile).create()
    one_line(container.start(code=1), "failed to connect with seccomp agent", f"linux.seccomp.listenerPath: {tmp_path}/none: no such file")
    one_line(bundle("true").set("linux.seccomp", profile).run(code=1), "linux.seccomp.listenerPath: ")
    container.wait()
    container.delete()
    assert leftovers() == []


def test_systemd_cgroup(bundle, run):
    made = bundle("true").write()
    one_line(run("--systemd-cgroup", "create", "--bundle", made.directory, run.new_id(), code=1), SIGN, "--systemd-cgroup: ")


@pytest.mark.parametrize("kind", ["file", "below a file", "not writable"])
def test_root(kind, bundle, run, tmp_path):
    made = bundle("true").write()
    (tmp_path / "file").touch()
    root = {"file": tmp_path / "file", "below a file": tmp_path / "file/x", "not writable": "/proc/x"}[kind]
    one_line(run("--root", root, "create", "--bundle", made.directory, run.new_id(), root=False, code=1), SIGN, f"--root {root}: ")
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.parametrize("command", ["list", "state"])
def test_root_that_is_a_file(command, run, tmp_path):
    (tmp_path / "file").touch()
    one_line(run("--root", tmp_path / "file", command, *(["x"] if command == "state" else []), root=False, code=1))


def test_bad_process_of_exec(bundle, run, tmp_path):
    container = bundle("sleep 100").detached()
    (tmp_path / "p.json").write_text('{"args": ["true"], "cwd": 5}')
    for args, words in {
        ("--process", tmp_path / "none", container.id): [f"{tmp_path}/none: no such file or directory"],
        ("--process", tmp_path / "p.json", container.id): [f"{tmp_path}/p.json: ", "process.cwd: must be a string"],
        ("--user", "root", container.id, "true"): ["--user root", "numbers"],
        ("--cap", "CAP_X", container.id, "true"): ["--cap CAP_X"],
        ("--cwd", "/none", container.id, "true"): ['chdir to cwd ("/none")', "no such file or directory"],
        (container.id, "none"): ['exec: "none": executable file not found in $PATH'],
        (container.id, ""): ['exec: "": executable file not found in $PATH'],
        (container.id, "/etc"): ['exec: "/etc": '],
        (container.id,): ["needs a command"],
    }.items():
        one_line(run("exec", *args, code=255), "pyrun: exec failed: ", *words)
    assert container.status() == "running"


def test_run_without_a_program(bundle, leftovers):
    made = bundle("true")
    del made.config["process"]
    one_line(made.call("run", code=1), "pyrun run failed: ", "process: missing")
    one_line(made.call("run", "--detach", code=1), "pyrun run failed: ", "process: missing")
    assert leftovers() == []


@pytest.mark.parametrize("entry", ["PASS=secret\0x", "=secret", "secret", 5])
def test_values_of_variables_are_not_told(entry, bundle, run, tmp_path):
    made = bundle("true").set("process.env", ["A=b", entry])
    for command in (["create"], ["--debug", "create"]):
        result = run(*command, "--bundle", made.write().directory, run.new_id(), code=1)
        assert "process.env[1]: " in result.err
        assert "secret" not in result.err
    result = run("validate", made.directory, code=1)
    assert "process.env[1]: " in result.out
    assert "secret" not in result.out + result.err
    container = bundle("sleep 100").detached()
    (tmp_path / "p.json").write_text(json.dumps(made.config["process"]))
    result = container.exec(flags=["--process", tmp_path / "p.json"], code=255)
    assert "process.env[1]: " in result.err
    assert "secret" not in result.err
    if isinstance(entry, str) and "\0" not in entry:
        assert "secret" not in container.exec("true", flags=["--env", entry], code=255).err


def test_values_of_variables_are_in_no_log(bundle, run, tmp_path):
    made = bundle("true").set("process.env", ["PASS=secret"]).set("hooks", {"startContainer": [{"path": "/bin/true"}]}).write()
    plan = "".join(run("plan", "--format", format, made.directory).out for format in ("text", "steps", "json"))
    assert "; env PASS; " in plan and '"env":["PASS"]' in plan
    shown = plan + made.run("--debug", "--timeline", tmp_path / "times").err + (tmp_path / "times").read_text()
    assert "secret" not in shown


SECCOMP = "linux.seccomp"
REFUSED = {
    "mount in proc": lambda made: made.mount("/proc/x", type="tmpfs"),
    "mount without a type": mount(source="/etc"),
    "proc of another type": lambda made: made.config["mounts"].__setitem__(0, {"destination": "/proc", "type": "tmpfs"}),
    "no cgroup of its own": config("linux.cgroupsPath", "/a/../.."),
    "file with a slash": config("linux.resources.unified", {"memory/max": "1"}),
    "file without a controller": config("linux.resources.unified", {"max": "1"}),
    "page size": config("linux.resources.hugepageLimits", [{"pageSize": "x", "limit": 1}]),
    "listener without a path": config(SECCOMP, {"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}),
    "notify as default": config(SECCOMP, {"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/run/x"}),
    "too large an errno": config(SECCOMP, {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5000}),
    "errno without need": config(SECCOMP, {"defaultAction": "SCMP_ACT_KILL", "defaultErrnoRet": 1}),
    "selinux": config("process.selinuxLabel", "box"),
    "default device forbidden": config("linux.resources.devices", [{"allow": True, "type": "x", "access": "r"}]),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_validate_says_what_create_would(case, bundle, run):
    made = bundle("true")
    REFUSED[case](made)
    created = made.call("create", code=1).err
    found = json.loads(run("validate", "--format", "json", made.directory, code=None).out)
    said = [": ".join(filter(None, (one["path"], one["message"], part))) for one in found for part in ("", one["cure"])]
    assert any(created == f"{SIGN}config.json: {line}\n" for line in said), (created, said)


def test_shares_that_v1_refuses(bundle, run):
    made = bundle("true").set("linux.resources.cpu", {"shares": 1})
    created = made.call("create", code=None)
    validated = run("validate", made.directory, code=None)
    assert (created.code, "minimum allowed cpu-shares" in created.err) == (validated.code, "linux.resources.cpu.shares: the minimum" in validated.out)


def test_validate_doubts(bundle, run):
    made = bundle("true").mount("data", type="tmpfs")
    made.config["hostnme"] = "x"
    made.config["process"]["usr"] = {}
    out = run("validate", made.write().directory).out
    assert out.endswith(f"\n{made.directory}/config.json is valid: 3 warnings\n")
    found = [(one["path"], one["cure"]) for one in json.loads(run("validate", "-f", "json", made.directory).out)]
    assert found == [("process.usr", "is user meant?"), ("hostnme", "is hostname meant?"), ("mounts[7].destination", "write /data")]


@pytest.mark.parametrize("member", ["process.env", "linux.maskedPaths", "process.args"])
def test_long_lists(member, bundle, run):
    """A hundred thousand faults are told in the time that reading them takes."""
    made = bundle("true").set(member, ["x\0"] * 100_000).write()
    assert len(json.loads(run("validate", "--format", "json", made.directory, code=1).out)) == 100_000


def test_mistyped_words(run):
    assert "No help topic for 'lsit': is list meant?" in run("lsit", code=3).err
    assert "flag provided but not defined: -bundel: is --bundle meant?" in run("create", "--bundel", "x", "y", code=1).err


def test_criu_of_the_callers_choice(bundle, run):
    """Callers that know older runtimes give it with every command."""
    container = bundle("sleep 100").call("run", "--detach")
    assert run("--criu", "/no/criu", "state", container.id).code == 0
    assert "--criu /no/criu: no executable file is there" in run("--criu", "/no/criu", "checkpoint", container.id, code=1).err
    assert "--criu" not in run("--help").out
