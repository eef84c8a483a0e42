"""The rules of a seccomp profile -> a classic BPF program.

libseccomp knows the system calls' numbers (csrc/seccomp.c), the program is made here. libseccomp's own generator, as of
2.6.1, merges the conditions of a system call into one tree, and where several rules look at several arguments it comes to a
wrong program or to no end. Here each rule is tried in turn.

    load the architecture, compare it         unknown: the thread is killed, as with libseccomp
    load the number, search it                all numbers of an architecture as a table of ranges
    return the action, or try the conditions  in the order of the profile

Code is a tuple of instructions (operation, jump if true, jump if false, operand); jumps count the instructions skipped.
The operand of a JUMP may be code itself: _link() puts that code, once for all that jump to it, at the end of the program.
"""

from __future__ import annotations

import sys
from _struct import pack

from pyrun._native import ffi, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Condition = tuple[int, int, int, int]  # index of the argument, SCMP_CMP_*, value, mask
    Rule = tuple[int, list[Condition]]
    Rules = dict[str, list[Rule]]
    Code = tuple[tuple[int, int, int, Any], ...]

# struct sock_filter's code (linux/bpf_common.h): class, size or test, and mode or source in one.
LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
JUMP = 0x05  # BPF_JMP | BPF_JA
EQUAL, GREATER, GREATER_EQUAL = 0x15, 0x25, 0x35  # BPF_JMP | BPF_JEQ, BPF_JGT, BPF_JGE | BPF_K
RETURN = 0x06  # BPF_RET | BPF_K
LIMIT = 4096  # BPF_MAXINSNS
FAR = 255  # the longest conditional jump

# struct seccomp_data: number, architecture, instruction pointer, six arguments of 64 bits.
NUMBER, ARCH, ARGUMENTS = 0, 4, 16
LOW_WORD, HIGH_WORD = (0, 4) if sys.byteorder == "little" else (4, 0)
WORD = 0xFFFFFFFF

# SCMP_CMP_* -> the test, and whether the condition is that it fails.
TESTS = {
    1: (EQUAL, True),  # NE
    2: (GREATER_EQUAL, True),  # LT
    3: (GREATER, True),  # LE
    4: (EQUAL, False),  # EQ
    5: (GREATER_EQUAL, False),  # GE
    6: (GREATER, False),  # GT
    7: (EQUAL, False),  # MASKED_EQ
}
EQUAL_TO = 4

# Calls that many share on some architectures (socketcall(2), ipc(2)), and the __PNR_* of those, negated. The last two digits
# are the value of the first argument.
MULTIPLEXERS = {"socketcall": (101, 120), "ipc": (201, 224)}

X86_64, X32, ARM, S390, S390X = 0xC000003E, 0x4000003E, 0x40000028, 0x00000016, 0x80000016
BITS_64, N32 = 0x80000000, 0x20000000  # bits of AUDIT_ARCH_*
# x32 is an architecture to libseccomp alone; to the kernel it is x86_64 with this bit in the number.
X32_BIT = 0x40000000
# Linux gives out numbers in rising order, in one row. Beside it x32 has calls of its own at 512…547 and ARM private ones:
# they say nothing about the age of what is in the row. (first, end) of the rows of an architecture.
ROWS = {
    X86_64: ((0, X32_BIT),),
    X32: ((X32_BIT, X32_BIT + 512), (X32_BIT + 512, WORD)),
    ARM: ((0, 0x0F0000), (0x0F0000, WORD)),
}
ONE_ROW = ((0, WORD),)
# No system call: what a tracer writes over a number so that none is made. The kernel's own answer to it is ENOSYS.
NO_CALL = 0xFFFFFFFF

KILL_THREAD = 0x00000000


def build(archs: list[int], rules: Rules, default: int, newer: int) -> bytes:
    """The program, struct sock_filter[] (bytes).

    archs: SCMP_ARCH_* (list of int). rules: {name of a system call: [(action, conditions)]}; conditions: [(index, SCMP_CMP_*,
    value, mask)], which must all hold. A rule without conditions counts before all others of its call, as with libseccomp.
    default, newer: the actions for calls without a rule, and for those with a higher number than any in `rules`.
    Raises OverflowError for a program that the kernel would not take.
    """
    tables = {}
    for arch in archs:
        # To the kernel SCMP_ARCH_X32 is unknown; the others are its own AUDIT_ARCH_*.
        table = tables.setdefault(X86_64 if arch == X32 else arch, {0: _end(KILL_THREAD), NO_CALL: _end(newer)})
        _fill(table, arch, _calls(arch, rules, default, newer), default, newer)
    code = _end(KILL_THREAD)
    for arch, table in reversed(tables.items()):
        code = _branch(EQUAL, arch, ((LOAD, 0, 0, NUMBER), *_search(_ranges(table))), code)
    program = _link(((LOAD, 0, 0, ARCH), *code))
    if len(program) > LIMIT:
        raise OverflowError(len(program))
    return b"".join([pack("=HBBI", *instruction) for instruction in program])


def unknown(arch: int, names: list[str]) -> list[str]:
    """Those of the names (list) that libseccomp does not know."""
    return [name for name, number in zip(names, _numbers(arch, names)) if number == -1]


# --- one architecture --------------------------------------------------------------------------------------------------


def _numbers(arch: int, names: list[str]) -> list[int]:
    """The number of each name on an architecture, as csrc/seccomp.h has it."""
    found = ffi.new("int32_t[]", len(names))
    # A name that is no UTF-8 becomes one that is unknown.
    data = "".join([name + "\0" for name in names]).encode("utf-8", "replace")
    lib.native_seccomp_numbers(arch, data, len(names), found)
    return list(found)


def _calls(arch: int, rules: Rules, default: int, newer: int) -> dict[int, Code]:
    """{number: code} of the system calls that the rules name."""
    found = dict(zip([*rules, *MULTIPLEXERS], _numbers(arch, [*rules, *MULTIPLEXERS])))
    entries = {}
    shared = {}
    for name in rules:
        number = found[name]
        if number >= 0:
            entries.setdefault(number, []).extend(rules[name])
        for multiplexer, (first, last) in MULTIPLEXERS.items():
            if first <= -number <= last and found[multiplexer] >= 0:
                shared[name] = found[multiplexer], -number % 100
    for name, (number, selector) in shared.items():
        entries.setdefault(number, []).extend(_multiplexed(rules[name], selector))
    for name, number in _own_numbers(arch, shared):
        entries.setdefault(number, []).extend(rules[name])

    wide = bool(arch & BITS_64 and not arch & N32)
    calls = {number: _decide(entries[number], wide, default) for number in entries}
    # s390 passes numbers above 255 in a register, with 0 in the instruction; a number that the kernel does not know stays 0.
    # The call that once was 0, setup, has been gone for longer than there are containers.
    if calls and arch in (S390, S390X):
        calls[0] = _end(newer)
    return calls


def _multiplexed(rules: list[Rule], selector: int) -> list[Rule]:
    """The rules of a call as they apply to its multiplexer, whose first argument selects the call.

    Its other arguments lie in memory, where no filter can look. So conditions on the first argument are lost, and those on
    the others are kept although they hardly ever hold: the same as libseccomp makes of them.
    """
    chosen = (0, EQUAL_TO, selector, WORD)
    return [(action, [chosen, *(condition for condition in conditions if condition[0])]) for action, conditions in rules]


def _own_numbers(arch: int, shared: dict[str, tuple[int, int]]) -> Iterator[tuple[str, int]]:
    """(name, number) of the calls in `shared` that have a number of their own beside their multiplexer.

    libseccomp does not tell it for the name, but the name for the number. All lie within a few hundred of the multiplexers.
    """
    name = ffi.new("char[]", 64)
    start = min((number for number, _ in shared.values()), default=0)
    for number in range(start, start + 512) if shared else ():
        if lib.native_seccomp_name(arch, number, name, len(name)) == 0 and ffi.string(name).decode() in shared:
            yield ffi.string(name).decode(), number


def _fill(table: dict[int, Code], arch: int, calls: dict[int, Code], default: int, newer: int) -> None:
    """Adds an architecture to the table {number: code from there on}."""
    for first, end in ROWS.get(arch, ONE_ROW):
        table[first] = _end(default)
        row = sorted(number for number in calls if first <= number < end)
        for number in row:
            table[number] = calls[number]
            table[number + 1] = _end(default)
        if row:
            table[row[-1] + 1] = _end(newer)
        table.setdefault(end, _end(KILL_THREAD))


# --- code --------------------------------------------------------------------------------------------------------------


def _end(action: int) -> Code:
    return ((RETURN, 0, 0, action),)


def _branch(test: int, value: int, yes: Code, no: Code) -> Code:
    """Continues in `yes` or in `no`. Both must end all by themselves."""
    if len(yes) <= FAR:
        return ((test, 0, len(yes), value), *yes, *no)
    return ((test, 1, 0, value), (JUMP, 0, 0, len(yes)), *yes, *no)


def _ranges(table: dict[int, Code]) -> list[tuple[int, Code]]:
    """[(first number, code)] in rising order, without those that do as their neighbour does."""
    points = sorted(table.items())
    return [point for i, point in enumerate(points) if not i or point[1] != points[i - 1][1]]


def _search(ranges: list[tuple[int, Code]]) -> Code:
    """Runs the code of the range that the number loaded is in."""
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    return _branch(GREATER_EQUAL, ranges[middle][0], _search(ranges[middle:]), _search(ranges[:middle]))


def _decide(rules: list[Rule], wide: bool, default: int) -> Code:
    """The code of one system call. wide: the architecture passes arguments of 64 bits."""
    code = []
    for action, conditions in rules:
        if not conditions:
            return _end(action)
        then = _end(action)
        for condition in conditions:
            then = _condition(condition, wide, then)
        code += then
    return ((JUMP, 0, 0, (*code, *_end(default))),) if code else _end(default)


def _condition(condition: Condition, wide: bool, then: Code) -> Code:
    """Goes on with `then` if the condition holds, else with what follows `then`."""
    index, operator, value, mask = condition
    test, fails = TESTS[operator]
    yes, no = (len(then), 0) if fails else (0, len(then))
    argument = ARGUMENTS + 8 * index
    low = (*_load(argument + LOW_WORD, mask & WORD), (test, yes, no, value & WORD))
    if not wide or not mask >> 32:
        return low + then
    # The high words decide, unless they are equal.
    equal = (EQUAL, 0, len(low) + no, value >> 32)
    greater = (GREATER, 1 + len(low) + yes, 0, value >> 32)
    return (*_load(argument + HIGH_WORD, mask >> 32), *([equal] if test == EQUAL else [greater, equal]), *low, *then)


def _load(offset: int, mask: int) -> Code:
    load = (LOAD, 0, 0, offset)
    return (load,) if mask == WORD else (load, (AND, 0, 0, mask))


def _link(code: Code) -> list[tuple[int, int, int, int]]:
    """Puts the code that jumps carry behind the rest, and its distance in its place."""
    program = list(code)
    places = {}
    for i, (operation, _, _, operand) in enumerate(code):
        if operation == JUMP and type(operand) is tuple:
            if operand not in places:
                places[operand] = len(program)
                program += operand
            program[i] = (JUMP, 0, 0, places[operand] - i - 1)
    return program
