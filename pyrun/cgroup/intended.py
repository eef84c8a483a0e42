"""What would be done to make a container's cgroup, by the tables that do it: for `plan`. Nothing is made."""

from __future__ import annotations

from pyrun.cgroup import devices, resources
from pyrun.cgroup.available import Available

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.cgroup.base import Cgroup

    Step = tuple[str, str, str, dict[str, object]]  # name, place in the config, subject, operands


def steps(group: Cgroup) -> Iterator[Step]:
    """Yields the steps of reserve(), create() and apply(), in their order. Raises ConfigError where these would."""
    if "systemd" in group.state:
        name, of_user = group.state["systemd"]
        yield "systemd_unit", "linux.cgroupsPath", name, {"name": name, "manager": "the user's" if of_user else "the system's"}
    for path in dict.fromkeys(group.paths.values()):
        yield "cgroup", "linux.cgroupsPath", path, {"path": path}
    for write in resources.writes(group.resources, Available(group.mounts, group.paths), "linux.resources"):
        # Of several files the first that is there is written.
        names = [f"{write.directory}/{file}" for file, _ in write.files]
        yield "cgroup_write", write.where, names[-1], {"path": names[-1], "value": str(write.files[-1][1]), "rather": names[:-1]}
    if group.paths:
        filter = devices.compile(group.resources.get("devices", ()), "linux.resources.devices")
        default, place = ("allowed", "forbidden") if filter.allow else ("forbidden", "allowed")
        usual = set() if filter.allow else devices.DEFAULTS.items() & filter.exceptions.items()
        found: dict[str, list[str]] = {place: [], "usual": []}
        for item in filter.exceptions.items():
            found["usual" if item in usual else place].append(devices.text(*item))
        yield "device_rules", "linux.resources.devices", default, {"default": default, **found}
