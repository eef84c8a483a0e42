"""The kubelet's interface: containerd's CRI with pyrun as the handler of a RuntimeClass, through crictl."""

import json
import tomllib

import pytest
from e2e.engines import readme_block
from e2e.pods import HANDLER, Pod
from e2e.sandbox import says, soon


@pytest.fixture
def pod(cri, sandbox, name):
    made = []

    def make(**options):
        made.append(Pod(cri, sandbox, name, options))
        return made[-1]

    yield make
    for one in made:
        cri("rmp", "--force", one.id, code=None)


def test_the_handler_is_that_of_the_runtime_class():
    assert f"handler: {HANDLER}\n" in readme_block("Kubernetes", "yaml")
    for engine in ("containerd", "containerd 2"):
        assert f"runtimes.{HANDLER}]" in readme_block(engine, "toml")
    # CRI-O is no package of Debian 12: no more can be said of its lines than that they are TOML with the handler.
    assert tomllib.loads(readme_block("CRI-O", "toml"))["crio"]["runtime"]["runtimes"][HANDLER]["runtime_type"] == "oci"


def test_a_pod_with_containers(cri, pod, sandbox):
    p = pod()
    status = json.loads(cri("inspectp", p.id).out)["status"]
    assert status["runtimeHandler"] == HANDLER
    assert status["network"]["ip"].startswith("10.91.0.")
    first = p.add("first", "sh", "-c", "trap '' TERM; echo out; sleep 1000")
    soon(lambda: "out" in cri("logs", first).out)
    assert cri("exec", "-s", first, "hostname").out == p.name
    says(cri("exec", "-s", first, "sh", "-c", "exit 6", code=1).err, "exited with 6")
    p.add("web", "httpd", "-f", "-p", "8080", "-h", "/www")
    assert soon(lambda: cri("exec", "-s", first, "wget", "-qO-", "http://127.0.0.1:8080/").out) == "<h1>it works</h1>"
    assert first[:13] in cri("stats").out
    pid = p.status(first)["info"]["pid"]
    group = sandbox.controller(pid, "memory")
    cri("update", "--memory", 96 << 20, first)
    assert sandbox.read(f"{group}/memory.limit_in_bytes" if sandbox.has_v1() else f"{group}/memory.max") == str(96 << 20)
    cri("stop", "--timeout", "1", first)
    assert p.status(first)["status"]["exitCode"] == 137
    cri("stopp", p.id)
    cri("rmp", p.id)
    assert cri("ps", "-aq").out == "" == cri("pods", "-q").out


def test_how_containers_end(cri, pod):
    p = pod()
    assert p.finished(p.add("three", "sh", "-c", "exit 3"))["exitCode"] == 3
    # containerd knows the reason where the event of the memory comes to it before that of the end: not each time.
    assert any(p.finished(p.add(f"oom{number}", "memeat", "200"))["reason"] == "OOMKilled" for number in range(5))
    missing = p.create("missing", "/no/such")
    assert "no such file or directory" in cri("start", missing, code=1).err


def test_what_cannot_be_done_to_a_container(cri, pod):
    p = pod()
    running, ended = p.add("running", "sleep", "1000"), p.add("ended", "true")
    p.finished(ended)
    assert "executable file not found in $PATH" in cri("exec", "-s", running, "nosuch", code=1).err
    assert "permission denied" in cri("exec", "-s", running, "/etc/passwd", code=1).err
    assert "container is in CONTAINER_EXITED state" in cri("exec", "-s", ended, "true", code=1).err
    cri("stop", ended)  # it is what was wanted


def test_rights(cri, pod):
    p = pod()
    script = "id -u; grep -E 'NoNewPrivs|Seccomp:' /proc/self/status; touch /x || echo ro"
    context = {"readonly_rootfs": True, "run_as_user": {"value": 1000}, "no_new_privs": True, "seccomp": {"profile_type": 0}}
    container = p.add("rights", "sh", "-c", script, linux={"security_context": context})
    p.finished(container)
    says(cri("logs", container).out, "^1000$", r"NoNewPrivs:\s1", r"Seccomp:\s2", "^ro$")


def test_the_host_s_network(cri, pod, sandbox):
    p = pod(network=2)
    container = p.add("host", "sleep", "1000", linux={"security_context": {"namespace_options": {"network": 2}}})
    assert sandbox.links(p.status(container)["info"]["pid"])["net"] == sandbox.links("self")["net"]
