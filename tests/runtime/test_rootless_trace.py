"""pyrun trace for an ordinary user: what it takes of ptrace(2) is what init's user namespace gives."""

import json
import pathlib
import signal
import subprocess

import pytest
from harness import read, until


@pytest.fixture
def run(user, pyrun, tmp_path, token):
    return user.runner(pyrun, tmp_path, token)


@pytest.fixture
def bundle(user, run, rootfs):
    return user.bundles(run, rootfs)


def test_a_bundle(bundle, run):
    b = bundle("cat /etc/passwd | head -1; sh -c 'exec mount -t tmpfs none /proc' || exit 4").write()
    report, profile = run.directory / "report.json", run.directory / "profile.json"
    done = run("trace", "--format", "json", "--output", report, "--seccomp", profile, b.directory, code=4)
    found = json.loads(report.read_text())
    assert done.out == "root:x:0:0:root:/root:/bin/sh\n"
    assert "/etc/passwd" in {entry["path"] for entry in found["files"]}
    b.set("linux.seccomp", json.loads(profile.read_text()))
    assert b.run(code=4).out == done.out


def test_a_running_container(bundle, run):
    c = bundle("while :; do cat /etc/passwd > /tmp/copy; sleep 0.02; done").detached()
    out = run.directory / "out"
    with open(out, "wb") as file:
        tracer = subprocess.Popen(run.command("trace", "--format", "json", c.id), stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.PIPE)
    until(lambda: f"TracerPid:\t{tracer.pid}\n" in read(pathlib.Path(f"/proc/{c.pid}/status")))
    until(lambda: c.status() == "running")
    tracer.send_signal(signal.SIGINT)
    _, err = tracer.communicate(timeout=20)
    assert (tracer.returncode, err) == (0, b"") and json.loads(read(out))["syscalls"] is not None
    assert c.status() == "running"
    c.delete("--force")
