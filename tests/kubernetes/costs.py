"""What a runtime costs on a node: `make kubernetes-costs`. As root.

    costs.py [PODS]        PODS: how many at once, 50 where it is not given

RUNTIMES="pyrun runc crun"     as for the steps
For each runtime in turn: PODS Pods of a Deployment from `kubectl apply` to ready, the CPU time of the runtime's own processes for a Pod's life,
the memory that its Pods hold, and the CPU time of an exec probe. Prints a table for specs/kubernetes.md.
"""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from harness import PROJECT, until
from kubernetes.cluster import Cluster
from kubernetes.conftest import path_of
from kubernetes.machine import soon
from kubernetes.pods import Pods, container

HERE = pathlib.Path(__file__).parent
PROBED, PROBES = 10, 200
LIFE = ("create", "start", "kill", "delete", "state")


def accounted(directory, name, path):
    """The path of a program that runs a runtime and writes down what it took."""
    program = directory / f"accounted-{name}"
    definitions = [f'-DPROGRAM="{path}"', f'-DLOG="{log(directory, name)}"']
    subprocess.run(["gcc", "-O2", "-static", *definitions, "-o", program, HERE / "accounted.c"], check=True)
    return program


def log(directory, name):
    return directory / f"{name}.calls"


def calls(cluster, name):
    """[(command, seconds of CPU, MiB, seconds)] so far."""
    path = log(cluster.directory, name)
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [(command, int(cpu) / 1e6, int(peak) / 1024, int(took) / 1e6) for command, cpu, peak, took in lines]


def ready(cluster, name):
    return cluster.kubectl("get", "deployment", name, "-o", "jsonpath={.status.readyReplicas}").out


def deploy(pods, name, replicas, **fields):
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pods.spec(container("exec sleep 100000", **fields))}
    pods.make("Deployment", name, "apps/v1", spec={"replicas": replicas, "selector": {"matchLabels": labels}, "template": template})


def gone(cluster, name):
    cluster.kubectl("delete", "deployment", name)
    soon(lambda: not cluster.kubectl("get", "pods", "-l", f"app={name}", "-o", "name").out, 600, "the Pods are gone")


def memory(cluster):
    """Bytes that are charged to the Pods' cgroups; proportional bytes of the shims."""
    root, file = ("/sys/fs/cgroup/memory", "memory.usage_in_bytes") if cluster.sandbox.has_v1() else ("/sys/fs/cgroup", "memory.current")
    script = "for p in $(pgrep -f containerd-shim); do grep ^Pss: /proc/$p/smaps_rollup; done | awk '{n += $2} END {print n * 1024}'"
    return int(cluster.sandbox.read(f"{root}/{cluster.sandbox.cgroup}/kubepods/{file}")), int(cluster.sandbox.shell(script).out)


def measure(cluster, name, count):
    pods = Pods(cluster, name)
    first, probed = pods.name(), pods.name()
    deploy(pods, first, 1)  # what is read from the disk for the first time
    soon(lambda: ready(cluster, first) == "1", 120, "one is ready")
    gone(cluster, first)

    before, begin = memory(cluster), time.monotonic()
    so_far = len(calls(cluster, name))
    deploy(pods, first, count)
    soon(lambda: ready(cluster, first) == str(count), 600, f"{count} are ready")
    took = time.monotonic() - begin
    held = [(after - at_first) / count / (1 << 20) for after, at_first in zip(memory(cluster), before)]
    gone(cluster, first)
    life = calls(cluster, name)[so_far:]

    deploy(pods, probed, PROBED, livenessProbe={"exec": {"command": ["true"]}, "periodSeconds": 1})
    so_far = len(calls(cluster, name))

    def execs():
        return [call for call in calls(cluster, name)[so_far:] if call[0] == "exec"]

    until(lambda: len(execs()) >= PROBES, 300, f"{PROBES} probes")
    probes = execs()
    gone(cluster, probed)
    each = {command: [call[1] for call in life if call[0] == command] for command in LIFE}
    return {
        f"`kubectl apply` to {count} Pods ready": f"{took:.1f} s",
        "CPU of the runtime, each Pod's life": f"{sum(call[1] for call in life) / count * 1000:.0f} ms",
        **{f"… of which `{command}`, each": f"{statistics.median(each[command]) * 1000:.1f} ms" for command in LIFE if each[command]},
        "calls of the runtime, each Pod's life": f"{len(life) / count:.1f}",
        "CPU of the runtime, each exec probe": f"{statistics.median(call[1] for call in probes) * 1000:.1f} ms",
        "time of an exec probe's call": f"{statistics.median(call[3] for call in probes) * 1000:.1f} ms",
        "largest memory of a call": f"{max(call[2] for call in life + probes):.0f} MiB",
        "memory held, each Pod: its cgroup": f"{held[0]:.2f} MiB",
        "memory held, each Pod: containerd's shim": f"{held[1]:.1f} MiB",
    }


def main(count=50):
    pyrun = os.environ.get("PYRUN") or str(PROJECT / "build/pyrun")
    names = os.environ.get("RUNTIMES", "pyrun runc crun").split()
    with tempfile.TemporaryDirectory(prefix="kube-", dir="/var/tmp", ignore_cleanup_errors=True) as directory:
        directory = pathlib.Path(directory)
        directory.chmod(0o755)
        made = {name: accounted(directory, name, path_of(name, pyrun)) for name in names}
        cluster = Cluster(directory, made)
        try:
            found = {}
            for name in names:
                found[name] = measure(cluster, name, int(count))
                print(name, found[name], file=sys.stderr)
        finally:
            cluster.close()
    print(f"| | {' | '.join(names)} |\n|---{'|---:' * len(names)}|")
    for row in dict.fromkeys(key for figures in found.values() for key in figures):
        print(f"| {row} | {' | '.join(found[name].get(row, '') for name in names)} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
