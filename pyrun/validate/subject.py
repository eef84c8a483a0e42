"""What is judged, and what is found about it."""

from __future__ import annotations

import collections

from pyrun.config import load, normal
from pyrun.config.faults import Wrong, without_nulls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from pyrun.cli.settings import Settings

SCHEMA, SEMANTICS, HOST = "schema", "semantics", "host"
"""The levels: the form of the file, what it means, and whether this host can do it."""
ERROR, WARNING = "error", "warning"


Found = collections.namedtuple("Found", "path message cure severity", defaults=("", ERROR))
"""What a check finds: path in the config, what is wrong, the cure ('' if the message says it), how bad it is."""


class Subject:
    """A file that is judged: a config.json, or what stands for a part of one.

    prefix: the part: '', `process` or `linux.resources`; paths begin with it. name: the schema of the file.
    """

    def __init__(self, file: str, data: bytes, settings: Settings, bundle: str = "", prefix: str = "", name: str = "config") -> None:
        self.file, self.data, self.settings, self.bundle, self.prefix, self.name = file, data, settings, bundle, prefix, name
        self.given: Any = None  # the file's value, from decode() on
        self.whole: dict = {}  # and the config that it is a part of
        self.config: dict = {}  # its normal form, without what has faults, from know_wrong() on
        self.wrong = Wrong(())

    def decode(self) -> None:
        """Raises ConfigError for what is no JSON."""
        self.given = value = without_nulls(load.decode(self.data.removeprefix(load.BOM), self.file))
        for word in reversed(self.prefix.split(".")) if self.prefix else ():
            value = {word: value}
        self.whole = value

    def know_wrong(self, paths: Iterable[str]) -> None:
        """Takes note of where the schema is broken."""
        self.wrong = Wrong(paths)
        self.config = normal.config_of(self._sound_part())

    def sound(self, path: str) -> bool:
        """Whether what lies at a path of a config belongs to the file, and has its right type."""
        return f"{path}.".startswith(f"{self.prefix}." if self.prefix else "") and not self.wrong.touches(path)

    def _sound_part(self) -> dict:
        """The config without the members of its sections that have faults."""
        part = {}
        for section, value in self.whole.items():
            if section in ("process", "linux", "root") and isinstance(value, dict):
                needed = {"process": ("cwd", "args"), "root": ("path",)}.get(section, ())
                if all(self.sound(f"{section}.{name}") for name in needed):
                    part[section] = {name: member for name, member in value.items() if not self.wrong.touches(f"{section}.{name}")}
            elif not self.wrong.touches(section):
                part[section] = value
        return part

    def run(self, checks: Iterable[tuple]) -> Iterator[Found]:
        """Yields what the checks of a table find: rows of (function of the subject, *the members that it reads)."""
        for check, *members in checks:
            if all(map(self.sound, members)):
                yield from check(self)
