"""What `create` would refuse in a config whose schema and rules are kept: it is compiled, piece by piece, and nothing is made."""

from pyrun import cgroup
from pyrun.base.errors import ConfigError, Error
from pyrun.cgroup import devices, resources
from pyrun.host import rdt
from pyrun.plan import compile, mounts, seccomp
from pyrun.plan.records import Plan


def refusals(config, bundle, settings):
    """[(path, message)] for every piece of a config (dict) in a bundle (directory, str) that could not be compiled."""
    found = {}

    def attempt(function, *args):
        try:
            return function(*args)
        except ConfigError as fault:
            found[fault.path] = fault.message
        except (Error, OSError):  # the machine's fault: no /proc, no systemd
            pass
        return None

    linux = config.get("linux") or {}
    limits = linux.get("resources") or {}
    group = attempt(cgroup.open, config, "validate", settings)
    files, hierarchies = (group.procs_files(), group.hierarchies()) if group else ((), ())
    host = compile.Host(bundle, files, hierarchies, id="validate")
    place = _Nowhere(group)
    for name in limits:
        attempt(resources.writes, {name: limits[name]}, place, "linux.resources")
    attempt(devices.compile, limits.get("devices") or (), "linux.resources.devices")
    for mount in mounts.parse(config, compile.rootfs_path(config, bundle)):
        attempt(mounts.emit, Plan(), mount, host)
    filter = attempt(seccomp.compile_of, config, settings.root)
    if "intelRdt" in linux:
        attempt(rdt.group_of, config, "validate")
    attempt(compile.create, Plan(), config, host, filter, True)
    return list(found.items())


class _Nowhere:
    """A cgroup of the host's version that has no directory: what its files say is unknown."""

    def __init__(self, group):
        self.version = 2 if group is None or list(group.paths) == [""] else 1

    def version_of(self, controller):
        return self.version, "/none"
