"""pyrun features: what this runtime can do (features.md), told by the tables that it works with."""

from __future__ import annotations

from pyrun import SPEC_VERSION, START
from pyrun._native import lib
from pyrun.base import jsonio, output
from pyrun.cgroup import MANAGERS, resources
from pyrun.config import rules
from pyrun.config.annotations import NAMES
from pyrun.plan import mounts, namespaces, process, seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from pyrun.cli.settings import Settings

OCI_VERSION_MIN = "1.0.0"


def features(settings: Settings) -> None:
    """Prints the Features structure as JSON."""
    from pyrun.cli.declaration import PYRUN

    output.write(jsonio.dumps(structure(PYRUN.commands), 4) + "\n")


def structure(commands: Collection[str]) -> dict:
    """The Features structure. commands: the names of the runtime's commands."""
    return {
        "ociVersionMin": OCI_VERSION_MIN,
        "ociVersionMax": SPEC_VERSION,
        "hooks": list(rules.HOOKS),
        "mountOptions": sorted(mounts.WORDS),
        "linux": {
            "namespaces": sorted(namespaces.FLAGS),
            "capabilities": list(process.CAPABILITIES),
            "cgroup": MANAGERS | {"rdma": any(row[0].startswith("rdma") for row in resources.RESOURCES)},
            "seccomp": seccomp_features(),
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
            "memoryPolicy": {"modes": list(process.MEMORY_MODES), "flags": list(process.MEMORY_FLAGS)},
            "mountExtensions": {"idmap": {"enabled": "idmap" in mounts.SHAPE_WORDS}},
            "netDevices": {"enabled": True},
        },
        "annotations": facts(commands),
        "potentiallyUnsafeConfigAnnotations": list(NAMES),
    }


def seccomp_features() -> dict:
    known = seccomp.SUPPORTED
    return {
        "enabled": True,
        "actions": sorted(known["actions"]),
        "operators": sorted(known["operators"]),
        "archs": sorted(known["archs"]),
        "knownFlags": sorted(known["flags"]),
        "supportedFlags": sorted(filter(seccomp.flag_supported, known["flags"])),
    }


def facts(commands: Collection[str]) -> dict[str, str]:
    """Facts that the specification has no member for, under the names that callers know them by."""
    version = lib.native_seccomp_version()
    return {
        "io.github.seccomp.libseccomp.version": f"{version >> 16}.{version >> 8 & 0xFF}.{version & 0xFF}",
        "org.pyrun.start": START,
        "org.opencontainers.runc.checkpoint.enabled": "true" if "checkpoint" in commands else "false",
    }
