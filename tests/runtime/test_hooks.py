"""config.hooks: all six kinds, what each sees, and what follows when one fails (config.md#posix-platform-hooks)."""

import json
import os
import pathlib
import time

import pytest
from harness import cgroups_named, until

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
CREATE = KINDS[:3]
HOST = ("prestart", "createRuntime", "poststart", "poststop")
INSIDE = ("createContainer", "startContainer")


@pytest.fixture
def log(tmp_path):
    """A directory that hooks write to, on the host and (mounted) in the container, below one path."""
    directory = tmp_path / "log"
    directory.mkdir()
    directory.chmod(0o777)
    return directory


@pytest.fixture
def hooked(bundle, log):
    """A bundle whose container has `log` at the host's path."""

    def make(args="true"):
        return bundle(args).mount(str(log), source=str(log), options=["bind"])

    return make


def sh(script, **more):
    return {"path": "/bin/sh", "args": ["sh", "-c", script], **more}


def hook(b, kind, *hooks):
    return b.set(f"hooks.{kind}", list(hooks))


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.arm64
@pytest.mark.kernels
def test_order(hooked, log):
    b = hooked(f"echo program >> {log}/order")
    for kind in KINDS:
        hook(b, kind, *(sh(f"echo {kind} {n} >> {log}/order") for n in (0, 1)))
    c = b.create()
    assert lines(log / "order") == [f"{kind} {n}" for kind in CREATE for n in (0, 1)]
    c.start()
    c.wait()
    found = lines(log / "order")
    # The program runs while the poststart hooks do.
    assert [line for line in found[6:] if line != "program"] == [f"{kind} {n}" for kind in ("startContainer", "poststart") for n in (0, 1)]
    assert found.index("program") >= 8
    c.delete()
    assert lines(log / "order")[-2:] == ["poststop 0", "poststop 1"]


def test_order_of_run(hooked, log):
    b = hooked(f"echo program >> {log}/order; sleep 0.1")
    for kind in KINDS:
        hook(b, kind, sh(f"echo {kind} >> {log}/order"))
    b.run()
    found = lines(log / "order")
    assert [line for line in found if line != "program"] == list(KINDS)
    assert found.index("startContainer") < found.index("program") < found.index("poststop")


STATUS = {
    "prestart": "created",
    "createRuntime": "created",
    "createContainer": "created",
    "startContainer": "created",
    "poststart": "running",
    "poststop": "stopped",
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_on_stdin(hooked, log, kind):
    b = hook(hooked(f"echo x > {log}/program"), kind, sh(f"cat > {log}/state; ls {log} > {log}/seen"))
    b.set("annotations", {"org.example/a": 'b/"c"'})
    c = b.create()
    c.start()
    c.wait()
    c.delete()
    text = (log / "state").read_text()
    state = json.loads(text)
    assert text.strip() == json.dumps(state, separators=(",", ":"))
    assert "\\/" not in text
    assert state["id"] == c.id
    assert state["status"] == STATUS[kind]
    assert state["bundle"] == str(b.directory)
    assert state["annotations"] == {"org.example/a": 'b/"c"'}
    assert state["ociVersion"].startswith("1.")
    # A hook inside has the container's pid namespace, and can use no pid but that one's.
    assert state.get("pid", 0) == (0 if kind == "poststop" else 1 if kind in ("createContainer", "startContainer") else c.pid)
    if kind in (*CREATE, "startContainer"):
        assert "program" not in (log / "seen").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_namespaces(hooked, log, kind):
    names = ("mnt", "pid", "net", "ipc", "uts")
    b = hooked("sleep 100")
    spy = f"for n in {' '.join(names)}; do readlink /proc/self/ns/$n; done > {log}/ns"
    c = hook(b, kind, sh(spy)).create()
    theirs = [os.readlink(f"/proc/{c.pid}/ns/{name}") for name in names]
    c.start()
    c.delete("--force")
    ours = [os.readlink(f"/proc/self/ns/{name}") for name in names]
    assert not set(ours) & set(theirs)
    assert lines(log / "ns") == (theirs if kind in INSIDE else ours)


@pytest.mark.parametrize("kind", KINDS)
def test_path_is_resolved(hooked, log, kind):
    """On the host for all kinds but startContainer."""
    b = hooked("sleep 100")
    ours = log.parent / "program"
    theirs = b.rootfs / str(ours).lstrip("/")
    theirs.parent.mkdir(parents=True)
    for path, word in ((ours, "host"), (theirs, "container")):
        path.write_text(f"#!/bin/sh\necho {word} > {log}/where\n")
        path.chmod(0o755)
    c = hook(b, kind, {"path": str(ours)}).create()
    c.start()
    c.delete("--force")
    assert lines(log / "where") == ["container" if kind == "startContainer" else "host"]


@pytest.mark.parametrize("kind", KINDS)
def test_root_is_that_of_the_host_before_the_pivot(hooked, log, kind):
    b = hooked("sleep 100")
    (b.rootfs / "only-here").write_text("")
    c = hook(b, kind, sh(f"test -e /only-here; echo $? > {log}/code")).create()
    c.start()
    c.delete("--force")
    assert lines(log / "code") == ["0" if kind == "startContainer" else "1"]


def environment(path):
    """What `env` wrote, without what a shell adds."""
    return {line for line in lines(path) if not line.startswith(("PWD=", "SHLVL=", "OLDPWD=", "_="))}


@pytest.mark.parametrize("kind", KINDS)
def test_arguments_and_environment(hooked, log, kind):
    """argv[0] as given (busybox goes by it), and no other variables than those of the hook."""
    hooks = (
        {"path": "/bin/busybox", "args": ["touch", f"{log}/x y"]},
        sh(f"env > {log}/env", env=["PATH=/bin:/usr/bin", "A=b c", "E="]),
    )
    c = hook(hooked("sleep 100"), kind, *hooks).create()
    c.start()
    c.delete("--force")
    assert (log / "x y").exists()
    assert environment(log / "env") == {"A=b c", "E=", "PATH=/bin:/usr/bin"}


def test_a_hook_without_environment(hooked, log):
    """startContainer inherits what the program gets; those on the host what the runtime has, as with runc."""
    b = hooked("sleep 100")
    b.config["process"]["env"].append("OF=process")
    for kind in ("createRuntime", "startContainer"):
        hook(b, kind, {"path": "/bin/busybox", "args": ["sh", "-c", f"/bin/busybox env > {log}/{kind}"]})
    b.create(env={"OF": "caller"}).start()
    # A shell gives itself a PATH where there is none.
    assert [line for line in environment(log / "createRuntime") if not line.startswith("PATH=")] == ["OF=caller"]
    assert environment(log / "startContainer") == {*b.config["process"]["env"], "HOME=/root"}


def test_default_argument_is_the_path(hooked, log):
    b = hooked("sleep 100")
    program = log.parent / "hook"
    program.write_text(f"#!/bin/sh\ntr '\\000' '\\n' < /proc/$$/cmdline > {log}/args\n")
    program.chmod(0o755)
    hook(b, "createRuntime", {"path": str(program)}).create()
    assert lines(log / "args") == ["/bin/sh", str(program)]


# --- time, input, output


@pytest.mark.parametrize("kind", ["createRuntime", "createContainer"])
def test_timeout(hooked, run, token, kind):
    b = hook(hooked("true"), kind, {"path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1})
    start = time.monotonic()
    error = b.call("create", code=1).err
    assert 1 <= time.monotonic() - start < 5
    assert f"error running {kind} hook #0:" in error
    assert "timeout" in error
    assert run("list", "-q").out == ""
    assert cgroups_named(token) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_hook_that_does_not_read_its_input(hooked, kind):
    """The state may be larger than a pipe: not even then is it an error."""
    b = hook(hooked("true"), kind, {"path": "/bin/true"}).set("annotations", {"big": "x" * 200_000})
    assert b.run().err == ""


def test_a_hook_that_reads_a_large_state(hooked, log):
    b = hook(hooked("true"), "createRuntime", sh(f"wc -c > {log}/size")).set("annotations", {"big": "x" * 200_000})
    b.run()
    assert int((log / "size").read_text()) > 200_000


@pytest.mark.parametrize("kind", ["createRuntime", "startContainer"])
def test_much_output_of_a_hook(hooked, kind):
    b = hook(hooked("echo whole"), kind, sh("dd if=/dev/zero bs=1024 count=2048 2>/dev/null | tr '\\000' x"))
    assert b.run().out == "whole\n"


def test_what_a_failing_hook_says_is_told(hooked):
    b = hook(hooked(), "createRuntime", sh("echo to stdout; echo to stderr >&2; exit 7"))
    error = b.call("create", code=1).err
    assert "exit status 7" in error
    assert "to stdout" in error
    assert "to stderr" in error


@pytest.mark.parametrize("kind", ["createRuntime", "startContainer", "poststop"])
def test_a_child_that_a_hook_leaves_keeps_nobody(hooked, kind, log):
    """It holds the hook's output, and is no reason to wait."""
    hook(hooked("true"), kind, sh(f"sleep 100 & echo $! > {log}/pid")).run(timeout=50)
    if kind != "startContainer":
        os.kill(int((log / "pid").read_text()), 9)


# --- failure


@pytest.mark.parametrize("command", ["create", "run"])
@pytest.mark.parametrize("kind", CREATE)
def test_a_failure_while_it_is_created(hooked, run, token, log, kind, command):
    """Nothing is left; the hooks after it do not run, but poststop does."""
    b = hooked(f"echo program >> {log}/order")
    hook(b, kind, sh("true"), sh("exit 3"), sh(f"echo third >> {log}/order"))
    hook(b, "poststop", sh(f"echo poststop >> {log}/order; cat > {log}/state"))
    error = b.call(command, code=1).err
    assert f"error running {kind} hook #1:" in error
    assert error.count("\n") == 1
    assert lines(log / "order") == ["poststop"]
    assert json.loads((log / "state").read_text())["status"] == "stopped"
    assert run("list", "-q").out == ""
    assert cgroups_named(token) == []


@pytest.mark.parametrize("kind", ["startContainer", "poststart"])
def test_a_failure_at_start(hooked, run, token, log, kind):
    """The container is stopped and destroyed, poststop runs (runtime.md#lifecycle, steps 8 to 13)."""
    b = hooked("sleep 100")
    hook(b, kind, sh("true"), sh("exit 3"))
    hook(b, "poststop", sh(f"echo poststop >> {log}/order"))
    c = b.create()
    error = c.start(code=1).err
    assert f"error running {kind} hook #1:" in error
    assert c.wait() == 137
    assert lines(log / "order") == ["poststop"]
    assert run("list", "-q").out == ""
    assert cgroups_named(token) == []


@pytest.mark.parametrize("flags", [(), ("--detach",)])
@pytest.mark.parametrize("kind", ["startContainer", "poststart"])
def test_a_failure_at_start_of_run(hooked, run, token, log, kind, flags):
    b = hooked("sleep 100")
    hook(b, kind, sh("exit 3"))
    hook(b, "poststop", sh(f"echo poststop >> {log}/order"))
    error = b.run(*flags, code=1).err
    assert f"error running {kind} hook #0:" in error
    assert lines(log / "order") == ["poststop"]
    assert run("list", "-q").out == ""
    assert cgroups_named(token) == []


def test_a_failing_poststop_hook_is_a_warning(hooked, run, log):
    b = hook(hooked("true"), "poststop", sh("exit 3"), {"path": "/no/such/hook"}, sh(f"echo third >> {log}/order"))
    result = b.run()
    assert "error running poststop hook #0:" in result.err
    assert "error running poststop hook #1:" in result.err
    assert lines(log / "order") == ["third"]
    c = b.create()
    c.start()
    c.wait()
    result = c.delete()
    assert result.err.count("warning: ") == 2
    assert lines(log / "order") == ["third"] * 2
    assert run("list", "-q").out == ""


@pytest.mark.parametrize("kind", [*CREATE, "startContainer"])
def test_a_hook_that_is_not_there(hooked, kind):
    error = hook(hooked(), kind, {"path": "/no/such/hook"}).run(code=1).err
    assert f"error running {kind} hook #0:" in error
    assert "no such file or directory" in error
    assert error.count("\n") == 1


def test_a_hook_ended_by_a_signal(hooked):
    assert "signal 9" in hook(hooked(), "createRuntime", sh("kill -9 $$")).run(code=1).err


@pytest.mark.parametrize("name", ["prestart", "createRuntime"])
def test_pid_of_the_state_can_be_used(hooked, log, name):
    """A network hook enters the container's namespaces by it (before the pivot)."""
    script = f"pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); readlink /proc/$pid/ns/net > {log}/net; nsenter -t $pid -n true"
    c = hook(hooked("sleep 100"), name, sh(script)).create()
    assert lines(log / "net") == [os.readlink(f"/proc/{c.pid}/ns/net")]


def test_hooks_can_mount_into_the_root(hooked, log):
    """createContainer hooks run in the mount namespace with the root still to be entered."""
    b = hooked("cat /extra/file")
    (b.rootfs / "extra").mkdir()
    (log / "file").write_text("from a hook\n")
    hook(b, "createContainer", sh(f"mount --bind {log} {b.rootfs}/extra"))
    assert b.run().out == "from a hook\n"


def test_a_slow_poststart_hook_sees_the_program(hooked, log):
    pid = "$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/')"
    script = f"sleep 0.1; tr '\\000' ' ' < /proc/{pid}/cmdline > {log}/cmdline"
    hook(hooked("exec sleep 100"), "poststart", sh(script)).create().start()
    assert until(lambda: lines(log / "cmdline")) == ["sleep 100 "]


def test_the_pid_in_a_joined_pid_namespace(hooked, log, bundle):
    other = bundle("sleep 100").detached()
    b = hook(hooked(), "createContainer", sh(f"cat > {log}/state"))
    for entry in b.config["linux"]["namespaces"]:
        if entry["type"] == "pid":
            entry["path"] = f"/proc/{other.pid}/ns/pid"
    c = b.create()
    pid = json.loads((log / "state").read_text())["pid"]
    assert pid == int((pathlib.Path(f"/proc/{c.pid}/status").read_text().partition("NSpid:")[2].split("\n")[0].split())[-1])
    c.delete("--force")


@pytest.mark.parametrize("kind", KINDS)
def test_it_has_stdio_and_no_file_of_the_caller(hooked, log, kind):
    with open(log / "secret", "w") as secret:
        fd = secret.fileno()
        b = hook(hooked(), kind, sh(f"readlink /proc/$$/fd/{fd} > {log}/leaked; true"))
        c = b.create(pass_fds=[fd])
        c.start(pass_fds=[fd])
        c.wait()
        c.delete(pass_fds=[fd])
    assert (log / "leaked").read_text() == ""
