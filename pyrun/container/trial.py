"""What `create` would refuse in a config whose schema and rules are kept: it is compiled, piece by piece, and nothing is made."""

from __future__ import annotations

from pyrun import cgroup
from pyrun.base.errors import ConfigError, Error
from pyrun.cgroup import devices, resources
from pyrun.config import normal
from pyrun.host import rdt
from pyrun.plan import create, mounts, seccomp
from pyrun.plan.context import Context
from pyrun.plan.records import Plan
from pyrun.plan.request import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrun.cgroup.base import Cgroup
    from pyrun.cli.settings import Settings


def refusals(config: dict, bundle: str, settings: Settings) -> list[tuple[str, str]]:
    """[(path, message)] for every piece of a config (dict) in a bundle (directory, str) that could not be compiled."""
    found = {}

    def attempt(function: Callable, *args: Any) -> Any:
        try:
            return function(*args)
        except ConfigError as fault:
            found[fault.path] = fault.message
        except (Error, OSError):  # the machine's fault: no /proc, no systemd
            pass
        return None

    config = normal.config_of(config)
    linux = config["linux"]
    limits = linux["resources"]
    group = attempt(cgroup.open, config, "validate", settings)
    files, hierarchies = (group.procs_files(), group.hierarchies()) if group else ((), ())
    context = attempt(Context, config, Request("validate", bundle), files, hierarchies)
    place = _Nowhere(group)
    for name in limits:
        attempt(resources.writes, {name: limits[name]}, place, "linux.resources")
    attempt(devices.compile, limits.get("devices", ()), "linux.resources.devices")
    filter = attempt(seccomp.compile_of, config, settings.root)
    if linux["intelRdt"] is not None:
        attempt(rdt.group_of, config, "validate")
    if context:
        for mount in mounts.parse(config, bundle):
            attempt(mounts.emit, Plan(), mount, context)
        attempt(create.container_plan, context, filter, True)
    return list(found.items())


class _Nowhere:
    """A cgroup of the host's version that has no directory: what its files say is unknown."""

    def __init__(self, group: Cgroup | None) -> None:
        self.version = 2 if group is None or list(group.paths) == [""] else 1

    def version_of(self, controller: str) -> tuple[int, str]:
        return self.version, "/none"
