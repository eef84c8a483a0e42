"""The Plan: the ops init executes, in order, packed as csrc/plan.h says. Every op remembers where it came from."""

import _struct
import errno
import posix

from pyrun._native import ffi, lib
from pyrun.errors import Error, words

OP_NAMES = {getattr(lib, name): name[3:] for name in dir(lib) if name.startswith("OP_")}
STEP_NAMES = {getattr(lib, name): name[5:].lower() for name in dir(lib) if name.startswith("STEP_")}

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
        self.files = []  # (path, open flags, where) or the name of a file that the launcher brings

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

    def blob(self, data):
        """Binary data, aligned to 8."""
        self.area += bytes(-len(self.area) % 8)
        offset = len(self.area)
        self.area += data
        return offset

    def file(self, path, flags, where):
        """The slot of a file that is opened, with these flags, when the plan is launched."""
        entry = (path, flags, where)
        if entry not in self.files:
            self.files.append(entry)
        return FIRST_SLOT + self.files.index(entry)

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

    def pack(self):
        self.area += b"\0"
        header = _HEADER.pack(
            lib.PLAN_MAGIC, lib.PLAN_VERSION, len(self.ops), len(self.area), FIRST_SLOT + len(self.files), 0
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
        """The notes of the ops after `opcode`, by index: what `start` needs to explain an error of init."""
        indexes = [index for index, note in enumerate(self.notes) if note[0] == opcode]
        first = indexes[0] if indexes else len(self.notes)
        return {str(index): self.notes[index] for index in range(first, len(self.notes))}

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
        path, _, where = self.files[slot - FIRST_SLOT]
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


def receive(sock, timeout=-1, room=1):
    """The next message on a control socket: (message or None at EOF, fds that came with it, pid of its sender)."""
    message = ffi.new("struct plan_msg *")
    fds = ffi.new("int[]", room)
    count = ffi.new("int *", room)
    pid = ffi.new("int *")
    # Interrupted, it returns here, so that Python runs the handler of the signal.
    while (size := lib.native_recv(sock, message, ffi.sizeof("struct plan_msg"), fds, count, pid, timeout)) == -errno.EINTR:
        count[0] = room
    if size < 0:
        raise OSError(-size, posix.strerror(-size))
    return (message if size else None), [fds[i] for i in range(count[0])], pid[0]


def send_go(sock, number):
    message = ffi.new("struct plan_msg *", {"type": lib.MSG_GO, "number": number})
    return lib.native_send(sock, message, ffi.sizeof("struct plan_msg"), ffi.NULL, 0)


_EXEC_OPS = {lib.OP_EXEC, lib.OP_EXEC_CHECK}
_HINTS = {
    (lib.OP_ROOT, lib.STEP_OPEN): "in a user namespace its root must be able to search every directory on the way",
    (lib.OP_PIVOT, lib.STEP_PIVOT_ROOT): "the root file system of the host may be an initramfs: try --no-pivot",
    (lib.OP_MOUNT, lib.STEP_ORDINARY_DIR): "must be mounted on ordinary directory",
    (lib.OP_MOUNT, lib.STEP_INSIDE_PROC): "a symlink leads into /proc: choose another destination",
    (lib.OP_BIND, lib.STEP_INSIDE_PROC): "only a procfs can be mounted on /proc, and nothing through a symlink into it",
    (lib.OP_MOUNT, lib.STEP_FSOPEN): "/proc/filesystems has what this kernel knows",
    (lib.OP_CHDIR, lib.STEP_CHDIR): "make the directory in the root file system or change cwd",
}


# The member of a mount that a step is about.
_MOUNT_MEMBERS = {
    "open_tree": ".source", "fsopen": ".type", "open_target": ".destination", "ordinary_dir": ".destination", "inside_proc": ".destination",
}  # fmt: skip


def mount_fault(subject, where, step, error):
    """The text for a mount that failed with an errno; callers match `error mounting`."""
    text = f"error during container init: error mounting {subject}: {where}{_MOUNT_MEMBERS.get(step, '')}: {step}: {words(error)}"
    return f"{text} (create it on the host, or correct the path)" if (step, error) == ("open_tree", errno.ENOENT) else text


def explain(note, message):
    """The Error that an ERROR message of init stands for.

    note: (opcode, where, subject) of the op. Callers match the words of a missing or forbidden executable (docker: 127
    and 126) and `error mounting`.
    """
    opcode, where, subject = note
    reason = words(message.value)
    step = STEP_NAMES.get(message.step, "?")
    detail = ffi.string(message.detail).decode("utf-8", "replace")
    hint = _HINTS.get((opcode, message.step), "")
    if detail[:6] == "idmap:":
        from pyrun import idmap

        detail = idmap.unsupported(int(detail[6:]))
    if opcode in _EXEC_OPS:
        if message.value == errno.ENOENT and "/" not in subject:
            return Error(f'{where}: exec: "{subject}": executable file not found in $PATH')
        if opcode == lib.OP_EXEC:
            return Error(f"{where}: exec {subject}: {reason}")
        return Error(f'{where}: exec: "{subject}": stat {subject}: {reason}' if message.value == errno.ENOENT
                     else f'{where}: exec: "{subject}": {reason}')
    if opcode in (lib.OP_CHDIR, lib.OP_CHDIR_CHECK):
        text = f'{where}: chdir to cwd ("{subject}") set in config.json failed: {reason}'
    elif opcode in (lib.OP_MOUNT, lib.OP_BIND):
        text = mount_fault(subject, where, step, message.value)
    else:
        about = f" {subject}" if subject else ""
        text = f"error during container init: {where or OP_NAMES[opcode].lower()}: {step}{about}: {reason}"
    extra = [one for one in (detail, hint) if one]
    return Error(f"{text} ({'; '.join(extra)})" if extra else text)
