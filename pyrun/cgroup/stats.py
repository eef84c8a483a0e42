"""What a container has used: the `data` of a line of `pyrun events`, key for key as runc prints it.

STATS is the only place that knows a number: each row names its key in the JSON, then the file that tells it on cgroup v1
and what to do with the file's text, then the same for v2. The controller is the file's name up to the first dot. Of
`file|other` the first that tells something counts; what no file tells is 0. Zeros are left out, but for KEPT.
"""

from __future__ import annotations

import posix

from pyrun.cgroup import tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

    from pyrun.cgroup.base import Cgroup

    Source = tuple[str, Callable[[str], Any]]

UNLIMITED = 0xFFFFFFFFFFFFFFFF
NANOSECONDS_PER_TICK = 10_000_000
"""The unit of cpuacct.stat is USER_HZ, which is 100 per second whatever the tick of the kernel is (time(7))."""
HUGE_PAGES = "/sys/kernel/mm/hugepages"


# --- from a file's text to a value ------------------------------------------------------------------------------------


def number(text: str) -> int:
    """Of `max`, and what is below 0, runc makes unsigned numbers."""
    text = text.strip()
    return UNLIMITED if text == "max" else max(int(text), 0)


def signed(text: str) -> int:
    return int(text)


def limit_or_zero(text: str) -> int:
    return 0 if text == "max\n" else number(text)


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split()]


def id_list(text: str) -> list[int]:
    """`0-2,7` as [0, 1, 2, 7]."""
    found = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            found += range(int(first), int(last or first) + 1)
    return found


def column(index: int) -> Callable[[str], list[int]]:
    """A column of a table that has a line of titles."""
    return lambda text: [int(line.split()[index]) for line in text.splitlines()[1:]]


def keyed(text: str) -> dict[str, int]:
    """`key value` lines as a dict, sorted by key."""
    return {key: int(value) for key, value in sorted(line.split(" ", 1) for line in text.splitlines())}


def value_of(key: str, factor: int = 1) -> Callable[[str], int]:
    return lambda text: keyed(text).get(key, 0) * factor


def line_count(text: str) -> int:
    return text.count("\n")


def pressure(text: str) -> dict:
    """A file of PSI (Documentation/accounting/psi.rst); a line of zeros is left out."""
    found = {}
    for line in text.splitlines():
        kind, *words = line.split()
        values = {name: _decimal(value) for name, _, value in (word.partition("=") for word in words)}
        if any(values.values()):
            found[kind] = values
    return found


def _decimal(text: str) -> int | float:
    value = float(text)
    return int(value) if value == int(value) else value


def device_lines(text: str) -> list[dict]:
    """`MAJOR:MINOR [OPERATION] VALUE` lines of v1's blkio; a `Total` is of no device."""
    found = []
    for line in text.splitlines():
        device, *words, value = line.split()
        if ":" in device:
            found.append(_entry(device, words[0] if words else "", value))
    return found


def device_values(read: str, write: str) -> Callable[[str], list[dict]]:
    """The two keys of each device in v2's io.stat: `MAJOR:MINOR rbytes=1 …`."""

    def convert(text: str) -> list[dict]:
        found = []
        for line in text.splitlines():
            device, *words = line.split()
            values = dict(word.split("=", 1) for word in words if "=" in word)
            found += [_entry(device, op, values[key]) for op, key in (("Read", read), ("Write", write)) if key in values]
        return found

    return convert


def _entry(device: str, op: str, value: str) -> dict:
    major, _, minor = device.partition(":")
    entry = {"major": int(major), "minor": int(minor), "op": op, "value": int(value)}
    return {key: value for key, value in entry.items() if value}


# --- the table --------------------------------------------------------------------------------------------------------

BLKIO = "blkio.bfq.{0}_recursive|blkio.{0}_recursive|blkio.throttle.{0}_recursive|blkio.throttle.{0}"

# fmt: off
STATS = (
    ("cpu.usage.total", ("cpuacct.usage", number), ("cpu.stat", value_of("usage_usec", 1000))),
    ("cpu.usage.percpu", ("cpuacct.usage_percpu", numbers), None),
    ("cpu.usage.percpu_kernel", ("cpuacct.usage_all", column(2)), None),
    ("cpu.usage.percpu_user", ("cpuacct.usage_all", column(1)), None),
    ("cpu.usage.kernel", ("cpuacct.stat", value_of("system", NANOSECONDS_PER_TICK)), ("cpu.stat", value_of("system_usec", 1000))),
    ("cpu.usage.user", ("cpuacct.stat", value_of("user", NANOSECONDS_PER_TICK)), ("cpu.stat", value_of("user_usec", 1000))),
    ("cpu.throttling.periods", ("cpu.stat", value_of("nr_periods")), ("cpu.stat", value_of("nr_periods"))),
    ("cpu.throttling.throttledPeriods", ("cpu.stat", value_of("nr_throttled")), ("cpu.stat", value_of("nr_throttled"))),
    ("cpu.throttling.throttledTime", ("cpu.stat", value_of("throttled_time")), ("cpu.stat", value_of("throttled_usec", 1000))),
    ("cpu.psi", None, ("cpu.pressure", pressure)),

    ("cpuset.cpus", ("cpuset.cpus", id_list), None),
    ("cpuset.cpu_exclusive", ("cpuset.cpu_exclusive", number), None),
    ("cpuset.mems", ("cpuset.mems", id_list), None),
    ("cpuset.mem_hardwall", ("cpuset.mem_hardwall", number), None),
    ("cpuset.mem_exclusive", ("cpuset.mem_exclusive", number), None),
    ("cpuset.memory_migrate", ("cpuset.memory_migrate", number), None),
    ("cpuset.memory_spread_page", ("cpuset.memory_spread_page", number), None),
    ("cpuset.memory_spread_slab", ("cpuset.memory_spread_slab", number), None),
    ("cpuset.memory_pressure", ("cpuset.memory_pressure", number), None),
    ("cpuset.sched_load_balance", ("cpuset.sched_load_balance", number), None),
    ("cpuset.sched_relax_domain_level", ("cpuset.sched_relax_domain_level", signed), None),

    ("memory.cache", ("memory.stat", value_of("cache")), ("memory.stat", value_of("file"))),
    ("memory.usage.limit", ("memory.limit_in_bytes", number), ("memory.max", number)),
    ("memory.usage.usage", ("memory.usage_in_bytes", number), ("memory.current", number)),
    ("memory.usage.max", ("memory.max_usage_in_bytes", number), ("memory.peak", number)),
    ("memory.usage.failcnt", ("memory.failcnt", number), None),
    ("memory.swap.limit", ("memory.memsw.limit_in_bytes", number), ("memory.swap.max", number)),
    ("memory.swap.usage", ("memory.memsw.usage_in_bytes", number), ("memory.swap.current", number)),
    ("memory.swap.max", ("memory.memsw.max_usage_in_bytes", number), None),
    ("memory.swap.failcnt", ("memory.memsw.failcnt", number), None),
    ("memory.kernel.limit", ("memory.kmem.limit_in_bytes", number), None),
    ("memory.kernel.usage", ("memory.kmem.usage_in_bytes", number), None),
    ("memory.kernel.max", ("memory.kmem.max_usage_in_bytes", number), None),
    ("memory.kernel.failcnt", ("memory.kmem.failcnt", number), None),
    ("memory.kernelTCP.limit", ("memory.kmem.tcp.limit_in_bytes", number), None),
    ("memory.kernelTCP.usage", ("memory.kmem.tcp.usage_in_bytes", number), None),
    ("memory.kernelTCP.max", ("memory.kmem.tcp.max_usage_in_bytes", number), None),
    ("memory.kernelTCP.failcnt", ("memory.kmem.tcp.failcnt", number), None),
    ("memory.raw", ("memory.stat", keyed), ("memory.stat", keyed)),
    ("memory.psi", None, ("memory.pressure", pressure)),

    ("pids.current", ("pids.current", number), ("pids.current", number)),
    ("pids.limit", ("pids.max", limit_or_zero), ("pids.max", limit_or_zero)),

    ("blkio.ioServiceBytesRecursive", (BLKIO.format("io_service_bytes"), device_lines), ("io.stat", device_values("rbytes", "wbytes"))),
    ("blkio.ioServicedRecursive", (BLKIO.format("io_serviced"), device_lines), ("io.stat", device_values("rios", "wios"))),
    ("blkio.ioQueueRecursive", (BLKIO.format("io_queued"), device_lines), None),
    ("blkio.ioServiceTimeRecursive", (BLKIO.format("io_service_time"), device_lines), None),
    ("blkio.ioWaitTimeRecursive", (BLKIO.format("io_wait_time"), device_lines), None),
    ("blkio.ioMergedRecursive", (BLKIO.format("io_merged"), device_lines), None),
    ("blkio.ioTimeRecursive", (BLKIO.format("time"), device_lines), None),
    ("blkio.sectorsRecursive", (BLKIO.format("sectors"), device_lines), None),
    ("blkio.psi", None, ("io.pressure", pressure)),
)
# For each page size of the machine; %s is the page size.
HUGETLB = (
    ("usage", ("hugetlb.%s.rsvd.usage_in_bytes|hugetlb.%s.usage_in_bytes", number), ("hugetlb.%s.rsvd.current|hugetlb.%s.current", number)),
    ("max", ("hugetlb.%s.rsvd.max_usage_in_bytes|hugetlb.%s.max_usage_in_bytes", number), None),
    ("failcnt", ("hugetlb.%s.rsvd.failcnt|hugetlb.%s.failcnt", number), ("hugetlb.%s.events", value_of("max"))),
)
# fmt: on
KEPT = ("limit", "failcnt", "kernel", "user")
"""Keys that are printed with a 0 as well, unless all of their object is 0; so are the numbers of cpuset."""
LISTS = {"cpus", "mems"}
"""What cpuset has besides numbers."""
WHOLE = ("raw", "psi")
"""Objects that are printed with all that they have."""
NOWHERE = ("", number)
V1_NAMES = {"io": "blkio"}
"""Controllers that have another name on v1."""


def read(group: Cgroup) -> dict:
    """The statistics of a cgroup. What can't be read, of a cgroup that is gone too, counts as 0."""
    files = Files(group)
    stats = {"cpu": {}, "cpuset": {}, "memory": {}, "pids": {}, "blkio": {}}
    for path, v1, v2 in STATS:
        section, *inner, key = path.split(".")
        place = stats[section].setdefault(inner[0], {}) if inner else stats[section]
        place[key] = files.value(v1, v2)
    if files.unified:
        _like_v1(stats, files)
    for section, values in stats.items():
        stats[section] = without_zeros(values, values.keys() - LISTS if section == "cpuset" else ())
    # No part of the runtime makes the last two: groups of Intel RDT, and network interfaces.
    return stats | {"hugetlb": hugetlb(files), "intel_rdt": {}, "network_interfaces": None}


class Files:
    """Reads the files of a row, each file once. unified: whether the cgroup is v2 alone."""

    def __init__(self, group: Cgroup) -> None:
        self.paths = group.paths
        self.unified = list(group.paths) == [""]
        self.texts = {}

    def value(self, v1: Source | None, v2: Source | None) -> Any:
        """What a row's column for the version of its controller gives; 0 if there is no such file."""
        value = 0
        for version, (names, convert) in enumerate((v1 or NOWHERE, v2 or NOWHERE), 1):
            for name in names.split("|"):
                text = self._text(version, name)
                if text and (value := convert(text)):
                    return value
        return value

    def known(self, names: str) -> bool:
        """Whether one of the files (`file|other`) can be read."""
        return any(self._text(version, name) for name in names.split("|") for version in (1, 2))

    def _text(self, version: int, name: str) -> str:
        controller = name.partition(".")[0]
        if version == 1:
            directory = self.paths.get(controller) if controller else None
        else:
            # On a hybrid machine v2 tells of the controllers that no v1 hierarchy has.
            directory = None if V1_NAMES.get(controller, controller) in self.paths else self.paths.get("")
        if not directory or not name:
            return ""
        path = f"{directory}/{name}"
        if path not in self.texts:
            try:
                self.texts[path] = tree.read(path)
            except OSError:
                self.texts[path] = ""
        return self.texts[path]


def _like_v1(stats: dict, files: Files) -> None:
    """v1 counts memory and swap together, v2 swap alone; and a v2 cgroup without the pids controller still lists its processes."""
    memory, pids = stats["memory"], stats["pids"]
    if files.known("memory.swap.current"):
        usage, swap = memory["usage"], memory["swap"]
        swap["usage"] += usage["usage"]
        swap["limit"] = min(swap["limit"] + usage["limit"], UNLIMITED)
    if not files.known("pids.current"):
        pids["current"] = files.value(None, ("cgroup.procs|cgroup.threads", line_count))


def without_zeros(values: dict, kept: Collection[str]) -> dict:
    """An object of the JSON without what is 0 or empty, and without the objects in it that are 0 throughout.

    kept: keys that stay with a 0 as well. A pressure that is known to be none stays too.
    """
    found = {}
    for key, value in values.items():
        if value.__class__ is dict and key not in WHOLE:
            value = without_zeros(value, KEPT) if any(value.values()) else None
        if value or key in kept or (key == "psi" and value == {}):
            found[key] = value
    return found


def hugetlb(files: Files) -> dict[str, dict]:
    """{page size: {usage, max, failcnt}} of the page sizes that the cgroup counts."""
    found = {}
    for size in page_sizes():
        row = {key: [source and (source[0].replace("%s", size), source[1]) for source in sources] for key, *sources in HUGETLB}
        if any(files.known(name) for name, _ in filter(None, row["usage"])):
            values = {key: files.value(*sources) for key, sources in row.items()}
            found[size] = {key: value for key, value in values.items() if value or key in KEPT}
    return found


def page_sizes() -> list[str]:
    """`1GB`, `2MB` …, sorted: in the words of hugetlb's files, of the kernel's `hugepages-2048kB`."""
    try:
        names = posix.listdir(HUGE_PAGES)
    except FileNotFoundError:  # a kernel without huge pages
        return []
    return sorted(_size_name(int(name.removeprefix("hugepages-").removesuffix("kB"))) for name in names)


def _size_name(kilobytes: int) -> str:
    for unit in ("KB", "MB"):
        if kilobytes < 1024:
            return f"{kilobytes}{unit}"
        kilobytes //= 1024
    return f"{kilobytes}GB"
