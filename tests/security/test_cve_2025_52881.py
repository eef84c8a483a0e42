"""What is written to procfs for the container (sysctls, labels, oom_score_adj) goes to a file of the attacker's choice."""

import os

import pytest


def fakes(directory):
    for path in ("sys/net/ipv4/ip_forward", "self/oom_score_adj", "self/attr/exec", "self/timens_offsets"):
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text("fake")
    return directory


@pytest.mark.parametrize("kind", ["plain", "symlink"])
def test_no_proc_in_the_container(bundle, victim, kind):
    """Files of the image at the places of the kernel's."""
    b = bundle("cat /real/sys/net/ipv4/ip_forward /real/self/oom_score_adj")
    b.config["mounts"] = [{"destination": "/real", "type": "proc", "source": "proc"}]
    b.set("linux.maskedPaths", []).set("linux.readonlyPaths", [])
    b.set("linux.sysctl", {"net.ipv4.ip_forward": "1"}).set("process.oomScoreAdj", 321)
    fakes(b.rootfs / "proc")
    if kind == "symlink":
        for name in ("sys/net/ipv4/ip_forward", "self/oom_score_adj"):
            (b.rootfs / "proc" / name).unlink()
            (b.rootfs / "proc" / name).symlink_to(f"{'../' * 30}{victim.path}/file")
    assert b.run().out.split() == ["1", "321"]
    assert victim.unchanged()
    if kind == "plain":
        assert (b.rootfs / "proc/sys/net/ipv4/ip_forward").read_text() == "fake"


@pytest.mark.parametrize("name", ["net/../kernel/core_pattern", "net/ipv4/../../../1/oom_score_adj", "net..kernel", "/net/x"])
def test_a_sysctl_cannot_climb(bundle, name):
    with open("/proc/sys/kernel/core_pattern") as file:
        before = file.read()
    result = bundle().set("linux.sysctl", {name: "1"}).call("run", code=1)
    assert "linux.sysctl" in result.err
    with open("/proc/sys/kernel/core_pattern") as file:
        assert file.read() == before


def test_proc_of_a_container_that_others_change(bundle):
    """The container mounts over its own /proc; what exec writes still reaches the kernel."""
    b = bundle("mount -t tmpfs tmpfs /proc && mkdir -p /proc/self && echo fake >/proc/self/oom_score_adj && touch /tmp/done; exec sleep 100")
    for names in b.config["process"]["capabilities"].values():
        names.append("CAP_SYS_ADMIN")
    container = b.set("process.oomScoreAdj", 123).detached()
    script = "while ! test -e /tmp/done; do :; done; cat /proc/self/oom_score_adj; sleep 100"
    container.exec("sh", "-c", script, flags=("--detach", "--pid-file", str(b.directory / "pid")))
    pid = int((b.directory / "pid").read_text())
    with open(f"/proc/{pid}/oom_score_adj") as file:
        assert file.read() == "123\n"
    os.kill(pid, 9)
