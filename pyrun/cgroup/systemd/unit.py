"""A container as a unit of systemd: its name, its place, and what systemd is told of it (systemd.resource-control(5)).

A setting goes to a file of the cgroup in any case. systemd is told, too, for it writes what it has in mind whenever it sees
a reason: on `daemon-reload`, or when another property of the unit changes.
"""

from __future__ import annotations

from pyrun.base.errors import ConfigError
from pyrun.cgroup.devices import ACCESS, ANY
from pyrun.cgroup.systemd import gvariant
from pyrun.config.annotations import SYSTEMD_PROPERTY
from pyrun.config.shape import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrun.cgroup.devices import Device, Filter
    from pyrun.cgroup.resources import Read, Write
    from pyrun.cgroup.systemd.gvariant import Variant

    Property = tuple[str, Variant]
    Converter = Callable[[str, dict[str, str], Read, int], list[Property]]

INFINITY = (1 << 64) - 1
LETTERS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
VALID = LETTERS | set("0123456789:-_.\\@")
PATH = "linux.cgroupsPath"
PREFIX = "pyrun"
SLICE, SCOPE = ".slice", ".scope"
MAX_CPUS = 8192
"""What a kernel can be built for."""
USUAL_PERIOD = 100_000
"""Microseconds: the kernel's, and systemd's."""


# --- name and place ---------------------------------------------------------------------------------------------------


def parse(path: str, id: str, user: bool) -> tuple[str, str]:
    """(slice, unit) of linux.cgroupsPath, `SLICE:PREFIX:NAME` or ''. user: for the systemd of a user. Raises ConfigError."""
    parts = path.split(":") if path else ["", PREFIX, id]
    if len(parts) != 3 or not parts[2]:
        raise ConfigError(PATH, f"{path!r}: with --systemd-cgroup it is SLICE:PREFIX:NAME, as in system.slice:pyrun:box")
    above, prefix, name = parts
    above = above or ("user.slice" if user else "system.slice")
    expand(above)
    unit = name if name.endswith(SLICE) else f"{prefix}-{name}{SCOPE}" if prefix else name + SCOPE
    unit = "".join(map(escape, unit))
    if len(unit) > 255:
        raise ConfigError(PATH, f"{unit}: longer than the 255 characters that a unit's name may have")
    return above, unit


def place(above: str, unit: str) -> str:
    """The cgroup of a unit, from systemd's own on: `/a.slice/a-b.slice/UNIT`. A slice's name tells its place itself."""
    return expand(unit) if unit.endswith(SLICE) else f"{expand(above)}/{unit}"


def expand(name: str) -> str:
    """`a-b.slice` is in `a.slice`: /a.slice/a-b.slice; '' for the root, `-.slice`. Raises ConfigError."""
    stem = name.removesuffix(SLICE)
    if stem == name or not set(stem) <= VALID:
        raise ConfigError(PATH, f"{name!r} is no name of a slice: it ends in .slice, and has no slashes")
    if stem == "-":
        return ""
    words = stem.split("-")
    if not all(words):
        raise ConfigError(PATH, f"{name!r} is no name of a slice: no part between dashes may be empty")
    return "".join(f"/{'-'.join(words[:count])}{SLICE}" for count in range(1, len(words) + 1))


def escape(letter: str) -> str:
    """As systemd-escape(1) does; `+` is fine in an id, but not in a unit's name."""
    if letter in VALID:
        return letter
    return "".join(f"\\x{byte:02x}" for byte in letter.encode("utf-8", "surrogateescape"))


# --- annotations ------------------------------------------------------------------------------------------------------


def annotated(annotations: dict[str, str]) -> list[Property]:
    """[(property, variant)] of the annotations `org.systemd.property.NAME`. Raises ConfigError."""
    found = []
    for key, text in annotations.items():
        if not key.startswith(SYSTEMD_PROPERTY):
            continue
        name = key[len(SYSTEMD_PROPERTY) :]
        if len(name) < 3 or not set(name) <= LETTERS:
            raise ConfigError(f"annotations.{key}", "no name of a property of systemd")
        try:
            value = gvariant.parse(text)
            # In unit files times are in seconds, on D-Bus in microseconds and then named so.
            if name.endswith("Sec") and name[-4:-3].islower():
                name, value = name[:-3] + "USec", microseconds(*value)
        except ValueError as fault:
            raise ConfigError(f"annotations.{key}", f"{show(text)}: {fault}") from None
        found.append((name, value))
    return found


def microseconds(kind: str, value: float) -> Variant:
    if kind not in gvariant.RANGES and kind != "d":
        raise ValueError("not a number of seconds")
    if not 0 <= value < INFINITY / 1e6:
        raise ValueError("out of range")
    return "t", int(value * 1_000_000)


# --- devices ----------------------------------------------------------------------------------------------------------


def of_devices(filter: Filter) -> list[Property]:
    """[(property, variant)] of a devices.Filter. systemd can only allow devices, by number or all of a major number: with a
    filter that it cannot express it leaves the devices alone, and our own program decides.
    """
    entries = [_device(device, access) for device, access in filter.exceptions.items()]
    if filter.allow or None in entries:
        return [("DevicePolicy", ("s", "auto"))]
    return [("DevicePolicy", ("s", "strict")), ("DeviceAllow", ("a(ss)", entries))]


def _device(device: Device, access: int) -> tuple[str, str] | None:
    """An entry of DeviceAllow, None where there is none for it."""
    kind, major, minor = device
    name = {"c": "char", "b": "block"}[kind]
    letters = "".join(letter for letter in "rwm" if ACCESS[letter] & access)
    if major is ANY:
        return (f"{name}-*", letters) if minor is ANY else None
    # Since 240 systemd takes the numbers from the name: the device need not be there, nor the driver of a major number.
    return (f"{name}-{major}" if minor is ANY else f"/dev/{name}/{major}:{minor}"), letters


# --- limits -----------------------------------------------------------------------------------------------------------


def of_limits(writes: list[Write], read: Callable[[str | None], Read], systemd: int) -> list[Property]:
    """[(property, variant)] for what is written to the cgroup's files.

    read(directory) gives the `read` of a cgroup's directory; systemd: its version. What systemd has no word for, or is
    written in a way it does not know, is in the file alone.
    """
    asked = {}
    for write in writes:
        for file, text in write.files:
            if (write.version, file) in PROPERTIES and ":" not in text:  # MAJOR:MINOR, of one device
                asked[write.version, file] = text.strip(), write
    found = []
    for (version, file), (text, write) in asked.items():
        since, convert = PROPERTIES[version, file]
        others = {name: other for (number, name), (other, _) in asked.items() if number == version}
        if systemd >= since:
            try:
                found += convert(text, others, read(write.directory), systemd)
            except ValueError:
                pass
    return found


def oom_policy(limits: dict, systemd: int) -> list[Property]:
    """[(property, variant)] of the file memory.oom.group, as linux.resources have it: for a new unit, it cannot be changed."""
    group = limits.get("unified", {}).get("memory.oom.group", "").strip()
    policy = {"0": "continue", "1": "kill"}.get(group)
    return [("OOMPolicy", ("s", policy))] if policy and systemd >= 253 else []


def amount(name: str, least: int = 0) -> Converter:
    """The converter of a number with a `max`."""

    def convert(text: str, others: dict[str, str], read: Read, systemd: int) -> list[Property]:
        return [(name, ("t", max(least, size(text))))]

    return convert


def size(text: str) -> int:
    """Of `max`, `-1`, `4096`, `4k`. Raises ValueError."""
    if text in ("max", "-1"):
        return INFINITY
    power = "KMGTPE".find(text[-1:].upper()) + 1 if text[-1:].isalpha() else 0
    if text[-1:].isalpha() and not power:
        raise ValueError(text)
    value = int(text[:-1] if power else text) << 10 * power
    if not 0 <= value < INFINITY:
        raise ValueError(text)
    return value


def weight(text: str, others: dict[str, str], read: Read, systemd: int) -> list[Property]:
    return [] if others.get("cpu.idle") == "1" and systemd >= 252 else [("CPUWeight", ("t", size(text)))]


def idle(text: str, others: dict[str, str], read: Read, systemd: int) -> list[Property]:
    """systemd has no word for idle but the weight 0."""
    if text == "1":
        return [("CPUWeight", ("t", 0))]
    if "cpu.weight" in others or read("cpu.idle").strip() != "1":
        return []
    return [("CPUWeight", ("t", 100))]


def quota_v2(text: str, others: dict[str, str], read: Read, systemd: int) -> list[Property]:
    quota, *rest = text.split()
    period = (rest or read("cpu.max").split()[1:] or [str(USUAL_PERIOD)])[0]
    return quota_properties(quota, size(period), systemd)


def quota_v1(text: str, others: dict[str, str], read: Read, systemd: int) -> list[Property]:
    quota, period = (others.get(file) or read(file).strip() for file in ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
    return quota_properties(quota or "-1", size(period or str(USUAL_PERIOD)), systemd)


def quota_properties(quota: str, period: int, systemd: int) -> list[Property]:
    per_second = size(quota)
    if per_second != INFINITY:
        # Kept as a whole percentage of a CPU; a bit more does no harm below, a bit less would.
        per_second = min(-(-per_second * 1_000_000 // period // 10_000) * 10_000, INFINITY)
    found = [("CPUQuotaPerSecUSec", ("t", per_second))]
    return [*found, ("CPUQuotaPeriodUSec", ("t", period))] if systemd >= 242 else found


def cpus(name: str) -> Converter:
    def convert(text: str, others: dict[str, str], read: Read, systemd: int) -> list[Property]:
        return [(name, ("ay", bits(text)))]

    return convert


def bits(text: str) -> bytes:
    """The mask of `0-3,7`: CPU 8 is the lowest bit of the second byte. Raises ValueError."""
    mask = 0
    for part in text.split(","):
        begin, _, end = part.partition("-")
        first, last = int(begin), int(end or begin)
        if not first <= last < MAX_CPUS:
            raise ValueError(text)
        mask |= (2 << last) - (1 << first)
    return mask.to_bytes(max(1, (mask.bit_length() + 7) // 8), "little")


# What is written: (version of cgroups, file) -> (systemd's version from which on it has a word for it, converter).
PROPERTIES = {
    (2, "memory.max"): (0, amount("MemoryMax", 1)),
    (2, "memory.high"): (0, amount("MemoryHigh", 1)),
    (2, "memory.low"): (0, amount("MemoryLow")),
    (2, "memory.min"): (240, amount("MemoryMin")),
    (2, "memory.swap.max"): (0, amount("MemorySwapMax")),
    (2, "memory.zswap.max"): (253, amount("MemoryZSwapMax")),
    (2, "pids.max"): (0, amount("TasksMax", 1)),
    (2, "cpu.weight"): (0, weight),
    (2, "cpu.idle"): (252, idle),
    (2, "cpu.max"): (0, quota_v2),
    (2, "cpuset.cpus"): (244, cpus("AllowedCPUs")),
    (2, "cpuset.mems"): (244, cpus("AllowedMemoryNodes")),
    (2, "io.weight"): (0, amount("IOWeight", 1)),
    (1, "memory.limit_in_bytes"): (0, amount("MemoryLimit", 1)),
    (1, "pids.max"): (0, amount("TasksMax", 1)),
    (1, "cpu.shares"): (0, amount("CPUShares", 2)),
    (1, "cpu.cfs_quota_us"): (0, quota_v1),
    (1, "cpu.cfs_period_us"): (0, quota_v1),
    (1, "blkio.weight"): (0, amount("BlockIOWeight", 10)),
}
