"""Pods, as `kubectl apply` makes them."""

import json
import uuid

from kubernetes.machine import SLOWNESS, soon

BUSYBOX, AGNHOST = "localhost/busybox:1", "localhost/agnhost:1"
LONG = 120


def container(command, name="main", **fields):
    """A container: a shell script, or a list: its arguments. fields: those of the API."""
    words = ["sh", "-c", command] if isinstance(command, str) else list(command)
    return {"name": name, "image": BUSYBOX, "imagePullPolicy": "Never", "command": words, **fields}


def mount(name, path=None, **fields):
    """A volumeMount, at /NAME if no path is given."""
    return {"name": name, "mountPath": path or f"/{name}", **fields}


class Pods:
    """`pods("a script", …)`. delete() deletes them and whatever else was made by make()."""

    def __init__(self, cluster, runtime):
        self.cluster, self.runtime, self.made = cluster, runtime, []

    def name(self):
        return f"{self.runtime}-{uuid.uuid4().hex[:8]}"

    def spec(self, *containers, **fields):
        """The spec of a Pod, for templates too."""
        return {
            "runtimeClassName": self.runtime, "containers": list(containers), "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False, "enableServiceLinks": False, **fields,
        }  # fmt: skip

    def __call__(self, command, *, until="Ready", more=(), volumes=None, metadata=None, timeout=LONG, spec=None, **fields):
        """A Pod of one container and `more`. until: "Ready", "Succeeded", "Failed" or None: what is waited for.

        volumes: name -> source; unless there are volumeMounts, each is at /NAME. spec: fields of the Pod's. fields: of the container's.
        """
        spec = dict(spec or {})
        if until in ("Succeeded", "Failed"):
            spec.setdefault("restartPolicy", "Never")
        if volumes:
            spec["volumes"] = [{"name": name, **source} for name, source in volumes.items()]
            fields.setdefault("volumeMounts", [mount(name) for name in volumes])
        pod = Pod(self.cluster, self.name())
        self.make("Pod", pod.name, spec=self.spec(container(command, **fields), *more, **spec), metadata=metadata)
        if until == "Ready":
            pod.ready(timeout)
        elif until:
            pod.ended(until, timeout)
        return pod

    def make(self, kind, name, version="v1", metadata=None, **fields):
        self.made.append((kind, name))
        self.cluster.apply({"apiVersion": version, "kind": kind, "metadata": {"name": name, **(metadata or {})}, **fields})
        return name

    def delete(self):
        for kind, name in reversed(self.made):
            self.cluster.kubectl("delete", kind, name, "--ignore-not-found", "--now", "--wait=false", code=None)


class Pod:
    def __init__(self, cluster, name):
        self.cluster, self.name = cluster, name

    def get(self):
        return self.cluster.get("pod", self.name)

    def status(self, container="main", kind="containerStatuses"):
        """That of a container."""
        found = {status["name"]: status for status in self.get()["status"].get(kind, [])}
        assert container in found, f"{self.name} has no status of {container} yet"
        return found[container]

    def wait(self, what, timeout=LONG):
        self.cluster.kubectl("wait", f"--for={what}", f"pod/{self.name}", f"--timeout={timeout * SLOWNESS}s", timeout=timeout + 10)
        return self

    def ready(self, timeout=LONG):
        return self.wait("condition=Ready", timeout)

    def ended(self, phase, timeout=LONG):
        return self.wait(f"jsonpath={{.status.phase}}={phase}", timeout)

    def gone(self, timeout=LONG):
        self.wait("delete", timeout)

    def delete(self, *args):
        self.cluster.kubectl("delete", "pod", self.name, "--wait=false", *args)

    def restarted(self, count=1, timeout=LONG):
        """Waits until a container has been started again so often; its status."""
        soon(lambda: self.status()["restartCount"] >= count and "running" in self.status()["state"], timeout, f"{self.name} restarts {count} times")
        return self.status()

    def logs(self, *args):
        return self.cluster.kubectl("logs", self.name, *args).out

    def says(self, text, *args, timeout=30):
        """Waits until its log has this."""
        soon(lambda: text in self.logs(*args), timeout, f"{self.name} says {text!r}")

    def printed(self, text, timeout=30):
        """Waits until its log is this."""
        soon(lambda: self.logs() == text, timeout, f"{self.name} prints {text!r}")

    def exec(self, *args, options=(), **more):
        return self.cluster.kubectl("exec", self.name, *options, "--", *args, **more)

    def sh(self, script, **more):
        return self.exec("sh", "-c", script, **more).out

    def ip(self):
        return self.get()["status"]["podIP"]

    def id(self, container="main"):
        return self.status(container)["containerID"].rpartition("//")[2]

    def info(self, container="main"):
        """What containerd knows of it: {"pid": …, "runtimeSpec": {…}}."""
        return json.loads(self.cluster.crictl("inspect", self.id(container)).out)["info"]

    def pid(self, container="main"):
        """That of its first process, in the cluster's pid namespace."""
        return self.info(container)["pid"]

    def cgroup(self, controller, container="main"):
        """The directory (str) of its cgroup, as the cluster sees it."""
        return self.cluster.sandbox.controller(self.pid(container), controller)

    def knob(self, controller, v1, v2, container="main"):
        """The content of a file of its cgroup: v1 or v2 is its name there."""
        name = v1 if self.cluster.sandbox.has_v1() else v2
        return self.cluster.sandbox.read(f"{self.cgroup(controller, container)}/{name}")
