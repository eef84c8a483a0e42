"""Resources."""

import json

from kubernetes.machine import SLOWNESS, soon
from kubernetes.pods import LONG, container


def limits(requests=None, **amounts):
    return {"resources": {"limits": amounts, **({"requests": requests} if requests else {})}}


CLASSES = {
    "Guaranteed": {"limits": {"cpu": "100m", "memory": "64Mi"}},
    "Burstable": {"requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
    "BestEffort": {},
}


def test_qos(pod):
    """QoS classes: the cgroups, the shares of CPU, the limit of memory, oom_score_adj"""
    found = {}
    for name, resources in CLASSES.items():
        p = pod("exec sleep 1000", resources=resources)
        assert p.get()["status"]["qosClass"] == name
        assert f"pod{p.get()['metadata']['uid'].replace('-', '_' if p.cluster.driver == 'systemd' else '-')}" in p.cgroup("memory")
        found[name] = (p.knob("cpu", "cpu.shares", "cpu.weight"), p.knob("memory", "memory.limit_in_bytes", "memory.max"))
        spec = p.info()["runtimeSpec"]["process"]
        assert int(p.sh("cat /proc/1/oom_score_adj")) == spec.get("oomScoreAdj", 0)
    assert found["Guaranteed"][1] == found["Burstable"][1] == str(64 << 20)
    assert found["BestEffort"][1] in ("max", "9223372036854771712")
    assert int(found["Guaranteed"][0]) == int(found["Burstable"][0]) > int(found["BestEffort"][0])


def test_oom(pod):
    """OOMKilled: reason and exit code"""
    # containerd looks at a container's memory some moments after its start: what is over by then it does not see.
    p = pod(f"sleep {SLOWNESS}; exec memeat 100", until="Failed", **limits(memory="32Mi"))
    ended = p.status()["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


def test_oom_of_child(pod):
    """memory runs out in a child of the program: with cgroup v2 the whole container is OOMKilled, with v1 it goes on"""
    p = pod(f"sleep {SLOWNESS}; memeat 100; echo goes on; exec sleep 1000", until=None, **limits(memory="32Mi"))
    if p.cluster.sandbox.has_v1():
        p.ready()
        p.says("goes on")
    else:
        # The kubelet asks for memory.oom.group.
        ended = soon(lambda: p.status()["lastState"].get("terminated"), LONG, "it has ended once")
        assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


def test_oom_in_exec(pod):
    """memory runs out in kubectl exec: exit code 137"""
    p = pod("exec sleep 1000", **limits(memory="32Mi"))
    p.exec("memeat", "100", code=137)


def test_cpu(pod):
    """a limit of CPU throttles"""
    p = pod("while :; do :; done", **limits(cpu="100m"))
    soon(lambda: int(dict(line.split() for line in p.knob("cpu", "cpu.stat", "cpu.stat").splitlines())["nr_throttled"]) > 5, 30, "it is throttled")


def test_pids(pod):
    """podPidsLimit: what forks without end comes to it"""
    p = pod("exec sleep 1000")
    said = p.exec("sh", "-c", "for n in $(seq 300); do sleep 30 & done; echo all", code=None)
    assert "can't fork" in said.err or "Resource temporarily unavailable" in said.err
    assert "all" not in said.out


def resize(p, **amounts):
    """Patches requests and limits of the container; waits until its status has them."""
    patch = {"spec": {"containers": [{"name": "main", "resources": {"limits": amounts, "requests": amounts}}]}}
    p.cluster.kubectl("patch", "pod", p.name, "--subresource=resize", "--patch", json.dumps(patch))
    soon(lambda: p.status()["resources"]["limits"] == amounts, 90, "the status says so")


def test_resize(pod):
    """resize in place: CPU and memory up and down, without a restart"""
    p = pod("exec sleep 1000", **limits(cpu="200m", memory="64Mi"))
    before = p.id()
    for cpu, memory in (("300m", "96Mi"), ("100m", "48Mi")):
        resize(p, cpu=cpu, memory=memory)
        assert int(p.knob("cpu", "cpu.cfs_quota_us", "cpu.max").split()[0]) == int(cpu.rstrip("m")) * 100
        assert p.knob("memory", "memory.limit_in_bytes", "memory.max") == str(int(memory.rstrip("Mi")) << 20)
    assert p.id() == before
    assert p.status()["restartCount"] == 0


def test_resize_restart(pod):
    """resize with resizePolicy RestartContainer"""
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    p = pod("exec sleep 1000", resizePolicy=policy, **limits(memory="64Mi"))
    resize(p, memory="96Mi")
    p.restarted()
    assert p.knob("memory", "memory.limit_in_bytes", "memory.max") == str(96 << 20)


def test_pod_resources(pod):
    """resources of the Pod as a whole"""
    p = pod("exec sleep 1000", spec={"resources": {"limits": {"cpu": "200m", "memory": "64Mi"}}}, more=[container("exec sleep 1000", "other")])
    above = p.cgroup("memory").rpartition("/")[0]
    name = "memory.limit_in_bytes" if p.cluster.sandbox.has_v1() else "memory.max"
    assert p.cluster.sandbox.read(f"{above}/{name}") == str(64 << 20)


def test_empty_dir_evicts(pod):
    """eviction: an emptyDir that outgrows its sizeLimit"""
    volumes = {"data": {"emptyDir": {"sizeLimit": "1Mi"}}}
    p = pod("dd if=/dev/zero of=/data/file bs=1M count=8; exec sleep 1000", volumes=volumes, until="Failed", timeout=150)
    assert p.get()["status"]["reason"] == "Evicted"


def test_ephemeral_storage_evicts(pod):
    """eviction: a container that outgrows its ephemeral-storage"""
    p = pod("dd if=/dev/zero of=/file bs=1M count=8; exec sleep 1000", until="Failed", timeout=150, **limits(**{"ephemeral-storage": "1Mi"}))
    assert p.get()["status"]["reason"] == "Evicted"
