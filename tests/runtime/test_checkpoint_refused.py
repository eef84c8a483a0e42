"""checkpoint and restore that fail: why, in one line, and nothing stays of them."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess

import pytest
from checkpoints import COUNTER, goes_on, gone, locker, needs_criu, restore, save
from harness import Runner, until

assert needs_criu
needs_saved = pytest.mark.usefixtures("needs_criu")


@pytest.fixture
def images(tmp_path):
    """A directory that could hold a checkpoint."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images/descriptors.json").write_text('["", "", ""]')
    return tmp_path / "images"


def test_a_container_that_does_not_run(bundle, run, tmp_path):
    c = bundle("sleep 100").create()
    assert "Container cannot be checkpointed in created state" in save(c, code=1).err
    c.kill("KILL")
    c.wait()
    assert "Container cannot be checkpointed in stopped state" in save(c, code=1).err
    assert not (c.bundle.directory / "images").exists()
    assert "container does not exist" in run("checkpoint", "nobody", code=1).err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--manage-cgroups-mode", "hard"), "invalid manage-cgroups-mode value: hard"),
        (("--empty-ns", "pid"), 'namespace "pid" is not supported'),
        (("--page-server", "nowhere"), "Use --page-server ADDRESS:PORT to specify page server"),
        (("--page-server", ":70"), "Use --page-server ADDRESS:PORT to specify page server"),
        (("--page-server", "[::1]:x"), "Invalid port number"),
        (("--parent-path", "/tmp"), "--parent-path must be relative"),
        (("--parent-path", "../none"), "invalid --parent-path: "),
        (("--status-fd", "0"), "invalid --status-fd argument 0: not writable"),
        (("--status-fd", "77"), "invalid --status-fd argument 77: bad file descriptor"),
        (("--image-path", "/dev/null/x"), "--image-path /dev/null/x: not a directory"),
        (("--work-path", "/dev/null"), "--work-path /dev/null: not a directory"),
    ],
)
def test_options_that_cannot_be(bundle, flags, words):
    if shutil.which("criu") is None and flags[0] not in ("--manage-cgroups-mode", "--empty-ns", "--page-server", "--status-fd"):
        pytest.skip("criu is not installed: that is said first")
    c = bundle("sleep 100").detached()
    assert words in save(c, *flags, code=1, stdin="").err
    assert c.status() == "running"


def test_without_criu(bundle, run, tmp_path, images):
    """With what is named criu on this machine covered."""
    program = tmp_path / "pyrun"
    hide = "for f in /usr/sbin/criu /usr/local/sbin/criu; do [ ! -e $f ] || mount --bind /dev/null $f; done"
    program.write_text(f"#!/bin/sh\nexec unshare --mount sh -c '{hide}; PATH=/usr/bin:/bin exec {run.program} \"$@\"' pyrun \"$@\"\n")
    program.chmod(0o755)
    without = Runner(str(program), tmp_path / "other", run.token)
    without.directory.mkdir()
    without.root = run.root
    c = bundle("sleep 100").detached()
    assert without("checkpoint", c.id, code=1).err.startswith("pyrun: checkpoint: criu is not installed (it is not in $PATH): install")
    assert "restore: criu is not installed" in without("restore", "--bundle", c.bundle.directory, "--image-path", images, "box", code=1).err
    assert c.status() == "running"


def test_images_that_are_not_there(bundle, run, tmp_path):
    if shutil.which("criu") is None:
        pytest.skip("criu is not installed: that is said first")
    b = bundle(COUNTER)
    refused = b.call("restore", "--image-path", tmp_path / "none", code=1)
    assert f"--image-path {tmp_path}/none: no such file or directory" in refused.err
    (tmp_path / "none").mkdir()
    refused = b.call("restore", "--image-path", tmp_path / "none", code=1)
    assert f"there is no checkpoint: {tmp_path}/none/descriptors.json: no such file or directory" in refused.err
    assert gone(run, refused.id)


def test_images_that_criu_cannot_use(bundle, run, images):
    """Where criu cannot do anything at all, it says so here as well."""
    if shutil.which("criu") is None:
        pytest.skip("criu is not installed: that is said first")
    refused = bundle(COUNTER).call("restore", "--detach", "--image-path", images, code=1)
    (line,) = refused.err.splitlines()
    assert line.startswith("pyrun: criu failed") and f"(see {images}/restore.log" in line and "Error (" in line
    assert gone(run, refused.id)


def test_a_mount_with_mapped_ids(bundle, run, images, tmp_path):
    if shutil.which("criu") is None:
        pytest.skip("criu is not installed: that is said first")
    maps = [{"containerID": 0, "hostID": 5000, "size": 10}]
    b = bundle("sleep 100").mount("/data", source=str(tmp_path), options=["bind"], uidMappings=maps, gidMappings=maps)
    refused = b.call("restore", "--image-path", images, code=1)
    assert "mounts[7]: criu cannot restore a mount with mapped ids" in refused.err
    assert gone(run, refused.id)


def test_a_console_socket_without_a_terminal(bundle, images, tmp_path):
    words = "cannot use console socket if pyrun will not detach or allocate tty"
    assert words in bundle("true").call("restore", "--console-socket", tmp_path / "x", "--image-path", images, code=1).err


@needs_saved
def test_a_name_that_is_taken(bundle):
    c = bundle(COUNTER).detached()
    goes_on(c.bundle)
    save(c, "--leave-running")
    refused = c.bundle.call("restore", "--image-path", c.bundle.directory / "images", container_id=c.id, code=1)
    assert "container with given ID already exists" in refused.err
    assert c.status() == "running"


@needs_saved
@pytest.mark.parametrize("name", ["core-1.img", "pagemap-1.img", "mountpoints-*.img"])
def test_a_damaged_checkpoint(bundle, run, name):
    b = bundle(COUNTER)
    c = b.detached()
    goes_on(b)
    save(c)
    for path in (b.directory / "images").glob(name):
        path.write_bytes(path.read_bytes()[:20])
    refused = b.call("restore", "--detach", "--image-path", b.directory / "images", code=1)
    assert "criu failed" in refused.err and f"{b.directory}/images/restore.log" in refused.err
    assert gone(run, refused.id)


@needs_saved
@pytest.mark.parametrize("flags", [(), ("--shell-job",)])
def test_the_terminal_of_the_caller(bundle, run, flags):
    """It would be saved, and could not be restored: criu looks for it among the container's mounts."""
    terminal = bundle("while read x; do [ $x = end ] && exit 7; echo got $x; done").terminal()
    terminal.send("one\n").expect("got one")
    refused = run("checkpoint", *flags, "--image-path", run.directory / "images", terminal.id, code=1)
    assert "criu cannot bring back /dev/pts/" in refused.err and "process.terminal" in refused.err
    terminal.send("two\n").expect("got two")
    terminal.send("end\n")
    assert terminal.wait() == 7


@needs_saved
def test_another_file_as_stdout(bundle, run):
    b = bundle("echo before; " + COUNTER)
    c = b.detached()
    until(lambda: c.out == "before\n")
    save(c)
    refused = b.call("restore", "--detach", "--image-path", b.directory / "images", code=1)
    assert "has bad size 0 (expect 7)" in refused.err and "must be the one that the container had: append to it)" in refused.err
    assert gone(run, refused.id)


@needs_saved
def test_a_hook_that_fails(bundle, run, leftovers, tmp_path):
    b = bundle(COUNTER)
    c = b.detached()
    goes_on(b)
    save(c)
    c.wait()
    b.set("hooks.createRuntime", [{"path": "/bin/sh", "args": ["sh", "-c", "echo no such luck; exit 3"]}])
    b.set("hooks.poststop", [{"path": "/bin/sh", "args": ["sh", "-c", f"cat > {tmp_path}/poststop"]}])
    refused = b.call("restore", "--detach", "--image-path", b.directory / "images", code=1)
    assert "error running createRuntime hook #0: " in refused.err and "no such luck" in refused.err
    assert gone(run, refused.id) and leftovers() == []
    assert '"status":"stopped"' in (tmp_path / "poststop").read_text()
    b.config["hooks"] = {}
    restore(b)
    goes_on(b)


@needs_saved
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal(bundle, run, leftovers, tmp_path, number):
    b = bundle(COUNTER)
    c = b.detached()
    goes_on(b)
    save(c)
    c.wait()
    b.set("hooks.createRuntime", [{"path": "/bin/sh", "args": ["sh", "-c", f"touch {tmp_path}/hook; exec sleep 100"]}]).write()
    name, pid_file = run.new_id(), tmp_path / "pid"
    words = ["restore", "--bundle", b.directory, "--image-path", b.directory / "images", "--pid-file", pid_file, name]
    process = subprocess.Popen(run.command(*words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    until((tmp_path / "hook").exists)
    os.kill(process.pid, number)
    assert f"interrupted by signal {number}" in process.communicate(timeout=20)[1]
    assert process.returncode == 128 + number
    assert gone(run, name) and leftovers() == [] and not pid_file.exists()


@pytest.fixture
def halted(bundle, run, tmp_path):
    """halted(STAGE): a container that counts, and its `checkpoint` (Popen, in a process group of its own), which criu has brought to a stage.

    go_on(): criu does.
    """
    script, reached, go = tmp_path / "script", tmp_path / "reached", tmp_path / "go"
    here = f"[ $CRTOOLS_SCRIPT_ACTION = $(cat {tmp_path}/stage) ]"
    script.write_text(f"#!/bin/sh\n{here} || exit 0\ntouch {reached}; until [ -e {go} ]; do sleep 0.01; done\n")
    script.chmod(0o755)
    (tmp_path / "criu.conf").write_text(f"action-script {script}\n")

    def halt(stage):
        (tmp_path / "stage").write_text(stage)
        c = bundle(COUNTER).set("annotations", {"org.criu.config": str(tmp_path / "criu.conf")}).detached()
        goes_on(c.bundle)
        words = run.command("checkpoint", "--image-path", c.bundle.directory / "images", c.id)
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, process_group=0)
        until(lambda: reached.exists() or process.poll() is not None)
        if not reached.exists():
            said = process.communicate()[1]
            assert "BUG at criu/action-scripts.c" in said
            pytest.skip("this criu (3.17, say) ends when it is to run a script of its configuration and to tell its caller too")
        return c, process

    yield halt, go.touch
    go.touch()


def criu_of(directory):
    """Pids of criu whose images are there."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (path / "comm").read_text() == "criu\n" and any(os.readlink(file).startswith(str(directory)) for file in (path / "fd").iterdir()):
                found.append(int(path.name))
    return found


@needs_saved
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_it_is_saved(halted, number):
    """To all of the process group, as the terminal sends it. criu undoes what it did, and the container runs on."""
    halt, go_on = halted
    c, process = halt("network-lock")
    os.killpg(process.pid, number)
    go_on()
    assert process.communicate(timeout=20)[1] == f"pyrun: interrupted by signal {number}\n" and process.returncode == 128 + number
    assert c.status() == "running" and not criu_of(c.bundle.directory)
    goes_on(c.bundle)
    save(c)


@needs_saved
def test_a_signal_when_it_is_saved(halted, run):
    halt, go_on = halted
    c, process = halt("post-dump")
    os.killpg(process.pid, signal.SIGTERM)
    go_on()
    assert process.communicate(timeout=20)[1] == "" and process.returncode == 0
    assert gone(run, c.id)
    goes_on(restore(c.bundle).bundle)


@needs_saved
def test_killed_while_it_is_saved(halted):
    """criu does not go on without us, and the container runs on."""
    halt, go_on = halted
    c, process = halt("network-lock")
    process.kill()
    process.wait()
    process.stderr.close()
    go_on()
    until(lambda: not criu_of(c.bundle.directory), what="criu ends")
    assert c.status() == "running"
    goes_on(c.bundle)
    save(c)


@needs_saved
def test_a_container_that_cannot_be_saved_runs_on(bundle, run, tmp_path):
    b = locker(bundle)
    c = b.detached()
    goes_on(b)
    refused = save(c, "--work-path", tmp_path / "work", code=1)
    assert "Error (" in refused.err and f"(see {tmp_path}/work/dump.log)" in refused.err
    assert c.status() == "running"
    goes_on(b)
    assert not (b.directory / "images/dump.log").exists()
