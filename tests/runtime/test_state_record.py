"""What is on disk of a container: damaged, half made, forged, of another release. Nothing that lives is forgotten."""

import fcntl
import json
import os
import pathlib
import signal
import subprocess
import threading

import pytest
from harness import Runner, cgroups_named, until


def record(run, id):
    return run.root / id / "state.json"


def change(path, **members):
    path.write_text(json.dumps(json.loads(path.read_text()) | members))


def one_line(result, *words):
    assert result.err.count("\n") == 1 and "internal error" not in result.err, result
    assert [word for word in words if word not in result.err] == [], result


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


# --- what an aborted create leaves


def test_delete_frees_the_id_of_an_aborted_create(bundle, run):
    (run.root / "box").mkdir(parents=True)
    one_line(run("delete", "box", code=1), "container does not exist")
    assert not (run.root / "box").exists()
    bundle("true").create(container_id="box")


@pytest.mark.parametrize("flags", [[], ["--force"]])
def test_delete_leaves_a_create_in_progress_alone(run, flags):
    (run.root / "box").mkdir(parents=True)
    fd = os.open(run.root / "box", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    one_line(run("delete", *flags, "box", code=1), "box")
    assert (run.root / "box").is_dir()
    os.close(fd)


# --- list


def test_list_says_nothing_of_containers_that_come_and_go(bundle, run):
    bundle("true").create(container_id="stays")
    b, end = bundle("true").write(), threading.Event()

    def churn():
        while not end.is_set():
            subprocess.run(run.command("run", "--bundle", b.directory, "goes"), check=False, capture_output=True)

    threads = [threading.Thread(target=churn)]
    for thread in threads:
        thread.start()
    try:
        for flags in ([], ["-q"]) * 40:
            result = run("list", *flags)
            assert result.err == "" and "stays" in result.out
    finally:
        end.set()
        for thread in threads:
            thread.join()


# --- damaged state.json

DAMAGE = {
    "empty": lambda path: path.write_text(""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "garbage": lambda path: path.write_bytes(os.urandom(300)),
    "a number": lambda path: path.write_text("7"),
    "a directory": lambda path: (path.unlink(), path.mkdir()),
    "a fifo": lambda path: (path.unlink(), os.mkfifo(path)),
    "a device": lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
    "wrong types": lambda path: change(path, pid="7", cgroup=[], mask={}),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_delete_force_ends_a_container_whose_record_is_damaged(bundle, run, token, damage):
    c = bundle("sleep 1000").detached()
    other = bundle("sleep 1000").detached()
    DAMAGE[damage](record(run, c.id))
    one_line(c.delete(code=1), "state.json", "delete --force")
    assert alive(c.pid) and (run.root / c.id).is_dir()
    c.delete("--force")
    assert c.wait() == 137
    assert not (run.root / c.id).exists()
    assert not [path for path in cgroups_named(token) if path.endswith(c.id)]
    assert other.status() == "running"
    other.delete("--force")


def test_what_cannot_be_found_keeps_its_record(bundle, run):
    c = bundle("sleep 1000").detached()
    path = record(run, c.id)
    good = path.read_text()
    path.write_text("")
    (run.root / c.id / "config.json").write_text("[]")
    one_line(c.delete("--force", code=1), "state.json", "config.json", "nothing was removed", f"remove {run.root}/{c.id}")
    assert alive(c.pid)
    path.write_text(good)
    c.delete("--force")


WRONG = [None, True, -1, 1 << 70, "x\0y", [1], {"a": 1}, 1.5]


@pytest.mark.parametrize("command", ["state", "kill", "exec", "start", "delete", "pause", "ps", "events"])
def test_members_of_wrong_types_are_one_error(bundle, run, command):
    c = bundle("true").create()
    path = record(run, c.id)
    good = path.read_text()
    words = {"exec": ["exec", c.id, "true"], "kill": ["kill", c.id, "0"]}.get(command, [command, c.id])
    for name in json.loads(good):
        value = next(value for value in WRONG if type(value) is not type(json.loads(good)[name]) and (value, name) != (None, "cgroup"))
        change(path, **{name: value})
        one_line(run(*words, code=255 if command == "exec" else 1), str(path))
        path.write_text(good)
    assert c.status() == "created"


def test_the_cgroup_of_a_create_that_was_killed_goes_when_its_last_process_has_ended(bundle, run):
    c = bundle("true").create()
    path = record(run, c.id)
    group = json.loads(path.read_text())["cgroup"]
    with subprocess.Popen(["sleep", "1.5"]) as late:
        for directory in group["paths"].values():
            pathlib.Path(directory, "cgroup.procs").write_text(str(late.pid))
        os.kill(c.pid, signal.SIGKILL)
        c.wait()
        change(path, cgroup=group | {"claimed": False}, creating=True, pid=0)
        c.delete("--force")
    assert cgroups_named(c.id) == []


@pytest.mark.parametrize("name", ["/" + "x" * 300, "/" + "x/" * 3000 + "x", "/proc/version/x"], ids=["long name", "long path", "in a file"])
def test_what_can_be_no_cgroup_is_one_error(bundle, run, name):
    c = bundle("true").create()
    path = record(run, c.id)
    good = json.loads(path.read_text())
    change(path, cgroup=good["cgroup"] | {"paths": {"": name}})
    one_line(run("state", c.id, code=1), str(path), "damaged: cgroup")
    change(path, **good)
    assert c.status() == "created"


def test_list_shows_the_others(bundle, run):
    good = bundle("true").create()
    bad = bundle("true").create()
    path = record(run, bad.id)
    text = path.read_text()
    for name in json.loads(text):
        for value in WRONG:
            change(path, **{name: value})
            result = run("list", "-q")
            assert good.id in result.out and "internal error" not in result.err and result.err.count("\n") <= 1, (name, value, result)
    path.write_text(text)


@pytest.mark.parametrize("path", ["/tmp", "/sys/fs/cgroup/../../../tmp", "/sys/fs/cgroup/", "sys/fs/cgroup/x"])
def test_a_cgroup_that_is_none_is_not_touched(bundle, run, tmp_path, path):
    c = bundle("true").create()
    data = json.loads(record(run, c.id).read_text())
    target = tmp_path / "victim" if path == "/tmp" else path
    (tmp_path / "victim").mkdir()
    change(record(run, c.id), cgroup=data["cgroup"] | {"paths": {"": str(target)}})
    one_line(run("state", c.id, code=1), "cgroup is not what was written")
    c.delete("--force")
    assert (tmp_path / "victim").is_dir()


# --- the root


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_a_root_of_another_user_is_refused(bundle, run):
    c = bundle("true").create()
    os.chown(run.root, 1234, 1234)
    for words in (["list"], ["state", c.id], ["delete", "--force", c.id], ["create", "--bundle", c.bundle.directory, "new"]):
        one_line(run(*words, code=1), f"--root {run.root} belongs to 1234")
    os.chown(run.root, 0, 0)
    run.root.chmod(0o777)
    one_line(run("state", c.id, code=1), "may be written by others")
    run.root.chmod(0o711)
    assert c.status() == "created"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_a_symlink_of_another_user_is_no_root(bundle, run, tmp_path):
    c = bundle("true").create()
    link = tmp_path / "link"
    link.symlink_to(run.root)
    assert run("--root", link, "list", "-q", root=False).out.strip() == c.id
    os.lchown(link, 1234, 1234)
    one_line(run("--root", link, "list", root=False, code=1), f"--root {link} belongs to 1234")


# --- the pid file


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory"])
def test_what_lies_beside_the_pid_file_is_left_alone(bundle, run, tmp_path, kind):
    beside, victim = tmp_path / ".pid", tmp_path / "victim"
    victim.write_text("precious")
    {"symlink": lambda: beside.symlink_to(victim), "fifo": lambda: os.mkfifo(beside), "directory": beside.mkdir}[kind]()
    bundle("true").call("create", "--pid-file", tmp_path / "pid")
    assert int((tmp_path / "pid").read_text()) > 0
    assert victim.read_text() == "precious"


def test_a_pid_file_takes_the_place_of_a_symlink_and_of_nothing_else(bundle, run, tmp_path):
    victim, link, fifo = tmp_path / "victim", tmp_path / "link", tmp_path / "fifo"
    victim.write_text("precious")
    link.symlink_to(victim)
    bundle("true").call("create", "--pid-file", link)
    assert victim.read_text() == "precious" and int(link.read_text()) > 0 and not link.is_symlink()
    os.mkfifo(fifo)
    one_line(bundle("true").call("create", "--pid-file", fifo, code=1), f"--pid-file {fifo}")
    assert fifo.is_fifo()


# --- files that have no end, or nobody writes to


@pytest.mark.parametrize("kind", ["fifo", "zero"])
def test_a_config_that_is_no_file(bundle, run, kind):
    b = bundle("true").write()
    path = b.directory / "config.json"
    path.unlink()
    os.mkfifo(path) if kind == "fifo" else path.symlink_to("/dev/zero")
    one_line(run("create", "--bundle", b.directory, "box", code=1), "config.json", "not a regular file")


def test_a_process_without_end(bundle, run):
    c = bundle("sleep 1000").detached()
    one_line(c.exec(flags=["--process", "/dev/zero"], code=255), "/dev/zero: more than")
    result = run("update", "--resources", "/dev/zero", c.id, code=1)
    one_line(result, "/dev/zero: more than")
    reader, writer = os.pipe()
    os.write(writer, json.dumps({"args": ["echo", "hello"], "cwd": "/", "env": ["PATH=/bin"]}).encode())
    os.close(writer)
    assert run("exec", "--process", f"/dev/fd/{reader}", c.id, pass_fds=[reader]).out == "hello\n"
    os.close(reader)
    c.delete("--force")


# --- other releases


def as_before(path):
    """Makes a state.json what the release before FORMAT 2 wrote."""
    data = json.loads(path.read_text())
    del data["version"], data["plan"]
    data["notes"] = {index: [7, where, subject] for index, (_, where, subject) in data["notes"].items()}
    path.write_text(json.dumps(data))


def test_a_container_of_the_release_before(bundle, run):
    c = bundle("sleep 1000").create()
    as_before(record(run, c.id))
    assert c.status() == "created" and c.id in run("list", "-q").out
    c.start()
    assert c.exec("echo", "hello").out == "hello\n"
    c.kill("KILL")
    assert c.wait() == 137
    c.delete()


def test_a_program_that_is_missing_in_a_container_of_the_release_before(bundle, run):
    c = bundle("/bin/sleep 1000").create()
    as_before(record(run, c.id))
    (c.bundle.rootfs / "bin/sleep").unlink()
    (c.bundle.rootfs / "bin/busybox").unlink()
    assert "no such file or directory" in c.start(code=1).err
    c.wait()
    c.delete()


def test_a_record_of_a_later_release_stays(bundle, run):
    c = bundle("true").create()
    change(record(run, c.id), version=99)
    one_line(c.start(code=1), "version 99")
    one_line(c.delete(code=1), "version 99")
    change(record(run, c.id), version=2)
    assert c.status() == "created"


# --- limits of the caller, words


def test_a_limit_of_file_sizes(bundle, run, leftovers):
    b = bundle("true").write()
    shell = ["bash", "-c", 'ulimit -f 0; exec "$@"', "bash"]
    done = subprocess.run([*shell, *run.command("create", "--bundle", b.directory, "box")], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "state.json: file too large" in done.stderr, done
    assert leftovers() == []


def test_signals_are_at_their_default_in_the_container(bundle):
    result = bundle(["grep", "SigIgn", "/proc/self/status"]).run()
    assert result.out.split() == ["SigIgn:", "0" * 16]


def test_a_full_stdout(bundle, run):
    bundle("true").create()
    with open("/dev/full", "w") as full:
        done = subprocess.run(run.command("list"), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "pyrun: write to stdout: no space left on device\n")


ODD = "org.example\x1b[31m\n\u202e"


def test_names_cannot_rule_the_terminal(bundle, run, tmp_path):
    b = bundle("true")
    odd = b.directory.parent / "odd\x1b[31m\n\u202ename"
    b.directory.rename(odd)
    b.directory, b.rootfs = odd, odd / "rootfs"
    c = b.create()
    table = run("list").out
    assert r"odd\x1b[31m\n\u202ename" in table and "\x1b" not in table and "\u202e" not in table and table.count("\n") == 2
    assert json.loads(run("list", "-f", "json").out)[0]["bundle"] == str(odd)
    assert c.state()["bundle"] == str(odd)
    result = run("create", "--bundle", f"{odd}/none", "x", code=1)
    one_line(result, r"odd\x1b[31m\n\u202ename")
    assert "\x1b" not in result.err and "\u202e" not in result.err


def test_a_proc_that_shows_processes_alone(bundle, run):
    b = bundle("sleep 1000").write()
    script = 'mount -t proc -o subset=pid proc /proc && exec "$@"'

    def there(*words):
        command = ["unshare", "--mount", "sh", "-c", script, "sh", *run.command(*words)]
        path = run.directory / "proc.log"  # no pipe: the container has stdout too
        with open(path, "w") as log:
            code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
        return code, path.read_text()

    assert there("create", "--bundle", b.directory, "box") == (0, "")
    assert json.loads(run("state", "box").out)["status"] == "created"
    assert there("start", "box") == (0, "")
    code, text = there("state", "box")
    assert code == 0 and json.loads(text)["status"] == "running"
    assert there("delete", "--force", "box") == (0, "")
    until(lambda: run("list", "-q").out == "")


@pytest.fixture
def elsewhere(run, tmp_path):
    """A function: the runtime as it is called in a new time namespace of this offset (s), where /proc shows other times of a start."""
    if not os.path.exists("/proc/self/ns/time"):
        pytest.skip("no time namespaces")

    def runner(offset):
        program = tmp_path / f"elsewhere{offset}"
        program.write_text(f'#!/bin/sh\nexec unshare --time --boottime {offset} --fork {run.program} "$@"\n')
        program.chmod(0o755)
        there = Runner(str(program), tmp_path / f"other{offset}", run.token)
        there.directory.mkdir()
        there.root = run.root
        return there

    return runner


def works_from(run, c):
    """What a caller in another time namespace than the container's maker does with it."""
    assert json.loads(run("state", c.id).out)["status"] == "running"
    assert [entry["status"] for entry in json.loads(run("list", "--format", "json").out)] == ["running"]
    assert run("exec", c.id, "echo", "here").out == "here\n"
    run("kill", c.id, "KILL")
    c.wait()
    assert json.loads(run("state", c.id).out)["status"] == "stopped"
    run("delete", c.id)


@pytest.mark.parametrize("offset", ["100000", "-100"])
def test_seen_from_another_time_namespace(bundle, elsewhere, offset):
    works_from(elsewhere(offset), bundle("sleep 100").detached())


@pytest.mark.parametrize("seen", ["outside", "the same", "a third"])
@pytest.mark.parametrize("own", [False, True], ids=["its maker's", "its own"])
def test_made_in_another_time_namespace(bundle, run, elsewhere, own, seen):
    b = bundle("sleep 100")
    if own:
        b.config["linux"]["namespaces"].append({"type": "time"})
        b.set("linux.timeOffsets", {"boottime": {"secs": 5000}})
    b.runner = elsewhere("100000")
    c = b.detached()
    works_from({"outside": run, "the same": b.runner, "a third": elsewhere("-100")}[seen], c)
