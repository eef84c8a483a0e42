"""securityContext, and the namespaces of a Pod."""

import json

import pytest
from kubernetes.machine import soon
from kubernetes.pods import container


def context(**fields):
    return {"securityContext": fields}


def status(p, *names):
    """Lines of /proc/1/status."""
    lines = dict(line.split(":\t", 1) for line in p.sh("cat /proc/self/status").splitlines() if ":\t" in line)
    return [lines[name].strip() for name in names]


def test_user_namespace(pod):
    """user namespace (hostUsers: false): root of the Pod is nobody on the node; files of the image and of volumes are its own"""
    p = pod("touch /mine /data/mine; exec sleep 1000", spec={"hostUsers": False}, volumes={"data": {"emptyDir": {}}})
    assert p.sh("id -u; stat -c %u /bin/busybox /mine /data/mine").split() == ["0"] * 4
    first, outside, count = p.sh("cat /proc/self/uid_map").split()
    assert (first, count) == ("0", "65536")
    assert int(outside) >= 65536
    assert p.cluster.sandbox.shell(f"stat -c %u /proc/{p.pid()}").out == outside
    p.exec("sh", "-c", "mount -t tmpfs x /mnt", code=None)


def test_user_namespace_volumes(pod, evidence):
    """user namespace: ConfigMap, Secret, hostPath, fsGroup, exec as another user"""
    name = pod.make("ConfigMap", pod.name(), data={"key": "one"})
    volumes = {"map": {"configMap": {"name": name}}, "host": {"hostPath": {"path": str(evidence)}}, "data": {"emptyDir": {}}}
    p = pod("exec sleep 1000", spec={"hostUsers": False, **context(fsGroup=3000)}, volumes=volumes, **context(runAsUser=1000))
    assert p.sh("cat /map/key; touch /host/x /data/x; stat -c ' %u %g' /host/x /data/x").split() == ["one", "1000", "1000", "1000", "3000"]
    assert (evidence / "x").stat().st_uid == 1000


def test_seccomp_default(pod):
    """seccomp RuntimeDefault"""
    p = pod("exec sleep 1000", **context(seccompProfile={"type": "RuntimeDefault"}))
    assert status(p, "Seccomp") == ["2"]
    assert "not permitted" in p.exec("unshare", "-U", "true", code=1).err
    assert status(pod("exec sleep 1000", **context(seccompProfile={"type": "Unconfined"})), "Seccomp") == ["0"]


def test_seccomp_local(pod, cluster):
    """seccomp Localhost: a profile in the kubelet's directory"""
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}]}
    directory = cluster.directory / "kubelet/seccomp"
    directory.mkdir(exist_ok=True)
    (directory / "no-mkdir.json").write_text(json.dumps(profile))
    p = pod("exec sleep 1000", **context(seccompProfile={"type": "Localhost", "localhostProfile": "no-mkdir.json"}))
    assert "Permission denied" in p.exec("mkdir", "/tmp/x", code=1).err


def test_capabilities(pod):
    """capabilities: add, drop ALL"""
    assert status(pod("exec sleep 1000", **context(capabilities={"drop": ["ALL"]})), "CapEff", "CapBnd") == ["0" * 16] * 2
    p = pod("ip link add x type bridge; exec sleep 1000", **context(capabilities={"drop": ["ALL"], "add": ["NET_ADMIN"]}))
    assert int(status(p, "CapEff")[0], 16) == 1 << 12
    p.sh("ip link show x")


def test_read_only(pod):
    """readOnlyRootFilesystem"""
    p = pod("exec sleep 1000", **context(readOnlyRootFilesystem=True))
    assert "Read-only file system" in p.exec("touch", "/x", code=1).err


def test_users(pod):
    """runAsUser, runAsGroup, supplementalGroups, fsGroup on a volume"""
    spec = context(runAsUser=1000, runAsGroup=3000, supplementalGroups=[4000], fsGroup=5000)
    p = pod("touch /data/x; exec sleep 1000", spec=spec, volumes={"data": {"emptyDir": {}}})
    uid, gid, groups = p.sh("id -u; id -g; id -G").splitlines()
    assert (uid, gid) == ("1000", "3000")
    assert {"4000", "5000"} <= set(groups.split())
    assert p.sh("stat -c %g /data/x") == "5000"


def test_groups_of_image(pod):
    """supplementalGroupsPolicy: the image's groups are merged, or Strict: they are not"""
    spec = {"securityContext": {"runAsUser": 1000, "runAsGroup": 1000}}
    assert "2000" in pod("exec sleep 1000", spec=spec).sh("id -G").split()
    spec["securityContext"]["supplementalGroupsPolicy"] = "Strict"
    assert pod("exec sleep 1000", spec=spec).sh("id -G").split() == ["1000"]


def test_non_root(pod):
    """runAsNonRoot refuses root"""
    p = pod("exec sleep 1000", until=None, **context(runAsNonRoot=True))
    soon(lambda: p.status()["state"]["waiting"]["reason"] == "CreateContainerConfigError", 60, "it is refused")


def test_no_new_privileges(pod):
    """allowPrivilegeEscalation: false"""
    assert status(pod("exec sleep 1000", **context(allowPrivilegeEscalation=False)), "NoNewPrivs") == ["1"]
    assert status(pod("exec sleep 1000"), "NoNewPrivs") == ["0"]


def test_privileged(pod):
    """privileged: devices of the node, no seccomp, /sys can be written"""
    p = pod("exec sleep 1000", **context(privileged=True))
    assert status(p, "Seccomp") == ["0"]
    assert int(p.sh("ls /dev | wc -l")) > 15
    assert " rw," in p.sh("grep ' /sys ' /proc/mounts")
    p.sh("mount -t tmpfs x /mnt || mount -t tmpfs x /tmp")


def test_proc_mount(pod):
    """masked paths of /proc, and procMount: Unmasked in a user namespace"""
    p = pod("exec sleep 1000")
    assert p.sh("wc -c </proc/keys; ls /proc/acpi 2>/dev/null | wc -l").split() == ["0", "0"]
    assert "Read-only" in p.exec("sh", "-c", "echo 1 >/proc/sys/kernel/domainname", code=1).err
    p = pod("exec sleep 1000", spec={"hostUsers": False}, **context(procMount="Unmasked"))
    assert "/proc/" not in p.sh("cut -d ' ' -f 2 /proc/mounts")


def test_sysctls(pod):
    """sysctls: a safe one, and one that the kubelet allows"""
    names = {"kernel.shm_rmid_forced": "1", "net.ipv4.ip_unprivileged_port_start": "80", "kernel.msgmax": "4321"}
    spec = {"securityContext": {"sysctls": [{"name": name, "value": value} for name, value in names.items()]}}
    p = pod("exec sleep 1000", spec=spec)
    assert p.sh("sysctl -n " + " ".join(names)).split() == list(names.values())


def test_share_processes(pod):
    """shareProcessNamespace: containers see and signal each other"""
    p = pod("exec sleep 1111", spec={"shareProcessNamespace": True}, more=[container("exec sleep 2222", "other")])
    assert "sleep 2222" in p.sh("ps")
    assert p.sh("cat /proc/1/cmdline").startswith("/pause")
    p.sh("kill $(pidof sleep | tr ' ' '\\n' | grep -v '^1$' | head -n 1); true")
    soon(lambda: sum(one["restartCount"] for one in p.get()["status"]["containerStatuses"]) == 1, 60, "the one that was killed starts again")


@pytest.mark.parametrize("field, namespace", [("hostPID", "pid"), ("hostNetwork", "net"), ("hostIPC", "ipc")])
def test_host_namespaces(pod, cluster, field, namespace):
    """hostPID, hostNetwork, hostIPC: that namespace is the node's, the others are not"""
    p = pod("exec sleep 1000", spec={field: True})
    mine, nodes = cluster.sandbox.links(p.pid()), cluster.sandbox.links(1)
    assert [name for name in ("pid", "net", "ipc", "mnt") if mine[name] == nodes[name]] == [namespace]


def test_host_pid_ends(pod):
    """hostPID: all of the container's processes end with it"""
    p = pod("sleep 4321 & exec sleep 1000", spec={"hostPID": True})
    assert p.cluster.sandbox.run("pgrep", "-f", "sleep 4321").out
    p.delete()
    p.gone(40)
    soon(lambda: p.cluster.sandbox.run("pgrep", "-f", "^sleep 4321", code=None).code == 1, 20, "the child is gone")
