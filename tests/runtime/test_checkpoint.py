"""checkpoint and restore: a container's processes go on where they were, in a container of the same make (criu(8))."""

import os
import pathlib
import signal
import socket
import subprocess

import limits
import pytest
from checkpoints import COUNTER, TALKER, counted, free_port, goes_on, gone, locker, needs, needs_criu, needs_tcp, restore, said, save, talks_on
from console import Listener
from harness import Terminal, until
from looks import user_namespace

assert needs_criu
pytestmark = pytest.mark.usefixtures("needs_criu")


@pytest.fixture
def counter(bundle):
    """A container that counts, and has begun to."""
    c = bundle(COUNTER).detached()
    goes_on(c.bundle)
    return c


def test_it_goes_on_where_it_was(counter, run):
    b = counter.bundle
    save(counter)
    assert gone(run, counter.id)
    assert not pathlib.Path(f"/proc/{counter.pid}/root").exists()
    saved = counted(b)
    c = restore(b)
    state = c.state()
    assert state["status"] == "running" and state["pid"] == c.pid and state["id"] == c.id
    assert goes_on(b)[0] >= saved
    assert c.exec("sh", "-c", "cat /proc/1/comm; hostname").out == "sh\npyrun\n"
    c.kill("KILL")
    c.wait()
    c.delete()


def test_it_does_so_again_and_again_under_its_own_name(counter, run):
    b, c, before = counter.bundle, counter, 0
    for _ in range(3):
        save(c, "--work-path", b.directory / "work")
        assert counted(b) > before
        before = counted(b)
        c = restore(b, "--work-path", b.directory / "work", container_id=counter.id)
        goes_on(b)
    assert {"dump.log", "restore.log"} <= {path.name for path in (b.directory / "work").iterdir()}


def test_it_can_run_on_and_be_brought_back_later(counter, run):
    b = counter.bundle
    save(counter, "--leave-running")
    saved = counted(b)
    assert counter.status() == "running"
    assert goes_on(b)[0] >= saved
    until(lambda: counted(b) > saved + 10)
    counter.kill("KILL")
    counter.wait()
    counter.delete()
    (b.rootfs / "count").unlink()
    restore(b)
    assert saved <= counted(b) < saved + 10


def test_memory_can_be_saved_before(counter):
    needs("mem_dirty_track")
    b, images = counter.bundle, counter.bundle.directory
    saved = [counter.runner("checkpoint", "--pre-dump", "--image-path", images / name, *parent, counter.id).code
             for name, parent in (("first", ()), ("second", ("--parent-path", "../first")))]
    assert saved == [0, 0] and counter.status() == "running"
    goes_on(b)
    save(counter, "--parent-path", "../second")
    before = counted(b)
    restore(b)
    assert goes_on(b)[0] >= before


@pytest.mark.parametrize("wanted", ["leave-running", "restored"])
def test_a_paused_container(counter, wanted):
    b = counter.bundle
    counter.runner("pause", counter.id)
    before = counted(b)
    if wanted == "leave-running":
        save(counter, "--leave-running")
        assert counter.status() == "paused" and counted(b) == before
        counter.runner("resume", counter.id)
    else:
        save(counter)
        c = restore(b)
        assert c.status() == "running"
    assert goes_on(b)[0] >= before


# --- stdio and terminals

def test_files_of_the_host_are_replaced(bundle):
    """As long as they are of the same length, for criu's sake: stdout was empty before."""
    b = bundle("while [ ! -e /go ]; do sleep 0.05; done; echo after; echo fault >&2; read x; echo $x; exit 5")
    c = b.detached()
    save(c)
    c = restore(b)
    (b.rootfs / "go").touch()
    assert c.wait() == 5
    assert (c.out, c.err) == ("after\n\n", "fault\n")


def test_a_log_that_is_appended_to(bundle, run, tmp_path):
    b = bundle("echo before; while [ ! -e /go ]; do sleep 0.05; done; echo after; exit 5").write()
    images, name, log = b.directory / "images", run.new_id(), tmp_path / "log"
    with open(log, "ab") as out:
        options = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out, "timeout": 30}
        subprocess.run(run.command("run", "--detach", "--bundle", b.directory, name), check=True, **options)
        until(lambda: log.read_text() == "before\n")
        run("checkpoint", "--image-path", images, name)
        (b.rootfs / "go").touch()
        subprocess.run(run.command("restore", "--bundle", b.directory, "--image-path", images, name), check=False, **options)
    assert log.read_text() == "before\nafter\n"


def test_pipes_to_the_outside(bundle, run):
    b = bundle("while read x; do echo got $x; done").write()
    images, name = b.directory / "images", run.new_id()
    feed, stdin = os.pipe()[::-1]
    stdout, output = os.pipe()

    def call(*words, stdin, stdout):
        subprocess.run(run.command(*words, "--bundle", b.directory, name), stdin=stdin, stdout=stdout, stderr=stdout, check=True, timeout=30)

    call("run", "--detach", stdin=stdin, stdout=output)
    os.write(feed, b"one\n")
    assert os.read(stdout, 100) == b"got one\n"
    run("checkpoint", "--image-path", images, name)
    other_feed, other_stdin = os.pipe()[::-1]
    other_stdout, other_output = os.pipe()
    call("restore", "--detach", "--image-path", images, stdin=other_stdin, stdout=other_output)
    os.write(other_feed, b"two\n")
    assert os.read(other_stdout, 100) == b"got two\n"
    for fd in (feed, stdin, stdout, output, other_feed, other_stdin, other_stdout, other_output):
        os.close(fd)


def test_a_terminal_goes_to_the_console_socket(bundle, tmp_path):
    b = bundle("while read x; do echo got $x at $(tty); done", terminal=True)
    listener, second = Listener(tmp_path / "first.sock"), Listener(tmp_path / "second.sock")
    c = b.detached("--console-socket", listener.path)
    os.write(listener.master().fd, b"one\n")
    listener.read("got one at /dev/pts/0")
    save(c)
    restore(b, "--console-socket", second.path)
    os.write(second.master().fd, b"two\n")
    second.read("got two at /dev/pts/0")
    listener.close()
    second.close()


def test_a_terminal_in_the_foreground(bundle, run):
    b = bundle("while read x; do [ $x = end ] && exit 7; echo got $x; done", terminal=True)
    first = b.terminal()
    first.send("one\n").expect("got one")
    run("checkpoint", "--image-path", b.directory / "images", first.id)
    assert first.wait() == 128 + signal.SIGKILL
    second = Terminal(run.command("restore", "--bundle", b.directory, "--image-path", b.directory / "images", first.id), first.id)
    second.send("two\n").expect("got two")
    second.send("end\n")
    assert second.wait() == 7
    assert gone(run, first.id)


def test_restore_in_the_foreground_ends_with_the_program(bundle, run):
    b = bundle("while [ ! -e /go ]; do sleep 0.05; done; echo done; exit 9")
    save(b.detached())
    (b.rootfs / "go").touch()
    result = b.call("restore", "--image-path", b.directory / "images", code=9)
    assert result.out == "done\n"
    assert gone(run, result.id)


# --- cgroups

def test_limits_are_those_of_the_config(bundle):
    b = bundle(COUNTER).set("linux.resources.memory", {"limit": 256 << 20})
    c = b.set("linux.resources.pids.limit", 20).detached()
    goes_on(b)
    save(c)
    b.config["linux"]["resources"]["pids"]["limit"] = 30
    c = restore(b)
    goes_on(b)
    assert limits.memory(c.pid) == str(256 << 20)
    assert limits.limit(c.pid, "pids.max", "pids.max") == "30"
    assert c.id in limits.cgroup_file(c.pid, "pids.max").parent.name
    # The device rules too.
    assert c.exec("sh", "-c", "mknod /zram b 250 0; cat /zram", code=None).code != 0


def test_a_cgroup_namespace_with_its_mount(bundle):
    b = bundle(COUNTER)
    b.config["linux"]["namespaces"].append({"type": "cgroup"})
    c = b.detached()
    goes_on(b)
    save(c)
    c = restore(b)
    goes_on(b)
    assert {line.split(":")[2] for line in c.exec("cat", "/proc/1/cgroup").out.split()} == {"/"}


@pytest.mark.parametrize("mode", ["ignore", "soft", "full", "strict"])
def test_modes_of_managing_cgroups(counter, mode):
    save(counter, "--manage-cgroups-mode", mode)
    c = restore(counter.bundle, "--manage-cgroups-mode", mode)
    goes_on(counter.bundle)
    assert c.id in limits.freezer(c.pid).name


# --- mounts

def test_mounts_from_outside(bundle, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "file").write_text("old")
    b = bundle(COUNTER + " < /file").mount("/data", source=str(tmp_path / "data"), options=["bind", "ro"])
    b.mount("/link/conf", source=str(tmp_path / "data"), options=["rbind"]).mount("/file", source=str(tmp_path / "file"), options=["bind"])
    b.mount("/scratch", type="tmpfs", source="tmpfs")
    (b.rootfs / "real").mkdir()
    (b.rootfs / "link").symlink_to("/real")
    c = b.detached()
    c.exec("sh", "-c", "echo kept > /scratch/here; echo here > /link/conf/there")
    goes_on(b)
    save(c)
    (tmp_path / "file").write_text("new")
    # As on another machine, where the mount points are missing.
    (b.rootfs / "real/conf").rmdir()
    (b.rootfs / "data").rmdir()
    c = restore(b)
    goes_on(b)
    assert c.exec("cat", "/file", "/scratch/here", "/data/there").out == "newkept\nhere\n"
    c.exec("touch", "/data/x", code=1)
    c.exec("touch", "/link/conf/x")
    assert (tmp_path / "data/x").exists()


def test_hidden_paths_stay_hidden(counter):
    save(counter)
    c = restore(counter.bundle)
    look = "wc -c < /proc/timer_list; ls /sys/firmware; echo 1 > /proc/sys/kernel/panic || echo kept"
    assert c.exec("sh", "-c", look).out == "0\nkept\n"


def test_a_read_only_root(bundle):
    b = bundle("i=0; while true; do i=$((i+1)); echo $i > /dev/shm/count; sleep 0.05; done").set("root.readonly", True)
    c = b.detached()
    before = int(until(lambda: c.exec("cat", "/dev/shm/count", code=None).out))
    save(c)
    c = restore(b)
    assert int(c.exec("cat", "/dev/shm/count").out) >= before
    c.exec("touch", "/x", code=1)


# --- namespaces and network

def test_a_network_namespace_that_is_joined(bundle, token):
    subprocess.run(["ip", "netns", "add", token], check=True)
    try:
        b = bundle(COUNTER)
        for space in b.config["linux"]["namespaces"]:
            if space["type"] == "network":
                space["path"] = f"/run/netns/{token}"
        c = b.detached()
        goes_on(b)
        save(c)
        c = restore(b)
        goes_on(b)
        assert os.stat(f"/proc/{c.pid}/ns/net").st_ino == os.stat(f"/run/netns/{token}").st_ino
        c.delete("--force")
    finally:
        subprocess.run(["ip", "netns", "delete", token], check=True)


def test_a_new_network_namespace_is_set_up(bundle):
    b = bundle(COUNTER).set("linux.sysctl", {"net.ipv4.ip_forward": "1"})
    c = b.detached()
    goes_on(b)
    save(c)
    c = restore(b)
    assert "LOOPBACK,UP" in c.exec("ip", "link", "show", "lo").out
    assert c.exec("cat", "/proc/sys/net/ipv4/ip_forward").out == "1\n"


def test_a_user_namespace(bundle):
    b = user_namespace(bundle(COUNTER))
    mask = os.umask(0)  # its root opens stdout itself, both times
    try:
        c = b.detached()
        goes_on(b)
        save(c)
        c = restore(b)
    finally:
        os.umask(mask)
    goes_on(b)
    assert pathlib.Path(f"/proc/{c.pid}/uid_map").read_text().split() == ["0", "100000", "65536"]
    assert c.exec("sh", "-c", "id -u; stat -c %u /proc/1").out == "0\n0\n"


def test_tcp_connections(bundle):
    needs_tcp()
    b = bundle(TALKER)
    c = b.detached()
    until(lambda: len(said(b)) > 3)
    refused = save(c, code=1)
    assert "Connected TCP socket" in refused.err and "dump.log" in refused.err
    assert c.status() == "running"
    talks_on(b)
    save(c, "--tcp-established")
    restore(b, "--tcp-established")
    talks_on(b)


# --- what else is in a container

def test_locks_of_files(bundle):
    b = locker(bundle)
    c = b.detached()
    goes_on(b)
    refused = save(c, code=1)
    assert "lock" in refused.err and "dump.log" in refused.err
    goes_on(b)
    save(c, "--file-locks")
    c = restore(b, "--file-locks")
    goes_on(b)
    c.exec("flock", "-n", "/lock", "true", code=1)


def test_a_file_without_a_name(bundle):
    step = "; sleep 0.05; [ -e /go ] && cat <&4 > /kept && rm /go"
    b = bundle("exec 3>/file 4</file; echo kept >&3; rm /file; " + COUNTER.replace("; sleep 0.05", step))
    c = b.detached()
    goes_on(b)
    save(c, "--link-remap")
    restore(b)
    (b.rootfs / "go").touch()
    until(lambda: (b.rootfs / "kept").exists() and (b.rootfs / "kept").read_text() == "kept\n")


def test_the_socket_for_notifying(bundle, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        directory = os.open(tmp_path, os.O_PATH)
        manager.bind(f"/proc/self/fd/{directory}/notify")
        os.close(directory)
        c = bundle(COUNTER).create(env={**os.environ, "NOTIFY_SOCKET": f"{tmp_path}/notify"})
    c.start()
    goes_on(c.bundle)
    save(c)
    c = restore(c.bundle)
    goes_on(c.bundle)
    assert " /run/notify " in c.exec("cat", "/proc/mounts").out


def test_hooks_see_the_restored_process(bundle, tmp_path):
    b = bundle(COUNTER)
    c = b.detached()
    goes_on(b)
    save(c)
    for kind in ("createRuntime", "poststop"):
        b.set(f"hooks.{kind}", [{"path": "/bin/sh", "args": ["sh", "-c", f"cat > {tmp_path}/{kind}"]}])
    c = restore(b)
    seen = (tmp_path / "createRuntime").read_text()
    assert '"status":"created"' in seen and f'"pid":{c.pid}' in seen and f'"id":"{c.id}"' in seen
    save(c)
    assert '"status":"stopped"' in (tmp_path / "poststop").read_text()


def test_times_are_the_same_for_all_its_processes(counter):
    save(counter)
    c = restore(counter.bundle)
    assert os.stat(f"/proc/{c.pid}/ns/time").st_ino == int(c.exec("stat", "-L", "-c", "%i", "/proc/self/ns/time").out)


def test_memory_on_a_page_server(counter):
    b, port = counter.bundle, free_port()
    images = b.directory / "images"
    images.mkdir()
    words = ["page-server", "--address", "127.0.0.1", "--port", port, "-D", images, "-W", b.directory]
    server = subprocess.Popen(["criu", *words])
    until(lambda: f":{int(port):04X} " in pathlib.Path("/proc/net/tcp").read_text(), what="it listens")
    save(counter, "--page-server", f"127.0.0.1:{port}")
    assert server.wait(30) == 0
    before = counted(b)
    restore(b)
    assert goes_on(b)[0] >= before
