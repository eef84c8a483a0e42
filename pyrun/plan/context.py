"""What the steps of a container's plan depend on, known before the first of them is made."""

from __future__ import annotations

from pyrun.base import log
from pyrun.base.facts import Facts
from pyrun.base.facts import facts as own_facts
from pyrun.plan import namespaces
from pyrun.plan.namespaces import Namespaces
from pyrun.plan.process import Rights
from pyrun.plan.request import NOTHING, Additions, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Context:
    """The config (a normal one), what was asked for, what is so on this machine, and what follows from these.

    cgroup_files: paths of what init writes "0" to (Cgroup.procs_files). hierarchies: what a cgroup mount shows (cgroup.Hierarchy).
    """

    def __init__(
        self, config: dict, request: Request, cgroup_files: Sequence[str] = (), hierarchies: Sequence = (), additions: Additions = NOTHING,
        facts: Facts = own_facts,
    ) -> None:  # fmt: skip
        self.config = config
        self.linux = linux = config["linux"]
        self.process = config["process"]
        self.request = request
        self.additions = additions
        self.facts = facts
        self.cgroup_files = cgroup_files
        self.hierarchies = hierarchies
        self.rootfs = rootfs_path(config, request.bundle)
        self.spaces = spaces = Namespaces(linux["namespaces"])
        self.user_namespace = spaces.has("user")
        # A caller without rights of its own can open no more than its user namespace can, and may clone no mount.
        self.opens_sources = self.user_namespace and not facts.rootless and (not facts.in_user_namespace or facts.owns_mounts)
        # mknod(2) of a device is refused in every user namespace but the first; rootless podman calls from one of its own.
        self.binds_devices = self.user_namespace or facts.in_user_namespace
        # The same goes for file systems that show a namespace which the container's user namespace does not own.
        self.foreign = [kind for kind in ("network", "pid", "ipc") if self.binds_devices and not spaces.has(kind)]
        self.mount_label = _label(linux["mountLabel"], facts)

    def rights(self) -> Rights:
        """What can be granted to the program; there is one."""
        return Rights(self.config, self.process, self.facts, self.user_namespace, self._denies_setgroups)

    def _denies_setgroups(self) -> bool:
        """Whether setgroups(2) is denied in the container's user namespace."""
        # user_namespaces(7): a caller without CAP_SETGID must deny it before it maps its own id alone.
        facts = self.facts
        if facts.rootless and namespaces.maps_one_id(self.linux["gidMappings"], facts.gid):
            return True
        return "user" not in self.spaces.joined and facts.denies_setgroups


def rootfs_path(config: dict, bundle: str) -> str:
    """Where the root file system lies on the host."""
    path = config["root"]["path"]
    return path if path.startswith("/") else f"{bundle}/{path}"


def _label(label: str, facts: Facts) -> str:
    """linux.mountLabel, if file systems can have one here."""
    if label and not facts.selinux:
        log.doubt("linux.mountLabel", f"{label} is not set: SELinux is not enabled on this host", here=True)
        return ""
    return label
