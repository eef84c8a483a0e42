"""A config.json to begin with: of `pyrun spec`, and what `pyrun unpack` fills in."""

from __future__ import annotations

import posix

from pyrun import SPEC_VERSION

CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
SAFE = ["nosuid", "noexec", "nodev"]


def example(cgroup_namespace: bool) -> dict:
    """A config for a container that is isolated as one expects and holds little power."""
    namespaces = ["pid", "network", "ipc", "uts", "mount"] + ["cgroup"] * cgroup_namespace
    return {
        "ociVersion": SPEC_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "pyrun",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
            mount("/dev/shm", "tmpfs", "shm", *SAFE, "mode=1777", "size=65536k"),  # noqa: S108  # the container's
            mount("/dev/mqueue", "mqueue", "mqueue", *SAFE),
            mount("/sys", "sysfs", "sysfs", *SAFE, "ro"),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", *SAFE, "relatime", "ro"),
        ],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": name} for name in namespaces],
            "maskedPaths": [
                "/proc/acpi",
                "/proc/asound",
                "/proc/kcore",
                "/proc/keys",
                "/proc/latency_stats",
                "/proc/timer_list",
                "/proc/timer_stats",
                "/proc/sched_debug",
                "/sys/firmware",
                "/proc/scsi",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }


def mount(destination: str, kind: str, source: str, *options: str) -> dict:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def without_privileges(config: dict, uid: int, gid: int) -> None:
    """Changes a config so that a user without privileges can run it: root in the container is that user."""
    linux = config["linux"]
    # A network namespace of one's own has no way out that such a user could make.
    linux["namespaces"] = [space for space in linux["namespaces"] if space["type"] != "network"] + [{"type": "user"}]
    linux["uidMappings"] = [{"containerID": 0, "hostID": uid, "size": 1}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": gid, "size": 1}]
    # Writing the limits takes a cgroup that was delegated.
    del linux["resources"]
    for index, entry in enumerate(config["mounts"]):
        if entry["destination"] == "/sys":
            # sysfs shows a network namespace: who does not own it cannot mount it.
            config["mounts"][index] = mount("/sys", "none", "/sys", "rbind", *SAFE, "ro")
        elif "options" in entry:
            # No other id is mapped than that one.
            entry["options"] = [option for option in entry["options"] if not option.startswith(("uid=", "gid="))]


def unified() -> bool:
    """Whether the host has cgroup v2 alone."""
    try:
        posix.stat("/sys/fs/cgroup/cgroup.controllers")
    except FileNotFoundError:
        return False
    return True
