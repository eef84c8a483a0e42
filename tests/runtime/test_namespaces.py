"""Namespaces: new ones, the host's, and those that are joined by a path (config-linux.md#namespaces)."""

import os
import subprocess

import pytest
from harness import until
from looks import mount, one_line, open_to_all, user_namespace

KINDS = {"pid": "pid", "network": "net", "mount": "mnt", "ipc": "ipc", "uts": "uts", "user": "user", "cgroup": "cgroup", "time": "time"}


def own(name):
    return os.readlink(f"/proc/self/ns/{name}")


def links(*names):
    return "; ".join(f"readlink /proc/self/ns/{name}" for name in names)


def without(bundle, *kinds):
    """The bundle without these namespaces, and without what needs them."""
    linux = bundle.config["linux"]
    linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] not in kinds]
    if "uts" in kinds:
        bundle.config.pop("hostname")
    if "mount" in kinds:
        linux["maskedPaths"] = linux["readonlyPaths"] = []
    return bundle


def without_tty_group(bundle):
    """For user namespaces that don't have gid 5."""
    for entry in bundle.config["mounts"]:
        if entry["type"] == "devpts":
            entry["options"].remove("gid=5")
    return bundle


@pytest.fixture
def holder():
    """Starts a process in new namespaces, `holder("--net", "--uts")` as of unshare(1); gives its pid."""
    processes = []

    def start(*flags, script=""):
        process = subprocess.Popen(
            ["unshare", *flags, "sh", "-c", f"{script}\necho ready; exec sleep 1000"], stdout=subprocess.PIPE, text=True, process_group=0
        )
        processes.append(process)
        assert process.stdout.readline() == "ready\n"
        return process.pid

    yield start
    for process in processes:
        os.killpg(process.pid, 9)
        process.wait()
        process.stdout.close()


@pytest.mark.kernels
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mount"])
def test_new_and_the_hosts(bundle, kind):
    b = without(bundle(f"readlink /proc/self/ns/{KINDS[kind]}"), kind)
    hosts = b.run().out.strip()
    assert hosts == own(KINDS[kind])
    if kind == "uts":
        b.config["hostname"] = "box"
    if kind == "user":
        user_namespace(b)
    else:
        b.config["linux"]["namespaces"].append({"type": kind})
    assert b.run().out.strip() not in ("", hosts)


def test_no_namespace_at_all(bundle):
    """Nothing but a chroot, and no mounts to make."""
    b = without(bundle("echo $$; ls /; hostname"), *KINDS)
    b.config["mounts"] = []
    b.config["linux"]["resources"] = {}
    out = b.run().out.split()
    assert int(out[0]) > 1 and "work" not in out and out[-1] == os.uname().nodename


def test_a_read_only_root_without_a_mount_namespace_is_a_mount_of_the_hosts(bundle):
    """The directory alone, not the mount that it lies in; it stays, and that does not go unsaid."""
    b = without(bundle("touch /x; ls -d /dev"), "mount").set("root.readonly", True)
    b.config["mounts"] = []
    try:
        result = b.run()
        (b.directory / "beside").touch()
    finally:
        subprocess.run(["umount", b.rootfs], check=True)
    warning, fault = result.err.splitlines()
    assert "root.readonly" in warning and "host" in warning
    assert fault == "touch: /x: Read-only file system" and result.out == "/dev\n"


def test_mounts_without_a_mount_namespace_stay_the_hosts(bundle):
    """The specification gives the container the caller's mount namespace then; it does not go unsaid."""
    b = without(bundle("ls /m"), "mount").mount("/m", type="tmpfs", source="tmpfs")
    b.config["mounts"] = b.config["mounts"][-1:]
    try:
        line = one_line(b.run())
    finally:
        subprocess.run(["umount", b.rootfs / "m"], check=True)
    assert "mounts" in line and "host" in line


@pytest.mark.parametrize("kind, flag", [("network", "--net"), ("ipc", "--ipc"), ("uts", "--uts"), ("cgroup", "--cgroup"), ("time", "--time")])
@pytest.mark.parametrize("bound", [False, True])
def test_joined_by_path(bundle, holder, tmp_path, kind, flag, bound):
    """/proc/PID/ns/…, or that file bound somewhere, as `ip netns` does."""
    name = KINDS[kind]
    pid = holder(flag, "--fork", "--kill-child") if kind == "time" else holder(flag)
    if kind == "time":
        pid = int(open_children(pid))
    path = f"/proc/{pid}/ns/{name}"
    wanted = os.readlink(path)
    b = without(bundle(links(name)), kind)
    if bound:
        (tmp_path / "ns").touch()
        mount("--bind", path, tmp_path / "ns")
        path = str(tmp_path / "ns")
    b.config["linux"]["namespaces"].append({"type": kind, "path": path})
    try:
        assert b.run().out.strip() == wanted != own(name)
        container = b.set("process.args", ["sleep", "100"]).detached()
        assert container.exec("readlink", f"/proc/self/ns/{name}").out.strip() == wanted
    finally:
        if bound:
            subprocess.run(["umount", path], check=True)


def open_children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return file.read().split()[0]


def test_the_namespaces_of_another_container(bundle):
    """A pod: pid, network, ipc and uts of the first container."""
    first = bundle("hostname; exec sleep 100").detached()
    names = ("pid", "net", "ipc", "uts")
    second = bundle(f"{links(*names)}; ls -d /proc/[0-9]*; kill -0 1 && echo sees; hostname")
    second.config.pop("hostname")
    second.config["linux"]["namespaces"] = [
        {"type": "mount"},
        *({"type": kind, "path": f"/proc/{first.pid}/ns/{KINDS[kind]}"} for kind in ("pid", "network", "ipc", "uts")),
    ]
    out = second.run().out.split()
    assert out[:4] == [os.readlink(f"/proc/{first.pid}/ns/{name}") for name in names]
    assert "/proc/1" in out and out[-2:] == ["sees", "pyrun"]
    assert first.status() == "running"


def test_a_joined_mount_namespace(bundle, holder, tmp_path):
    (tmp_path / "private").mkdir()
    pid = holder("--mount", script=f"mount -t tmpfs tmpfs {tmp_path}/private && touch {tmp_path}/private/seen")
    b = bundle("ls /m").mount("/m", source=str(tmp_path / "private"), options=["bind"])
    b.set("linux.namespaces", [{"type": "mount", "path": f"/proc/{pid}/ns/mnt"}, {"type": "pid"}, {"type": "uts"}])
    b.set("linux.maskedPaths", []).set("linux.readonlyPaths", [])
    assert b.run().out == "seen\n"


@pytest.mark.parametrize(
    "path, words", [("/no/such/ns", "no such file or directory"), ("/etc/passwd", "invalid argument"), ("/proc/self/ns/uts", "invalid argument")]
)
def test_a_bad_path(bundle, path, words):
    b = without(bundle(), "network")
    b.config["linux"]["namespaces"].append({"type": "network", "path": path})
    line = one_line(b.call("run", code=1))
    assert "linux.namespaces[4].path" in line and path in line and words in line


# --- what they hold


def test_host_and_domain_name(bundle):
    before = os.uname().nodename
    b = bundle("hostname; cat /proc/sys/kernel/domainname").set("hostname", "a.long-host.name").set("domainname", "example.org")
    assert b.run().out.split() == ["a.long-host.name", "example.org"]
    assert os.uname().nodename == before


def test_the_loopback_interface_is_up(bundle):
    out = bundle("ip addr show lo; ls /sys/class/net").run().out
    assert "<LOOPBACK,UP,LOWER_UP>" in out and "inet 127.0.0.1/8" in out
    assert out.split()[-1] == "lo"


def test_sysctls(bundle):
    values = {"net.ipv4.ip_forward": "1", "net/ipv4/conf/lo/rp_filter": "2", "kernel.shmmni": "2000", "fs.mqueue.msg_max": "20"}
    b = bundle("cd /proc/sys; cat net/ipv4/ip_forward net/ipv4/conf/lo/rp_filter kernel/shmmni fs/mqueue/msg_max").set("linux.sysctl", values)
    with open("/proc/sys/kernel/shmmni") as file:
        before = file.read()
    assert b.run().out.split() == list(values.values())
    with open("/proc/sys/kernel/shmmni") as file:
        assert file.read() == before


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("net.ipv4.ip_forward", "many", "invalid argument"),
        ("net.no.such", "1", "no such file or directory"),
        ("kernel.panic", "1", "not in a separate"),
        ("kernel.hostname", "x", "hostname"),
        ("net/../kernel/panic", "1", "no name of a sysctl"),
    ],
)
def test_bad_sysctls(bundle, name, value, words):
    line = one_line(bundle().set("linux.sysctl", {name: value}).call("run", code=1))
    assert "linux.sysctl" in line and name in line and words in line


@pytest.mark.arm64
@pytest.mark.kernels
def test_time_offsets(bundle):
    b = bundle("cat /proc/self/timens_offsets; cut -d . -f 1 /proc/uptime; sleep 100")
    b.config["linux"]["namespaces"].append({"type": "time"})
    b.set("linux.timeOffsets", {"monotonic": {"secs": 7200, "nanosecs": 5}, "boottime": {"secs": 1000000, "nanosecs": 7}})
    container = b.detached()
    out = container.exec("sh", "-c", "cat /proc/self/timens_offsets; cut -d . -f 1 /proc/uptime").out.split()
    assert out[:6] == ["monotonic", "7200", "5", "boottime", "1000000", "7"]
    assert int(out[6]) > 1000000
    until(lambda: container.out.split()[:6] == out[:6])


# --- user namespaces


@pytest.mark.arm64
@pytest.mark.kernels
def test_id_maps_and_owners(bundle):
    b = user_namespace(bundle("cat /proc/self/uid_map /proc/self/gid_map; id -u; stat -c '%u:%g' /mine /others; touch /tmp/new"))
    b.config["linux"]["uidMappings"].append({"containerID": 70000, "hostID": 300000, "size": 1})
    for name, owner in (("mine", 100000), ("others", 5)):
        (b.rootfs / name).touch()
        os.chown(b.rootfs / name, owner, owner)
    out = b.run().out.split()
    assert out[:9] == ["0", "100000", "65536", "70000", "300000", "1", "0", "100000", "65536"]
    assert out[9:] == ["0", "0:0", "65534:65534"]
    assert os.lstat(b.rootfs / "tmp/new").st_uid == 100000


def test_mounts_devices_and_limits_in_a_user_namespace(bundle):
    script = "echo x >/dev/null; head -c 1 /dev/zero | wc -c; ls /sys/kernel | head -1; cat /proc/1/comm; ulimit -n; readlink /dev/ptmx"
    b = user_namespace(bundle(script))
    b.set("process.rlimits", [{"type": "RLIMIT_NOFILE", "soft": 5000, "hard": 5000}])
    out = b.run().out.split()
    assert out[0] == "1" and out[-2:] == ["5000", "pts/ptmx"]


def test_a_terminal_in_a_user_namespace(bundle):
    b = user_namespace(bundle("tty; stat -c '%u' $(tty); stty size", terminal=True)).set("process.consoleSize", {"height": 33, "width": 101})
    b.set("process.user", {"uid": 1000, "gid": 1000})
    terminal = b.terminal()
    assert terminal.expect("33 101").split() == ["/dev/pts/0", "1000", "33", "101"]
    assert terminal.wait() == 0


def test_a_terminal_whose_group_is_not_mapped(bundle):
    terminal = without_tty_group(user_namespace(bundle("tty", terminal=True), size=1)).terminal()
    terminal.expect("/dev/pts/0")
    assert terminal.wait() == 0


@pytest.mark.kernels
def test_sources_that_the_mapped_root_cannot_reach(bundle, tmp_path):
    secret = tmp_path / "secret/deep"
    secret.mkdir(parents=True)
    (secret / "file").write_text("reached")
    (secret / "dir").mkdir()
    b = user_namespace(bundle("cat /m/file /dir-or-file; ls -d /m/dir")).mount("/m", source=str(secret), options=["rbind", "ro"])
    b.mount("/dir-or-file", source=str(secret / "file"), options=["bind"])
    (tmp_path / "secret").chmod(0o700)
    assert b.run().out == "reachedreached/m/dir\n"


def test_a_root_that_the_mapped_root_cannot_reach(bundle):
    """A clear error: which directory, and why."""
    b = user_namespace(bundle())
    b.directory.chmod(0o700)
    line = one_line(b.call("run", code=1))
    assert "root.path" in line and "permission denied" in line and "search every directory" in line


def test_a_joined_user_namespace_without_mappings(bundle, holder):
    pid = holder("--user", "--map-root-user", "--net")
    b = open_to_all(without_tty_group(without(bundle(links("user", "net") + "; id -u; cat /proc/self/uid_map"), "network")))
    b.config["linux"]["namespaces"] += [
        {"type": "user", "path": f"/proc/{pid}/ns/user"},
        {"type": "network", "path": f"/proc/{pid}/ns/net"},
    ]
    out = b.run().out.split()
    assert out[:2] == [os.readlink(f"/proc/{pid}/ns/{name}") for name in ("user", "net")]
    assert out[2:] == ["0", "0", "0", "1"]


def test_a_network_namespace_of_another_owner(bundle, holder):
    """The user namespace is joined, the network namespace belongs to the first one: it can be entered before only."""
    user, net = holder("--user", "--map-root-user"), holder("--net")
    b = open_to_all(without_tty_group(without(bundle(links("user", "net")), "network")))
    b.config["linux"]["namespaces"] += [
        {"type": "user", "path": f"/proc/{user}/ns/user"},
        {"type": "network", "path": f"/proc/{net}/ns/net"},
    ]
    # sysfs belongs to the owner of the network namespace; nobody else may mount it.
    b.config["mounts"] = [entry for entry in b.config["mounts"] if entry["destination"] not in ("/sys", "/sys/fs/cgroup")]
    assert b.run().out.split() == [os.readlink(f"/proc/{user}/ns/user"), os.readlink(f"/proc/{net}/ns/net")]


@pytest.mark.kernels
def test_exec_in_a_user_namespace(bundle):
    container = user_namespace(bundle("sleep 100")).detached()
    out = container.exec("sh", "-c", f"id -u; {links(*KINDS.values())}").out.split()
    assert out[0] == "0"
    assert out[1:] == [os.readlink(f"/proc/{container.pid}/ns/{name}") for name in KINDS.values()]
    assert container.exec("id", "-u", flags=("--user", "1000")).out == "1000\n"


def test_an_unmapped_user(bundle):
    b = user_namespace(bundle(), size=10).set("process.user", {"uid": 10, "gid": 0})
    line = one_line(b.call("run", code=1))
    assert "process.user.uid" in line and "uidMappings" in line
