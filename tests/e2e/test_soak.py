"""Load through engines: containers of dockerd and pods of containerd's CRI, all at once, asked by exec, and gone. tests/soak has the rest."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from e2e.pods import Pod
from e2e.sandbox import soon
from soak import machine
from soak.sizes import size

AT_ONCE = 4


def each(function, things):
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(function, things))


@pytest.fixture
def nothing_stays(sandbox):
    """nothing_stays(n): of n containers neither a cgroup nor a leak of one thing each is left."""

    def directories(cgroups):
        # Others' come and go under find's hands, and that is all that it can say.
        return set(sandbox.shell(f"find /sys/fs/cgroup -path '*{sandbox.cgroup}/{cgroups}' -type d", code=None).out.splitlines())

    before, there = machine.Counts(), directories("*")

    def check(containers, cgroups="*"):
        soon(lambda: directories(cgroups) <= there, what="no cgroup is left")
        for path in sorted(directories("*") - there, reverse=True):
            os.rmdir(path)  # a pod's, as the kubelet does
        soon(lambda: before.back(containers), what=before.grown)

    return check


def test_docker(docker, name, nothing_stays):
    names = [f"{name}-{number}" for number in range(size("engine"))]
    each(lambda one: docker("run", "-d", "--network", "none", "--name", one, "busybox", "sleep", "100000"), names)
    assert set(docker("ps", "--format", "{{.Names}}").out.split()) >= set(names)
    for _ in range(3):
        assert each(lambda one: docker("exec", one, "echo", "here").out, names) == ["here"] * len(names)
    for one in names[::2]:
        docker("kill", one)
    assert [docker.state(one, "Status") for one in names] == [("running", "exited")[number % 2 == 0] for number in range(len(names))]
    each(lambda one: docker("rm", "-f", one), names)
    assert not set(docker("ps", "-a", "--format", "{{.Names}}").out.split()) & set(names)
    nothing_stays(len(names))


def test_cri(cri, sandbox, name, nothing_stays):
    pods = each(lambda number: Pod(cri, sandbox, f"{name}-{number}", {"network": 2}), range(size("engine")))  # the host's network
    containers = each(lambda pod: pod.add("main", "sleep", "100000"), pods)
    assert set(cri("ps", "-q", "--no-trunc").out.split()) == set(containers)
    for _ in range(3):
        assert each(lambda one: cri("exec", "-s", one, "echo", "here").out, containers) == ["here"] * len(containers)
    stopped = containers[::2]
    each(lambda one: cri("stop", "--timeout", "0", one), stopped)
    assert set(cri("ps", "-q", "--no-trunc").out.split()) == set(containers) - set(stopped)
    each(lambda pod: cri("rmp", "--force", pod.id), pods)
    assert not set(cri("ps", "-aq", "--no-trunc").out.split()) & set(containers)
    assert not set(cri("pods", "-q", "--no-trunc").out.split()) & {pod.id for pod in pods}
    nothing_stays(len(pods), "*/*")  # that of the pod is the kubelet's
