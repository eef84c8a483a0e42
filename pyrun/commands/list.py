"""pyrun list: the containers under the state directory."""

from __future__ import annotations

import posix

from pyrun._native import ffi, lib
from pyrun.base import jsonio, log, output
from pyrun.base.errors import Error, visible, words
from pyrun.container import record, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.settings import Settings

COLUMNS = ("id", "pid", "status", "bundle", "created", "owner")
LEAST_WIDTH = 12
GAP = 3


def list_(settings: Settings, *, format: str, quiet: bool) -> None:
    """Prints the containers under the state directory: a table, their ids alone, or a JSON array on one line.

    A container whose state cannot be read is left out with a warning. Raises Error for an unknown format, and for a state
    directory that was named and is not there.
    """
    found = containers(settings)
    if quiet:
        text = "".join(f"{container['id']}\n" for container in found)
    elif format == "table":
        text = table(found)
    elif format == "json":
        # Of no containers runc makes a null: callers decode it into an empty list.
        text = jsonio.dumps(found or None) + "\n"
    else:
        raise Error("invalid format option: use table or json")
    output.write(text)


def containers(settings: Settings) -> list[dict]:
    """What `state` prints of each container."""
    try:
        names = record.ids(settings.root)
    except OSError as fault:
        if isinstance(fault, FileNotFoundError) and not settings.root_given:
            return []
        raise Error(f"open {settings.root}: {words(fault.errno)}") from None
    quick = running(settings.root, names)
    found = [jsonio.loads(line) if line else look(settings.root, name) for name, line in zip(names, quick, strict=True)]
    return [public for public in found if public]


def running(root: str, names: list[str]) -> list[bytes]:
    """What `state` prints of each of these containers that surely runs (csrc/running.h), b"" for all others."""
    lines = ffi.new("char **")
    wanted = "".join(f"{name}\0" for name in names).encode("utf-8", "surrogateescape")
    fd = posix.open(root, posix.O_PATH | posix.O_CLOEXEC)
    try:
        size = lib.native_running(fd, wanted, len(names), state.boot_id().encode(), lines)
    finally:
        posix.close(fd)
    if size < 0:
        return [b""] * len(names)
    try:
        return ffi.buffer(lines[0], size)[:].split(b"\n")[:-1]
    finally:
        lib.native_running_free(lines[0])


def look(root: str, name: str) -> dict | None:
    """What `state` prints of this container; None with a warning where its state cannot be read."""
    try:
        return state.load(root, name).public()
    except record.Gone:  # meanwhile, or it is not made yet
        pass
    except (Error, OSError) as fault:
        log.warning(f"load container {name}: {fault}")
    return None


def table(found: list[dict]) -> str:
    """Rows of text, each column as wide as its widest cell and at least 12."""
    rows = [tuple(column.upper() for column in COLUMNS)]
    rows += [tuple(visible(str(container[column])) for column in COLUMNS) for container in found]
    *columns, _ = zip(*rows, strict=True)
    widths = [max(LEAST_WIDTH, GAP + max(map(len, column))) for column in columns]
    row = "".join(f"%-{width}s" for width in widths) + "%s\n"
    return "".join(map(row.__mod__, rows))
