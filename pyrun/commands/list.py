"""pyrun list: the containers under the state directory."""

from __future__ import annotations

import marshal
import posix

from pyrun.base import files, jsonio, log, output
from pyrun.base.errors import Error, visible, words
from pyrun.container import record, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.settings import Settings

COLUMNS = ("id", "pid", "status", "bundle", "created", "owner")
LEAST_WIDTH = 12
GAP = 3
MANY = 100  # containers for which a process of their own is worth its start


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
    return looked_at_by_two(settings.root, names) if len(names) >= MANY else looked_at(settings.root, names)


def looked_at(root: str, names: list[str]) -> list[dict]:
    """What `state` prints of each of these containers that is there."""
    return [public for name in names if (public := look(root, name))]


def looked_at_by_two(root: str, names: list[str]) -> list[dict]:
    """The same, the second half by another process: the time goes into small files of the kernel, one after the other."""
    first, second = names[: len(names) // 2], names[len(names) // 2 :]
    reading, writing = posix.pipe2(posix.O_CLOEXEC)
    try:
        child = posix.fork()
    except OSError:  # there may be no more processes
        posix.close(reading)
        posix.close(writing)
        return looked_at(root, names)
    if not child:
        try:
            files.write_all(writing, marshal.dumps(looked_at(root, second)))
            posix._exit(0)
        finally:
            posix._exit(1)
    posix.close(writing)
    try:
        found = looked_at(root, first)
        told = files.read_fd(reading, "pipe")
    finally:
        posix.close(reading)
        _, status = posix.waitpid(child, 0)
    return found + (looked_at(root, second) if status else marshal.loads(told))  # noqa: S302 (from our own child)


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
