"""pyrun plan: what `create` and `start` would do for a bundle, at a glance, step by step, or compared with another bundle."""

from __future__ import annotations

import difflib

from pyrun.base import jsonio, output
from pyrun.base.errors import Error, visible
from pyrun.cli import scan
from pyrun.cli.paint import Paint
from pyrun.config import load
from pyrun.container.outline import outline
from pyrun.plan import describe
from pyrun.plan.overview import overview

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pyrun.cli.settings import Settings

FORMATS = ("text", "steps", "json")
COLUMN = 13


def plan(settings: Settings, *, bundle: str, format: str, diff: str | None) -> None:
    """Prints the plan; makes nothing. diff: another bundle, of which only what differs is printed. Raises Error for an unknown format."""
    if format not in FORMATS:
        raise Error("invalid format option: use text, steps or json")
    bundle, id = _bundle(bundle)
    steps = _steps(settings, bundle, id)
    if diff is None:
        output.write(jsonio.dumps(steps) + "\n" if format == "json" else "".join(f"{line}\n" for line in _lines(steps, format)))
        return
    other, _ = _bundle(diff)
    # Under the same id, or each path with an id in it would differ.
    after = _steps(settings, other, id)
    if format == "json":
        output.write(jsonio.dumps({"removed": _missing(steps, after), "added": _missing(after, steps)}) + "\n")
    else:
        output.write("".join(f"{line}\n" for line in _difference(steps, after, format)) or "no difference\n")


def _bundle(word: str) -> tuple[str, str]:
    """(the absolute path of a bundle, the id that a container of it would have by itself)."""
    path, _ = scan.bundle_and_id(word, "plan")
    id = path.rpartition("/")[2]
    try:
        load.check_id(id)
    except Error:
        id = "plan"
    return path, id


def _missing(steps: list[dict], others: list[dict]) -> list[dict]:
    """The steps that others do not have."""
    there = set(map(jsonio.dumps, others))
    return [step for step in steps if jsonio.dumps(step) not in there]


def _steps(settings: Settings, bundle: str, id: str) -> list[dict]:
    """The outline, in which the bundle's own paths begin with `.`."""
    return [_relative(step, bundle) for step in outline(settings, bundle, id)]


def _relative(value: Any, bundle: str) -> Any:
    if isinstance(value, str):
        return f".{value[len(bundle) :]}" if value.startswith(f"{bundle}/") else value
    if isinstance(value, list):
        return [_relative(entry, bundle) for entry in value]
    return {name: _relative(entry, bundle) for name, entry in value.items()} if isinstance(value, dict) else value


def _lines(steps: list[dict], format: str) -> Iterator[str]:
    if format == "steps":
        yield from map(describe.line, steps)
        return
    paint = Paint()
    for name, lines in overview(steps).items():
        for index, line in enumerate(lines):
            text, mark, place = visible(line).partition("# ")
            yield (paint("strong", f"{name:<{COLUMN}}") if index == 0 else " " * COLUMN) + text + paint("dim", mark + place)


def _difference(before: list[dict], after: list[dict], format: str) -> Iterator[str]:
    paint = Paint()
    if format == "steps":
        old, new = {"": list(map(describe.line, before))}, {"": list(map(describe.line, after))}
    else:
        old, new = overview(before), overview(after)
    for name in dict.fromkeys([*old, *new]):
        changes = [line for line in difflib.ndiff(list(map(_flat, old.get(name, []))), list(map(_flat, new.get(name, [])))) if line[0] in "+-"]
        if changes and name:
            yield paint("strong", name)
        for line in changes:
            yield paint("removed" if line[0] == "-" else "added", visible(f"{line[0]} {line[2:]}"))


def _flat(line: str) -> str:
    """A line without the branches of a tree and columns, which change with what others there are."""
    return " ".join(line.translate(dict.fromkeys(map(ord, "│├└─"), " ")).split())
