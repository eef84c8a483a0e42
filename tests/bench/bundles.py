"""The bundles that are measured: a root file system of busybox, and configs as callers of a runtime write them."""

import functools
import json
import pathlib
import shutil
import subprocess

CAPABILITIES = "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE"


def make_all(directory, pyrun, mounts):
    """name -> bundle (Path). pyrun: the path of a pyrun, whose `spec` gives the usual config. mounts: numbers of bind mounts."""
    busybox = shutil.which("busybox")
    made = {}
    changes = CHANGES | {f"mounts-{number}": functools.partial(many_mounts, number) for number in mounts}
    for name, change in changes.items():
        made[name] = bundle = directory / name
        (bundle / "rootfs/bin").mkdir(parents=True)
        shutil.copy(busybox, bundle / "rootfs/bin/busybox")
        for applet in ("true", "sleep", "sh"):
            (bundle / "rootfs/bin" / applet).symlink_to("busybox")
        subprocess.run([pyrun, "spec"], cwd=bundle, check=True)
        path = bundle / "config.json"
        config = json.loads(path.read_text())
        config["ociVersion"] = "1.0.2"  # crun 1.8 knows no newer one
        config["process"].update(terminal=False, args=["/bin/true"])
        change(config, bundle)
        path.write_text(json.dumps(config))
    return made


def sleep(config, bundle):
    config["process"]["args"] = ["/bin/sleep", "1000"]


def listed(config, bundle):
    """A thousand of them fit on a machine: no network or IPC namespace each."""
    sleep(config, bundle)
    config["linux"]["namespaces"] = [{"type": kind} for kind in ("mount", "pid", "cgroup")]
    config.pop("hostname", None)


def pids_are_limited():
    """Whether there is that controller: cgroup v2 of a hybrid host hardly has any."""
    controllers = pathlib.Path("/sys/fs/cgroup/cgroup.controllers")
    return not controllers.exists() or "pids" in controllers.read_text().split()


def docker(config, bundle):
    """What dockerd writes for `docker run --network none IMAGE true` (without its hook), with a seccomp profile of that size."""
    names = [f"CAP_{name}" for name in CAPABILITIES.split()]
    config["process"].update(
        capabilities={kind: names for kind in ("bounding", "effective", "permitted")}, noNewPrivileges=False, oomScoreAdj=0,
        env=["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=0123456789ab"],
    )  # fmt: skip
    config["process"].pop("rlimits", None)
    config["root"]["readonly"] = False
    config["hostname"] = "0123456789ab"
    for name in ("resolv.conf", "hostname", "hosts"):
        (bundle / name).write_text("")
        config["mounts"].append(
            {"destination": f"/etc/{name}", "type": "bind", "source": str(bundle / name), "options": ["rbind", "rprivate"]}
        )
    linux = config["linux"]
    linux["cgroupsPath"] = "/pyrun-bench-docker"
    linux["seccomp"] = json.loads(pathlib.Path(__file__).with_name("profile.json").read_text())
    nodes = [(1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1)]
    rules = [{"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"} for major, minor in nodes]
    linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}, *rules]}
    if pids_are_limited():
        linux["resources"]["pids"] = {"limit": 1000}


def many_mounts(count, config, bundle):
    for number in range(count):
        (bundle / f"volumes/{number}").mkdir(parents=True)
        config["mounts"].append(
            {"destination": f"/volumes/{number}", "type": "bind", "source": str(bundle / f"volumes/{number}"), "options": ["rbind", "rw"]}
        )
    config["root"]["readonly"] = False


CHANGES = {"true": lambda config, bundle: None, "sleep": sleep, "listed": listed, "docker": docker}
