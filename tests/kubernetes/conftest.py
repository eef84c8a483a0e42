"""Steps of a user of Kubernetes, each with pyrun and with runc as the Pod's runtime. `make kubernetes` runs them; no other run collects them.

    def test_hello(pod):
        '''what this step is called in specs/kubernetes.md'''
        p = pod("echo hello; sleep 1000")             # a Pod of one container, Ready; or ["a", "list"]; see pods.py
        assert p.logs() == "hello"
        assert p.exec("echo", "hi").out == "hi"

RUNTIMES="pyrun runc crun"     the runtimes; those besides pyrun are looked for in build/kubernetes and on PATH
"""

import os
import pathlib
import shutil
import tempfile

import pytest
from e2e.engines import needs
from kubernetes.cluster import PROGRAMS, Cluster
from kubernetes.pods import Pods
from kubernetes.table import Table

NAMES = os.environ.get("RUNTIMES", "pyrun runc").split()
DAEMONS = ("kubelet", "containerd")


def path_of(name, pyrun):
    path = pyrun if name == "pyrun" else shutil.which(name, path=f"{PROGRAMS}:{os.environ['PATH']}")
    if not path:
        pytest.fail(f"{name} is neither in {PROGRAMS} nor on PATH: name other RUNTIMES")
    return path


def pytest_configure(config):
    config.pluginmanager.register(Table(NAMES), "kubernetes-table")


@pytest.fixture(scope="session")
def cluster(pyrun):
    if not (PROGRAMS / "kubelet").exists():
        pytest.skip("no Kubernetes in build/kubernetes: `make kubernetes` builds it where there is Go")
    needs("unshare", "nsenter", "ip", "iptables", "openssl", "curl")
    with tempfile.TemporaryDirectory(prefix="kube-", dir="/var/tmp", ignore_cleanup_errors=True) as name:
        directory = pathlib.Path(name)
        directory.chmod(0o755)
        made = Cluster(directory, {name: path_of(name, pyrun) for name in NAMES})
        try:
            yield made
        finally:
            made.close()


@pytest.fixture(params=NAMES)
def runtime(request):
    """The name of the RuntimeClass."""
    return request.param


@pytest.fixture
def pod(cluster, runtime):
    """A factory of Pods, which are deleted after the test."""
    pods = Pods(cluster, runtime)
    yield pods
    pods.delete()


@pytest.fixture
def evidence(cluster):
    """A directory of the node that outlives Pods."""
    path = pathlib.Path(tempfile.mkdtemp(dir=cluster.directory))
    path.chmod(0o777)
    return path


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed step shows what the daemons said last, and the events of the cluster."""
    report = (yield).get_result()
    cluster = item.funcargs.get("cluster") if hasattr(item, "funcargs") else None
    if cluster is None or report.passed or report.skipped:
        return
    for name in DAEMONS:
        report.sections.append((f"the end of {name}.log", cluster.log(name)))
    events = cluster.kubectl("get", "events", "-A", "--sort-by=.lastTimestamp", code=None).out.splitlines()[-20:]
    report.sections.append(("events", "\n".join(events)))
