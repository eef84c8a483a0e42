"""exec: a further process in a container: its options, its environment, what is refused, what stays untouched."""

import json
import os
import pathlib
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import cgroups_named, until
from limits import freeze, freezer, thaw
from looks import one_line


@pytest.fixture
def running(bundle):
    """A running container with a user 1000 and `user`'s home."""
    return bundle("sleep 100").detached()


def caps(text):
    return {line.split(":")[0]: int(line.split()[1], 16) for line in text.splitlines() if line.startswith("Cap")}


def test_room_for_processes(bundle):
    """It takes that of two until the program runs: the one that joins, and the program."""
    container = bundle("exec sleep 100").set("linux.resources.pids.limit", 2).detached()
    assert "a limit of processes is reached" in one_line(container.exec("true", code=255))
    container.runner("update", "--pids-limit", "3", container.id)
    container.exec("true")


@pytest.mark.arm64
@pytest.mark.kernels
def test_exit_code(running):
    for code in (0, 1, 42, 126, 127, 254, 255):
        assert running.exec("sh", "-c", f"exit {code}", code=code).err == ""


def test_ended_by_a_signal(running):
    running.exec("sh", "-c", "kill -9 $$", code=137)
    running.exec("sh", "-c", "kill -TERM $$", code=143)


def test_stdio(running):
    result = running.exec("sh", "-c", "cat; echo err >&2", stdin="text\n")
    assert (result.out, result.err) == ("text\n", "err\n")


def test_words_after_the_id_are_the_commands(running):
    assert running.exec("echo", "-e", "-u", "x").out == "-u x\n"
    assert running.exec("--", "echo", "--cwd").out == "--cwd\n"


@pytest.mark.arm64
def test_it_is_in_the_container(running):
    names = ("mnt", "pid", "net", "ipc", "uts")
    out = running.exec("sh", "-c", f"for n in {' '.join(names)}; do readlink /proc/self/ns/$n; done; hostname; readlink /proc/1/ns/mnt")
    assert out.out.split() == [
        *(os.readlink(f"/proc/{running.pid}/ns/{name}") for name in names),
        "pyrun",
        os.readlink(f"/proc/{running.pid}/ns/mnt"),
    ]


@pytest.mark.arm64
@pytest.mark.kernels
@pytest.mark.worlds
def test_it_is_in_the_cgroup(running, token):
    running.runner("exec", "--detach", running.id, "sleep", "50")
    for path in cgroups_named(token):
        assert len(pathlib.Path(path, "cgroup.procs").read_text().split()) == 2, path


# --- environment and working directory


def test_environment_is_that_of_the_config_and_more(bundle):
    b = bundle("sleep 100")
    b.config["process"]["env"] += ["A=config", "EMPTY="]
    c = b.detached()
    lines = c.exec("env", flags=("-e", "A=option", "--env", "B=x=y z", "-e", "A=last")).out.splitlines()
    assert sorted(lines) == sorted([*b.config["process"]["env"][:2], "EMPTY=", "A=last", "B=x=y z", "HOME=/root"])


@pytest.mark.parametrize("user, home", [("0", "/root"), ("1000", "/home"), ("4711", "/"), ("65534", "/")])
def test_home_of_the_containers_passwd(running, user, home):
    assert running.exec("sh", "-c", "echo $HOME", flags=("-u", user)).out == f"{home}\n"


def test_home_that_is_given(running):
    assert running.exec("sh", "-c", "echo $HOME", flags=("-e", "HOME=/x")).out == "/x\n"
    assert running.exec("sh", "-c", "echo $HOME", flags=("-e", "HOME=")).out == "/root\n"


def test_newlines_in_the_environment(running):
    assert running.exec("sh", "-c", 'echo "$N"', flags=("-e", "N=a\nb")).out == "a\nb\n"


def test_working_directory(bundle):
    c = bundle("sleep 100").set("process.cwd", "/tmp").detached()
    assert c.exec("pwd").out == "/tmp\n"
    assert c.exec("pwd", flags=("--cwd", "/etc")).out == "/etc\n"


def test_working_directory_that_is_not_there(running):
    error = running.exec("pwd", flags=("--cwd", "/no/such"), code=255).err
    assert "/no/such" in error
    assert "no such file or directory" in error
    assert error.count("\n") == 1


def test_working_directory_of_the_user_alone(running):
    """Whoever may enter it, root without capabilities or the user: one of them is enough."""
    home = running.bundle.rootfs / "home"
    os.chown(home, 1000, 1000)
    home.chmod(0o700)
    assert running.exec("pwd", flags=("-u", "1000", "--cwd", "/home")).out == "/home\n"
    assert running.exec("pwd", flags=("--cwd", "/home")).out == "/home\n"


def test_no_way_out_by_an_open_fd(running):
    """CVE-2024-21626: a working directory below /proc/self/fd."""
    for fd in range(3, 12):
        assert running.exec("ls", "-a", flags=("--cwd", f"/proc/self/fd/{fd}"), code=255).out == ""


def test_no_way_out_by_a_symlink_to_an_fd(running):
    for fd in range(3, 12):
        (running.bundle.rootfs / f"link{fd}").symlink_to(f"/proc/self/fd/{fd}")
        running.exec("cat", "../../../etc/hostname", flags=("--cwd", f"/link{fd}"), code=255)


# --- who it is


@pytest.mark.arm64
@pytest.mark.kernels
def test_user(running):
    assert running.exec("id", "-u", flags=("-u", "1000")).out == "1000\n"
    assert running.exec("sh", "-c", "id -u; id -g", flags=("--user", "1000:2000")).out == "1000\n2000\n"
    assert running.exec("sh", "-c", "id -u; id -g", flags=("-u", "1")).out == "1\n0\n"


def test_users_that_are_no_ids(running):
    """CVE-2026-30892: what is not a number never becomes 0."""
    for word in ("root", "user", "1:", ":1", "1:2:3", "-1", "+1", "1x", " 1", "0x1", "1.0", "4294967295", "99999999999", "١"):
        result = running.exec("id", "-u", flags=("--user=" + word,), code=255)
        assert result.out == ""
        assert "--user" in result.err
    assert running.exec("id", "-u", flags=("--user=",)).out == "0\n"  # an empty variable of the caller's: not given


def test_additional_gids(bundle):
    c = bundle("sleep 100").set("process.user.additionalGids", [7]).detached()
    out = c.exec("id", "-G", flags=("--additional-gids", "100", "-g", "200", "-u", "1000:1000")).out
    assert set(out.split()) == {"1000", "7", "100", "200"}


def test_capabilities_are_the_configs(running):
    found = caps(running.exec("cat", "/proc/self/status").out)
    mask = 1 << 29 | 1 << 5 | 1 << 10
    assert found == {"CapInh": 0, "CapPrm": mask, "CapEff": mask, "CapBnd": mask, "CapAmb": 0}


def test_cap_adds_to_three_sets(running):
    """Never to the inheritable one (CVE-2022-29162), and so not to the ambient one."""
    found = caps(running.exec("cat", "/proc/self/status", flags=("--cap", "CAP_SYS_ADMIN", "--cap", "CAP_NET_RAW")).out)
    mask = 1 << 29 | 1 << 5 | 1 << 10 | 1 << 21 | 1 << 13
    assert found == {"CapInh": 0, "CapPrm": mask, "CapEff": mask, "CapBnd": mask, "CapAmb": 0}


def test_cap_is_ambient_if_inheritable(bundle):
    b = bundle("sleep 100").set("process.capabilities.inheritable", ["CAP_NET_RAW"])
    b.config["process"]["capabilities"]["bounding"].append("CAP_NET_RAW")
    c = b.detached()
    flags = ("--cap", "CAP_NET_RAW", "--cap", "CAP_SYS_ADMIN", "-u", "1000")
    found = caps(c.exec("cat", "/proc/self/status", flags=flags).out)
    assert found["CapInh"] == found["CapAmb"] == found["CapEff"] == 1 << 13


def test_inheritable_outside_of_bounding(bundle):
    """What cannot be granted is a warning (config.md#linux-process)."""
    result = bundle("grep CapInh /proc/self/status").set("process.capabilities.inheritable", ["CAP_NET_RAW", "CAP_KILL"]).run()
    assert "CAP_NET_RAW cannot be granted" in result.err
    assert int(result.out.split()[1], 16) == 1 << 5


def test_unknown_capability(running):
    assert "CAP_NOPE" in running.exec("true", flags=("--cap", "CAP_NOPE"), code=255).err


def test_no_new_privs(bundle):
    c = bundle("sleep 100").set("process.noNewPrivileges", False).detached()
    assert "NoNewPrivs:\t0" in c.exec("cat", "/proc/self/status").out
    assert "NoNewPrivs:\t1" in c.exec("cat", "/proc/self/status", flags=("--no-new-privs",)).out


# --- process.json


def process_json(**more):
    return {"args": ["sh", "-c", "env; id -u; pwd"], "cwd": "/tmp", "user": {"uid": 5, "gid": 6}, "env": ["PATH=/bin", "HOME=/h"], **more}


def test_process_json(running, tmp_path, run):
    """Its environment is the whole environment."""
    path = tmp_path / "process.json"
    path.write_text(json.dumps(process_json()))
    for flag in ("-p", "--process"):
        out = run("exec", flag, path, running.id).out.splitlines()
        assert out[-2:] == ["5", "/tmp"]
        assert {line for line in out[:-2] if not line.startswith(("SHLVL", "PWD"))} == {"PATH=/bin", "HOME=/h"}


def test_process_json_from_an_fd(running, run):
    """As podman and a shell's <( ) give it."""
    read_end, write_end = os.pipe()
    os.write(write_end, json.dumps(process_json(args=["id", "-u"])).encode())
    os.close(write_end)
    try:
        assert run("exec", "--process", f"/dev/fd/{read_end}", running.id, pass_fds=(read_end,)).out == "5\n"
    finally:
        os.close(read_end)


def test_process_json_from_stdin(running, run):
    assert run("exec", "--process", "/dev/stdin", running.id, stdin=json.dumps(process_json(args=["pwd"]))).out == "/tmp\n"


def test_capabilities_of_process_json(running, run, tmp_path):
    path = tmp_path / "process.json"
    sets = {name: ["CAP_CHOWN"] for name in ("bounding", "effective", "permitted")}
    path.write_text(json.dumps(process_json(args=["cat", "/proc/self/status"], user={"uid": 0, "gid": 0}, capabilities=sets)))
    assert caps(run("exec", "-p", path, running.id).out)["CapEff"] == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"args": []}', '{"args": "sh", "cwd": "/"}', '{"args": ["sh"], "cwd": "rel"}'])
def test_bad_process_json(running, run, tmp_path, text):
    path = tmp_path / "process.json"
    path.write_text(text)
    error = run("exec", "-p", path, running.id, code=255).err
    assert error.count("\n") == 1
    assert "process" in error


def test_missing_process_json(running, run):
    assert "/no/process.json" in run("exec", "-p", "/no/process.json", running.id, code=255).err


# --- failures


@pytest.mark.worlds
def test_a_missing_program_leaves_the_container_alone(running, token):
    error = running.exec("no-such-program", code=255).err
    assert 'exec: "no-such-program": executable file not found in $PATH' in error
    assert error.count("\n") == 1
    error = running.exec("/bin/nope", code=255).err
    assert "no such file or directory" in error
    assert "permission denied" in running.exec("/etc/passwd", code=255).err
    assert running.status() == "running"
    assert cgroups_named(token)
    assert running.exec("echo", "fine").out == "fine\n"


def test_a_pid_file_that_cannot_be_written(running):
    assert "/non-existent/dir" in running.exec("sleep", "111", flags=("--pid-file", "/non-existent/dir/pid"), code=255).err
    until(lambda: "sleep 111" not in running.exec("ps").out)
    assert running.status() == "running"


def test_no_command(running, run):
    assert "exec needs a command, or --process FILE" in run("exec", running.id, code=255).err


def test_created_and_stopped(bundle):
    c = bundle("sleep 100").create()
    assert c.exec("hostname").out == "pyrun\n"
    assert c.status() == "created"
    c.kill("KILL")
    c.wait()
    error = c.exec("true", code=255).err
    assert "cannot exec in a stopped container" in error


@pytest.mark.worlds
def test_paused(running):
    cgroup = freezer(running.pid)
    freeze(cgroup)
    error = running.exec("true", code=255).err
    assert "cannot exec in a paused container (use --ignore-paused to override)" in error
    command = running.runner.command("exec", "--ignore-paused", running.id, "sh", "-c", "exit 6")
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    until(lambda: len((cgroup / "cgroup.procs").read_text().split()) == 2, what="the new process is in the frozen cgroup")
    assert process.poll() is None
    thaw(cgroup)
    assert process.wait(20) == 6


# --- many


@pytest.mark.kernels
@pytest.mark.worlds
def test_twenty_at_once(running):
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda n: subprocess.run(
            running.runner.command("exec", running.id, "sh", "-c", f"echo {n}; exit {n}"),
            stdin=subprocess.DEVNULL, capture_output=True, check=False,
        ), range(20)))  # fmt: skip
    assert [(one.returncode, int(one.stdout)) for one in found] == [(n, n) for n in range(20)]


@pytest.mark.worlds
def test_right_after_start(bundle):
    for _ in range(10):
        c = bundle("sleep 100").create()
        c.start()
        assert c.exec("echo", "here").out == "here\n"
        c.delete("--force")


@pytest.mark.worlds
def test_very_fast_exits(running):
    command = running.runner.command("exec", running.id, "/bin/true")
    for _ in range(50):
        assert subprocess.Popen(command, stdin=subprocess.DEVNULL).wait(20) == 0
