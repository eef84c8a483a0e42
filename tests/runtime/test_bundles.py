"""Every example bundle does what its README says, by the commands that stand there."""

import json
import shutil
import subprocess

import pytest
from harness import PROJECT, Terminal, read, until

BUNDLES = sorted(path.parent.name for path in PROJECT.glob("bundles/*/config.json"))


class Checkout:
    """A copy of bundles/ with a `build/pyrun` beside it that keeps its state with the test's."""

    def __init__(self, run, directory):
        self.directory = directory
        ignored = shutil.ignore_patterns("rootfs", "file", "events.log")
        shutil.copytree(PROJECT / "bundles", directory / "bundles", ignore=ignored)
        for path in directory.glob("bundles/*/config.json"):
            # Nothing but the id tells the container's cgroup from that of the same bundle run by someone else.
            config = json.loads(path.read_text())
            config["linux"]["cgroupsPath"] = f"/{run.new_id()}"
            path.write_text(json.dumps(config, indent=2))
        (directory / "build").mkdir()
        wrapper = directory / "build/pyrun"
        wrapper.write_text(f'#!/bin/sh\nexec {run.program} --root {run.root} "$@"\n')
        wrapper.chmod(0o755)

    def sh(self, script, *prefix):
        """Runs a shell script in the checkout; returns its stdout."""
        out, err = self.directory / "out", self.directory / "err"
        with open(out, "wb") as stdout, open(err, "wb") as stderr:  # files: a detached container keeps them open
            done = subprocess.run(
                [*prefix, "sh", "-e", "-c", script],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                timeout=60,
                check=False,
            )
        assert done.returncode == 0, f"{script}\n{read(out)}\n{read(err)}"
        return read(out)

    def readme(self, bundle, *prefix):
        """Runs the commands of a bundle's README."""
        lines = (self.directory / "bundles" / bundle / "README.md").read_text().splitlines()
        script, inside = [], False
        for line in lines:
            if line.startswith("```"):
                inside = line == "```sh"
            elif inside:
                script.append(line)
        assert script
        return self.sh("\n".join(script), *prefix)


@pytest.fixture
def checkout(run, tmp_path):
    return Checkout(run, tmp_path)


def test_there_are_bundles():
    assert {"hello", "shell", "inotify-logger", "httpd", "limits"} <= set(BUNDLES)


@pytest.mark.parametrize("name", BUNDLES)
def test_each_bundle_has_a_line_in_the_readmes(name):
    assert f"`{name}`" in (PROJECT / "README.md").read_text()
    assert (PROJECT / "bundles" / name / "README.md").read_text().startswith(f"# {name}\n")


def test_hello_shows_that_it_is_a_container(checkout):
    out = checkout.readme("hello")
    assert "my pid is 1." in out
    assert "hostname: hello\n" in out
    assert "  /proc  (proc)\n" in out
    assert "  /dev/pts  (devpts)\n" in out
    processes = out.partition("processes:\n")[2].partition("mounts:")[0].splitlines()
    assert len(processes) == 3, "header, the shell script and its ps: no process of the host"


def test_hello_ends_quietly_when_its_reader_does(checkout):
    checkout.sh("bundles/rootfs.sh hello")
    out = checkout.sh("build/pyrun run bundles/hello | head -1; echo done >&2")
    assert out.startswith("Hello from a container.") and out.count("\n") == 1
    assert read(checkout.directory / "err") == "done\n"


def test_shell_is_interactive(checkout):
    checkout.sh("bundles/rootfs.sh shell")
    shell = Terminal([str(checkout.directory / "build/pyrun"), "run", str(checkout.directory / "bundles/shell")])
    shell.expect("shell:/# ")
    shell.send("echo pid $$ on $(tty)\n").expect("pid 1 on /dev/pts/0")
    shell.send("exit 3\n")
    assert shell.wait() == 3


def test_inotify_logger_by_its_readme(checkout):
    out = checkout.readme("inotify-logger")
    assert "CREATE file\n" in out


def test_inotify_logger_sees_its_directory_read_only_and_ends_on_sigterm(checkout, run):
    checkout.sh("bundles/rootfs.sh inotify-logger")
    bundle = checkout.directory / "bundles/inotify-logger"
    name, pid_file = run.new_id(), checkout.directory / "pid"
    result = run("run", "--detach", "--bundle", bundle, "--pid-file", pid_file, name)
    until(lambda: "watching /watched\n" in read(result.out_path), what="it watches")

    (bundle / "watched/a b\n").write_text("x")
    (bundle / "watched/dir").mkdir()
    events = until(lambda: (text := read(bundle / "log/events.log")).endswith("CREATE,ISDIR dir\n") and text)
    assert "Z CREATE a\\x20b\\x0a\n" in events
    assert "Z CLOSE_WRITE a\\x20b\\x0a\n" in events

    assert "Read-only file system" in run("exec", name, "touch", "/watched/x", code=1).err
    run("kill", name, "TERM")
    until(lambda: '"stopped"' in run("state", name).out, what="it ends")
    run("delete", name)


def test_httpd_is_reached_through_its_veth_pair(checkout):
    # The host's end of the pair lies in a network namespace of this test's own.
    out = checkout.readme("httpd", "unshare", "--net")
    assert out == "<h1>Hello from a container</h1>\n"
    assert not (checkout.directory / "httpd.pid").exists()


def test_httpd_takes_addresses_that_the_host_has_not(checkout):
    """Neither those of a route that covers a subnet, nor those of one that leads to a part of it."""
    script = """
    unshare --net sleep 100 & pid=$!
    trap "kill $pid" EXIT
    ip link set lo up
    ip route add default dev lo
    ip addr add 10.213.0.1/23 dev lo
    ip route add 10.213.2.3/32 dev lo
    until [ "$(readlink /proc/$pid/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do :; done
    address=$(bundles/httpd/network.sh $pid)
    busybox ping -c 1 -W 5 $address >/dev/null
    ip link del veth-httpd
    echo $address
    """
    assert checkout.sh(script, "unshare", "--net") == "10.213.3.2\n"


def test_limits_hold(checkout):
    out = checkout.readme("limits").splitlines()
    assert [line.split(":")[:2] for line in out] == [
        ["holds", " pids"],
        ["holds", " memory"],
        ["holds", " memory"],
        ["holds", " cpu"],
    ]
