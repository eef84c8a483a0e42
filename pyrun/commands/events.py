"""pyrun events: what a container uses, and when its memory ran out, as lines of JSON."""

from __future__ import annotations

import time

from pyrun.base import jsonio, log, output
from pyrun.base.errors import Error, words
from pyrun.base.processes import Poller
from pyrun.cgroup import oom
from pyrun.cgroup import stats as statistics
from pyrun.container import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cgroup.base import Cgroup
    from pyrun.cli.settings import Settings
    from pyrun.container.state import Container

UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}


def events(settings: Settings, *, id: str, interval: str, stats: bool) -> int:
    """Prints statistics every `interval` (text, as `5s`), and each time that memory runs out, until the container ends.

    stats: only the statistics of now. Returns the exit status.
    """
    container = state.load(settings.root, id)
    seconds = parse_duration(interval)
    if seconds <= 0:
        raise Error("duration interval must be greater than 0")
    if container.status() == "stopped":
        raise Error(f"container with id {id} is not running")
    group = container.cgroup()
    if group is None or not group.paths:
        raise Error("unable to get container cgroup stats: the container has no cgroup of its own")
    if stats:
        say("stats", id, statistics.read(group))
    else:
        follow(container, group, seconds)
    return 0


def follow(container: Container, group: Cgroup, seconds: float) -> None:
    """Prints lines until the container's init ends or its cgroup is removed."""
    poller = Poller()
    try:
        init = poller.process(container.data["pid"])
        watch = oom.watch(group)
    except OSError as fault:
        raise Error(f"unable to watch the container's memory: {words(fault.errno)}") from None
    poller.file(watch.fd, watch.EVENTS)
    due = time.monotonic() + seconds
    ended = not container.alive()
    while not ended:
        ended = init in poller.wait(max(due - time.monotonic(), 0) * 1000) or watch.gone()
        # The end of init may be what the kernel did about the memory, and is seen first.
        if watch.happened():
            say("oom", container.id)
        if not ended and time.monotonic() >= due:
            due += seconds
            try:
                say("stats", container.id, statistics.read(group))
            except OSError as fault:
                log.warning(f"unable to get container cgroup stats: {words(fault.errno)}")


def say(kind: str, id: str, data: dict | None = None) -> None:
    line: dict[str, object] = {"type": kind, "id": id}
    if data is not None:
        line["data"] = data
    output.write(jsonio.dumps(line) + "\n")


def parse_duration(text: str) -> float:
    """Seconds of a duration in Go's words: `5s`, `100ms`, `1m30s`, `1.5h`. Raises Error."""
    fault = Error(f'invalid value "{text}" for flag -interval: use a duration like 5s, 100ms or 1m30s')
    sign, rest = (-1, text[1:]) if text[:1] == "-" else (1, text.removeprefix("+"))
    if rest == "0":
        return 0
    total = 0.0
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        count, rest = rest[:digits], rest[digits:]
        letters = len(rest) - len(rest.lstrip("nuµμmsh"))
        unit, rest = rest[:letters], rest[letters:]
        if unit not in UNITS or count.count(".") > 1 or not count.strip("."):
            raise fault
        total += float(count) * UNITS[unit]
    if not text.strip("+-"):
        raise fault
    return sign * total
