"""Pods, and what makes Pods."""

import json

from kubernetes.machine import soon
from kubernetes.pods import container, mount


def test_pod(pod):
    """a Pod with runtimeClassName is Ready; logs, exec"""
    p = pod("echo hello; exec sleep 1000")
    p.printed("hello")
    assert p.exec("echo", "hi").out == "hi"
    assert p.get()["spec"]["runtimeClassName"] == pod.runtime
    assert p.info()["runtimeOptions"]["binary_name"] == pod.cluster.runtimes[pod.runtime]


def test_deployment(pod):
    """a Deployment scaled to 20 and back to 1"""
    name = pod.name()
    kubectl = pod.cluster.kubectl
    deployment(pod, name, 1)

    def count():
        return kubectl("get", "deployment", name, "-o", "jsonpath={.status.readyReplicas}").out

    soon(lambda: count() == "1", 60, "1 is ready")
    kubectl("scale", f"deployment/{name}", "--replicas=20")
    soon(lambda: count() == "20", 180, "20 are ready")
    kubectl("scale", f"deployment/{name}", "--replicas=1")
    soon(lambda: len(kubectl("get", "pods", "-l", f"app={name}", "-o", "name").out.splitlines()) == 1, 180, "1 is left")
    assert count() == "1"


def deployment(pod, name, replicas, command="exec sleep 1000"):
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod.spec(container(command))}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return pod.make("Deployment", name, "apps/v1", spec=spec)


def test_rollout(pod):
    """a Deployment's rolling update"""
    name = pod.name()
    deployment(pod, name, 3)
    pod.cluster.kubectl("rollout", "status", f"deployment/{name}", "--timeout=80s")
    deployment(pod, name, 3, "echo second; exec sleep 1000")
    pod.cluster.kubectl("rollout", "status", f"deployment/{name}", "--timeout=80s")
    # Those that have not ended yet may be asked first.
    soon(lambda: pod.cluster.kubectl("logs", f"deployment/{name}").out == "second", 60, "the second one is asked")


def test_job(pod):
    """a Job: 6 completions, 3 at a time"""
    template = {"spec": pod.spec(container("echo done"), restartPolicy="Never")}
    name = pod.make("Job", pod.name(), "batch/v1", spec={"completions": 6, "parallelism": 3, "template": template})
    pod.cluster.kubectl("wait", "--for=condition=Complete", f"job/{name}", "--timeout=85s")
    assert pod.cluster.get("job", name)["status"]["succeeded"] == 6


def test_job_fails(pod):
    """a Job that fails gives up after its backoffLimit"""
    template = {"spec": pod.spec(container("exit 3"), restartPolicy="Never")}
    name = pod.make("Job", pod.name(), "batch/v1", spec={"backoffLimit": 1, "template": template})
    pod.cluster.kubectl("wait", "--for=condition=Failed", f"job/{name}", "--timeout=85s")
    exits = "jsonpath={.items[*].status.containerStatuses[*].state.terminated.exitCode}"
    assert pod.cluster.kubectl("get", "pods", "-l", f"job-name={name}", "-o", exits).out == "3 3"


def test_cronjob(pod):
    """a CronJob of each minute"""
    template = {"spec": {"template": {"spec": pod.spec(container("echo tick"), restartPolicy="Never")}}}
    name = pod.make("CronJob", pod.name(), "batch/v1", spec={"schedule": "* * * * *", "jobTemplate": template})
    soon(lambda: pod.cluster.get("cronjob", name)["status"].get("lastSuccessfulTime"), 100, "it has run")


def test_init_containers(pod):
    """init containers, one after the other, before the others"""
    first = container("sleep 1; echo first >>/share/order", "first", volumeMounts=[mount("share")])
    second = container("echo second >>/share/order", "second", volumeMounts=[mount("share")])
    p = pod("cat /share/order; exec sleep 1000", spec={"initContainers": [first, second]}, volumes={"share": {"emptyDir": {}}})
    p.printed("first\nsecond")
    assert p.status("first", "initContainerStatuses")["state"]["terminated"]["reason"] == "Completed"


def test_init_container_fails(pod):
    """an init container that fails is tried again, and the others wait"""
    p = pod("sleep 1000", until=None, spec={"initContainers": [container("exit 4", "first")]})
    soon(lambda: p.status("first", "initContainerStatuses")["restartCount"] >= 1, 60, "it is tried again")
    assert p.status("first", "initContainerStatuses")["lastState"]["terminated"]["exitCode"] == 4
    assert "waiting" in p.status()["state"]


def test_sidecar(pod):
    """a restartable init container (sidecar) starts before the others, and a Job's Pod ends without it"""
    probe = {"exec": {"command": ["test", "-e", "/share/ready"]}, "periodSeconds": 1}
    script = "sleep 1; touch /share/ready; exec sleep 1000"
    side = container(script, "side", restartPolicy="Always", startupProbe=probe, volumeMounts=[mount("share")])
    p = pod("ls /share", until="Succeeded", spec={"initContainers": [side]}, volumes={"share": {"emptyDir": {}}})
    p.printed("ready")
    assert p.status("side", "initContainerStatuses")["state"]["terminated"]["exitCode"] in (137, 143)


def test_restart_policy(pod):
    """a container that ends is started again: restartCount, the last exit code, logs --previous"""
    p = pod("echo here; [ -e /data/once ] && exec sleep 1000; touch /data/once; exit 9", until=None, volumes={"data": {"emptyDir": {}}})
    status = p.restarted()
    assert status["lastState"]["terminated"]["exitCode"] == 9
    assert p.logs("--previous") == "here"


def test_command_not_found(pod):
    """a command that the image lacks: the Pod's status says so"""
    p = pod(["/bin/no-such-program"], until=None)
    soon(lambda: "no-such-program" in said(p), 60, "the status names it")
    assert "RunContainerError" in said(p) or "StartError" in said(p)
    assert "no such file or directory" in said(p)


def said(p):
    status = p.status()
    return str([status["state"], status.get("lastState")])


def test_static_pod(pod):
    """a static Pod, of a file in the kubelet's directory"""
    cluster, name = pod.cluster, pod.name()
    path = cluster.static / f"{name}.yaml"
    spec = pod.spec(container("echo static; exec sleep 1000"))
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}))
    try:
        soon(lambda: cluster.kubectl("logs", f"{name}-node").out == "static", 60, "it runs")
    finally:
        path.unlink()
    cluster.kubectl("wait", "--for=delete", f"pod/{name}-node", "--timeout=80s")
