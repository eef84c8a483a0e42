"""The Plan: the ops init executes, in order, packed as csrc/plan.h says. Every op remembers where it came from."""

import _struct
import posix

from pyrun._native import ffi, lib
from pyrun.errors import Error, words

OP_NAMES = {getattr(lib, name): name[3:] for name in dir(lib) if name.startswith("OP_")}

_HEADER = _struct.Struct("=6I")
_OP = _struct.Struct("=HHiiI4I6Q")
_MASK64 = (1 << 64) - 1
# The table's first two slots: the control socket and the plan itself.
FIRST_SLOT = 2
# describe() prints no more than this of binary data.
SHOWN_BYTES = 32


class Plan:
    """A list of ops under construction.

    Files are named when the plan is compiled and opened when it is launched (`open_files`), so that compiling
    touches nothing and needs no privilege.
    """

    def __init__(self):
        self.ops = []  # packed records
        self.notes = []  # (opcode, where, subject) of each op
        self.area = bytearray(8)  # offset 0 is the empty string
        self.offsets = {"": 0}
        self.lists = {}  # offset -> strings of a run, for describe()
        self.files = {}  # (path, open flags, where) -> slot; path None: `where` is the name of a file that the launcher brings

    # --- building

    def string(self, text):
        offset = self.offsets.get(text)
        if offset is None:
            offset = self.offsets[text] = len(self.area)
            self.area += text.encode("utf-8", "surrogateescape") + b"\0"
        return offset

    def strings(self, texts):
        """A run of strings ended by an empty one."""
        offset = len(self.area)
        self.lists[offset] = texts
        for text in texts:
            self.area += text.encode("utf-8", "surrogateescape") + b"\0"
        self.area += b"\0"
        return offset

    def environment(self, entries):
        """strings() of NAME=VALUE; describe() shows the names alone, since values may be secrets."""
        offset = self.strings(entries)
        self.lists[offset] = [f"{entry.partition('=')[0]}=…" for entry in entries]
        return offset

    def blob(self, data):
        """Binary data, aligned to 8."""
        self.area += bytes(-len(self.area) % 8)
        offset = len(self.area)
        self.area += data
        return offset

    def file(self, path, flags, where):
        """The slot of a file that is opened, with these flags, when the plan is launched."""
        return self.files.setdefault((path, flags, where), FIRST_SLOT + len(self.files))

    def given(self, name):
        """The slot of a file that the launcher brings under this name."""
        return self.file(None, 0, name)

    def add(self, op, where="", subject="", flags=0, fd=-1, fd2=-1, size=0, s=(), n=()):
        """Appends an op.

        where: config path it comes from. subject: what it is about (a path, a name), for messages.
        s: up to 4 strings (str) or offsets from strings()/blob() (int). n: up to 6 integers.
        """
        offsets = [self.string(one) if one.__class__ is str else one for one in s]
        numbers = [one & _MASK64 for one in n]
        self.ops.append(
            _OP.pack(op, flags, fd, fd2, size, *offsets, *(0,) * (4 - len(offsets)), *numbers, *(0,) * (6 - len(numbers)))
        )
        self.notes.append((op, where, subject))

    # --- launching

    def pack(self, flags=0):
        self.area += b"\0"
        header = _HEADER.pack(
            lib.PLAN_MAGIC, lib.PLAN_VERSION, len(self.ops), len(self.area), FIRST_SLOT + len(self.files), flags
        )
        return b"".join((header, *self.ops, self.area))

    def open_files(self, **given):
        """Opens the plan's files; returns their fds in slot order. Those in `given` stay the caller's."""
        fds = []
        try:
            for path, flags, where in self.files:
                if path is None:
                    fds.append(given[where])
                    continue
                try:
                    fds.append(posix.open(path, flags | posix.O_CLOEXEC))
                except OSError as error:
                    raise Error(f"{where}: open {path}: {words(error.errno)}") from None
        except BaseException:
            self.close_files(fds)
            raise
        return fds

    def close_files(self, fds):
        for (path, _, _), fd in zip(self.files, fds):
            if path is not None:
                posix.close(fd)

    # --- reading

    def note(self, index):
        return self.notes[index] if index < len(self.notes) else (0, "", "")

    def later_notes(self, opcode):
        """The notes of the ops after `opcode`, by index: what `start` needs to explain an error of init.

        With an op's name instead of its number: a `start` of another release may have other numbers.
        """
        indexes = [index for index, note in enumerate(self.notes) if note[0] == opcode]
        first = indexes[0] if indexes else len(self.notes)
        return {str(index): (OP_NAMES[op], where, subject) for index, (op, where, subject) in enumerate(self.notes[first:], first)}

    def describe(self):
        """One line per op, for `pyrun plan` and golden tests: OP FLAGS fd=SLOT:FILE strings n=NUMBERS # where."""
        lines = []
        for record, (opcode, where, _) in zip(self.ops, self.notes):
            _, flags, fd, fd2, size, *rest = _OP.unpack(record)
            parts = [OP_NAMES[opcode], *_flag_names(OP_NAMES[opcode], flags)]
            parts += [f"{name}={slot}:{self._file_name(slot)}" for name, slot in (("fd", fd), ("fd2", fd2)) if slot >= 0]
            parts += [self._show(offset, size) for offset in _without_zeros(rest[:4])]
            numbers = _without_zeros(rest[4:])
            if numbers:
                parts.append("n=" + ",".join(f"{number:#x}" for number in numbers))
            if where:
                parts.append(f"# {where}")
            lines.append(" ".join(parts))
        return lines

    def _file_name(self, slot):
        path, _, where = list(self.files)[slot - FIRST_SLOT]
        return path or f"<{where}>"

    def _show(self, offset, size):
        if offset in self.lists:
            return repr(self.lists[offset])
        if not size:
            return repr(self.area[offset : self.area.index(0, offset)].decode("utf-8", "surrogateescape"))
        data = self.area[offset : offset + size]
        return f"<{size} bytes: {data[:SHOWN_BYTES].hex()}{'…' if size > SHOWN_BYTES else ''}>"


def _flag_names(op, flags):
    """BIND and 1 -> ["RECURSIVE"]: the flags of plan_flag are named after their op."""
    known = sorted((value, name) for name, value in ffi.typeof("enum plan_flag").relements.items())
    return [name[len(op) + 1 :] for value, name in known if name.startswith(f"{op}_") and flags & value]


def _without_zeros(values):
    """The values without the zeros at the end."""
    values = list(values)
    while values and not values[-1]:
        values.pop()
    return values
