"""What the build makes of the ops that csrc/plan.h declares: init's table to verify a plan by, and Python's methods to write one."""

from dataclasses import dataclass
from pathlib import Path

import cffi

# What a member of an op's struct is in Python: the C type -> (annotation, default or None, the expressions that are packed).
KINDS = {
    "struct plan_text": ("str", None, ["self.text({0})"]),
    "struct plan_optional": ("str", '""', ["self.text({0})"]),
    "struct plan_list": ("Sequence[str]", None, ["self.strings({0})"]),
    "struct plan_strings": ("Sequence[str]", None, ["self.strings({0})", "len({0})"]),
    "struct plan_bytes": ("bytes", None, ["self.blob({0})", "len({0})"]),
    "struct plan_gids": ("bytes", None, ["self.blob({0})", "len({0})"]),
    "struct plan_filter": ("bytes", None, ["self.blob({0})", "len({0})"]),
    "struct plan_fd": ("int", None, ["{0}"]),
    "struct plan_optional_fd": ("int", "-1", ["{0}"]),
    "uint64_t": ("int", None, ["{0} & _64"]),
}
# Masks that are mostly empty.
LEFT_OUT = ("attr_", "propagation", "parent_propagation", "ms_flags")
FORMATS = {1: "B", 2: "H", 4: "I", 8: "Q"}


@dataclass
class Op:
    """One op. name: `bind`. operands: (name, C type, offset in struct plan_op, size). flags: names from plan_flag."""

    name: str
    number: int
    operands: list
    flags: list


def read(header: str) -> tuple[list[Op], int]:
    """The ops of plan.h (its text as cffi can read it), and the size of a record."""
    ffi = cffi.FFI()
    ffi.cdef(header)
    record = dict(ffi.typeof("struct plan_op").fields)
    numbers = ffi.typeof("enum plan_opcode").relements
    flags = sorted(ffi.typeof("enum plan_flag").relements)
    names = sorted((name for name in numbers if name not in ("OP_NONE", "OP_COUNT")), key=numbers.get)
    start = min(field.offset for name, field in record.items() if name not in ("op", "flags"))
    found = []
    for name in names:
        word = name.removeprefix("OP_")
        struct = record.get(word.lower())
        operands = [
            (member, field.type.cname, struct.offset + field.offset, ffi.sizeof(field.type)) for member, field in struct.type.fields
        ] if struct else []
        assert all(offset >= start for _, _, offset, _ in operands)
        found.append(Op(word.lower(), numbers[name], operands, [flag for flag in flags if owner(flag, names) == name]))
    return found, ffi.sizeof("struct plan_op")


def owner(flag: str, names: list[str]) -> str:
    """The op that a flag is named after: the one with the longest name."""
    return max((name for name in names if flag.startswith(name.removeprefix("OP_") + "_")), key=len)


# --- init's table ----------------------------------------------------------------------------------------------------

def c_source(ops: list[Op]) -> str:
    """The C source of op_types[]."""
    parts = ["/* Made of csrc/plan.h by csrc/plan_table.py. */\n#include \"init.h\"\n\n#include <stddef.h>\n"]
    rows = []
    for op in ops:
        checked = [(name, kind) for name, kind, _, _ in op.operands if kind != "uint64_t"]
        if checked:
            cells = ", ".join(f"{{offsetof(struct plan_op, {op.name}.{name}), {kind.removeprefix('struct ').upper()}}}" for name, kind in checked)
            parts.append(f"static const struct operand {op.name}_operands[] = {{{cells}}};\n")
        table = f"{op.name}_operands" if checked else "NULL"
        rows.append(f"    [OP_{op.name.upper()}] = {{op_{op.name}, {table}, {len(checked)}, {' | '.join(op.flags) or 0}}},\n")
    return "".join([*parts, "\nconst struct op_type op_types[OP_COUNT] = {\n", *rows, "};\n"])


# --- Python's methods ------------------------------------------------------------------------------------------------

HEAD = '''"""Made of csrc/plan.h by csrc/plan_table.py: a method for each op, which packs its record."""

from __future__ import annotations

import _struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_64 = (1 << 64) - 1
'''
CLASS = '''

class Ops:
    """where: the place in the config that an op comes from. subject: what it is about (a path, a name), for messages."""

    __slots__ = ()

    if TYPE_CHECKING:

        def text(self, text: str) -> int: ...
        def strings(self, texts: Sequence[str]) -> int: ...
        def blob(self, data: bytes) -> int: ...
        def append(self, name: str, where: str, subject: str, record: bytes) -> None: ...
'''


def python_source(ops: list[Op], size: int) -> str:
    """The source of the module with the class Ops."""
    lines = [HEAD, "\n"]
    lines += [f'_{op.name.upper()} = _struct.Struct("{layout(op, size)}").pack\n' for op in ops]
    return "".join([*lines, CLASS, *(method(op) for op in ops)])


def layout(op: Op, size: int) -> str:
    """The format of a record, as the module struct wants it: every byte of it, so that none is left to chance."""
    form, at = "=HH", 4
    for _, kind, offset, length in op.operands:
        form += f"{offset - at}x" * (offset > at)
        packed = len(KINDS[kind][2])
        word = "i" if kind.endswith("fd") else FORMATS[length // packed]
        form, at = form + word * packed, offset + length
    return form + f"{size - at}x" * (size > at)


def method(op: Op) -> str:
    operands = [(name, *KINDS[kind]) for name, kind, _, _ in op.operands]
    operands = [(name, kind, "0" if name.startswith(LEFT_OUT) else default, packed) for name, kind, default, packed in operands]
    operands.sort(key=lambda operand: operand[2] is not None)
    words = [f"{name}: {kind}" + (f" = {default}" if default else "") for name, kind, default, _ in operands]
    keywords = f", *, {', '.join(words)}" if words else ""
    by_name = {name: packed for name, _, _, packed in operands}
    values = ", ".join([str(op.number), "flags", *(one.format(name) for name, *_ in op.operands for one in by_name[name])])
    return (f'\n    def {op.name}(self, where: str = "", subject: str = "", flags: int = 0{keywords}) -> None:\n'
            f"        self.append(\"{op.name}\", where, subject, _{op.name.upper()}({values}))\n")


def write(header: str, c_path: Path, python_path: Path) -> None:
    """Writes both, each if it has changed."""
    ops, size = read(header)
    for path, text in ((c_path, c_source(ops)), (python_path, python_source(ops, size))):
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
