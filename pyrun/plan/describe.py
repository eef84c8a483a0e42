"""A plan for people and for programs: the ops by name, their operands decoded. Cold: `pyrun plan` and tests use it."""

from __future__ import annotations

import _struct
import errno

from pyrun._native import ffi
from pyrun.base import files
from pyrun.config import normal
from pyrun.plan import mounts, namespaces, process, seccomp
from pyrun.plan.records import FIRST_SLOT, Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

UNLIMITED = (1 << 64) - 1

TYPES = {files.S_IFIFO: "fifo", files.S_IFCHR: "char", files.S_IFBLK: "block", files.S_IFREG: "file"}
ATTRIBUTES = {flag: word for word, (on, _, flag) in mounts.POINT_WORDS.items() if on} | {
    mounts.ATTR_NOATIME: "noatime", mounts.ATTR_STRICTATIME: "strictatime", mounts.ATTR_ATIME_MASK: "atime",
}  # fmt: skip
ACTIONS = {
    "SCMP_ACT_ALLOW": "allowed", "SCMP_ACT_LOG": "logged", "SCMP_ACT_NOTIFY": "left to the agent", "SCMP_ACT_TRACE": "left to a tracer",
    "SCMP_ACT_TRAP": "SIGSYS", "SCMP_ACT_KILL": "thread killed", "SCMP_ACT_KILL_THREAD": "thread killed",
    "SCMP_ACT_KILL_PROCESS": "process killed",
}  # fmt: skip


# --- what numbers and binary data stand for


def _mask(value: int, names: dict[int, str]) -> list[str]:
    """The words of the bits that are set, a word of several bits before those of one; bits without a word in hexadecimal."""
    words = []
    for bits, word in sorted(names.items(), key=lambda item: -item[0].bit_count()):
        if value & bits == bits and bits:
            words.append(word)
            value &= ~bits
    return [*words, *([f"{value:#x}"] if value else [])]


def _by_number(numbers: dict[str, int]) -> dict[int, str]:
    return {number: word for word, number in numbers.items()}


def _words(numbers: dict[str, int]) -> Callable[[int], list[str]]:
    words = _by_number(numbers)
    return lambda value: _mask(value, words)


def _attributes(value: int) -> list[str]:
    return _mask(value, ATTRIBUTES)


def _propagation(value: int) -> str:
    return next((word for word, flags in mounts.PROPAGATION_WORDS.items() if flags == value), f"{value:#x}") if value else ""


_capabilities = _words({name: 1 << number for name, number in process.CAPABILITIES.items()})


def _mode(value: int) -> str:
    kind = TYPES.get(value & files.S_IFMT, "")
    bits = "".join(letter if value >> 8 - place & 1 else "-" for place, letter in enumerate("rwxrwxrwx"))
    return f"{kind} {bits}".strip()


def _device(value: int) -> str:
    """dev_t as glibc packs it (makedev(3))."""
    return f"{value >> 8 & 0xFFF | value >> 32 & 0xFFFFF000}:{value & 0xFF | value >> 12 & 0xFFFFFF00}"


def _limit(value: int) -> int | str:
    return "unlimited" if value == UNLIMITED else value


def _bits(data: bytes) -> str:
    """A mask as a list such as 0-3,7."""
    bits = f"{int.from_bytes(data, 'little'):b}"[::-1]
    found = []
    start = bits.find("1")
    while start >= 0:
        end = bits.find("0", start)
        last = (len(bits) if end < 0 else end) - 1
        found.append(f"{start}-{last}" if last > start else f"{start}")
        start = bits.find("1", last + 1)
    return ",".join(found)


def _scheduler(data: bytes) -> dict[str, Any]:
    """struct sched_attr, as process.py packs it."""
    _, policy, flags, nice, priority, runtime, deadline, period = _struct.unpack("=IIQiIQQQ8x", data)
    return {
        "policy": _by_number(process.SCHEDULER_POLICIES)[policy], "flags": _words(process.SCHEDULER_FLAGS)(flags),
        "nice": nice, "priority": priority, "runtime": runtime, "deadline": deadline, "period": period,
    }  # fmt: skip


def _memory_policy(value: int) -> list[str]:
    bits = sum(process.MEMORY_FLAGS.values())
    return [_by_number(process.MEMORY_MODES)[value & ~bits], *_words(process.MEMORY_FLAGS)(value & bits)]


# How an operand reads, by its name: plan.h says what a name stands for. A value may be a secret, so of env there are names alone.
READINGS: dict[str, Callable[[Any], object]] = {
    "namespaces": _words(namespaces.FLAGS),
    "attr_set": _attributes, "attr_clear": _attributes, "attr_named": _attributes,
    "attr_set_below": _attributes, "attr_clear_below": _attributes,
    "propagation": _propagation, "parent_propagation": _propagation,
    "ms_flags": hex,
    "mode": _mode, "device": _device, "mask": "{:04o}".format,
    "effective": _capabilities, "permitted": _capabilities, "inheritable": _capabilities, "ambient": _capabilities,
    "kept_caps": _capabilities,
    "resource": lambda value: _by_number(process.RLIMITS)[value],
    "soft": _limit, "hard": _limit,
    "cpus": _bits, "nodes": _bits, "policy": _memory_policy,
    "persona": lambda value: _by_number(process.PERSONALITY_DOMAINS)[value],
    "priority": lambda value: f"{_by_number(process.IOPRIO_CLASSES)[value >> 13]} {value & 0x1FFF}",
    "attributes": _scheduler,
    "gids": lambda data: list(_struct.unpack(f"={len(data) // 4}I", data)),
    "filter": lambda data: {"instructions": len(data) // 8},
    "filter_flags": _words(seccomp.FLAGS | {"SECCOMP_FILTER_FLAG_NEW_LISTENER": seccomp.NEW_LISTENER}),
    "env": lambda entries: [entry.partition("=")[0] for entry in entries],
}  # fmt: skip


# --- ops


def operands(plan: Plan, index: int) -> dict[str, Any]:
    """The operands of an op by name: str, list of str, bytes, int, or None for what is not there. Files by their path or name."""
    record = ffi.from_buffer("struct plan_op[]", plan.records[index])[0]
    name = plan.notes[index][0]
    if not hasattr(record, name):
        return {}
    struct = getattr(record, name)
    return {member: _value(plan, getattr(struct, member), field.type) for member, field in ffi.typeof(struct).fields}


def _value(plan: Plan, value: Any, kind: Any) -> object:
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


def _data(plan: Plan, value: Any) -> bytes:
    return bytes(plan.area[value.at : value.at + value.size])


READERS: dict[str, Callable[[Plan, Any], object]] = {
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


def data(plan: Plan, profile: dict | None = None) -> list[dict]:
    """For programs: of each op its name, where it comes from in the config, its subject, flags and operands, in words where these
    have some. profile: the linux.seccomp that its filter was made of.
    """
    found = []
    for index, (name, where, subject) in enumerate(plan.notes):
        shown = operands(plan, index)
        for member in shown.keys() & READINGS.keys():
            shown[member] = READINGS[member](shown[member])
        if name == "seccomp" and profile:
            shown["filter"] |= _rules(profile)
        found.append({"op": name, "where": where, "subject": subject, "flags": flags(plan, index), "operands": shown})
    return found


def _rules(profile: dict) -> dict[str, object]:
    """How many system calls a profile names for each action, and what becomes of all others."""
    full = normal.fill(normal.SECCOMP, profile)
    names: dict[tuple[str, int | None], set[str]] = {}
    for entry in full["syscalls"]:
        names.setdefault(_action(entry["action"], entry["errnoRet"]), set()).update(entry["names"])
    default, number = _action(full["defaultAction"], full["defaultErrnoRet"])
    return {
        "calls": [{"action": action, "data": data, "count": len(calls)} for (action, data), calls in names.items()],
        "default": {"action": default, "data": number},
    }


def _action(name: str, data: int | None) -> tuple[str, int | None]:
    return name, errno.EPERM if name == "SCMP_ACT_ERRNO" and data is None else data


# --- lines

# What follows the name of an op in its line, in pieces: one that has an operand that is empty is left out.
LINES = {
    "setns": " {namespaces} of {file}",
    "oom_score_adj": " {score}",
    "rlimit": " {resource} soft {soft} hard {hard}",
    "clone": " new {namespaces}|; in cgroup {cgroup}",
    "barrier": " {number}",
    "dumpable": " {value}",
    "cgroup_join": " {path}",
    "unshare": " new {namespaces}",
    "timens": " {offsets}",
    "setid": " {uid}:{gid}",
    "keyring": " {name}",
    "propagation": " {propagation}",
    "hostname": " {name}",
    "domainname": " {name}",
    "root": " {path}|; parent {parent_propagation}",
    "mount": " {type} on {target}|; {attr_set}|; {propagation}|; {options}",
    "bind": " {source}| opened as {tree}| on {target}|; {attr_set}|; without {attr_clear}|; all of it {attr_set_below}|; all of it without "
            "{attr_clear_below}|; {propagation}|; must lose {attr_named}|; ids of {userns}",
    "setattr": " {target}|; {attr_set}|; without {attr_clear}|; {propagation}",
    "device": " {path} {mode} {device}|; owner {uid}:{gid}|; from {source}",
    "symlink": " {path} to {text}",
    "mask": " {path}",
    "readonly": " {path}",
    "console": " owner {uid}|; {rows} rows, {columns} columns|; of {ptmx}|; on {bind}",
    "chroot": " {root}",
    "mkdir": " {path}",
    "sysctl": " {path}|={value}",
    "proc_write": " {path}|={value}|; rather in {preferred}",
    "scheduler": " {attributes}",
    "affinity": " CPUs {cpus}",
    "ioprio": " {priority}",
    "mempolicy": " {policy}|; nodes {nodes}",
    "personality": " {persona}",
    "umask": " {mask}",
    "chdir": " {path}",
    "chdir_check": " {path}",
    "home": " of uid {uid}",
    "exec_check": " {candidates}",
    "ready": " keeps {kept}",
    "wait_start": " on {socket}",
    "fix_stdio": " owner {uid}",
    "bounding": " {kept_caps}",
    "ids": " {uid}:{gid}|; groups {gids}",
    "seccomp": " {filter}|; {filter_flags}",
    "exec": " {candidates}|; args {argv}|; env {env}|; fds from {first_closed} on closed",
}  # fmt: skip


# The same for what the runtime does itself (container/outline.py).
STEPS = {
    "state": " {directory}|; {files}",
    "systemd_unit": " {name} of {manager} systemd",
    "cgroup": " {path}",
    "cgroup_write": " {path}|={value}|; rather in {rather}",
    "device_rules": " all {default}|; but allowed {allowed}|; but forbidden {forbidden}|; allowed as usual {usual}",
    "rdt": " {path}|; {schemata}",
    "net_device": " {name}|; as {becomes}",
    "uid_map": " {lines}|; by {writer}",
    "gid_map": " {lines}|; by {writer}",
    "hook": " {kind} {path}|; args {args}|; env {env}|; timeout {timeout} s",
    "seccomp_listener": " to {path}",
}


def lines(plan: Plan, profile: dict | None = None) -> list[str]:
    """The same for people, a line each, with what is not empty."""
    return [line(entry) for entry in data(plan, profile)]


def line(entry: dict) -> str:
    words = said(entry)
    return entry["op"] + (f" {words}" if words else "") + (f"  # {entry['where']}" if entry["where"] else "")


def said(entry: dict) -> str:
    """What a line has of an entry of data() behind its name and before its place."""
    texts = {member: text for member, value in entry["operands"].items() if (text := _text(member, value))}
    words = ""
    for piece in (LINES | STEPS).get(entry["op"], "|".join(f"; {member} {{{member}}}" for member in entry["operands"])).split("|"):
        try:
            words += piece.format_map(texts)
        except KeyError:  # it is empty
            pass
    words += "".join(f"; {flag.replace('_', ' ')}" for flag in entry["flags"])
    return words.lstrip("; ").rstrip()


def _text(member: str, value: Any) -> str:
    """"" for what is left out."""
    if READINGS.get(member) is _capabilities:
        return "all" if len(value) == len(process.CAPABILITIES) else ", ".join(value) or "none"
    if member == "filter":
        return _filter(value)
    if member == "argv":
        return " ".join(map(quoted, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(name, part)}" for name, part in value.items() if part)
    if isinstance(value, list):
        return ", ".join(map(quoted, value))
    if value is None or (value == 0 and member in ("rows", "columns")):
        return ""
    return str(value) if member in READINGS or not value else quoted(value)


def _filter(value: dict) -> str:
    if "default" not in value:
        return f"{value['instructions']} instructions"
    counts = [f"{entry['count']} call{'s' if entry['count'] > 1 else ''} {_done(entry)}, " for entry in value["calls"]]
    return f"{''.join(counts)}else {_done(value['default'])}"


def _done(entry: dict) -> str:
    """What is done with a call, in a word."""
    return ACTIONS.get(entry["action"]) or errno.errorcode.get(entry["data"]) or f"errno {entry['data']}"


def quoted(value: object) -> str:
    """As it is, if nobody can take it for something else."""
    text = str(value)
    return text if text and text.isprintable() and not any(letter in " '\"#;" for letter in text) else repr(text)
