"""Cgroups of an ordinary user's containers: none, a delegated one, and what `--rootless` decides."""

import pathlib

import pytest
from harness import cgroups_named, until
from looks import one_line
from ordinary import around_namespaces, hierarchies, without, without_user_namespace

NO_PERMISSION = "rootless needs no limits + no cgrouppath when no permission is granted for cgroups"


@pytest.fixture
def run(user, pyrun, tmp_path, token):
    return user.runner(pyrun, tmp_path, token)


@pytest.fixture
def bundle(user, run, rootfs):
    return user.bundles(run, rootfs)


@pytest.fixture
def undelegated(run):
    """The runtime is called where all cgroups are read-only: by the root of a user namespace with mounts of its own."""
    script = "".join(f"mount -o remount,bind,ro {point} && " for point in hierarchies())
    with around_namespaces(run, "--user", "--map-root-user", "--mount", script=script):
        yield


def nested(bundle):
    """The bundle for a caller that is root in a user namespace already."""
    return without_user_namespace(bundle)


def setting(token, name):
    """The content of a file of the container's cgroup."""
    files = [pathlib.Path(path, name) for path in containers(token)]
    [text] = [file.read_text().strip() for file in files if file.exists()]
    return text


def containers(token):
    """Paths of the containers' cgroups."""
    return [path for path in cgroups_named(token) if not path.endswith("-user")]


def test_without_a_cgroup(bundle, undelegated, token):
    """No limits, no path: the container stays in the caller's cgroup."""
    c = nested(bundle("sleep 100")).detached()
    assert cgroups_named(token) == []
    assert c.exec("echo", "hi").out == "hi\n"
    for command in ("pause", "update"):
        line = one_line(c.runner(command, *(["--pids-limit", "5"] if command == "update" else []), c.id, code=1))
        assert "cgroup" in line
    c.kill("KILL")
    assert c.wait() == 137
    c.delete()


@pytest.mark.parametrize("setting, value", [("resources", {"pids": {"limit": 20}}), ("cgroupsPath", "/{token}-path")])
def test_what_needs_a_cgroup(bundle, undelegated, token, setting, value):
    value = value.format(token=token) if isinstance(value, str) else value
    line = one_line(nested(bundle()).set(f"linux.{setting}", value).call("create", code=1))
    assert NO_PERMISSION in line and "delegated" in line


def test_rootless_false_goes_on_without_no_cgroup(bundle, run, undelegated):
    b = nested(bundle())
    b.write()
    line = one_line(run("--rootless", "false", "run", "--bundle", b.directory, run.new_id(), code=1))
    assert "unable to apply cgroup configuration" in line and "read-only file system" in line
    assert run("--rootless", "true", "run", "--bundle", b.directory, run.new_id()).err == ""


def test_no_pid_namespace_and_no_cgroup(bundle, undelegated):
    """Nothing holds its processes together then, and a warning says so."""
    result = without(nested(bundle("echo hi")), "pid").run()
    assert result.out == "hi\n" and "not all its processes can be killed" in result.err


def test_limits_in_a_delegated_cgroup(bundle, run, delegated, token):
    b = bundle("sleep 100").set("linux.resources", {"pids": {"limit": 20}, "memory": {"limit": 64 << 20}})
    c = b.detached()
    assert setting(token, "pids.max") == "20"
    run("update", "--pids-limit", "30", c.id)
    assert setting(token, "pids.max") == "30"
    assert "Resource temporarily unavailable" in c.exec("sh", "-c", "i=0; while [ $((i += 1)) -lt 40 ]; do sleep 500 & done", code=None).err
    c.delete("--force")
    assert containers(token) == []


def test_no_limit_of_processes(bundle, delegated, token):
    c = bundle("sleep 100").set("linux.resources.pids.limit", -1).detached()
    assert setting(token, "pids.max") == "max"
    assert c.exec("sh", "-c", "sh -c true & wait; echo $?").out == "0\n"


def test_pause_stats_and_processes_in_a_delegated_cgroup(bundle, run, delegated):
    c = bundle("sleep 100").detached()
    run("pause", c.id)
    assert c.status() == "paused"
    run("resume", c.id)
    until(lambda: c.status() == "running")
    assert '"type":"stats"' in run("events", "--stats", c.id).out
    assert str(c.pid) in run("ps", c.id).out


def test_a_process_left_by_the_first_is_killed(bundle, delegated):
    """The host's pid namespace: it is the cgroup that holds them together."""
    c = without(bundle("sleep 1000 & echo $!; exec sleep 100"), "pid").detached()
    until(lambda: c.out)
    c.kill("KILL")
    c.wait()
    until(lambda: not pathlib.Path(f"/proc/{c.out.strip()}/root/proc").exists() or not pathlib.Path(f"/proc/{c.out.strip()}").exists())
    c.delete()


@pytest.mark.skipif(len(hierarchies()) > 1, reason="cgroup v2 alone can be mounted in a user namespace and given to it")
def test_the_root_of_the_container_may_use_its_cgroup(bundle, delegated):
    b = bundle("mkdir /sys/fs/cgroup/below && echo $$ >/sys/fs/cgroup/below/cgroup.procs && cat /proc/self/cgroup")
    b.config["linux"]["namespaces"] = [*without(b, "cgroup").config["linux"]["namespaces"], {"type": "cgroup"}]
    b.config["mounts"] = [entry for entry in b.config["mounts"] if entry["destination"] != "/sys/fs/cgroup"]
    b.mount("/sys/fs/cgroup", type="cgroup", source="cgroup", options=["nosuid", "noexec", "nodev", "relatime"])
    assert b.run().out == "0::/below\n"
