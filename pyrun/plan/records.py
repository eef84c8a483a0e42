"""The Plan: the ops init executes, in order, packed as csrc/plan.h says. Every op remembers where it came from."""

from __future__ import annotations

import _struct
import posix

from pyrun._native import lib
from pyrun.base.errors import Error, words
from pyrun.plan._ops import Ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_HEADER = _struct.Struct("=5I2H")
# The table's first two slots: the control socket and the plan itself.
FIRST_SLOT = 2


class Needs:
    """What who starts init has to bring or to do besides opening its files: mounts (mounts.Mount) that need more rights than
    init has, or a user namespace.

    sources: (name of the slot, mount) of the bind mounts whose source it clones. idmaps: (name of the slot, mount) of the user
    namespaces that it makes. asked: where -> mount of what it maps or clones when init asks for it.
    """

    __slots__ = ("sources", "idmaps", "asked")

    def __init__(self) -> None:
        self.sources: list[tuple[str, Any]] = []
        self.idmaps: list[tuple[str, Any]] = []
        self.asked: dict[str, Any] = {}

    def nothing(self) -> bool:
        return not self.sources and not self.idmaps and not self.asked


class Plan(Ops):
    """A list of ops under construction: each method of Ops adds one.

    Files are named when the plan is compiled and opened when it is launched (`open_files`), so that compiling
    touches nothing and needs no privilege.
    """

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.notes: list[tuple[str, str, str]] = []  # (name of the op, where, subject) of each record
        self.begin_part()
        self.needs = Needs()
        self.stages = 0  # how many processes that are cloned clone again
        # (path, open flags, where) -> slot; path None: whoever starts init brings the file, by the name that `where` is.
        self.files: dict[tuple[str | None, int, str], int] = {}

    # --- building

    def text(self, text: str) -> int:
        """The offset of a string, which is there once."""
        offset = self.offsets.get(text)
        if offset is None:
            offset = self.offsets[text] = len(self.area)
            self.area += text.encode("utf-8", "surrogateescape") + b"\0"
        return offset

    def strings(self, texts: Sequence[str]) -> int:
        """The offset of a run of strings ended by an empty one."""
        offset = len(self.area)
        for text in texts:
            self.area += text.encode("utf-8", "surrogateescape") + b"\0"
        self.area += b"\0"
        return offset

    def blob(self, data: bytes) -> int:
        """The offset of binary data, aligned to 8; 0 for none."""
        if not data:
            return 0
        self.area += bytes(-len(self.area) % 8)
        offset = len(self.area)
        self.area += data
        return offset

    def append(self, name: str, where: str, subject: str, record: bytes) -> None:
        """Adds an op, packed."""
        self.records.append(record)
        self.notes.append((name, where, subject))

    def file(self, path: str | None, flags: int, where: str) -> int:
        """The slot of a file that is opened, with these flags, when the plan is launched."""
        return self.files.setdefault((path, flags, where), FIRST_SLOT + len(self.files))

    def given(self, name: str) -> int:
        """The slot of a file that whoever starts init brings under this name."""
        return self.file(None, 0, name)

    # --- launching

    def begin_part(self) -> None:
        """The ops from here on are packed without the strings of those before."""
        self.area = bytearray(8)  # offset 0 is the empty string
        self.offsets = {"": 0}

    def pack(self, flags: int = 0, since: int = 0) -> bytes:
        """The plan as init reads it, from the op with the number `since` on. flags: PLAN_TIMED or 0."""
        records = self.records[since:]
        header = _HEADER.pack(
            lib.PLAN_MAGIC, lib.PLAN_VERSION, len(records), len(self.area) + 1, since, FIRST_SLOT + len(self.files), flags
        )
        return b"".join((header, *records, self.area, b"\0"))

    def open_files(self, given: Mapping[str, int], since: int = 0) -> list[int]:
        """Opens the plan's files but for the first `since`; returns their fds in slot order. Those in `given` stay the caller's.
        Raises Error.
        """
        fds: list[int] = []
        try:
            for path, flags, where in [*self.files][since:]:
                if path is None:
                    fds.append(given[where])
                    continue
                try:
                    fds.append(posix.open(path, flags | posix.O_CLOEXEC))
                except OSError as error:
                    raise Error(f"{where}: open {path}: {words(error.errno)}") from None
        except BaseException:
            self.close_files(fds, since)
            raise
        return fds

    def close_files(self, fds: list[int], since: int = 0) -> None:
        for (path, _, _), fd in zip([*self.files][since:], fds):
            if path is not None:
                posix.close(fd)

    # --- reading

    def note(self, index: int) -> tuple[str, str, str]:
        """(name of the op, where, subject) of the op with this index; three empty strings where there is none."""
        return self.notes[index] if index < len(self.notes) else ("", "", "")

    def notes_from(self, name: str) -> dict[str, tuple[str, str, str]]:
        """The notes of the ops from the first of this name on, by index: what `start` needs to explain an error of init."""
        first = next((index for index, note in enumerate(self.notes) if note[0] == name), len(self.notes))
        return {str(index): self.notes[index] for index in range(first, len(self.notes))}
