"""Kubernetes' own tests on a node: `make kubernetes-suites`. As root.

    suites.py [SUITE...]           node (node conformance) and critest (the CRI's), both where none is given

RUNTIMES="pyrun runc crun"     as for the steps
FOCUS="Security Context"       the tests whose names this regular expression finds
Each runtime in turn is containerd's default, and its images come from a registry of ours. What a run said is below build/kubernetes-suites. Prints
tables for specs/suites.md.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from harness import PROJECT, make_rootfs
from images import Blobs, Raw, put_image
from kubernetes import cluster, registry
from kubernetes.cluster import PROGRAMS, SOCKET, Cluster
from kubernetes.conftest import path_of

HERE = pathlib.Path(__file__).parent
INTO = PROJECT / "build/kubernetes-suites"
HOSTS = 'server = "http://127.0.0.1:5000"\n[host."http://127.0.0.1:5000"]\n  capabilities = ["pull", "resolve"]\n'
CONTAINERD = """\
version = 3
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "{directory}/certs.d"
[plugins."io.containerd.cri.v1.runtime"]
  enable_unprivileged_ports = false
"""
FOCUS = os.environ.get("FOCUS", "")
# Most tests of node conformance wait most of their time.
PROCESSES = 14
# What the suite adds to or wants otherwise than the steps: the settings it is usually run with.
KUBELET = {"allowedUnsafeSysctls": [], "podPidsLimit": -1, "fileCheckFrequency": "10s", "serializeImagePulls": False, "podCIDR": "10.93.0.0/16"}
# Cgroups of the daemons, which go with those of the Pods. The kubelet moves all but the runtime.
KUBELET_FLAGS = "--kubelet-cgroups=/kubepods-kubelet --system-cgroups=/kubepods-system --runtime-cgroups=/kubepods-runtime"
INTO_CGROUP = 'for c in memory cpu cpuacct; do d=/sys/fs/cgroup/$c/kubepods-runtime; mkdir -p $d; echo $$ >$d/cgroup.procs; done; exec "$@"'


class Node(Cluster):
    """containerd alone, with one runtime: node conformance brings its own API server and starts the kubelet."""

    prefix = ("sh", "-c", INTO_CGROUP, "sh")

    def _components(self):
        here = self.directory
        # The tests of cgroups look for the kubelet's own name at the top.
        self.sandbox.cgroup = "kubepods"
        assert not list(pathlib.Path("/sys/fs/cgroup").glob("*/kubepods")), "there is a kubelet on this machine"
        self.sandbox.shell(
            # What the suite keeps in places of its own choice; and it would start the kubelet by systemd where it finds it.
            f"for d in lib/kubelet log/pods log/containers; do mkdir -p /var/$d {here}/var/$d; mount --bind {here}/var/$d /var/$d; done; "
            "mount --make-shared /var/lib/kubelet; [ ! -e /usr/bin/systemd-run ] || mount --bind /dev/null /usr/bin/systemd-run"
        )
        self.start(sys.executable, HERE / "registry.py", images(), 5000)
        self._containerd()
        (here / "certs.d/_default").mkdir(parents=True)
        (here / "certs.d/_default/hosts.toml").write_text(HOSTS)
        (path,) = self.runtimes.values()
        (here / "conf.d/20-suites.toml").write_text(CONTAINERD.format(directory=here))
        (here / "conf.d/30-handler.toml").write_text(cluster.plugged_in("containerd 2", "toml", "test-handler", path))
        self.restart("containerd")


def images():
    """The directory of the registry, made once."""
    layout, part = INTO / "images", INTO / "part"
    if not layout.exists():
        shutil.rmtree(part, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
            here = pathlib.Path(name)
            here.chmod(0o755)
            registry.write(part, registry.made(make_rootfs, here, PROGRAMS), put_image, Blobs(), Raw)
        part.rename(layout)
    return layout


def node(made, report):
    settings = {key: value for key, value in cluster.KUBELET.items() if key not in ("authentication", "authorization")} | KUBELET
    (made.directory / "kubelet.json").write_text(json.dumps({**settings, "cgroupRoot": "/", "containerRuntimeEndpoint": f"unix://{SOCKET}"}))
    # It looks for the kubelet beside itself, and leaves files there.
    for program in ("e2e_node.test", "kubelet"):
        (made.directory / program).symlink_to(PROGRAMS / program)
    return [
        "env", "-C", made.directory, PROGRAMS / "ginkgo", f"--procs={PROCESSES}", "-v", "--no-color", "--timeout=60m",
        f"--focus={FOCUS}.*NodeConformance", r"--skip=\[Serial\]|\[Flaky\]|\[Slow\]", f"--output-dir={report}", "--json-report=report.json",
        made.directory / "e2e_node.test", "--", f"--node-name={cluster.NODE}", f"--report-dir={report}", "--prepull-images=false",
        f"--kubelet-config-file={made.directory}/kubelet.json", f"--kubelet-flags={KUBELET_FLAGS}",
        f"--container-runtime-endpoint=unix://{SOCKET}",
    ]  # fmt: skip


def critest(made, report):
    endpoint = f"unix://{SOCKET}"
    return [
        "env", "-C", made.directory, PROGRAMS / "critest", f"--runtime-endpoint={endpoint}", f"--image-endpoint={endpoint}",
        f"--runtime-handler={next(iter(made.runtimes))}", f"--ginkgo.focus={FOCUS}", f"--ginkgo.json-report={report}/report.json",
    ]  # fmt: skip


SUITES = {"node": node, "critest": critest}


def run(suite, name, path):
    """{test: (what came of it, the first line of why)}"""
    report = INTO / f"{suite}-{name}"
    shutil.rmtree(report, ignore_errors=True)
    report.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="kube-", dir="/var/tmp", ignore_cleanup_errors=True) as directory:
        directory = pathlib.Path(directory)
        directory.chmod(0o755)
        made = Node(directory, {name: path})
        try:
            with open(report / "log", "wb") as out:
                subprocess.run(made.sandbox.command(*SUITES[suite](made, report)), stdout=out, stderr=out, stdin=subprocess.DEVNULL, check=False)
        finally:
            made.close()
            for log in directory.glob("*.log"):
                shutil.copy(log, report)
    return results(report)


def results(report):
    found = {}
    for part in json.loads((report / "report.json").read_text()):
        for spec in part["SpecReports"] or []:
            if spec["LeafNodeType"] == "It" and spec.get("NumAttempts"):
                called = " ".join([*(spec["ContainerHierarchyTexts"] or []), spec["LeafNodeText"]])
                found[called] = spec["State"], spec.get("Failure", {}).get("Message", "").partition("\n")[0]
    return found


def main(*suites):
    pyrun = os.environ.get("PYRUN") or str(PROJECT / "build/pyrun")
    names = os.environ.get("RUNTIMES", "pyrun runc crun").split()
    for suite in suites or SUITES:
        found = {name: run(suite, name, path_of(name, pyrun)) for name in names}
        print(f"\n| {suite} | passed | failed | skipped |\n|---|---:|---:|---:|")
        for name in names:
            said = [state for state, _ in found[name].values()]
            skipped, passed = said.count("skipped"), said.count("passed")
            print(f"| {name} | {passed} | {len(said) - passed - skipped} | {skipped} |")
        print(f"\n| test of {suite} | {' | '.join(names)} |\n|---{'|---' * len(names)}|")
        for test in sorted(set().union(*found.values())):
            came = [found[name].get(test, ("not run", "")) for name in names]
            if any(state not in ("passed", "skipped") for state, _ in came):
                print(f"| {test} | {' | '.join(': '.join(filter(None, one)) for one in came)} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
