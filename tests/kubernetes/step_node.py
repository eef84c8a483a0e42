"""What happens to a node under Pods."""

import json
import os
import time

import pytest
from kubernetes.machine import soon
from kubernetes.step_workloads import deployment


def alive(pod, p, before):
    """The same container runs on, and is served."""
    soon(lambda: p.exec("echo", "hi").out == "hi", 60, "exec works")
    assert (p.id(), p.pid(), p.status()["restartCount"]) == before
    p.printed("here")
    q = pod("echo new; exec sleep 1000")
    q.printed("new")


def test_kubelet_restarts(pod, cluster):
    """the kubelet restarts: Pods live on, new ones start"""
    p = pod("echo here; exec sleep 1000")
    before = (p.id(), p.pid(), 0)
    cluster.restart("kubelet")
    alive(pod, p, before)


def test_containerd_restarts(pod, cluster):
    """containerd restarts: Pods live on, exec, logs and delete work"""
    p = pod("echo here; exec sleep 1000")
    before = (p.id(), p.pid(), 0)
    cluster.restart("containerd")
    alive(pod, p, before)
    p.delete()
    p.gone(60)


def test_ended_meanwhile(pod, cluster):
    """a container ends while kubelet and containerd are down: it is seen, and started again"""
    p = pod("exec sleep 1000")
    pid = p.pid()
    arguments = {name: cluster.stop(name) for name in ("kubelet", "containerd")}
    cluster.sandbox.run("kill", "-9", pid)
    for name in ("containerd", "kubelet"):
        cluster.start(name, *arguments[name])
    # containerd's word for an end that it has not seen.
    assert p.restarted()["lastState"]["terminated"]["exitCode"] == 255


def test_killed_behind(pod, cluster):
    """a container's process is killed behind the back of all: exit code 137, started again"""
    p = pod("exec sleep 1000")
    cluster.sandbox.run("kill", "-9", p.pid())
    assert p.restarted()["lastState"]["terminated"]["exitCode"] == 137


def test_sandbox_killed(pod, cluster):
    """the Pod's pause process is killed: a new sandbox, and the containers in it"""
    p = pod("exec sleep 1000")
    sandbox = p.info()["sandboxID"]
    cluster.sandbox.run("kill", "-9", json.loads(cluster.crictl("inspectp", sandbox).out)["info"]["pid"])
    soon(lambda: p.status()["restartCount"] >= 1 and p.status()["ready"], 90, "it runs again")
    assert p.info()["sandboxID"] != sandbox
    assert p.exec("echo", "hi").out == "hi"


def test_shim_killed(pod, cluster):
    """containerd's shim is killed: what it held is cleared away, and the Pod runs again"""
    p = pod("exec sleep 1000")
    pid, sandbox = p.pid(), p.info()["sandboxID"]
    cluster.sandbox.run("pkill", "-9", "-f", f"[c]ontainerd-shim.*{sandbox}")
    soon(lambda: p.status()["restartCount"] >= 1 and p.status()["ready"], 120, "it runs again")
    assert p.exec("echo", "hi").out == "hi"
    assert cluster.sandbox.run("test", "-d", f"/proc/{pid}", code=None).code == 1


def processors(p):
    """The numbers of those that a process in it may use."""
    ranges = [part.split("-") for part in p.sh("grep ^Cpus_allowed_list /proc/self/status").split()[1].split(",")]
    return {number for ends in ranges for number in range(int(ends[0]), int(ends[-1]) + 1)}


def test_cpu_manager(pod, cluster):
    """the kubelet's static CPU manager: a whole processor for one Pod, and the others are moved off it while they run"""
    if os.cpu_count() < 2:
        pytest.skip("it takes two processors")
    with cluster.kubelet(cpuManagerPolicy="static", reservedSystemCPUs="0"):
        others = pod("exec sleep 1000")
        p = pod("exec sleep 1000", resources={"limits": {"cpu": "1", "memory": "64Mi"}})
        (mine,) = processors(p)
        soon(lambda: mine not in processors(others), 60, "the others are moved")
        p.delete("--now")
        p.gone()
        soon(lambda: mine in processors(others), 60, "the others may use it again")


def test_100_pods(pod, cluster):
    """100 Pods at once, and all deleted at once"""
    name = pod.name()
    begin = time.monotonic()
    deployment(pod, name, 100)
    soon(lambda: cluster.kubectl("get", "deployment", name, "-o", "jsonpath={.status.readyReplicas}").out == "100", 600, "100 are ready")
    ready = time.monotonic()
    cluster.kubectl("scale", f"deployment/{name}", "--replicas=0")
    soon(lambda: not cluster.kubectl("get", "pods", "-l", f"app={name}", "-o", "name").out, 600, "all are gone")
    print(f"{pod.runtime}: ready after {ready - begin:.0f} s, gone after {time.monotonic() - ready:.0f} s")


def test_nothing_left(runtime, cluster):
    """when all Pods are deleted, no container, cgroup, mount or state file of the runtime is left"""
    cluster.kubectl("delete", "pods", "--all", "--now")
    soon(lambda: not cluster.ctr("containers", "list", "-q").out, 120, "all containers are gone")
    # containerd's shim calls the runtime with this root.
    # A hidden directory is pyrun's cache of seccomp filters.
    assert not cluster.sandbox.shell("find /run/containerd/runc -mindepth 2 -not -path '*/.*'").out
    assert cluster.sandbox.shell(f"grep -c '{cluster.directory}/containerd/run.*rootfs' /proc/mounts || true").out == "0"
    # The kubelet's own cgroups alone: those of others go while they are looked at.
    name = "kubepods.slice" if cluster.driver == "systemd" else cluster.sandbox.cgroup
    script = f"for d in /sys/fs/cgroup/{name} /sys/fs/cgroup/*/{name}; do [ ! -d $d ] || find $d -name '*pod[0-9a-f]*' -type d; done"
    assert not cluster.sandbox.shell(script).out
