"""pyrun update: other limits for a container that is there. What is not named stays as it is."""

import posix

from pyrun.base import jsonio, log
from pyrun.base.errors import ConfigError, Error
from pyrun.cgroup.change import change, put_back
from pyrun.config import load
from pyrun.container import state
from pyrun.container.state import CONFIG
from pyrun.host import rdt

UNITS = {"": 1, "b": 1} | {letter: 1024**power for power, letter in enumerate("kmgtp", 1)}
# The entries of these lists are known by these members; an entry with the same ones takes the place of the old.
LIST_KEYS = {"hugepageLimits": ("pageSize",), "priorities": ("name",)}
DEVICE = ("major", "minor")


def update(settings, *, id, resources, l3_cache_schema, mem_bw_schema, **options):
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
            rdt.write_schemata(rdt.Group(linux["intelRdt"], id, rdt.mount_point()).path, list(schemes.values()))
        jsonio.write(f"{container.directory}/{CONFIG}", config | {"linux": changed})
    except BaseException:
        put_back(group, before)
        raise
    return 0


# --- what the words say -----------------------------------------------------------------------------------------------


def signed(text):
    return _whole(text, "ParseInt", -(2**63), 2**63 - 1)


def unsigned(text):
    return _whole(text, "ParseUint", 0, 2**64 - 1)


def _whole(text, reader, least, most):
    digits = text[1:] if text[:1] in ("+", "-") and least < 0 else text
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f'strconv.{reader}: parsing "{text}": invalid syntax')
    if not least <= int(text) <= most:
        raise ValueError(f'strconv.{reader}: parsing "{text}": value out of range')
    return int(text)


def size(text):
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


def weight(text):
    value = signed(text)
    if not 0 <= value <= 0xFFFF:
        raise ValueError(f"{value} is out of range: 10 to 1000")
    return value or None


def as_it_is(text):
    return text


# Option -> where its value goes in linux.resources, and how it is read.
OPTIONS = {
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


def from_options(options):
    """linux.resources (dict) of the options that were given."""
    named = {}
    for option, (path, convert) in OPTIONS.items():
        if options[option] is None:
            continue
        try:
            value = convert(options[option])
        except ValueError as fault:
            raise Error(f"invalid value for {option.replace('_', '-')}: {fault}") from None
        section, key = path.split(".")
        if value is not None:
            named.setdefault(section, {})[key] = value
    return named


# --- what is set ------------------------------------------------------------------------------------------------------


def with_bound_ones(named, old):
    """The limits to write: those named, and those of before that one of these is bound to.

    The specification's limit of memory and swap together is on v2 one of swap alone, so it moves with that of memory.
    """
    memory = named.get("memory") or {}
    if "limit" not in memory and "swap" not in memory:
        return named
    before = {key: value for key, value in (old.get("memory") or {}).items() if key in ("limit", "swap")}
    return named | {"memory": before | memory}


def without_swap(old, memory):
    """The resources of before (dict); where memory (dict) now gets no limit, without the limit of memory and swap."""
    if memory.get("limit") != -1 or "memory" not in old:
        return old
    return old | {"memory": {key: value for key, value in old["memory"].items() if key != "swap"}}


def set_limits(group, named, source):
    """change(), with the name (str) of where the limits come from in errors."""
    try:
        return change(group, named, "resources")
    except ConfigError as fault:
        raise ConfigError(fault.path, fault.message, source) from None


def merge(old, named):
    """The container's resources (dict) with what was named; entries of lists by their keys."""
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


def rdt_schemes(linux, l3, bandwidth):
    """What the two options change of linux.intelRdt (dict). Raises Error where the machine or the container has none."""
    root = rdt.mount_point() if l3 or bandwidth else None
    if l3 and not _exists(f"{root}/info/L3"):
        raise Error("Intel RDT/CAT: l3 cache schema is not enabled")
    if bandwidth and not _exists(f"{root}/info/MB"):
        raise Error("Intel RDT/MBA: memory bandwidth schema is not enabled")
    named = {key: value for key, value in zip(rdt.LINES, (l3, bandwidth)) if value}
    if named and not linux.get("intelRdt"):
        raise Error("updating a non-existent Intel RDT configuration is not supported")
    return named


def _exists(path):
    try:
        posix.stat(path)
    except FileNotFoundError:
        return False
    return True
