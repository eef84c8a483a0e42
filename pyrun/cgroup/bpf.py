"""Device rules on cgroup v2: a BPF_PROG_TYPE_CGROUP_DEVICE program with the verdicts of a devices.Filter."""

from _struct import pack

from pyrun.cgroup.devices import ANY, MKNOD, READ, WRITE

TYPES = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_*

# Instructions (linux/bpf.h): class, operation and source of the operand in one byte.
LOAD_WORD = 0x61  # BPF_LDX | BPF_MEM | BPF_W
MOVE, MOVE_REGISTER = 0xB4, 0xBC  # BPF_ALU | BPF_MOV | BPF_K, BPF_X
AND, SHIFT_RIGHT = 0x54, 0x74  # BPF_ALU | BPF_AND, BPF_RSH | BPF_K
JUMP_EQUAL, JUMP_NOT_EQUAL = 0x16, 0x56  # BPF_JMP32 (5.1) | BPF_JEQ, BPF_JNE | BPF_K
JUMP_NOT_EQUAL_REGISTER = 0x5E  # BPF_JMP32 | BPF_JNE | BPF_X
EXIT = 0x95  # BPF_JMP | BPF_EXIT

RESULT, CONTEXT, TYPE, ACCESS, MAJOR, MINOR = range(6)  # registers; CONTEXT is scratch once it has been read


def _instruction(code, register=0, source=0, offset=0, value=0):
    """struct bpf_insn."""
    return pack("=BBhI", code, source << 4 | register, offset, value & 0xFFFFFFFF)


def assemble(filter):
    """The program (bytes). Its result is 1 for what is allowed, else 0."""
    program = [
        # struct bpf_cgroup_dev_ctx: access << 16 | type, major, minor
        _instruction(LOAD_WORD, TYPE, CONTEXT, 0),
        _instruction(MOVE_REGISTER, ACCESS, TYPE),
        _instruction(AND, TYPE, value=0xFFFF),
        _instruction(SHIFT_RIGHT, ACCESS, value=16),
        _instruction(LOAD_WORD, MAJOR, CONTEXT, 4),
        _instruction(LOAD_WORD, MINOR, CONTEXT, 8),
    ]
    for (kind, major, minor), access in filter.exceptions.items():
        # (code, register, source, value): jumps past the exception if it does not match
        checks = [(JUMP_NOT_EQUAL, TYPE, 0, TYPES[kind])]
        if major is not ANY:
            checks.append((JUMP_NOT_EQUAL, MAJOR, 0, major))
        if minor is not ANY:
            checks.append((JUMP_NOT_EQUAL, MINOR, 0, minor))
        if access != MKNOD | READ | WRITE:
            checks.append((MOVE_REGISTER, CONTEXT, ACCESS, 0))
            checks.append((AND, CONTEXT, 0, access))
            # An allowed access must be covered whole; one bit is enough for a forbidden one.
            checks.append((JUMP_EQUAL, CONTEXT, 0, 0) if filter.allow else (JUMP_NOT_EQUAL_REGISTER, CONTEXT, ACCESS, 0))
        for index, (code, register, source, value) in enumerate(checks):
            jump = 0 if code in (MOVE_REGISTER, AND) else len(checks) - index + 1
            program.append(_instruction(code, register, source, jump, value))
        program += _verdict(not filter.allow)
    program += _verdict(filter.allow)
    return b"".join(program)


def _verdict(allow):
    return [_instruction(MOVE, RESULT, value=int(allow)), _instruction(EXIT)]


def attach(path, filter):
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
