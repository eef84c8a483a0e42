"""Probes, hooks, and how a Pod ends."""

import re

from kubernetes.machine import soon
from kubernetes.pods import AGNHOST

SOON = {"periodSeconds": 1, "failureThreshold": 1}


def is_ready(p):
    return p.status()["ready"]


def test_exec_readiness(pod):
    """exec probe: readiness comes and goes"""
    p = pod("exec sleep 1000", until=None, readinessProbe={"exec": {"command": ["cat", "/tmp/ready"]}, **SOON})
    soon(lambda: p.status()["started"], 60, "it runs")
    assert not is_ready(p)
    p.sh("touch /tmp/ready")
    p.ready()
    p.sh("rm /tmp/ready")
    soon(lambda: not is_ready(p), 30, "it is no longer ready")


def test_exec_liveness(pod):
    """exec probe: liveness that fails restarts the container"""
    p = pod("touch /tmp/alive; sleep 3; rm /tmp/alive; exec sleep 1000", livenessProbe={"exec": {"command": ["cat", "/tmp/alive"]}, **SOON})
    p.restarted()


def test_exec_probe_timeout(pod):
    """exec probe: one that lasts longer than timeoutSeconds fails, and its processes do not pile up"""
    probe = {"exec": {"command": ["sleep", "77"]}, "timeoutSeconds": 1, "periodSeconds": 2}
    p = pod("exec sleep 1000", until=None, readinessProbe=probe)
    soon(lambda: re.search(r"x[3-9] over .*timed out", p.cluster.kubectl("describe", "pod", p.name).out), 60, "an event says so, three times")
    assert not is_ready(p)
    assert p.sh("ps | grep -c '[s]leep 77' || true") in ("0", "1")


def test_startup(pod):
    """startup probe: the others wait for it"""
    failing = {"exec": {"command": ["false"]}, **SOON}
    p = pod("sleep 4; touch /tmp/up; exec sleep 1000", until=None, livenessProbe={**failing, "exec": {"command": ["cat", "/tmp/up"]}},
            startupProbe={"exec": {"command": ["cat", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 60})  # fmt: skip
    p.ready()
    assert p.status()["restartCount"] == 0


def test_http(pod):
    """HTTP probe, and liveness that restarts"""
    probe = {"httpGet": {"path": "/index.html", "port": 80}, **SOON}
    p = pod("httpd -p 80 -h /www; exec sleep 1000", readinessProbe=probe, livenessProbe={**probe, "failureThreshold": 3})
    p.sh("killall httpd")
    p.restarted()
    p.ready()


def test_tcp(pod):
    """TCP probe"""
    p = pod("exec httpd -f -p 80 -h /www", readinessProbe={"tcpSocket": {"port": 80}, **SOON})
    assert is_ready(p)


def test_grpc(pod):
    """gRPC probe: readiness comes and goes"""
    p = pod(["/agnhost", "grpc-health-checking"], image=AGNHOST, readinessProbe={"grpc": {"port": 5000}, **SOON})
    pod("exec sleep 1000").sh(f"wget -q -O - http://{p.ip()}:8080/make-not-serving")
    soon(lambda: not is_ready(p), 30, "it is no longer ready")


def test_post_start(pod):
    """postStart: the Pod is ready when the hook has ended"""
    p = pod("exec sleep 1000", lifecycle={"postStart": {"exec": {"command": ["sh", "-c", "sleep 1; echo hook >/tmp/hook"]}}})
    assert p.sh("cat /tmp/hook") == "hook"


def test_post_start_fails(pod):
    """postStart that fails: the container is killed and started again"""
    p = pod("exec sleep 1000", until=None, lifecycle={"postStart": {"exec": {"command": ["false"]}}})
    soon(lambda: "PostStartHookError" in p.cluster.kubectl("describe", "pod", p.name).out, 60, "an event says so")


def on_node(path):
    return {"data": {"hostPath": {"path": str(path)}}}


def test_pre_stop(pod, evidence):
    """preStop runs, then SIGTERM comes, then the Pod is gone"""
    script = 'trap "echo term >>/data/order; exit 0" TERM; while :; do sleep 0.1; done'
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "sleep 1; echo hook >>/data/order"]}}}
    p = pod(script, lifecycle=hook, spec={"terminationGracePeriodSeconds": 20}, volumes=on_node(evidence))
    p.delete()
    p.gone(20)
    assert (evidence / "order").read_text() == "hook\nterm\n"


def test_graceful(pod, evidence):
    """graceful end: SIGTERM, and the time that the program takes"""
    script = 'trap "sleep 2; echo finished >/data/order; exit 0" TERM; while :; do sleep 0.1; done'
    p = pod(script, spec={"terminationGracePeriodSeconds": 30}, volumes=on_node(evidence))
    p.delete()
    p.gone(25)
    assert (evidence / "order").read_text() == "finished\n"


def test_kill_after_grace(pod):
    """a program that ignores SIGTERM is killed after its grace period"""
    p = pod('trap "" TERM; while :; do sleep 0.2; done', spec={"terminationGracePeriodSeconds": 2})
    p.delete()
    p.gone(25)


def test_force(pod):
    """delete --force --grace-period=0"""
    p = pod("sleep 1000")
    pid = p.pid()
    p.delete("--force", "--grace-period=0")
    p.gone(20)
    soon(lambda: p.cluster.sandbox.run("test", "-d", f"/proc/{pid}", code=None).code == 1, 40, "its process is gone")


def test_active_deadline(pod):
    """activeDeadlineSeconds"""
    p = pod("exec sleep 1000", until="Failed", spec={"activeDeadlineSeconds": 3})
    assert p.get()["status"]["reason"] == "DeadlineExceeded"


def test_termination_message(pod):
    """terminationMessagePath, and the log's end in its place"""
    p = pod("echo reason >/dev/termination-log; exit 5", until="Failed")
    ended = p.status()["state"]["terminated"]
    assert (ended["exitCode"], ended["message"], ended["reason"]) == (5, "reason\n", "Error")
    p = pod("echo from the log; exit 6", until="Failed", terminationMessagePolicy="FallbackToLogsOnError")
    assert p.status()["state"]["terminated"]["message"] == "from the log\n"


def test_killed_by_signal(pod):
    """a program killed by a signal: exit code 128+N"""
    # Not of the first process: that of a pid namespace gets no signal from inside that it has no handler for.
    # Kubernetes makes $ of $$.
    p = pod("sh -c 'kill -USR1 $$$$'; exit $?", until="Failed")
    assert p.status()["state"]["terminated"]["exitCode"] == 138
