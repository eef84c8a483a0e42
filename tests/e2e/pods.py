"""Pods of the kubelet's interface, through crictl."""

import json

from e2e.sandbox import soon

HANDLER = "pyrun"


class Pod:
    """A pod sandbox; `add()` starts a container in it and returns its id."""

    def __init__(self, cri, sandbox, name, options):
        self.cri, self.name = cri, name
        self.directory = sandbox.directory / f"pod-{name}"
        self.directory.mkdir()
        self.config = self.write(
            "pod",
            {
                "metadata": {"name": name, "namespace": "default", "attempt": 1, "uid": name},
                **({} if options.get("network") else {"hostname": name}),  # as the kubelet does it
                "log_directory": str(self.directory),
                "linux": {"cgroup_parent": f"/{sandbox.cgroup}/{name}", "security_context": {"namespace_options": options}},
            },
        )
        self.id = cri("runp", "--runtime", HANDLER, self.config).out

    def write(self, name, config):
        path = self.directory / f"{name}.json"
        path.write_text(json.dumps(config))
        return path

    def create(self, name, *command, **more):
        linux = {"resources": {"memory_limit_in_bytes": 64 << 20}, **more.pop("linux", {})}
        config = {"metadata": {"name": name}, "image": {"image": "localhost/busybox:1"}, "command": command, "log_path": f"{name}.log"}
        path = self.write(name, {**config, "linux": linux, **more})
        return self.cri("create", self.id, path, self.config).out

    def add(self, name, *command, **more):
        container = self.create(name, *command, **more)
        self.cri("start", container)
        return container

    def status(self, container):
        return json.loads(self.cri("inspect", container).out)

    def finished(self, container):
        soon(lambda: self.status(container)["status"]["state"] == "CONTAINER_EXITED")
        return self.status(container)["status"]
