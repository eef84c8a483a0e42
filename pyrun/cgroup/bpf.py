"""Device rules on cgroup v2: a BPF_PROG_TYPE_CGROUP_DEVICE program with the verdicts of a devices.Filter."""

from __future__ import annotations

from _struct import pack

from pyrun.cgroup.devices import ANY, MKNOD, READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrun.cgroup.devices import Filter

TYPES = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_*

# Instructions (linux/bpf.h): class, operation and source of the operand in one byte.
LOAD_WORD = 0x61  # BPF_LDX | BPF_MEM | BPF_W
MOVE, MOVE_REGISTER = 0xB4, 0xBC  # BPF_ALU | BPF_MOV | BPF_K, BPF_X
AND, SHIFT_RIGHT = 0x54, 0x74  # BPF_ALU | BPF_AND, BPF_RSH | BPF_K
JUMP_EQUAL, JUMP_NOT_EQUAL = 0x16, 0x56  # BPF_JMP32 (5.1) | BPF_JEQ, BPF_JNE | BPF_K
JUMP_NOT_EQUAL_REGISTER = 0x5E  # BPF_JMP32 | BPF_JNE | BPF_X
EXIT = 0x95  # BPF_JMP | BPF_EXIT

REACH = 2000  # exceptions that a jump leads past: its distance has 16 bits

RESULT, CONTEXT, TYPE, ACCESS, MAJOR, MINOR = range(6)  # registers; CONTEXT is scratch once it has been read


def _instruction(code: int, register: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """struct bpf_insn."""
    return pack("=BBhI", code, source << 4 | register, offset, value & 0xFFFFFFFF)


def assemble(filter: Filter) -> bytes:
    """The program. Its result is 1 for what is allowed, else 0.

    The kernel's verifier follows every path as long as registers differ in what is known of them, up to a million instructions.
    So exceptions of one major number stand together, and whatever matches one of them ends there: the next group begins with the
    number unknown, and the verifier's work grows with the number of exceptions alone.
    """
    program = [
        # struct bpf_cgroup_dev_ctx: access << 16 | type, major, minor
        _instruction(LOAD_WORD, TYPE, CONTEXT, 0),
        _instruction(MOVE_REGISTER, ACCESS, TYPE),
        _instruction(AND, TYPE, value=0xFFFF),
        _instruction(SHIFT_RIGHT, ACCESS, value=16),
        _instruction(LOAD_WORD, MAJOR, CONTEXT, 4),
        _instruction(LOAD_WORD, MINOR, CONTEXT, 8),
    ]
    groups = {}
    for (kind, major, minor), access in filter.exceptions.items():
        groups.setdefault((kind, major), []).append((minor, access))
    # Exceptions for all majors come first, and those for all minors of a major: where one of them does not match, another may.
    for (kind, major), minors in sorted(groups.items(), key=lambda group: group[0][1] is not ANY):
        minors.sort(key=lambda one: one[0] is not ANY)
        for start in range(0, len(minors), REACH):
            program += _group(filter, kind, major, minors[start : start + REACH])
    program += _verdict(filter.allow)
    return b"".join(program)


def _group(filter: Filter, kind: str, major: int | None, minors: Sequence[tuple[int | None, int]]) -> list[bytes]:
    """The instructions for some exceptions, [(minor, access)], of one kind and major number."""
    body = []
    for minor, access in minors:
        check = _access_check(filter, access)
        ends = [*check, *_verdict(not filter.allow)]
        if check and minor is not ANY and major is not ANY:
            ends += _verdict(filter.allow)
        if minor is not ANY:
            body.append(_instruction(JUMP_NOT_EQUAL, MINOR, 0, len(ends), minor))
        body += ends
        if minor is ANY and not check:  # nothing gets past it, and the verifier refuses what cannot be reached
            break
    if major is not ANY:
        body.insert(0, _instruction(JUMP_NOT_EQUAL, MAJOR, 0, len(body), major))
    return [_instruction(JUMP_NOT_EQUAL, TYPE, 0, len(body), TYPES[kind]), *body]


def _access_check(filter: Filter, access: int) -> list[bytes]:
    """Jumps past the verdict that follows if an exception is none for the access that is asked for."""
    if access == MKNOD | READ | WRITE:
        return []
    # An allowed access must be covered whole; one bit is enough for a forbidden one.
    code, register, source = (JUMP_EQUAL, CONTEXT, 0) if filter.allow else (JUMP_NOT_EQUAL_REGISTER, CONTEXT, ACCESS)
    return [
        _instruction(MOVE_REGISTER, CONTEXT, ACCESS),
        _instruction(AND, CONTEXT, value=access),
        _instruction(code, register, source, len(_verdict(True))),
    ]


def _verdict(allow: bool) -> list[bytes]:
    return [_instruction(MOVE, RESULT, value=int(allow)), _instruction(EXIT)]


def attach(path: str, filter: Filter) -> None:
    """Puts the program in place of what is attached to the cgroup now, without a moment in between. OSError from bpf(2)."""
    import posix

    from pyrun._native import ffi, lib

    program = assemble(filter)
    fd = posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    try:
        result = lib.native_bpf_device_attach(fd, ffi.from_buffer(program), len(program) // 8)
    finally:
        posix.close(fd)
    if result < 0:
        raise OSError(-result, posix.strerror(-result))
