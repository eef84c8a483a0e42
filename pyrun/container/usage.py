"""What the containers use now: a table of numbers, a row for each."""

from __future__ import annotations

import time

from pyrun.base.errors import Error
from pyrun.cgroup import stats
from pyrun.container import record, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.container.state import Container

    Row = dict[str, Any]

SOURCES = {path: (v1, v2) for path, v1, v2 in stats.STATS}
ALIVE = {"created", "running", "paused"}
ENDLESS = 1 << 62  # v1 says "no limit" by the greatest number of pages there is
PRESSURES = ("cpu", "memory", "io")


class Usage:
    """Samples of all containers below a root (str). What is used per second, is so since the sample before."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.last: dict[str, Row] = {}

    def sample(self) -> list[Row]:
        rows = []
        for id in self._ids():
            try:
                rows.append(counters(state.load(self.root, id)))
            except (Error, OSError):  # it is being made or removed, or damaged: `list` says what it is
                continue
        before, self.last = self.last, {row["id"]: row for row in rows}
        return [shown(row, before.get(row["id"])) for row in rows]

    def _ids(self) -> list[str]:
        try:
            return record.ids(self.root)
        except FileNotFoundError:  # no container has been there yet
            return []


def counters(container: Container) -> Row:
    """What a container has used so far, and what of it does not add up; None is what nobody counts."""
    status = container.status()
    row: Row = {"id": container.id, "status": status, "init": container.data["pid"], "at": time.monotonic()}
    group = container.cgroup() if status in ALIVE else None
    if not group or not group.paths:
        nothing = dict.fromkeys(("cpu", "memory", "limit", "pids", "read", "write"))
        return row | nothing | {"pressure": dict.fromkeys(PRESSURES)}
    files = stats.Files(group)

    def value(name: str) -> Any:
        return files.value(*SOURCES[name])

    moved = value("blkio.ioServiceBytesRecursive") or ()
    limit = value("memory.usage.limit")
    return row | {
        "cpu": value("cpu.usage.total"),
        "memory": value("memory.usage.usage"),
        "limit": limit if 0 < limit < ENDLESS else None,
        "pids": value("pids.current") or len(group.pids()),
        "read": sum(entry.get("value", 0) for entry in moved if entry["op"] == "Read"),
        "write": sum(entry.get("value", 0) for entry in moved if entry["op"] == "Write"),
        "pressure": {name: _some(files, name) for name in PRESSURES},
    }


def _some(files: stats.Files, name: str) -> float | None:
    """The part of the last 10 s in which some process had to wait, in percent."""
    if not files.known(f"{name}.pressure"):
        return None
    return files.value(None, (f"{name}.pressure", stats.pressure)).get("some", {}).get("avg10", 0)


def shown(row: Row, before: Row | None) -> Row:
    """The row that people and programs get, of two samples: the first one knows nothing of what is used per second."""
    rates = dict.fromkeys(("cpu", "read", "write"))
    if before and before["init"] == row["init"] and (seconds := row["at"] - before["at"]) > 0:
        rates = {name: None if None in (row[name], before[name]) else max(row[name] - before[name], 0) / seconds for name in rates}
    return {
        "id": row["id"],
        "status": row["status"],
        "cpuPercent": None if rates["cpu"] is None else round(rates["cpu"] / 1e7, 1),
        "memory": row["memory"],
        "memoryLimit": row["limit"],
        "pids": row["pids"],
        "readPerSecond": None if rates["read"] is None else round(rates["read"]),
        "writePerSecond": None if rates["write"] is None else round(rates["write"]),
        "pressure": row["pressure"],
    }
