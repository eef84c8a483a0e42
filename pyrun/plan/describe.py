"""A plan for people and for programs: the ops by name, their operands decoded. Cold: `pyrun plan` and tests use it."""

from __future__ import annotations

from pyrun._native import ffi
from pyrun.base import files
from pyrun.plan import mounts, namespaces, process
from pyrun.plan.records import FIRST_SLOT, Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# text() prints no more than this of binary data.
SHOWN_BYTES = 16
UNLIMITED = (1 << 64) - 1

TYPES = {files.S_IFIFO: "fifo", files.S_IFCHR: "char", files.S_IFBLK: "block", files.S_IFREG: "file"}
ATTRIBUTES = {flag: word for word, (on, _, flag) in mounts.POINT_WORDS.items() if on} | {
    mounts.ATTR_NOATIME: "noatime", mounts.ATTR_STRICTATIME: "strictatime", mounts.ATTR_ATIME_MASK: "atime",
}  # fmt: skip
RESOURCES = {number: name for name, number in process.RLIMITS.items()}


def _mask(value: int, names: dict[int, str]) -> str:
    """The words of the bits that are set, a word of several bits before those of one; bits without a word in hexadecimal."""
    words = []
    for bits, word in sorted(names.items(), key=lambda item: -item[0].bit_count()):
        if value & bits == bits:
            words.append(word)
            value &= ~bits
    return ",".join([*words, *([f"{value:#x}"] if value else [])])


def _attributes(value: int) -> str:
    return _mask(value, ATTRIBUTES)


def _propagation(value: int) -> str:
    return next((word for word, flags in mounts.PROPAGATION_WORDS.items() if flags == value), f"{value:#x}")


def _capabilities(value: int) -> str:
    if value == process.ALL_CAPABILITIES:
        return "all"
    return _mask(value, {1 << number: name.removeprefix("CAP_").lower() for name, number in process.CAPABILITIES.items()}) or "none"


def _mode(value: int) -> str:
    kind = TYPES.get(value & files.S_IFMT, "")
    bits = "".join(letter if value >> 8 - place & 1 else "-" for place, letter in enumerate("rwxrwxrwx"))
    return f"{kind} {bits}".strip()


def _device(value: int) -> str:
    """dev_t as glibc packs it (makedev(3))."""
    return f"{value >> 8 & 0xFFF | value >> 32 & 0xFFFFF000}:{value & 0xFF | value >> 12 & 0xFFFFFF00}"


def _limit(value: int) -> str:
    return "unlimited" if value == UNLIMITED else str(value)


# How the numbers of an operand read, by its name: plan.h says what a name stands for.
READINGS: dict[str, Callable[[int], str]] = {
    "namespaces": lambda value: _mask(value, {flag: kind for kind, flag in namespaces.FLAGS.items()}),
    "attr_set": _attributes, "attr_clear": _attributes, "attr_named": _attributes,
    "attr_set_below": _attributes, "attr_clear_below": _attributes,
    "propagation": lambda value: (value and _propagation(value)) or "",
    "ms_flags": hex,
    "mode": _mode, "device": _device, "mask": "{:04o}".format,
    "effective": _capabilities, "permitted": _capabilities, "inheritable": _capabilities, "ambient": _capabilities,
    "kept_caps": _capabilities,
    "resource": lambda value: RESOURCES.get(value, str(value)),
    "soft": _limit, "hard": _limit,
}  # fmt: skip
# Operands that mean nothing when they are 0, and what mount(2) alone would need, are left out of text().
EMPTY = ("attr_", "propagation", "parent_propagation", "rows", "columns")
HIDDEN = ("ms_flags",)


def operands(plan: Plan, index: int) -> dict[str, object]:
    """The operands of an op by name: str, list of str, bytes, int, or None for what is not there. Files by their path or name."""
    record = ffi.from_buffer("struct plan_op[]", plan.records[index])[0]
    name = plan.notes[index][0]
    if not hasattr(record, name):
        return {}
    struct = getattr(record, name)
    return {member: _value(plan, getattr(struct, member), field.type) for member, field in ffi.typeof(struct).fields}


def _value(plan: Plan, value, kind) -> object:
    if kind.kind == "primitive":
        return value
    word = kind.cname.removeprefix("struct plan_")
    if word.endswith("fd"):
        return _file(plan, value.slot)
    return READERS[word](plan, value)


def _file(plan: Plan, slot: int) -> str | None:
    if slot < 0:
        return None
    path, _, where = list(plan.files)[slot - FIRST_SLOT]
    return path or f"<{where}>"


def _string(plan: Plan, at: int) -> str:
    return plan.area[at : plan.area.index(0, at)].decode("utf-8", "surrogateescape")


def _several(plan: Plan, at: int, goes_on: Callable[[int, list[str]], object]) -> list[str]:
    """Strings that lie one after the other. goes_on(place, what was found so far)."""
    found: list[str] = []
    while goes_on(at, found):
        found.append(_string(plan, at))
        at = plan.area.index(0, at) + 1
    return found


def _data(plan: Plan, value) -> bytes:
    return bytes(plan.area[value.at : value.at + value.size])


READERS = {
    "text": lambda plan, value: _string(plan, value.at),
    "optional": lambda plan, value: _string(plan, value.at) if value.at else None,
    "list": lambda plan, value: _several(plan, value.at, lambda at, _: plan.area[at]),
    "strings": lambda plan, value: _several(plan, value.at, lambda _, found: len(found) < value.count),
    "bytes": _data,
    "gids": _data,
    "filter": _data,
}


def flags(plan: Plan, index: int) -> list[str]:
    """The flags of an op in words: those of plan_flag that are named after it."""
    value = ffi.from_buffer("struct plan_op[]", plan.records[index])[0].flags
    name = plan.notes[index][0].upper()
    known = sorted((bit, word) for word, bit in ffi.typeof("enum plan_flag").relements.items() if word.startswith(f"{name}_"))
    return [word[len(name) + 1 :].lower() for bit, word in known if value & bit]


def lines(plan: Plan) -> list[str]:
    """One line per op: its name, operands, flags, and the place in the config that it comes from."""
    found = []
    for index, (name, where, _) in enumerate(plan.notes):
        parts = [name]
        for member, value in operands(plan, index).items():
            if value is None or member in HIDDEN or (value == 0 and member.startswith(EMPTY)):
                continue
            parts.append(f"{member}={_shown(member, value)}")
        parts += flags(plan, index)
        found.append(" ".join(parts) + (f"  # {where}" if where else ""))
    return found


def _shown(member: str, value) -> str:
    if isinstance(value, int):
        return READINGS.get(member, str)(value)
    if isinstance(value, bytes):
        if member == "filter":
            return f"{len(value) // 8} instructions"
        if member == "gids":
            return ",".join(str(int.from_bytes(value[at : at + 4], "little")) for at in range(0, len(value), 4)) or "none"
        return f"{value[:SHOWN_BYTES].hex()}{'…' if len(value) > SHOWN_BYTES else ''} ({len(value)} bytes)"
    if isinstance(value, list):
        if member == "env":
            value = [entry.partition("=")[0] for entry in value]  # a value may be a secret
        return "[" + " ".join(map(_quoted, value)) + "]"
    return _quoted(str(value))


def _quoted(text: str) -> str:
    """As it is, if nobody can take it for something else."""
    return text if text and not any(letter.isspace() or letter in "[]'\"#=" for letter in text.replace("=", "", 1)) else repr(text)


def data(plan: Plan) -> list[dict]:
    """The same for programs: of each op its name, where it comes from, flags and operands; numbers as words where they have some."""
    found = []
    for index, (name, where, subject) in enumerate(plan.notes):
        shown = {
            member: value if isinstance(value, str | list | None.__class__) else value.hex() if isinstance(value, bytes)
            else READINGS[member](value) if isinstance(value, int) and member in READINGS else value
            for member, value in operands(plan, index).items()
        }  # fmt: skip
        found.append({"op": name, "where": where, "subject": subject, "flags": flags(plan, index), "operands": shown})
    return found
