"""Other limits for a cgroup in use: all of them, or none."""

from __future__ import annotations

from pyrun.base import log
from pyrun.base.errors import Error
from pyrun.base.files import read_line
from pyrun.cgroup import resources, tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cgroup.base import Cgroup
    from pyrun.cgroup.resources import Write

CPUSETS = ("cpuset.cpus", "cpuset.mems")
# Files with a line for each device or interface: the value that lifts its limit.
LIFTED = {
    "io.max": "max", "rdma.max": "max", "io.weight": "default", "io.bfq.weight": "default", "net_prio.ifpriomap": "0",
    **dict.fromkeys(("blkio.weight_device", "blkio.bfq.weight_device", "blkio.leaf_weight_device"), "0"),
    **{f"blkio.throttle.{way}_{unit}_device": "0" for way in ("read", "write") for unit in ("bps", "iops")},
}  # fmt: skip


def change(group: Cgroup, limits: dict, where: str) -> list[Write]:
    """Writes limits, as linux.resources without devices. Where one is refused, those written before are put back.

    Returns what put_back() takes. Raises ConfigError, whose path begins with `where`.
    """
    writes = resources.writes(limits, group, where)
    before = [opposite for write in reversed(writes) if (opposite := _opposite(write))]
    try:
        group.write(writes)
    except BaseException:
        put_back(group, before)
        raise
    return before


def put_back(group: Cgroup, before: list[Write]) -> None:
    """Gives a cgroup the limits that it had before change()."""
    try:
        group.write(before)
    except Error:
        for write in before:  # one of them must not keep the others from it
            try:
                group.write([write])
            except Error as fault:
                log.warning(f"the limit of before could not be put back: {fault}")


def _opposite(write: Write) -> Write | None:
    """The Write that brings back what the file of another has now; None where that cannot be said."""
    for file, text in write.files:
        if tree.exists(f"{write.directory}/{file}"):
            old = _old(file, text, resources.reader(write.directory)(file).splitlines())
            if file in CPUSETS and old == "\n" and write.directory:
                # None of its own, on v2. With processes in it the kernel does not take that back (ENOSPC): those of its parent.
                old = read_line(f"{tree.parent(write.directory)}/{file}.effective").decode().strip()
            return resources.Write(write.where, write.version, write.directory, [(file, old)]) if old else None
    return None


def _old(file: str, text: str, lines: list[str]) -> str | None:
    """What to write to a file that has these lines, for it to have them again when another text was written."""
    if not lines or file in resources.DEPRECATED:
        return None
    if file == "memory.oom_control":
        return lines[0].split()[-1]
    key, *rest = text.split() or [""]
    if file in LIFTED and rest:
        for line in lines:
            if line.split()[0] == key:
                return line
        lifted = LIFTED[file]
        return " ".join([key, *(f"{word.partition('=')[0]}={lifted}" if "=" in word else lifted for word in rest)])
    if file == "cpu.weight" and lines[0] == "0":  # idle says that, and it cannot be written
        return None
    return lines[0] or "\n"
