"""The life of a container: create, start, state, kill, delete, list; what each says, and what it refuses."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import cgroups_named, until
from limits import PURE_V2, freeze, freezer

RUNC = shutil.which("runc") or "/usr/sbin/runc"


@pytest.mark.arm64
@pytest.mark.kernels
@pytest.mark.worlds
def test_the_whole_life(bundle, run):
    c = bundle("echo started; sleep 100").create()
    assert c.status() == "created"
    assert c.out == ""
    c.start()
    until(lambda: c.out == "started\n")
    assert c.status() == "running"
    c.kill("KILL")
    assert c.wait() == 137
    assert c.status() == "stopped"
    assert c.state()["pid"] == 0
    c.delete()
    assert "container does not exist" in run("state", c.id, code=1).err


def test_each_command_is_silent_on_success(bundle):
    c = bundle("sleep 100").create()
    for result in (c.created, c.start(), c.kill("KILL")):
        assert (result.out, result.err) == ("", "")
    c.wait()
    assert c.delete().err == ""


@pytest.mark.parametrize("command", ["start", "state", "kill", "delete"])
def test_unknown_container(run, command):
    error = run(command, "nobody-knows-this", code=1).err
    assert error.count("\n") == 1
    assert "container does not exist" in error


def test_exec_of_an_unknown_container_gives_255(run):
    assert "container does not exist" in run("exec", "nobody-knows-this", "true", code=255).err


@pytest.mark.parametrize("name", ["", "a/b", "../up", "a b", ".hidden", "ü", "a\nb"])
def test_odd_ids_are_refused(bundle, run, name):
    b = bundle("true").write()
    assert "id" in run("create", "--bundle", b.directory, "--", name, code=1).err
    assert not run.root.exists() or list(run.root.glob("*")) == []


def test_ids_with_every_allowed_character(bundle, token):
    c = bundle("sleep 100").create(container_id=f"{token}_A+b-c.9")
    assert c.status() == "created"


def test_an_id_is_taken_in_every_status(bundle, run):
    b = bundle("sleep 100")
    c = b.create()
    for change in (lambda: None, c.start, lambda: (c.kill("KILL"), c.wait())):
        change()
        for command in ("create", "run"):
            error = b.call(command, container_id=c.id, code=1).err
            assert "container with given ID already exists" in error
            assert error.count("\n") == 1
    c.delete()
    assert b.create(container_id=c.id).status() == "created"


def test_delete_of_a_live_container_is_refused(bundle):
    """runtime.md#delete: an error unless the container is stopped."""
    c = bundle("sleep 100").create()
    assert f"cannot delete container {c.id} that is not stopped: created" in c.delete(code=1).err
    c.start()
    assert f"cannot delete container {c.id} that is not stopped: running" in c.delete(code=1).err
    assert c.exec("echo", "alive").out == "alive\n"


def test_delete_force_of_an_unknown_container(run):
    assert run("delete", "--force", "nobody-knows-this").err == ""


@pytest.mark.kernels
@pytest.mark.worlds
@pytest.mark.parametrize("started", [False, True])
def test_delete_force_of_a_live_container(bundle, started, token):
    c = bundle("sleep 100 & sleep 100").create()
    if started:
        c.start()
    c.delete("--force")
    assert c.wait() == 137
    assert cgroups_named(token) == []


@pytest.mark.kernels
@pytest.mark.worlds
def test_a_frozen_container(bundle):
    c = bundle("sleep 100").detached()
    freeze(freezer(c.pid))
    assert c.status() == "paused"
    assert f"cannot delete container {c.id} that is not stopped: paused" in c.delete(code=1).err
    c.delete("--force")
    assert c.wait() == 137


@pytest.mark.worlds
def test_kill_ends_a_frozen_container(bundle):
    c = bundle("sleep 100").detached()
    freeze(freezer(c.pid))
    c.kill("KILL")
    assert c.wait() == 137
    c.delete()


@pytest.mark.worlds
def test_delete_force_when_a_sub_cgroup_is_frozen(bundle):
    c = bundle("sleep 100").detached()
    inner = freezer(c.pid) / "inner"
    inner.mkdir()
    (inner / "cgroup.procs").write_text(str(c.pid))
    freeze(inner)
    c.delete("--force")
    assert c.wait() == 137
    assert not inner.exists()


@pytest.mark.worlds
def test_delete_removes_the_cgroups_that_the_container_made(bundle, token):
    """And what runs in them."""
    mine = "/sys/fs/cgroup" if PURE_V2 else "/sys/fs/cgroup/pids"
    b = bundle(f"mkdir -p {mine}/inner/deep; sleep 1000 & echo $! >{mine}/inner/deep/cgroup.procs; echo ready; exec sleep 1000")
    b.config["linux"]["namespaces"].append({"type": "cgroup"})
    [mount] = [mount for mount in b.config["mounts"] if mount["type"] == "cgroup"]
    mount["options"].remove("ro")
    c = b.detached()
    until(lambda: c.out == "ready\n")
    assert [path for path in cgroups_named(token) if os.path.exists(f"{path}/inner/deep")]
    c.delete("--force")
    assert cgroups_named(token) == []
    assert c.wait() == 137


def test_start_twice(bundle):
    c = bundle("sleep 100").create()
    c.start()
    assert "cannot start an already running container" in c.start(code=1).err
    c.kill("KILL")
    c.wait()
    assert "cannot start a container that has stopped" in c.start(code=1).err


def test_twenty_starts_of_one_container(bundle):
    """One wins, the others are told."""
    c = bundle("echo once; sleep 100").create()
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: c.start(code=None), range(20)))
    assert sorted(result.code for result in results) == [0] + [1] * 19
    assert all("cannot start an already running container" in result.err for result in results if result.code)
    until(lambda: c.out == "once\n")


@pytest.mark.worlds
def test_a_container_without_process(bundle):
    b = bundle()
    del b.config["process"]
    c = b.create()
    assert c.status() == "created"
    assert "process" in c.start(code=1).err
    c.delete("--force")


@pytest.mark.worlds
def test_a_missing_program_fails_create(bundle, run):
    error = bundle(["no-such-program"]).call("create", code=1).err
    assert error.count("\n") == 1
    assert 'exec: "no-such-program": executable file not found in $PATH' in error
    assert "pyrun create failed: unable to start container process" in error
    assert run("list", "-q", code=None).out == ""


def test_a_program_that_cannot_be_executed_fails_once(bundle):
    b = bundle(["/run.sh"])
    (b.rootfs / "run.sh").write_text("#!/mmnnttbb\n")
    (b.rootfs / "run.sh").chmod(0o755)
    error = b.run(code=1).err
    assert error.count("\n") == 1
    assert "exec /run.sh: no such file or directory" in error
    c = b.create()
    error = c.start(code=1).err
    assert error.count("\n") == 1
    assert "exec /run.sh: no such file or directory" in error
    assert c.status() == "stopped"
    c.delete()


def test_a_file_that_nobody_may_execute(bundle):
    b = bundle(["/etc/passwd"])
    assert "permission denied" in b.run(code=1).err


def test_state_survives_the_bundle(bundle):
    b = bundle("sleep 100")
    c = b.create()
    (b.directory / "config.json").unlink()
    c.start()
    assert c.status() == "running"
    assert c.exec("hostname").out == "pyrun\n"


# --- pid files and the like


def test_pid_file_holds_the_number_alone(bundle, run, tmp_path):
    c = bundle("sleep 100").create()
    text = next(tmp_path.glob("*.pid")).read_text()
    assert text == str(c.pid)
    assert c.state()["pid"] == c.pid
    assert os.readlink(f"/proc/{c.pid}/ns/pid") != os.readlink("/proc/self/ns/pid")


@pytest.mark.parametrize("command", ["create", "run"])
def test_a_pid_file_that_cannot_be_written(bundle, run, token, command):
    result = bundle("sleep 100").call(command, "--pid-file", "/no-such-directory/pid", code=1)
    assert "/no-such-directory/pid: no such file or directory" in result.err
    assert run("list", "-q").out == ""
    assert cgroups_named(token) == []


def test_pidfd_socket(bundle, tmp_path):
    path = tmp_path / "pidfd.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        c = bundle("exit 7").create("--pidfd-socket", path)
        connection, _ = server.accept()
        data, fds, _, _ = socket.recv_fds(connection, 100, 4)
        connection.close()
    assert len(fds) == 1
    lines = dict(line.split(":\t") for line in pathlib.Path(f"/proc/self/fdinfo/{fds[0]}").read_text().splitlines())
    assert int(lines["Pid"]) == c.pid
    os.close(fds[0])
    assert data


def test_a_pidfd_socket_that_is_not_there(bundle, run):
    error = bundle("sleep 100").call("create", "--pidfd-socket", "/no/socket", code=1).err
    assert "/no/socket" in error
    assert run("list", "-q").out == ""


# --- state and list


def types(value):
    return {key: type(one) for key, one in value.items()}


@pytest.mark.worlds
@pytest.mark.skipif(not os.access(RUNC, os.X_OK), reason="no runc to compare with")
def test_state_and_list_are_like_those_of_runc(bundle, run, token, tmp_path):
    b = bundle("sleep 100").set("annotations", {"org.example": "a/b"})
    b.config["ociVersion"] = "1.0.2"
    c = b.create()
    runc = [RUNC, "--root", str(tmp_path / "runc")]
    name = f"{token}-runc"
    try:
        subprocess.run(
            [*runc, "create", "--bundle", b.directory, name],
            check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        state = json.loads(subprocess.check_output([*runc, "state", name]))
        listed = json.loads(subprocess.check_output([*runc, "list", "--format", "json"]))
        table = subprocess.check_output([*runc, "list"], text=True)
    finally:
        subprocess.run([*runc, "delete", "--force", name], check=True)
    ours = c.state()
    assert types(ours) == types(state)
    assert {key: value for key, value in ours.items() if key not in ("id", "pid", "created", "ociVersion", "owner")} == {
        key: value for key, value in state.items() if key not in ("id", "pid", "created", "ociVersion", "owner")
    }
    (line,) = json.loads(run("list", "--format", "json").out)
    assert types(line) == types(listed[0])
    ours = run("list").out.splitlines()
    assert ours[0].split() == table.splitlines()[0].split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert ours[1].split()[2:4] == table.splitlines()[1].split()[2:4]


def test_list(bundle, run):
    b = bundle("sleep 100")
    first, second = b.create(), b.detached()
    assert run("list", "-q").out == f"{first.id}\n{second.id}\n"
    decoded = json.loads(run("list", "--format", "json").out)
    assert [(one["id"], one["status"], one["owner"]) for one in decoded] == [
        (first.id, "created", "root"),
        (second.id, "running", "root"),
    ]
    assert run("list", "--format", "json").out.count("\n") == 1
    assert "invalid format option: use table or json" in run("list", "--format", "yaml", code=1).err


def test_list_of_a_root_that_is_not_there(run):
    assert "no such file or directory" in run("list", code=1).err


def test_owner_is_the_owner_of_the_state(bundle, run):
    c = bundle("sleep 100").create()
    os.chown(run.root / c.id / "state.json", 54321, -1)
    assert c.state()["owner"] == "54321"
    os.chown(run.root / c.id / "state.json", 65534, -1)
    assert c.state()["owner"] == "nobody"


def test_a_container_of_an_earlier_boot_has_stopped(bundle, run):
    c = bundle("sleep 100").create()
    path = run.root / c.id / "state.json"
    text = path.read_text()
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    path.write_text(text.replace(boot, "0" * len(boot)))
    assert c.status() == "stopped"
    assert "container not running" in c.kill("KILL", code=1).err
    os.kill(c.pid, 0)
    path.write_text(text)
    assert c.status() == "created"


# --- many at once


@pytest.mark.kernels
@pytest.mark.worlds
def test_twenty_containers_at_once(bundle, run):
    b = bundle("exec sleep 100").write()

    def life(number):
        name = f"{run.token}-many-{number}"
        for words in (["create", "--bundle", b.directory], ["start"], ["kill"], ["delete", "--force"]):
            command = run.command(*words, name, *(["KILL"] if words == ["kill"] else []))
            code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False).returncode
            assert code == 0, words

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(life, range(20)))
    assert run("list", "-q").out == ""


@pytest.mark.worlds
def test_one_id_ten_times_at_once(bundle, run, token):
    b = bundle("sleep 100").write()
    name = f"{token}-same"

    def create(_):
        # Not to a pipe: the winner's stderr is the container's too, and would never end.
        return subprocess.run(
            run.command("create", "--bundle", b.directory, name),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
        ).returncode  # fmt: skip

    with ThreadPoolExecutor(10) as pool:
        codes = list(pool.map(create, range(10)))
    assert sorted(codes) == [0] + [1] * 9
    assert run("list", "-q").out == f"{name}\n"
    run("start", name)
    assert json.loads(run("state", name).out)["status"] == "running"


@pytest.mark.worlds
def test_two_deletes_at_once_run_poststop_once(bundle, tmp_path):
    log = tmp_path / "log"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"sleep 0.2; echo x >> {log}"]}
    c = bundle("true").set("hooks.poststop", [hook]).detached()
    c.wait()
    with ThreadPoolExecutor(4) as pool:
        codes = sorted(pool.map(lambda _: c.delete(code=None).code, range(4)))
    assert codes == [0, 1, 1, 1]
    assert log.read_text() == "x\n"


@pytest.mark.worlds
def test_state_while_it_is_deleted(bundle, run):
    """Whoever asks meanwhile gets a state, or is told that there is no such container."""
    with ThreadPoolExecutor(2) as pool:
        for _ in range(5):
            c = bundle("sleep 100").detached()
            deleted = pool.submit(c.delete, "--force")
            while not deleted.done():
                result = run("state", c.id, code=None)
                assert result.code == 0 or "container does not exist" in result.err, result
            deleted.result()
