"""linux.resources -> what is written to which file (config-linux.md, Control groups).

RESOURCES is the only place that knows a limit: each row names a setting of the specification, then its file and the
converter of its value for cgroup v1, then the same for v2. The controller is the file's name up to the first dot.
A converter gets (value, section it is in, read) and returns the text to write, or

    None            nothing is to be written: the value is the one that stands for "not set"
    Spare(text)     as text, and the file may be missing
    (text, …)       one text for each of the row's files
    [text, …]       several writes to the same file

read(file) is the file's text now. Of `file|other` the first that exists is written. A row without a file can't be set
on that version: if the converter has something to write, the sentence beside it is the error.

    "pids.limit"    one value              "hugepageLimits[]"    every entry of a list; %(name)s in the file is the entry's
    "rdma{}"        every (key, value) of an object; %(key)s in the file is the key
"""

from __future__ import annotations

import errno

from pyrun.base.errors import ConfigError, HostError, words
from pyrun.cgroup import tree
from pyrun.config.shape import path_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, Protocol

    class Place(Protocol):
        """As much of a Cgroup as is asked here."""

        def version_of(self, controller: str) -> tuple[int, str | None]: ...

        def controller_missing(self, controller: str, where: str) -> HostError: ...

    Read = Callable[[str], str]
    Texts = str | tuple[str, ...] | list[str] | None

UNSET = (None, 0, "")
"""runc's and docker's "not set" for limits whose 0 means nothing."""
UNLIMITED = (-1, 0xFFFFFFFFFFFFFFFF)
"""-1, and as the unsigned number that some callers make of it."""


class Spare(str):
    """A text whose file may be missing."""


# --- converters -----------------------------------------------------------------------------------------------------


def number(value: Any, section: dict, read: Read) -> Texts:
    return None if value in UNSET else str(value)


def exactly(value: Any, section: dict, read: Read) -> Texts:
    return None if value is None else str(value)


def spare_zero(value: Any, section: dict, read: Read) -> Texts:
    """Old kernels lack the file, and then have the 0 that is asked for."""
    return Spare(0) if value == 0 else exactly(value, section, read)


def or_max(value: Any, section: dict, read: Read) -> Texts:
    return "max" if value == -1 else number(value, section, read)


def pids_limit(value: Any, section: dict, read: Read) -> Texts:
    # systemd cannot set TasksMax=0, and a cgroup that may hold one task has no room for a second either way.
    return None if value is None else "max" if value < 0 else str(value or 1)


def swap_v1(limit: Any, memory: dict, read: Read) -> Texts:
    """Without a limit on memory there is none on memory and swap, unless it is asked for."""
    return Spare(-1) if limit == -1 and memory.get("swap") in UNSET else None


def swap_unlimited_v2(limit: Any, memory: dict, read: Read) -> Texts:
    return Spare("max") if limit == -1 and memory.get("swap") in UNSET else None


def swap_v2(swap: Any, memory: dict, read: Read) -> Texts:
    """The specification counts memory and swap together, v2 swap alone."""
    limit = memory.get("limit")
    if swap in UNSET:
        return None
    if swap == -1:
        return Spare("max")
    if limit == -1:
        return str(swap)
    if limit in UNSET:
        raise ValueError("unable to set swap limit without memory limit")
    if swap < limit:
        raise ValueError("memory+swap limit should be >= memory limit")
    return str(swap - limit) if swap > limit else Spare(0)


def checked_limit(limit: Any, memory: dict, read: Read) -> Texts:
    """v2 kills where v1 refuses a limit below what is used; checkBeforeUpdate asks for v1's way."""
    if memory.get("checkBeforeUpdate"):
        usage = int(read("memory.current") or 0)
        for name, text in (("swap", "memory+swap limit"), ("limit", "memory limit")):
            if 0 < memory.get(name, 0) <= usage:
                raise ValueError(f"rejecting {text} {memory[name]} <= usage {usage}")
    return or_max(limit, memory, read)


def swappiness(value: Any, memory: dict, read: Read) -> Texts:
    if value is None or value in UNLIMITED:
        return None
    if value > 100:
        raise ValueError(f"invalid memory swappiness value: {value} (valid range is 0-100)")
    return str(value)


def one_or_zero(value: Any, section: dict, read: Read) -> Texts:
    return None if value is None else "1" if value else "0"


def if_true(value: Any, section: dict, read: Read) -> Texts:
    return "1" if value else None


def if_false(value: Any, section: dict, read: Read) -> Texts:
    return "0" if value is False else None


def if_limited(value: Any, section: dict, read: Read) -> Texts:
    return None if value in UNSET or value in UNLIMITED else str(value)


def shares_v1(shares: Any, cpu: dict, read: Read) -> Texts:
    if shares in UNSET:
        return None
    # The kernel would take the nearest value without a word.
    if shares < 2:
        raise ValueError("the minimum allowed cpu-shares is 2")
    if shares > 262144:
        raise ValueError("the maximum allowed cpu-shares is 262144")
    return str(shares)


def shares_v2(shares: Any, cpu: dict, read: Read) -> Texts:
    """2, 1024, 262144 become 1, 100, 10000; between them the exponent is a parabola of the logarithm, as in runc and crun."""
    if shares in UNSET:
        return None
    power = log2(min(max(shares, 2), 262144))
    exponent = (power * power + 125 * power) / 612 - 7 / 34
    weight = 10**exponent
    # A float a hair above a whole number is that number.
    return str(int(weight) + (weight - int(weight) > 1e-9))


def log2(value: int) -> float:
    """The logarithm of a number > 0, to the last digits of a float."""
    whole = value.bit_length() - 1
    ratio = value / (1 << whole)
    step = (ratio - 1) / (ratio + 1)
    return whole + 2 * sum(step**n / n for n in range(1, 40, 2)) / 0.6931471805599453


def quota_v2(quota: Any, cpu: dict, read: Read) -> Texts:
    """`QUOTA PERIOD`. A quota alone leaves the period as it is, which is said, since systemd may write another in between."""
    if quota in UNSET:
        return None
    period = read("cpu.max").split()[1:] if cpu.get("period") in UNSET else [str(cpu["period"])]
    return " ".join(["max" if quota < 0 else str(quota), *period])


def period_v2(period: Any, cpu: dict, read: Read) -> Texts:
    if period in UNSET or cpu.get("quota") not in UNSET:
        return None
    return f"{(read('cpu.max') or 'max').split()[0]} {period}"


def weight_v2(weight: Any, block: dict, read: Read) -> Texts:
    """BFQ knows the numbers of v1; io.weight has 1 to 10000 for their 10 to 1000."""
    return None if weight in UNSET else (str(weight), str(io_weight(weight)))


def io_weight(weight: int) -> int:
    return 1 + (weight - 10) * 9999 // 990


def device_weight(entry: dict, block: dict, read: Read) -> Texts:
    return None if entry.get("weight") in UNSET else f"{device(entry)} {entry['weight']}"


def device_weight_v2(entry: dict, block: dict, read: Read) -> Texts:
    if entry.get("weight") in UNSET:
        return None
    return f"{device(entry)} {entry['weight']}", f"{device(entry)} {io_weight(entry['weight'])}"


def device_leaf_weight(entry: dict, block: dict, read: Read) -> Texts:
    return None if entry.get("leafWeight") in UNSET else f"{device(entry)} {entry['leafWeight']}"


def rate(entry: dict, block: dict, read: Read) -> Texts:
    return f"{device(entry)} {entry['rate']}"


def rate_v2(key: str) -> Callable[[dict, dict, Read], Texts]:
    # v1 lifts the limit with 0, which v2 refuses.
    return lambda entry, block, read: f"{device(entry)} {key}={entry['rate'] or 'max'}"


def device(entry: dict) -> str:
    return f"{entry['major']}:{entry['minor']}"


def page_limit(entry: dict, section: dict, read: Read) -> Texts:
    return str(entry["limit"])


def page_limit_spare(entry: dict, section: dict, read: Read) -> Texts:
    return Spare(entry["limit"])


def priority(entry: dict, section: dict, read: Read) -> Texts:
    return f"{entry['name']} {entry['priority']}"


def rdma(item: tuple[str, Any], section: dict, read: Read) -> Texts:
    name, limits = item
    words = [f"{key}={limits[word]}" for key, word in RDMA if limits.get(word) is not None]
    return " ".join([name, *words]) if words else None


def unified(item: tuple[str, Any], section: dict, read: Read) -> Texts:
    key, text = item
    if "/" in key:
        raise ValueError(f'unified resource "{key}" must be a file name (no slashes)')
    if "." not in key.strip("."):
        raise ValueError(f'unified resource "{key}" must be in the form CONTROLLER.PARAMETER')
    # io.max and its like take a line for each device, and one line at a time.
    return text.splitlines() or [""]


# --- the table --------------------------------------------------------------------------------------------------------

RDMA = (("hca_handle", "hcaHandles"), ("hca_object", "hcaObjects"))
ALWAYS_HIERARCHICAL = "a cgroup v2 hierarchy accounts for memory hierarchically, always"
KERNEL_MEMORY = "cgroup v2 counts the kernel's memory with the rest; it has no limit of its own"
NO_REALTIME = "realtime limits are not supported on cgroup v2"
NO_NETWORK = "network limits are not supported on cgroup v2"
NO_LEAF_WEIGHT = "cannot set leafWeight on cgroup v2"

# fmt: off
RESOURCES = (
    ("pids.limit", ("pids.max", pids_limit), ("pids.max", pids_limit)),

    ("memory.limit", ("memory.limit_in_bytes", number), ("memory.max", checked_limit)),
    ("memory.limit", ("memory.memsw.limit_in_bytes", swap_v1), ("memory.swap.max", swap_unlimited_v2)),
    ("memory.swap", ("memory.memsw.limit_in_bytes", number), ("memory.swap.max", swap_v2)),
    ("memory.reservation", ("memory.soft_limit_in_bytes", number), ("memory.low", or_max)),
    ("memory.kernel", ("memory.kmem.limit_in_bytes", number), ("", if_limited, KERNEL_MEMORY)),
    ("memory.kernelTCP", ("memory.kmem.tcp.limit_in_bytes", number), ("", if_limited, KERNEL_MEMORY)),
    ("memory.swappiness", ("memory.swappiness", swappiness), ("", swappiness, "cannot set swappiness on cgroup v2")),
    ("memory.disableOOMKiller", ("memory.oom_control", one_or_zero), ("", if_true, "cannot disable the OOM killer on cgroup v2")),
    ("memory.useHierarchy", ("memory.use_hierarchy", one_or_zero), ("", if_false, ALWAYS_HIERARCHICAL)),

    ("cpu.shares", ("cpu.shares", shares_v1), ("cpu.weight", shares_v2)),
    ("cpu.period", ("cpu.cfs_period_us", number), ("cpu.max", period_v2)),
    ("cpu.quota", ("cpu.cfs_quota_us", number), ("cpu.max", quota_v2)),
    ("cpu.burst", ("cpu.cfs_burst_us", spare_zero), ("cpu.max.burst", spare_zero)),
    ("cpu.idle", ("cpu.idle", exactly), ("cpu.idle", exactly)),
    ("cpu.realtimePeriod", ("cpu.rt_period_us", number), ("", number, NO_REALTIME)),
    ("cpu.realtimeRuntime", ("cpu.rt_runtime_us", number), ("", number, NO_REALTIME)),
    ("cpu.cpus", ("cpuset.cpus", number), ("cpuset.cpus", number)),
    ("cpu.mems", ("cpuset.mems", number), ("cpuset.mems", number)),

    ("blockIO.weight", ("blkio.weight|blkio.bfq.weight", number), ("io.bfq.weight|io.weight", weight_v2)),
    ("blockIO.leafWeight", ("blkio.leaf_weight", number), ("", number, NO_LEAF_WEIGHT)),
    ("blockIO.weightDevice[]",
        ("blkio.weight_device|blkio.bfq.weight_device", device_weight), ("io.bfq.weight|io.weight", device_weight_v2)),
    ("blockIO.weightDevice[]", ("blkio.leaf_weight_device", device_leaf_weight), ("", device_leaf_weight, NO_LEAF_WEIGHT)),
    ("blockIO.throttleReadBpsDevice[]", ("blkio.throttle.read_bps_device", rate), ("io.max", rate_v2("rbps"))),
    ("blockIO.throttleWriteBpsDevice[]", ("blkio.throttle.write_bps_device", rate), ("io.max", rate_v2("wbps"))),
    ("blockIO.throttleReadIOPSDevice[]", ("blkio.throttle.read_iops_device", rate), ("io.max", rate_v2("riops"))),
    ("blockIO.throttleWriteIOPSDevice[]", ("blkio.throttle.write_iops_device", rate), ("io.max", rate_v2("wiops"))),

    ("hugepageLimits[]", ("hugetlb.%(pageSize)s.limit_in_bytes", page_limit), ("hugetlb.%(pageSize)s.max", page_limit)),
    ("hugepageLimits[]",
        ("hugetlb.%(pageSize)s.rsvd.limit_in_bytes", page_limit_spare), ("hugetlb.%(pageSize)s.rsvd.max", page_limit_spare)),

    ("network.classID", ("net_cls.classid", number), ("", number, NO_NETWORK)),
    ("network.priorities[]", ("net_prio.ifpriomap", priority), ("", priority, NO_NETWORK)),

    ("rdma{}", ("rdma.max", rdma), ("rdma.max", rdma)),

    ("unified{}", ("", unified, "invalid configuration: cannot use unified on cgroup v1"), ("%(key)s", unified)),
)
# fmt: on
DEPRECATED = ("memory.kmem.limit_in_bytes", "memory.kmem.tcp.limit_in_bytes", "memory.use_hierarchy")
"""Files that kernels have given up one by one. What they refuse is a warning."""
HINTS = {
    "memory.limit_in_bytes": "the limit of memory and swap together must not be lower",
    "memory.memsw.limit_in_bytes": "the limit of memory alone must not be higher",
    "cpu.cfs_quota_us": "it must be at least 1000, and together with the period within what the parent cgroup has",
    "cpu.cfs_period_us": "it must be 1000 to 1000000, and together with the quota within what the parent cgroup has",
    "cpuset.cpus": "a list like 0-3,7 of CPUs that the parent cgroup has",
    "cpuset.mems": "a list like 0-1 of memory nodes that the parent cgroup has",
}
"""What EINVAL and its like usually mean."""


class Write:
    """One write to come. where: the setting's config path. files: the names to try, each with its text."""

    def __init__(self, where: str, version: int, directory: str | None, files: list[tuple[str, str]]) -> None:
        self.where, self.version, self.directory, self.files = where, version, directory, files

    def run(self) -> None:
        """OSError as posix gives it."""
        *others, (last, text) = self.files
        for file, alternative in others:
            try:
                return tree.write(f"{self.directory}/{file}", alternative)
            except FileNotFoundError:
                pass
        try:
            tree.write(f"{self.directory}/{last}", text)
        except OSError as fault:
            if last in DEPRECATED:
                from pyrun.base import log

                log.warning(f"{self.where}: {last} is no longer set by this kernel: {words(fault.errno)}")
            elif fault.errno != errno.ENOENT or text.__class__ is not Spare:
                raise

    def error(self, fault: OSError) -> ConfigError:
        """The ConfigError for an OSError of run()."""
        file, text = self.files[-1]
        reason = f'cannot write "{text}" to {self.directory}/{file}: {words(fault.errno)}'
        if fault.errno == errno.EBUSY and file == "memory.limit_in_bytes":
            usage, peak = (tree.read(f"{self.directory}/memory.{name}_in_bytes").strip() for name in ("usage", "max_usage"))
            reason = f"unable to set memory limit to {text} (current usage: {usage}, peak usage: {peak})"
        elif self.version == 2 and fault.errno in (errno.ENOENT, errno.EACCES, errno.EPERM):
            controller = controller_of(file)
            try:
                there = ["cgroup", *tree.read(f"{self.directory}/cgroup.controllers").split()]
            except OSError:  # there is an error to report already
                there = []
            if controller not in there:
                reason = f'can\'t be set: controller "{controller}" not available: {reason}'
        if fault.errno == errno.ENOENT and file.startswith("hugetlb."):
            reason = f"{reason} (the page sizes of this kernel are in /sys/kernel/mm/hugepages)"
        elif fault.errno in (errno.EINVAL, errno.ERANGE, errno.EACCES) and file in HINTS:
            reason = f"{reason} ({HINTS[file]})"
        return ConfigError(self.where, reason)


def writes(resources: dict, group: Place, where: str) -> list[Write]:
    """Everything that linux.resources want written. Nothing is written yet.

    group: its version_of(controller) says which column counts and in which directory.
    Raises ConfigError.
    """
    found = []
    for row in RESOURCES:
        for place, value, section in settings(resources, row[0], where):
            found += writes_of(row, place, value, section, group)
    return found


def writes_of(row: tuple, place: str, value: Any, section: dict, group: Place) -> list[Write]:
    """Those of one setting: a row of RESOURCES, and what settings() yields for it. Raises as writes()."""
    path, v1, v2 = row
    name = value if path.endswith("[]") else {"key": value[0]} if path.endswith("{}") else {}
    controller = controller_of(v1[0] or path)
    version, directory = group.version_of(controller)
    file, convert, *reason = v1 if version == 1 else v2
    try:
        text = convert(value, section, reader(directory))
        if text is None:
            return []
        if reason:
            cure = "leave it out, or run it on a host with cgroup v1" if version == 2 else "leave it out"
            raise HostError(place, reason[0], cure=cure)
        if directory is None:
            raise group.controller_missing(controller, place)
        files = [one % name for one in file.split("|")]
        if any("/" in one for one in files):
            raise ValueError(f"{files[0]!r} is no file name")
    except ValueError as fault:
        raise ConfigError(place, str(fault)) from None
    several: Sequence[str | tuple[str, ...]] = text if isinstance(text, list) else (text,)
    found = []
    for one in several:
        texts = one if isinstance(one, tuple) else (one,) * len(files)
        found.append(Write(place, version, directory, list(zip(files, texts, strict=True))))
    return found


def settings(resources: dict, path: str, where: str) -> Iterator[tuple[str, Any, dict]]:
    """(config path, value, section it is in) of each value that resources have at a path of the table."""
    *sections, last = path.split(".")
    section = resources
    for name in sections:
        section = section.get(name, {})
    name = last.rstrip("[]{}")
    value = section.get(name)
    if value is None:
        return
    place = f"{where}.{path}".rstrip("[]{}")
    if last.endswith("[]"):
        for index, entry in enumerate(value):
            yield f"{place}[{index}]", entry, section
    elif last.endswith("{}"):
        for item in value.items():
            yield path_of([*place.split("."), item[0]]), item, section
    else:
        yield place, value, section


def controller_of(file: str) -> str:
    return file.partition(".")[0]


def reader(directory: str | None) -> Read:
    """The `read` of a converter: '' for a file that can't be read."""

    def read(file: str) -> str:
        try:
            return tree.read(f"{directory}/{file}")
        except OSError:
            return ""

    return read
