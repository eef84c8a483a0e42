"""pyrun top: what all containers use, refreshed in place on a terminal, as plain lines or JSON elsewhere."""

from __future__ import annotations

import posix
import time

from pyrun.base import jsonio, output
from pyrun.base.errors import Error
from pyrun.commands import kill
from pyrun.commands.events import parse_duration
from pyrun.container.usage import PRESSURES, Usage
from pyrun.host import screen
from pyrun.host.screen import BOLD, PLAIN, REVERSE, Screen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from pyrun.cli.settings import Settings

    Row = dict[str, Any]

FIRST = 0.3  # s to the second sample, the first one that knows what is used per second
NOTHING = "-"


def count(value: float | None) -> str:
    return NOTHING if value is None else str(value)


def percent(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1f}"


def size(value: float | None) -> str:
    """Bytes in four digits at most: 999, 1.5K, 312M."""
    if value is None:
        return NOTHING
    for unit in ("", "K", "M", "G", "T"):
        if value < 1000:
            return f"{value:.1f}{unit}" if unit and value < 10 else f"{value:.0f}{unit}"
        value /= 1024
    return f"{value:.0f}P"


def used(row: Row) -> float | None:
    return 100 * row["memory"] / row["memoryLimit"] if row["memory"] is not None and row["memoryLimit"] else None


# Title; how the cell reads; its width, below zero to the left; the name that --sort knows, whose first letter is its key, and by what.
COLUMNS: tuple[tuple[str, Callable[[Row], str], int, str, Callable[[Row], Any] | None], ...] = (
    ("CONTAINER", lambda row: row["id"], -16, "name", lambda row: row["id"]),
    ("STATUS", lambda row: row["status"], -8, "", None),
    ("CPU %", lambda row: percent(row["cpuPercent"]), 7, "cpu", lambda row: row["cpuPercent"] or 0),
    ("MEMORY", lambda row: size(row["memory"]), 7, "memory", lambda row: row["memory"] or 0),
    ("LIMIT", lambda row: size(row["memoryLimit"]), 6, "", None),
    ("MEM %", lambda row: percent(used(row)), 6, "", None),
    ("PIDS", lambda row: count(row["pids"]), 5, "pids", lambda row: row["pids"] or 0),
    ("READ/s", lambda row: size(row["readPerSecond"]), 7, "io", lambda row: (row["readPerSecond"] or 0) + (row["writePerSecond"] or 0)),
    ("WRITE/s", lambda row: size(row["writePerSecond"]), 8, "", None),
    *((f"PSI {name[:3]}", lambda row, name=name: percent(row["pressure"][name]), 8, "", None) for name in PRESSURES),
)
ORDERS = {name: by for *_, name, by in COLUMNS if by}
"""Name of an order -> what a row has there."""
HELP = "q quit  k kill  c m p i n sort  r reverse  up down choose"
ASKED = {"t": "TERM", "k": "KILL"}


def top(settings: Settings, *, once: bool, interval: str, format: str, sort: str) -> int:
    """Returns the exit status. Raises Error for an unknown format or order."""
    seconds = parse_duration(interval)
    if seconds <= 0:
        raise Error("--interval: use a duration greater than 0, like 1s or 500ms")
    if format not in ("table", "json"):
        raise Error("invalid format option: use table or json")
    if sort not in ORDERS:
        raise Error(f"--sort: use {', '.join(ORDERS)}")
    view = View(sort)
    if once or format == "json" or not (posix.isatty(0) and posix.isatty(1)):
        print_samples(Usage(settings.root), view, seconds, once, format == "json")
        return 0
    return watch(settings, view, seconds)


class View:
    """What is shown: the order, the container that is chosen, the question or message at the bottom."""

    def __init__(self, sort: str) -> None:
        self.sort, self.turned = sort, False
        self.chosen, self.at = "", 0  # its id, and where it was: the next one there is chosen when it has gone
        self.question, self.message = "", ""

    def ordered(self, rows: Sequence[Row]) -> list[Row]:
        """Names from a on, numbers from the greatest on; or the other way round."""
        found = sorted(sorted(rows, key=lambda row: row["id"]), key=ORDERS[self.sort], reverse=self.sort != "name")
        found = found[::-1] if self.turned else found
        ids = [row["id"] for row in found]
        self.at = ids.index(self.chosen) if self.chosen in ids else max(0, min(self.at, len(ids) - 1))
        self.chosen = ids[self.at] if ids else ""
        return found

    def key(self, key: str, rows: Sequence[Row], settings: Settings) -> bool:
        """Does what a key asks for; whether to go on."""
        if self.question:
            self.message = send(settings, self.question, ASKED[key.lower()]) if key.lower() in ASKED else ""
            self.question = ""
            return True
        self.message = ""
        if key in ("q", "Q", "\x03"):
            return False
        if key == "k":
            self.question = self.chosen
        elif key == "r":
            self.turned = not self.turned
        elif step := {"up": -1, "down": 1, "page up": -10, "page down": 10}.get(key):
            self.at = max(0, min(self.at + step, len(rows) - 1))
            self.chosen = rows[self.at]["id"] if rows else ""
        else:
            self.sort = next((name for name in ORDERS if name[0] == key), self.sort)
        return True

    def bottom(self) -> str:
        return f"kill {self.question}?  t TERM  k KILL  any other key: no" if self.question else self.message or HELP


def send(settings: Settings, id: str, signal: str) -> str:
    """Kills a container; the message of that."""
    try:
        kill.kill(settings, id=id, signal=signal, all=False)
    except (Error, OSError) as fault:
        return f"{id}: {fault}"
    return f"{signal} is sent to {id}"


# --- a sample as text ---------------------------------------------------------------------------------------------------


def cells(texts: Sequence[str], name_width: int) -> str:
    widths = [-name_width, *(width for _, _, width, _, _ in COLUMNS[1:])]
    return " ".join(text.rjust(width) if width > 0 else text.ljust(-width) for text, width in zip(texts, widths, strict=True))


def table(rows: Sequence[Row]) -> list[str]:
    """The titles, and a line for each container."""
    width = max([-COLUMNS[0][2], *(len(row["id"]) for row in rows)])
    return [cells([column[0] for column in COLUMNS], width), *(cells([column[1](row) for column in COLUMNS], width) for row in rows)]


def frame(rows: Sequence[Row], view: View, columns: int, lines: int, clock: str) -> list[str]:
    """The lines that fill a screen of this size: a title, the table as far as there is room, and what the keys do, or a question."""
    running = sum(row["status"] == "running" for row in rows)
    title, *body = table(rows)
    room = max(lines - 3, 1)
    first = max(0, min(view.at - room // 2, len(body) - room))
    shown = [f"{REVERSE}{_fit(line, columns)}{PLAIN}" if at == view.at else line[:columns] for at, line in enumerate(body)]
    head = f"{len(rows)} containers, {running} running, by {view.sort}{' reversed' if view.turned else ''}  {clock}"
    middle = shown[first : first + room]
    return [head[:columns], f"{BOLD}{title[:columns]}{PLAIN}", *middle, *[""] * (room - len(middle)), view.bottom()[:columns]][-lines:]


def _fit(line: str, columns: int) -> str:
    return line[:columns].ljust(columns)


def print_samples(usage: Usage, view: View, seconds: float, once: bool, as_json: bool) -> None:
    """A table, or a JSON array on a line, for each sample."""
    usage.sample()
    pause = min(seconds, FIRST)
    while True:
        time.sleep(pause)
        rows = view.ordered(usage.sample())
        output.write(jsonio.dumps(rows) + "\n" if as_json else "\n".join(table(rows)) + "\n" * (1 if once else 2))
        if once:
            return
        pause = seconds


def watch(settings: Settings, view: View, seconds: float) -> int:
    """The screen, until a key or a signal ends it."""
    usage, terminal = Usage(settings.root), Screen()
    rows: list[Row] = []
    due, ending = 0.0, 0
    try:
        terminal.enter()
        while not ending:
            if time.monotonic() >= due:
                due = time.monotonic() + (seconds if usage.last else min(seconds, FIRST))
                rows = usage.sample()
            rows = view.ordered(rows)
            terminal.show(frame(rows, view, *terminal.size(), time.strftime("%H:%M:%S")))
            keys, numbers = terminal.wait(max(due - time.monotonic(), 0) * 1000)
            if screen.STOP in numbers or "\x1a" in keys:
                terminal.suspend()
            elif screen.CONTINUED in numbers:
                terminal.resume()
            ending = next((number for number in numbers if number in screen.ENDINGS), 0)
            for key in keys:
                if not view.key(key, rows, settings):
                    return 0
    finally:
        terminal.leave()
    screen.die(ending)
    return 128 + ending
