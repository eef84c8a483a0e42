"""Where the kernel has no pidfds (before Linux 5.3), or a seccomp filter around the runtime refuses them, all goes on without; what
cannot says so.
"""

import errno
import json
import signal
import socket
import subprocess

import pytest
from harness import until
from looks import user_namespace
from seccomp_tools import Agent, refuse

PIDFD_OPEN, PIDFD_GETFD = 434, 438
LOOK = "for name in /proc/{}/ns/*; do readlink $name; done"


@pytest.fixture(params=[errno.ENOSYS, errno.EPERM], ids=["ENOSYS", "EPERM"])
def without(request):
    """Options of run(): pidfd_open fails."""
    return {"preexec_fn": refuse([PIDFD_OPEN], request.param)}


def spaces_of(container):
    """The container's namespaces as its init has them."""
    return container.exec("sh", "-c", LOOK.format(1)).out


def test_exec_enters_all_namespaces(bundle, without):
    container = bundle("sleep 100").detached(**without)
    assert container.exec("sh", "-c", LOOK.format("self"), **without).out == spaces_of(container)
    assert container.exec("sh", "-c", "exit 3", code=3, **without)


def test_exec_enters_a_user_namespace(bundle, without):
    container = user_namespace(bundle("sleep 100")).detached()
    assert container.exec("sh", "-c", LOOK.format("self") + "; id -u", **without).out == spaces_of(container) + "0\n"


def test_setns_takes_no_pidfd_before_5_8(bundle, run, tmp_path):
    """The kernel calls itself 2.6, as it can (personality(2), UNAME26)."""
    container = bundle("sleep 100").detached()
    trace = tmp_path / "trace"
    command = ["setarch", "--uname-2.6", "strace", "-f", "-e", "trace=setns", "-o", trace, *run.command("exec", container.id, "echo", "in")]
    assert subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout == "in\n"
    assert trace.read_text().count("setns(") == len(container.bundle.config["linux"]["namespaces"])


def test_hooks(bundle, without, tmp_path):
    b = bundle("sleep 100")
    for kind in ("prestart", "createContainer", "startContainer", "poststart", "poststop"):
        path = "/bin/sh"
        b.set(f"hooks.{kind}", [{"path": path, "args": ["sh", "-c", "cat >/dev/null"], "timeout": 10}])
    container = b.create(**without)
    container.start(**without)
    container.kill("KILL", **without)
    container.wait()
    container.delete(**without)


def test_a_hook_has_its_time(bundle, without):
    b = bundle().set("hooks.prestart", [{"path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1}])
    assert "did not end within 1 s" in b.call("create", code=1, **without).err


def test_a_hook_ends_with_its_container(bundle, run, without, leftovers):
    b = bundle().set("hooks.prestart", [{"path": "/bin/sleep", "args": ["sleep", "100"]}]).write()
    name = run.new_id()
    with subprocess.Popen(run.command("create", "--bundle", b.directory, name), stderr=subprocess.PIPE, text=True, **without) as create:
        until(lambda: any((run.root / name).glob("state.json")) and json.loads((run.root / name / "state.json").read_text())["pid"])
        run("delete", "--force", name, **without)
        assert "the container was killed meanwhile" in create.communicate(timeout=20)[1]
    assert not leftovers()


def test_delete_by_force_and_kill_all(bundle, without):
    bundle("sleep 100").detached(**without).delete("--force", **without)
    container = bundle("sleep 100").detached(**without)
    container.kill("--all", "KILL", **without)
    container.wait()
    container.delete(**without)


def test_events_end_with_the_container(bundle, run, without):
    container = bundle("sleep 100").detached()
    with subprocess.Popen(run.command("events", "--interval", "100ms", container.id), stdout=subprocess.PIPE, text=True, **without) as events:
        assert json.loads(events.stdout.readline())["type"] == "stats"
        container.kill("KILL")
        container.wait()
        assert events.wait(20) == 0


def test_sd_notify(bundle, run, without, tmp_path):
    """`start` waits for READY=1, or for the program's end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        container = bundle("sleep 1").create(env={"NOTIFY_SOCKET": str(tmp_path / "notify")}, **without)
        container.start(env={"NOTIFY_SOCKET": str(tmp_path / "notify")}, **without)


@pytest.mark.parametrize("command", ["create", "exec"])
def test_a_pidfd_socket_cannot_be_served(command, bundle, without, tmp_path, leftovers):
    path = tmp_path / "pidfds"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        if command == "create":
            said = bundle().call("create", "--pidfd-socket", path, code=1, **without).err
            assert not leftovers()
        else:
            said = bundle("sleep 100").detached().exec("true", flags=["--pidfd-socket", path], code=255, **without).err
    assert said.count("\n") == 1 and f"--pidfd-socket {path}: pidfd_open: " in said and "Linux 5.3" in said


@pytest.mark.parametrize(("call", "number", "version"), [("pidfd_open", PIDFD_OPEN, "5.3"), ("pidfd_getfd", PIDFD_GETFD, "5.6")])
def test_a_seccomp_listener_cannot_be_fetched(call, number, version, bundle, tmp_path, leftovers):
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(tmp_path / "agent"),
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
    }
    with Agent(tmp_path / "agent"):
        said = bundle().set("linux.seccomp", profile).run(code=1, preexec_fn=refuse([number], errno.ENOSYS)).err
    assert said.count("\n") == 1 and f"linux.seccomp.listenerPath: {call}: " in said and f"Linux {version}" in said
    assert not leftovers()


def test_a_signal_ends_run(bundle, run, without, leftovers):
    b = bundle("trap 'exit 5' TERM; echo up; while true; do sleep 0.01; done").write()
    with subprocess.Popen(run.command("run", "--bundle", b.directory, run.new_id()), stdout=subprocess.PIPE, text=True, **without) as process:
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 5
    assert not leftovers()
