"""What is legal in a config and contradicts itself, or means something else than it seems to. The rules (config/rules.py) have what `create`
refuses; here is what fails later, at `start` or in the program, and what is only a doubt.
"""

from __future__ import annotations

from pyrun.base.errors import ConfigError
from pyrun.base.files import clean
from pyrun.cgroup import devices
from pyrun.plan.process import CAPABILITIES
from pyrun.validate.subject import WARNING, Found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.validate.subject import Subject

    Founds = Iterator[Found]

# Actions of a filter that let a call be made.
PASSING = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_NOTIFY")
# sched-bwc.rst: what the kernel takes, in microseconds.
PERIODS = range(1000, 1000001)
QUOTA_MIN = 1000


def relative_destinations(subject: Subject) -> Founds:
    for index, mount in enumerate(subject.config["mounts"]):
        if (place := mount["destination"])[:1] != "/":
            yield Found(f"mounts[{index}].destination", f'is relative, which is deprecated, and taken as "/{place}"', f"write /{place}", WARNING)


def hidden_mounts(subject: Subject) -> Founds:
    """A mount on the place of an earlier one, or above it."""
    below: dict[str, int] = {}  # each directory that leads to a mount, and where one is -> the last such mount
    for index, mount in enumerate(subject.config["mounts"]):
        if "remount" in mount["options"]:
            continue
        place = clean(mount["destination"])
        if place in below and (other := clean(subject.config["mounts"][below[place]]["destination"])):
            cure = "keep one of them" if other == place else f"let it come before mounts[{below[place]}]"
            yield Found(f"mounts[{index}].destination", f'"{place}" hides mounts[{below[place]}], which is at "{other}"', cure, WARNING)
        while place not in below or below[place] != index:
            below[place] = index
            place = place.rpartition("/")[0] or "/"


def masked_devices(subject: Subject) -> Founds:
    """Devices that are made, and that nobody may open."""
    try:
        allowed = devices.compile(subject.config["linux"]["resources"].get("devices", ()), "linux.resources.devices")
    except ConfigError:  # which is told anyway
        return
    for index, device in enumerate(subject.config["linux"]["devices"]):
        kind = {"u": "c"}.get(device["type"], device["type"])
        if kind in ("b", "c") and not _may_open(allowed, kind, device["major"], device["minor"]):
            rule = f'{{"allow": true, "type": "{kind}", "major": {device["major"]}, "minor": {device["minor"]}, "access": "rwm"}}'
            message = f'{device["path"]} is made, but no rule of linux.resources.devices lets anybody open it'
            yield Found(f"linux.devices[{index}]", message, f"add {rule} there", WARNING)


def _may_open(filter: devices.Filter, kind: str, major: int, minor: int) -> bool:
    bits = 0
    for numbers in ((major, minor), (major, devices.ANY), (devices.ANY, minor), (devices.ANY, devices.ANY)):
        bits |= filter.exceptions.get((kind, *numbers), 0)
    use = devices.READ | devices.WRITE
    return bits & use != use if filter.allow else bool(bits & use)


def capabilities(subject: Subject) -> Founds:
    """capabilities(7): what is left of the sets when the program is executed."""
    process = subject.config["process"]
    if not process:
        return
    sets = {name: {word.upper() for word in words} & CAPABILITIES.keys() for name, words in process["capabilities"].items()}
    for index, word in enumerate(process["capabilities"]["permitted"]):
        if word.upper() in sets["permitted"] - sets["bounding"] - sets["inheritable"]:
            where = f"process.capabilities.permitted[{index}]"
            yield Found(where, f"{word} is not in the bounding set: the program does not get it", "add it to bounding too", WARNING)
    lost = (sets["permitted"] & sets["bounding"]) - sets["ambient"]
    if process["user"]["uid"] and lost:
        few = ", ".join(sorted(lost)[:3]) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
        message = f"uid {process['user']['uid']} loses {few} when the program is executed, as they are not ambient"
        yield Found("process.capabilities.permitted", message, "add them to ambient and inheritable, or take them out", WARNING)


def limits(subject: Subject) -> Founds:
    """Limits that exclude each other. Without a value, or with a value that stands for none, there is no limit."""
    resources = subject.config["linux"]["resources"]
    memory, cpu = resources.get("memory", {}), resources.get("cpu", {})
    limit, where = memory.get("limit") or 0, "linux.resources"
    if 0 < (memory.get("swap") or 0) < limit:
        message = f"must not be lower than memory.limit ({limit}), not {memory['swap']}: it counts memory and swap together"
        yield Found(f"{where}.memory.swap", message, "raise it; -1 is without a limit")
    if 0 < limit < (memory.get("reservation") or 0):
        message = f"is higher than memory.limit ({limit}), so it means nothing: {memory['reservation']}"
        yield Found(f"{where}.memory.reservation", message, "lower it", WARNING)
    if (period := cpu.get("period") or 0) and period not in PERIODS:
        yield Found(f"{where}.cpu.period", f"must be from 1000 to 1000000 µs, not {period}", "100000 is usual")
    if 0 < (quota := cpu.get("quota") or 0) < QUOTA_MIN:
        yield Found(f"{where}.cpu.quota", f"must be at least {QUOTA_MIN} µs, or -1, not {quota}", "raise it, and the period with it")
    if (cpu.get("realtimeRuntime") or 0) > (real := cpu.get("realtimePeriod") or 1000000):
        yield Found(f"{where}.cpu.realtimeRuntime", f"must not be higher than realtimePeriod ({real}), not {cpu['realtimeRuntime']}", "lower it")
    if cpu.get("idle") and cpu.get("shares"):
        yield Found(f"{where}.cpu.shares", "means nothing while cpu.idle is 1", "keep one of them", WARNING)
    seen: dict[str, int] = {}
    for index, entry in enumerate(resources.get("hugepageLimits", ())):
        if (size := entry["pageSize"]) in seen:
            message = f"{size} is already in {where}.hugepageLimits[{seen[size]}]"
            yield Found(f"{where}.hugepageLimits[{index}].pageSize", message, "keep one of them", WARNING)
        seen.setdefault(size, index)


def filter_of_the_program(subject: Subject) -> Founds:
    """The filter is there before the program is executed."""
    profile = subject.config["linux"]["seccomp"]
    if not profile.get("defaultAction") or not subject.config["process"]:
        return
    found, where = profile["defaultAction"], "linux.seccomp.defaultAction"
    for index, entry in enumerate(profile.get("syscalls", ())):
        if "execve" in entry["names"]:
            if entry.get("args") or entry["action"] in PASSING:
                return
            found, where = entry["action"], f"linux.seccomp.syscalls[{index}].action"
    if found not in PASSING:
        yield Found(where, f"{found} holds for execve(2) too: the program cannot be executed", 'allow "execve" by a rule')


CHECKS = (
    (relative_destinations, "mounts"),
    (hidden_mounts, "mounts"),
    (masked_devices, "linux.devices", "linux.resources.devices"),
    (capabilities, "process.capabilities", "process.user"),
    (limits, "linux.resources"),
    (filter_of_the_program, "linux.seccomp", "process"),
)
