"""pyrun update: other limits for a container that is there. What is not named stays as it is."""

from __future__ import annotations

from pyrun.base import jsonio, log
from pyrun.base.errors import ConfigError, Error
from pyrun.cgroup import tree
from pyrun.cgroup.change import change, put_back
from pyrun.config import load
from pyrun.container import state
from pyrun.container.state import CONFIG
from pyrun.host import rdt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrun.cgroup.base import Cgroup
    from pyrun.cgroup.resources import Write
    from pyrun.cli.settings import Settings

UNITS = {"": 1, "b": 1} | {letter: 1024**power for power, letter in enumerate("kmgtp", 1)}
# The entries of these lists are known by these members; an entry with the same ones takes the place of the old.
LIST_KEYS = {"hugepageLimits": ("pageSize",), "priorities": ("name",)}
DEVICE = ("major", "minor")


def update(
    settings: Settings, *, id: str, resources: str | None, l3_cache_schema: str | None, mem_bw_schema: str | None, **options: str | None,
) -> int:
    """Sets limits (config-linux.md, Control groups) and keeps them in the container's config.

    resources: a file with the JSON of linux.resources, `-` for stdin; other limits are then not looked at. options: the
    text of each option of OPTIONS, None where it was not given. Returns the exit status.
    """
    container = state.load(settings.root, id)
    if resources:
        named = load.load_resources(resources)
        # As with runc: callers send the whole list of a config, and what others have allowed since would be lost.
        named.pop("devices", None)
    else:
        named = from_options(options)
    if options["kernel_memory"] or options["kernel_memory_tcp"]:
        log.warning("Kernel memory settings are ignored and will be removed")
    container.lock()
    if container.status() == "stopped":
        raise Error("container not running")
    config = container.config()
    linux = config.get("linux") or {}
    schemes = rdt_schemes(linux, l3_cache_schema, mem_bw_schema)
    old = without_swap(linux.get("resources") or {}, named.get("memory") or {})
    group = container.cgroup()
    if group is None:
        raise Error("cannot set limits: the container has no cgroup of its own")
    before = set_limits(group, with_bound_ones(named, old), resources or "update")
    try:
        changed = linux | {"resources": merge(old, named)}
        if schemes:
            changed["intelRdt"] = linux["intelRdt"] | schemes
            rdt.write_schemata(rdt.group_of(config, id).path, list(schemes.values()))
        jsonio.write(f"{container.directory}/{CONFIG}", config | {"linux": changed})
    except BaseException:
        put_back(group, before)
        raise
    return 0


# --- what the words say -----------------------------------------------------------------------------------------------


def signed(text: str) -> int:
    return _whole(text, "ParseInt", -(2**63), 2**63 - 1)


def unsigned(text: str) -> int:
    return _whole(text, "ParseUint", 0, 2**64 - 1)


def _whole(text: str, reader: str, least: int, most: int) -> int:
    digits = text[1:] if text[:1] in ("+", "-") and least < 0 else text
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f'strconv.{reader}: parsing "{text}": invalid syntax')
    if not least <= int(text) <= most:
        raise ValueError(f'strconv.{reader}: parsing "{text}": value out of range')
    return int(text)


def size(text: str) -> int:
    """Bytes of `50M`, `1.5g`, `64 KiB`, a number alone, or -1 for no limit."""
    if text == "-1":
        return -1
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    suffix = text[len(number):].lower()
    number = number.removesuffix(" ") if suffix else number
    whole, _, fraction = number.partition(".")
    if not (whole + fraction).isascii() or not (whole + fraction).isdigit():
        raise ValueError(f"invalid size: '{text}'")
    letter, rest = suffix[:1], suffix[1:]
    if letter not in UNITS or rest not in (("",) if letter in ("", "b") else ("", "b", "ib")):
        raise ValueError(f"invalid suffix: '{suffix}'")
    return int(float(number) * UNITS[letter]) if fraction else int(whole or "0") * UNITS[letter]


def weight(text: str) -> int | None:
    value = signed(text)
    if not 0 <= value <= 0xFFFF:
        raise ValueError(f"{value} is out of range: 10 to 1000")
    return value or None


def as_it_is(text: str) -> str:
    return text


# Option -> where its value goes in linux.resources, and how it is read.
OPTIONS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "memory": ("memory.limit", size),
    "memory_swap": ("memory.swap", size),
    "memory_reservation": ("memory.reservation", size),
    "cpu_period": ("cpu.period", unsigned),
    "cpu_quota": ("cpu.quota", signed),
    "cpu_burst": ("cpu.burst", unsigned),
    "cpu_share": ("cpu.shares", unsigned),
    "cpu_idle": ("cpu.idle", signed),
    "cpu_rt_period": ("cpu.realtimePeriod", unsigned),
    "cpu_rt_runtime": ("cpu.realtimeRuntime", signed),
    "cpuset_cpus": ("cpu.cpus", as_it_is),
    "cpuset_mems": ("cpu.mems", as_it_is),
    "pids_limit": ("pids.limit", signed),
    "blkio_weight": ("blockIO.weight", weight),
}


def from_options(options: dict[str, str | None]) -> dict:
    """linux.resources of the options that were given."""
    named = {}
    for option, (path, convert) in OPTIONS.items():
        if (word := options[option]) is None:
            continue
        try:
            value = convert(word)
        except ValueError as fault:
            raise Error(f"invalid value for {option.replace('_', '-')}: {fault}") from None
        section, key = path.split(".")
        if value is not None:
            named.setdefault(section, {})[key] = value
    return named


# --- what is set ------------------------------------------------------------------------------------------------------


def with_bound_ones(named: dict, old: dict) -> dict:
    """The limits to write: those named, and those of before that one of these is bound to.

    The specification's limit of memory and swap together is on v2 one of swap alone, so it moves with that of memory.
    """
    memory = named.get("memory") or {}
    if "limit" not in memory and "swap" not in memory:
        return named
    before = {key: value for key, value in (old.get("memory") or {}).items() if key in ("limit", "swap")}
    return named | {"memory": before | memory}


def without_swap(old: dict, memory: dict) -> dict:
    """The resources of before; where memory now gets no limit, without the limit of memory and swap."""
    if memory.get("limit") != -1 or "memory" not in old:
        return old
    return old | {"memory": {key: value for key, value in old["memory"].items() if key != "swap"}}


def set_limits(group: Cgroup, named: dict, source: str) -> list[Write]:
    """change(), with the name of where the limits come from in errors."""
    try:
        return change(group, named, "resources")
    except ConfigError as fault:
        raise ConfigError(fault.path, fault.message, source, fault.cure) from None


def merge(old: dict, named: dict) -> dict:
    """The container's resources with what was named; entries of lists by their keys."""
    merged = dict(old)
    for key, value in named.items():
        if value.__class__ is dict:
            merged[key] = merge(old.get(key) or {}, value)
        elif value.__class__ is list:
            keys = LIST_KEYS.get(key, DEVICE)
            entries = {tuple(entry.get(name) for name in keys): entry for entry in old.get(key) or ()}
            for entry in value:
                place = tuple(entry.get(name) for name in keys)
                entries[place] = entries.get(place, {}) | entry
            merged[key] = list(entries.values())
        else:
            merged[key] = value
    return merged


# --- Intel RDT --------------------------------------------------------------------------------------------------------


def rdt_schemes(linux: dict, l3: str | None, bandwidth: str | None) -> dict[str, str]:
    """What the two options change of linux.intelRdt. Raises Error where the machine or the container has none."""
    root = rdt.mount_point() if l3 or bandwidth else None
    if l3 and not tree.exists(f"{root}/info/L3"):
        raise Error("Intel RDT/CAT: l3 cache schema is not enabled")
    if bandwidth and not tree.exists(f"{root}/info/MB"):
        raise Error("Intel RDT/MBA: memory bandwidth schema is not enabled")
    named = {key: value for key, value in zip(rdt.LINES, (l3, bandwidth)) if value}
    if named and not linux.get("intelRdt"):
        raise Error("updating a non-existent Intel RDT configuration is not supported")
    return named
