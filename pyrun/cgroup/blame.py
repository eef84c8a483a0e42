"""What a cgroup tells of its limits when a program has ended badly: in words, '' where it has nothing to say."""

from __future__ import annotations

from pyrun.cgroup import tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cgroup.base import Cgroup

UNLIMITED = 1 << 62
"""v1 says "no limit" by the greatest number of pages there is, in bytes."""
UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


# Where memory has limits: the file that counts how often one was hit, with its key, the limit, and the most that was used.
V1 = (
    ("memory.failcnt", "", "memory.limit_in_bytes", "memory.max_usage_in_bytes"),
    ("memory.memsw.failcnt", "", "memory.memsw.limit_in_bytes", "memory.memsw.max_usage_in_bytes"),
)
V2 = (("memory.events.local", "oom", "memory.max", "memory.peak"),)
FULL = 15 / 16
"""The part of a limit that was used where it was hit; newer kernels do not count hits of memory and swap together (v1)."""
PAGE = 65536
"""The kernel keeps a limit in whole pages, of this size at most."""


def kills(group: Cgroup | None) -> int | None:
    """How many processes of the cgroup the kernel has killed because memory ran out; None where nobody counts them."""
    if not group:
        return None
    file = f"{group.paths['memory']}/memory.oom_control" if "memory" in group.paths else f"{group.paths.get('', '')}/memory.events"
    return count(file, "oom_kill")


def memory(group: Cgroup | None, config: dict) -> str:
    """That the kernel has killed processes of the cgroup since memory ran out, and by which limit."""
    killed = kills(group)
    if not group or not killed:
        return ""
    path, rows = (group.paths["memory"], V1) if "memory" in group.paths else (group.paths[""], V2)
    by = "a process was killed" if killed == 1 else f"{killed} processes were killed"
    holder = path
    while text(f"{holder}/{rows[0][2]}"):
        for hits, key, limit, most in rows:
            if count(f"{holder}/{hits}", key) or number(f"{holder}/{most}") > number(f"{holder}/{limit}") * FULL:
                given = config["linux"]["resources"].get("memory", {}) if holder == path else {}
                return f"memory ran out, {by}: {_limit(f'{holder}/{limit}', given)}{_used(f'{holder}/{most}')}"
        holder = tree.parent(holder)
    return f"memory ran out, {by}: no limit of {path} was hit, so it was the machine's memory, or that of a cgroup above"


def given(config: dict) -> str:
    """The same, of a process whose cgroup has gone."""
    limit = config["linux"]["resources"].get("memory", {}).get("limit")
    return f"memory ran out, a process was killed: {f'linux.resources.memory.limit is {size(limit)}' if limit else 'by a limit of its cgroup'}"


def _limit(file: str, given: dict) -> str:
    """given: linux.resources.memory, where the file's cgroup is the container's."""
    limit = number(file)
    member = next((name for name in ("limit", "swap") if abs((given.get(name) or -PAGE) - limit) < PAGE), None)
    name = f"linux.resources.memory.{member}" if member else file
    return f"{name} is {size(limit) if limit < UNLIMITED else 'none'}"


def _used(file: str) -> str:
    most = number(file)  # before Linux 5.19 v2 does not know it
    return f", at most {size(most)} were used" if most else ""


def pids(group: Cgroup | None, config: dict) -> str:
    """That processes could not be made, as the limit of their number was reached."""
    path = group and (group.paths.get("pids") or group.paths.get(""))
    times = count(f"{path}/pids.events", "max") if path else None
    if not times:
        return ""
    limit = text(f"{path}/pids.max").strip()
    given = config["linux"]["resources"].get("pids", {}).get("limit")
    name = "linux.resources.pids.limit" if str(given) == limit else f"{path}/pids.max"
    which = f"{name} is {limit}" if limit != "max" else f"it is one of a cgroup above {path}"
    return f"the limit of processes was reached, {'once' if times == 1 else f'{times} times'}: {which}"


def text(path: str) -> str:
    """The content of a control file, '' where there is none (any more)."""
    try:
        return tree.read(path)
    except OSError:  # there is an end to report already, and this only says more of it
        return ""


def count(path: str, key: str) -> int | None:
    """A number of a file of lines `key number`, or of one that has a number alone (key ''); None where nobody knows."""
    words = (line.split() for line in text(path).splitlines())
    return next((int(word[-1]) for word in words if word[:-1] == [key] or not key), None)


def number(path: str) -> int:
    found = text(path).strip()
    return int(found) if found.isdigit() else UNLIMITED if found == "max" else 0


def size(number: int) -> str:
    value, unit = float(number), 0
    while value >= 1024 and unit < len(UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f}".removesuffix(".0") + f" {UNITS[unit]}"
