"""A Kubernetes of one node: etcd, the control plane, containerd 2 and the kubelet, in a Sandbox of tests/e2e.

    cluster.kubectl("get", "pods")           as a user calls it; asserts the exit code, 0 by default
    cluster.apply({"kind": "Pod", …})        `kubectl apply -f -`
    cluster.restart("kubelet")               one of the daemons, ended and started again

Its programs are those of `make kubernetes`. Everything of it is below one directory and one name of cgroups, both of which go with it.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess

from e2e import images
from e2e.engines import CRI_SETTINGS, readme_block
from e2e.sandbox import Sandbox
from harness import PROJECT
from kubernetes import certificates, machine
from kubernetes.machine import SLOWNESS, soon

PROGRAMS = pathlib.Path(os.environ.get("KUBERNETES_PROGRAMS") or PROJECT / "build/kubernetes")
HERE = pathlib.Path(__file__).parent
# Where the kubelet looks for containerd's own figures of Pods, whatever it has been told of the socket.
SOCKET = "/run/containerd/containerd.sock"
BUILT_IN = ["/var/lib/cni", "/var/lib/kubelet", "/var/log/containers"]
NODE, ADDRESS = "node", "10.92.0.1"
# What the kubelet sets for the whole machine; it is put back.
TUNED = ["vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"]

VERSION = "version = 3\n"
CONTAINERD = """\
imports = ["{directory}/conf.d/*.toml"]
root = "{directory}/containerd/root"
state = "{directory}/containerd/run"
[grpc]
  address = "{socket}"
[timeouts]
  "io.containerd.timeout.task.state" = "{state}s"
"""
# The kubelet's cgroup driver is the one that containerd says, which is the default runtime's.
DEFAULT = """\
version = 3
[plugins."io.containerd.cri.v1.runtime".containerd]
  default_runtime_name = "{name}"
"""
KUBELET = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True}},
    "authorization": {"mode": "Webhook"},
    "failCgroupV1": False,
    "failSwapOn": False,
    "cgroupsPerQOS": True,
    "enforceNodeAllocatable": ["pods"],
    "maxPods": 150,
    "podPidsLimit": 200,
    "oomScoreAdj": 0,
    "allowedUnsafeSysctls": ["net.*", "kernel.msg*"],
    "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
    "evictionPressureTransitionPeriod": "0s",
    "imageGCHighThresholdPercent": 100,
    # Of these three come the time limits of its calls of the API server and of containerd.
    "nodeStatusUpdateFrequency": f"{4 * SLOWNESS}s",
    "nodeLeaseDurationSeconds": 40 * SLOWNESS,
    "runtimeRequestTimeout": f"{2 * SLOWNESS}m",
    "shutdownGracePeriod": "0s",
    "volumeStatsAggPeriod": "10s",
}


class Cluster:
    """runtimes: name -> path, each of them a handler and a RuntimeClass."""

    prefix = ()
    """What starts the daemons, if not they themselves."""

    def __init__(self, directory, runtimes):
        self.driver, place = ("systemd", machine.Machine) if machine.HERE else ("cgroupfs", Sandbox)
        self.sandbox, self.directory = place(directory), directory
        self.daemons, self.runtimes = {}, runtimes
        self.sandbox.environment["PATH"] = f"{PROGRAMS}:{self.sandbox.environment['PATH']}"
        self.sandbox.environment["KUBECONFIG"] = f"{directory}/certificates/admin.conf"
        self.tuned = {name: pathlib.Path("/proc/sys", name).read_text() for name in TUNED}
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self):
        if self.driver == "cgroupfs":
            self._cgroups()
        # Directories whose names are built into programs, as they are on a machine that has just started.
        names = " ".join(BUILT_IN if machine.HERE else ["/run", *BUILT_IN])
        self.sandbox.shell(
            f"for d in {names}; do mkdir -p $d; mount -t tmpfs -o mode=755 new $d; done; "
            # The name of the node, and an address of it that Pods reach.
            f"hostname {NODE}; ip link add node0 type bridge; ip address add {ADDRESS}/24 dev node0; ip link set node0 up; "
            f"ip route add default via {ADDRESS}; sysctl -qw net.ipv4.ip_forward=1; echo 127.0.0.1 localhost {NODE} >>/etc/hosts"
        )
        self._components()

    def _cgroups(self):
        self.sandbox.shell(
            # The cgroup2 of a hybrid machine has no controller that a Pod needs, and the kubelet looks at one kind. crun goes by the directory.
            "if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; mount -o remount,rw /sys/fs/cgroup; "
            "rmdir /sys/fs/cgroup/unified; mount -o remount,ro /sys/fs/cgroup; fi"
        )

    def _components(self):
        here = self.directory
        certificates.make(here / "certificates", NODE, ADDRESS)
        self._control_plane()
        self._containerd()
        self._kubelet()
        soon(lambda: self.kubectl("get", "--raw=/readyz", timeout=5), 60, "the API server is ready")
        for name, path in self.runtimes.items():
            self.kubectl("apply", "-f", "-", stdin=plugged_in("Kubernetes", "yaml", name, path))
        soon(lambda: self.kubectl("wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=5s"), 90, "the node is ready")
        soon(lambda: self.kubectl("get", "serviceaccount", "default"), 60, "the controllers have made the service account")

    def _control_plane(self):
        keys = self.directory / "certificates"
        self.start("etcd", f"--data-dir={self.directory}/etcd", "--unsafe-no-fsync", "--listen-peer-urls=http://127.0.0.1:2380")
        soon(lambda: self.sandbox.run("curl", "-sf", "http://127.0.0.1:2379/health"), 30, "etcd answers")
        self.start(
            "kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", f"--advertise-address={ADDRESS}", "--allow-privileged=true",
            "--service-cluster-ip-range=10.94.0.0/24", "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
            f"--client-ca-file={keys}/ca.crt", f"--tls-cert-file={keys}/apiserver.crt", f"--tls-private-key-file={keys}/apiserver.key",
            "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={keys}/tokens.key",
            f"--service-account-signing-key-file={keys}/tokens.key", f"--kubelet-client-certificate={keys}/apiserver-to-kubelet.crt",
            f"--kubelet-client-key={keys}/apiserver-to-kubelet.key", "--kubelet-preferred-address-types=InternalIP",
            f"--kubelet-certificate-authority={keys}/ca.crt",
        )  # fmt: skip
        soon(lambda: self.kubectl("get", "--raw=/readyz", timeout=5), 90, "the API server is ready")
        self.start(
            "kube-controller-manager", f"--kubeconfig={keys}/controller-manager.conf", "--use-service-account-credentials",
            f"--service-account-private-key-file={keys}/tokens.key", f"--root-ca-file={keys}/ca.crt", "--leader-elect=false",
            f"--node-monitor-grace-period={50 * SLOWNESS}s",
        )  # fmt: skip
        self.start("kube-scheduler", f"--kubeconfig={keys}/scheduler.conf", "--leader-elect=false")

    def _containerd(self):
        here = self.directory
        for name in ("cni", "containerd"):
            (here / name).mkdir()  # of mode 755: the root of a user namespace passes through
        ranges = {"type": "host-local", "dataDir": f"{here}/ipam", "ranges": [[{"subnet": "10.93.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}
        bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True, "hairpinMode": True, "ipam": ranges}
        plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}]
        (here / "cni/10-tests.conflist").write_text(json.dumps({"cniVersion": "1.0.0", "name": "tests", "plugins": plugins}))
        settings = VERSION + CONTAINERD + CRI_SETTINGS[VERSION]
        (here / "containerd.toml").write_text(settings.format(directory=here, plugins=f"{PROGRAMS}/cni", socket=SOCKET, state=2 * SLOWNESS))
        (here / "conf.d").mkdir()
        (here / "conf.d/00-default.toml").write_text(DEFAULT.format(name=next(iter(self.runtimes))))
        for name, path in self.runtimes.items():
            lines = plugged_in("containerd 2", "toml", name, path) + ("    SystemdCgroup = true\n" if self.driver == "systemd" else "")
            (here / f"conf.d/10-{name}.toml").write_text(lines)
        self.start("containerd", "--config", here / "containerd.toml")
        root = here / "image-roots"
        root.mkdir()
        for name, layer, command in image_layers(root):
            self.ctr("images", "import", "--local", images.oci_archive(here / "image.tar", layer, f"localhost/{name}:1", command))

    def _kubelet(self):
        here, keys = self.directory, self.directory / "certificates"
        self.static = here / "static"
        self.static.mkdir()
        if self.driver == "cgroupfs":
            every = 'for d in /sys/fs/cgroup /sys/fs/cgroup/*; do [ ! -e "$d/cgroup.procs" ]'
            self.sandbox.shell(f'{every} || mkdir -p "$d/{self.sandbox.cgroup}"; done')
        config = {
            **KUBELET,
            "cgroupDriver": self.driver,
            "cgroupRoot": f"/{self.sandbox.cgroup}" if self.driver == "cgroupfs" else "/",
            "containerRuntimeEndpoint": f"unix://{SOCKET}",
            "tlsCertFile": f"{keys}/kubelet-server.crt",
            "tlsPrivateKeyFile": f"{keys}/kubelet-server.key",
            "podLogsDir": f"{here}/pod-logs",
            "staticPodPath": f"{here}/static",
        }
        config["authentication"] = {**config["authentication"], "x509": {"clientCAFile": f"{keys}/ca.crt"}}
        self.settings = config
        (here / "kubelet.yaml").write_text(json.dumps(config))
        self.start(
            "kubelet", f"--config={here}/kubelet.yaml", f"--kubeconfig={keys}/kubelet.conf", f"--root-dir={here}/kubelet",
            f"--cert-dir={here}/kubelet-certificates", f"--hostname-override={NODE}", f"--node-ip={ADDRESS}",
        )  # fmt: skip

    # --- daemons ---

    def start(self, name, *args):
        """A daemon, whose output goes to NAME.log."""
        with open(self.directory / f"{name}.log", "ab") as out:
            process = subprocess.Popen(self.sandbox.command(*self.prefix, name, *args), stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self.daemons[name] = (process, args)
        if name == "containerd":
            # The kubelet ends where it does not find it.
            soon(lambda: self.crictl("version"), 60, "containerd answers")

    def stop(self, name):
        """Ends a daemon as systemd would; returns its arguments."""
        process, args = self.daemons.pop(name)
        # In a sandbox it is a child of nsenter's, which hands no signal on.
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for pid in [process.pid] if machine.HERE else children:
            os.kill(int(pid), signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return args

    def restart(self, name):
        self.start(name, *self.stop(name))

    @contextlib.contextmanager
    def kubelet(self, **settings):
        """Inside it the kubelet has other settings."""
        self._restart_kubelet({**self.settings, **settings})
        try:
            yield
        finally:
            self._restart_kubelet(self.settings)

    def _restart_kubelet(self, config):
        arguments = self.stop("kubelet")
        # Processors it has given out by its former settings, with which it does not start.
        (self.directory / "kubelet/cpu_manager_state").unlink(missing_ok=True)
        (self.directory / "kubelet.yaml").write_text(json.dumps(config))
        self.start("kubelet", *arguments)

    def log(self, name, count=30):
        """The last lines that a daemon has written."""
        return "\n".join((self.directory / f"{name}.log").read_text(errors="replace").splitlines()[-count:])

    def ctr(self, *args, **options):
        return self.sandbox.run("ctr", "--address", SOCKET, "--namespace", "k8s.io", *args, **options)

    def crictl(self, *args, **options):
        return self.sandbox.run("crictl", "-r", f"unix://{SOCKET}", "-i", f"unix://{SOCKET}", *args, **options)

    # --- kubectl ---

    def kubectl(self, *args, **options):
        return self.sandbox.run("kubectl", *args, **options)

    def apply(self, *objects):
        return self.kubectl("apply", "-f", "-", stdin="\n---\n".join(map(json.dumps, objects)))

    def get(self, kind, name):
        return json.loads(self.kubectl("get", kind, name, "-o", "json").out)

    def close(self):
        """Ends all of it. The kubelet first, so that nothing starts anew what ends; then the containers go with their pid namespace."""
        for name in ("kubelet", "kube-controller-manager", "kube-scheduler", "kube-apiserver", "etcd", "containerd"):
            if name in self.daemons:
                self.stop(name)
        self.sandbox.close()
        for name, value in self.tuned.items():
            pathlib.Path("/proc/sys", name).write_text(value)


def plugged_in(heading, language, name, path):
    """What README.md says of pyrun, for a runtime of this name and path."""
    return readme_block(heading, language).replace("/usr/local/bin/pyrun", "@").replace("pyrun", name).replace("@", str(path))


def image_layers(root):
    """(name, tar file, command) of each image."""
    pause = root / "pause-root"
    pause.mkdir()
    subprocess.run(["gcc", "-O2", "-static", "-o", pause / "pause", PROJECT / "tests/e2e/pause.c"], check=True)
    yield "pause", images.pack(pause, root / "pause.tar"), ["/pause"]
    yield "busybox", images.busybox(root, [PROJECT / "tests/e2e/memeat.c"]), ["/bin/sh"]
    agnhost = root / "agnhost-root"
    agnhost.mkdir()
    shutil.copy(PROGRAMS / "agnhost", agnhost)
    yield "agnhost", images.pack(agnhost, root / "agnhost.tar"), ["/agnhost"]
