"""Volumes, and where a program starts."""

import base64
import json

import pytest
from kubernetes.machine import soon
from kubernetes.pods import container, mount


def on_node(path):
    return {"data": {"hostPath": {"path": str(path)}}}


def test_config_map(pod):
    """ConfigMap: as files and as environment, and a change of it is seen"""
    name = pod.make("ConfigMap", pod.name(), data={"key": "one"})
    env = [{"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": name, "key": "key"}}}]
    p = pod("echo $KEY; exec sleep 1000", volumes={"data": {"configMap": {"name": name}}}, env=env)
    p.printed("one")
    assert p.sh("cat /data/key") == "one"
    pod.make("ConfigMap", name, data={"key": "two"})
    p.cluster.kubectl("annotate", "pod", p.name, "now=1")  # the kubelet looks again
    soon(lambda: p.sh("cat /data/key") == "two", 100, "the file changes")


def test_secret(pod):
    """Secret: files of a mode, in memory"""
    name = pod.make("Secret", pod.name(), data={"key": base64.b64encode(b"hidden").decode()})
    p = pod("exec sleep 1000", volumes={"data": {"secret": {"secretName": name, "defaultMode": 0o400}}})
    assert p.sh("cat /data/key; stat -L -c ' %a' /data/key; grep -c ' /data tmpfs' /proc/mounts") == "hidden 400\n1"


def test_empty_dir(pod):
    """emptyDir, shared by two containers; in memory with a size"""
    volumes = {"data": {"emptyDir": {}}, "memory": {"emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}}}
    other = container("exec sleep 1000", "other", volumeMounts=[mount("data")])
    p = pod("echo shared >/data/file; exec sleep 1000", more=[other], volumes=volumes)
    assert p.exec("cat", "/data/file", options=["-c", "other"]).out == "shared"
    assert "No space left" in p.exec("dd", "if=/dev/zero", "of=/memory/file", "bs=1M", "count=9", code=1).err


def test_sub_path(pod, evidence):
    """subPath of a directory and of a file, subPathExpr"""
    (evidence / "a").mkdir()
    (evidence / "a/file").write_text("inside")
    mounts = [mount("data", "/dir", subPath="a"), mount("data", "/etc/one", subPath="a/file"), mount("data", "/mine", subPathExpr="$(WHO)")]
    p = pod("touch /mine/x; exec sleep 1000", env=[{"name": "WHO", "value": "me"}], volumes=on_node(evidence), volumeMounts=mounts)
    assert p.sh("cat /dir/file /etc/one") == "insideinside"
    assert (evidence / "me/x").exists()


def test_sub_path_restarts(pod):
    """subPath of a ConfigMap's file, after the container restarts"""
    name = pod.make("ConfigMap", pod.name(), data={"key": "one"})
    mounts = [mount("data", "/etc/key", subPath="key")]
    p = pod("cat /etc/key; sleep 2; exit 1", until=None, volumes={"data": {"configMap": {"name": name}}}, volumeMounts=mounts)
    p.restarted()
    p.printed("one")


def test_host_path(pod, evidence):
    """hostPath: a directory read-only, a file, a directory that is made"""
    (evidence / "file").write_text("of the node")
    (evidence / "data").mkdir()
    kinds = {"data": "Directory", "file": "File", "new": "DirectoryOrCreate"}
    volumes = {name: {"hostPath": {"path": str(evidence / name), "type": kind}} for name, kind in kinds.items()}
    mounts = [mount("data", readOnly=True), mount("file", "/etc/file"), mount("new")]
    p = pod("touch /new/x; exec sleep 1000", volumes=volumes, volumeMounts=mounts)
    assert p.sh("cat /etc/file") == "of the node"
    assert (evidence / "new/x").exists()
    assert "Read-only file system" in p.exec("touch", "/data/x", code=1).err


def test_recursive_read_only(pod, evidence, cluster):
    """recursiveReadOnly: what is mounted below a read-only volume is read-only too"""
    (evidence / "below").mkdir()
    cluster.sandbox.run("mount", "-t", "tmpfs", "below", evidence / "below")
    try:
        recursive = mount("data", readOnly=True, recursiveReadOnly="Enabled", mountPropagation="None")
        p = pod("exec sleep 1000", volumes=on_node(evidence), volumeMounts=[recursive])
        assert "Read-only file system" in p.exec("touch", "/data/below/x", code=1).err
        p = pod("exec sleep 1000", volumes=on_node(evidence), volumeMounts=[mount("data", readOnly=True)])
        p.exec("touch", "/data/below/x")
    finally:
        cluster.sandbox.run("umount", "--lazy", evidence / "below")


@pytest.mark.parametrize("kind, inward, outward", [("None", False, False), ("HostToContainer", True, False), ("Bidirectional", True, True)])
def test_propagation(pod, evidence, cluster, kind, inward, outward):
    """hostPath with each mountPropagation"""
    for name in ("in", "out"):
        (evidence / name).mkdir()
    privileged = {"securityContext": {"privileged": True}}
    p = pod("exec sleep 1000", volumes=on_node(evidence), volumeMounts=[mount("data", mountPropagation=kind)], **privileged)
    cluster.sandbox.run("mount", "-t", "tmpfs", "in", evidence / "in")
    try:
        p.sh("mount -t tmpfs out /data/out")
        assert (p.sh("grep -c /data/in /proc/mounts || true") == "1") is inward
        assert (cluster.sandbox.shell(f"grep -c {evidence}/out /proc/mounts || true").out == "1") is outward
    finally:
        cluster.sandbox.shell(f"umount --lazy {evidence}/in; umount --lazy {evidence}/out 2>/dev/null || true")


def test_token(pod):
    """projected: a token, the authority's certificate and the Pod's namespace; of the audience that was asked for"""
    sources = [{"serviceAccountToken": {"path": "token", "audience": "tests", "expirationSeconds": 600}}, {"configMap": {"name": "kube-root-ca.crt"}},
               {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}}]  # fmt: skip
    p = pod("exec sleep 1000", volumes={"data": {"projected": {"sources": sources}}})
    header, claims, _ = p.sh("cat /data/token").split(".")
    claims = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    assert claims["aud"] == ["tests"]
    assert claims["kubernetes.io"]["pod"]["name"] == p.name
    assert p.sh("cat /data/namespace; grep -c BEGIN /data/ca.crt") == "default1"


def test_service_account(pod):
    """the token of the service account, in its usual place"""
    p = pod("exec sleep 1000", spec={"automountServiceAccountToken": True})
    assert p.sh("ls /var/run/secrets/kubernetes.io/serviceaccount").split() == ["ca.crt", "namespace", "token"]


def test_downward(pod):
    """the downward API: labels as a file, the Pod's address and limits as environment"""
    ip = {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    limit = {"name": "LIMIT", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}}
    volumes = {"data": {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}}
    p = pod("cat /data/labels; echo; echo $IP $LIMIT; exec sleep 1000", metadata={"labels": {"a": "b"}}, env=[ip, limit], volumes=volumes,
            resources={"limits": {"memory": "64Mi"}})  # fmt: skip
    p.printed(f'a="b"\n{p.ip()} {64 << 20}')


def test_working_dir(pod):
    """a workingDir that the image lacks is made"""
    p = pod("pwd; exec sleep 1000", workingDir="/not/there/yet")
    p.printed("/not/there/yet")


def test_working_dir_volume(pod):
    """a workingDir below a volume"""
    p = pod("pwd; touch x; exec sleep 1000", workingDir="/data/below", volumes={"data": {"emptyDir": {}}})
    assert p.sh("ls /data/below") == "x"


def test_image_volume(pod):
    """an image as a volume, read-only; a subPath of it"""
    volumes = {"data": {"image": {"reference": "localhost/busybox:1", "pullPolicy": "Never"}}}
    p = pod("exec sleep 1000", volumes=volumes, volumeMounts=[mount("data"), mount("data", "/www2", subPath="www")])
    assert "it works" in p.sh("cat /data/www/index.html")
    assert "it works" in p.sh("cat /www2/index.html")
    assert "Read-only file system" in p.exec("touch", "/data/x", code=1).err


def test_host_aliases(pod):
    """hosts and resolv.conf as the Pod says"""
    names = {"hostAliases": [{"ip": "10.1.2.3", "hostnames": ["far"]}], "hostname": "box", "subdomain": "sub"}
    p = pod("exec sleep 1000", spec={"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.9.9.9"]}, **names})
    assert "10.1.2.3\tfar" in p.sh("cat /etc/hosts")
    assert p.sh("cat /etc/resolv.conf; hostname") == "nameserver 10.9.9.9\nbox"


def test_network(pod):
    """Pods reach each other, and a hostPort"""
    server = pod("exec httpd -f -p 80 -h /www", ports=[{"containerPort": 80, "hostPort": 8123}])
    client = pod("exec sleep 1000")
    assert "it works" in client.sh(f"wget -q -O - http://{server.ip()}/")
    assert "it works" in client.sh("wget -q -O - http://10.92.0.1:8123/")


def test_devices(pod):
    """/dev of a Pod: the usual devices, /dev/shm of its own that its containers share"""
    p = pod("echo 1 >/dev/shm/x; exec sleep 1000", more=[container("exec sleep 1000", "other")])
    assert p.exec("cat", "/dev/shm/x", options=["-c", "other"]).out == "1"
    assert p.sh("ls /dev/null /dev/tty /dev/urandom /dev/ptmx | wc -l") == "4"
