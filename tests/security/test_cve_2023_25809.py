"""Without a cgroup namespace, /sys/fs/cgroup of a container in a user namespace gave it the cgroups of its user to write to."""

import os

from harness import cgroups_named
from looks import user_namespace


def test_cgroups_of_others_are_neither_seen_nor_writable(bundle, token):
    other = f"/sys/fs/cgroup/pids/{token}-other"
    os.mkdir(other)
    try:
        script = "cd /sys/fs/cgroup; find . -name '*-other'; for d in *; do mkdir $d/made; echo 1 >$d/cgroup.procs; done; cat pids/pids.max"
        b = user_namespace(bundle(script)).set("linux.cgroupsPath", f"/{token}-own").set("linux.resources.pids.limit", 44)
        result = b.run()
        assert result.out == "44\n"
        assert "Read-only file system" in result.err
        assert not [path for path in cgroups_named("made") if token in path]
    finally:
        os.rmdir(other)


def test_even_a_mount_without_ro_belongs_to_the_hosts_root(bundle, token):
    b = user_namespace(bundle("mkdir /sys/fs/cgroup/pids/made; echo max >/sys/fs/cgroup/pids/pids.max; cat /sys/fs/cgroup/pids/pids.max"))
    b.set("linux.cgroupsPath", f"/{token}-own").set("linux.resources.pids.limit", 44)
    for entry in b.config["mounts"]:
        if entry["type"] == "cgroup":
            entry["options"].remove("ro")
    result = b.run()
    assert result.out == "44\n"
    assert result.err.lower().count("permission denied") == 2
