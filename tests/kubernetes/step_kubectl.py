"""What a person does with kubectl in a Pod."""

import fcntl
import json
import struct
import subprocess
import termios
import time

import pytest
from harness import Terminal
from kubernetes.machine import soon
from kubernetes.pods import BUSYBOX


@pytest.fixture
def terminal(cluster):
    """A kubectl on a pty."""
    return lambda *args: Terminal(cluster.sandbox.command("kubectl", *args))


def test_exec_codes(pod):
    """exec: exit codes, stdout and stderr apart, stdin"""
    p = pod("exec sleep 1000")
    done = p.exec("sh", "-c", "echo out; echo err >&2; exit 7", code=7)
    assert done.out == "out"
    assert done.err.startswith("err\n")
    assert p.exec("wc", "-c", options=["-i"], stdin="12345").out == "5"
    assert "executable file not found in $PATH" in p.exec("no-such-program", code=1).err


def test_exec_at_once(pod):
    """exec: 20 at once in one container"""
    p = pod("exec sleep 1000")
    command = p.cluster.sandbox.command("timeout", "80", "kubectl", "exec", p.name, "--", "sh", "-c", "sleep 1; echo done")
    running = [subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) for _ in range(20)]
    assert [(process.communicate()[0], process.returncode) for process in running] == [("done\n", 0)] * 20


def test_exec_big(pod):
    """exec: 8 MiB through stdin and stdout"""
    p = pod("exec sleep 1000")
    text = "0123456789abcde\n" * (8 << 16)
    assert p.exec("cat", options=["-i"], stdin=text).out == text.rstrip("\n")


def test_exec_terminal(pod, terminal):
    """exec -it: lines are straight, the size follows the window, Ctrl-C"""
    p = pod("exec sleep 1000")
    t = terminal("exec", "-it", p.name, "--", "sh")
    t.expect("# ")
    t.send("echo one; echo two\n").expect("one\r\ntwo\r\n")
    resize(t, 33, 101)
    t.send("stty size\n").expect("33 101", 10)
    resize(t, 44, 77)
    time.sleep(0.5)  # kubectl tells the other side of it by and by
    t.send("stty size\n").expect("44 77", 10)
    t.send("sleep 100\n").expect("\n")
    time.sleep(0.5)
    t.send("\x03").expect("# ")
    t.send("exit 5\n")
    assert t.wait() == 5


def resize(terminal, rows, columns):
    fcntl.ioctl(terminal.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def test_attach(pod, terminal):
    """attach -it to a shell"""
    p = pod(["sh"], stdin=True, tty=True)
    t = terminal("attach", "-it", p.name)
    soon(lambda: t.send("echo $((40+2))\n") and "42" in (t._read(0.5), t.text)[1], 20, "the shell answers")
    t.send("exit 0\n")
    t.wait()
    p.restarted()


def test_run(pod, terminal):
    """kubectl run -i --rm: what is piped goes in, what comes out is shown"""
    name = pod.name()
    overrides = f'{{"spec": {{"runtimeClassName": "{pod.runtime}"}}}}'
    flags = ["-i", "--rm", "--quiet", "--restart=Never", f"--image={BUSYBOX}", f"--overrides={overrides}"]
    done = pod.cluster.kubectl("run", name, *flags, "--", "sort", stdin="b\na\n")
    assert done.out.startswith("a\nb")


def test_cp(pod, tmp_path):
    """cp there and back"""
    p = pod("exec sleep 1000")
    (tmp_path / "there").write_bytes(bytes(range(256)) * 4096)
    p.cluster.kubectl("cp", tmp_path / "there", f"{p.name}:/tmp/there")
    p.cluster.kubectl("cp", f"{p.name}:/tmp/there", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "there").read_bytes()


def test_logs_follow(pod):
    """logs -f: as lines are written, to the end; --timestamps, --tail"""
    p = pod("for n in 1 2 3 4 5; do echo line $n; sleep 0.5; done", until=None, spec={"restartPolicy": "Never"})
    soon(lambda: p.logs(), 60, "it writes")
    assert p.logs("-f").splitlines() == [f"line {n}" for n in range(1, 6)]
    assert p.logs("--tail=1", "--timestamps").startswith("20")


def test_logs_long(pod):
    """logs: a line of 100 KB, and the last line without its end"""
    p = pod("head -c 100000 /dev/zero | tr '\\0' x; echo; printf last", until="Succeeded")
    assert p.logs().splitlines() == ["x" * 100000, "last"]


def test_port_forward(pod):
    """port-forward"""
    p = pod("exec httpd -f -p 80 -h /www")
    command = p.cluster.sandbox.command("kubectl", "port-forward", p.name, ":80")
    forward = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        port = forward.stdout.readline().split(" -> ")[0].rpartition(":")[2]
        assert "it works" in p.cluster.sandbox.run("curl", "-sS", f"http://127.0.0.1:{port}/").out
    finally:
        forward.kill()
        forward.wait()
        forward.stdout.close()


def test_debug(pod):
    """debug: an ephemeral container sees the processes of its target"""
    p = pod("exec sleep 1234")
    script = "ps; ls /proc/1/root/www; exec sleep 1000"
    p.cluster.kubectl("debug", p.name, f"--image={BUSYBOX}", "--target=main", "-c", "look", "--", "sh", "-c", script)
    p.says("sleep 1234", "-c", "look")
    p.says("index.html", "-c", "look")


def test_debug_copy(pod):
    """debug --copy-to: a copy of the Pod with another command"""
    p = pod("exec sleep 1000")
    copy = f"{p.name}-copy"
    pod.made.append(("pod", copy))
    p.cluster.kubectl("debug", p.name, f"--copy-to={copy}", "--container=main", "--", "sh", "-c", "echo copied; exec sleep 1000")
    soon(lambda: p.cluster.kubectl("logs", copy, "-c", "main").out == "copied", 60, "the copy runs")


def test_top(pod):
    """the kubelet's summary of the Pod: memory and CPU of its container"""
    p = pod("while :; do :; done", resources={"limits": {"cpu": "200m", "memory": "64Mi"}})

    def found():
        pods = json.loads(p.cluster.kubectl("get", "--raw", "/api/v1/nodes/node/proxy/stats/summary").out)["pods"]
        mine = [one for one in pods if one["podRef"]["name"] == p.name]
        main = mine and [one for one in mine[0].get("containers", []) if one["name"] == "main"]
        return main and main[0].get("memory", {}).get("workingSetBytes") and main[0].get("cpu", {}).get("usageCoreNanoSeconds", 0) > 10**8

    soon(found, 60, "the summary has it")
