"""As much of ctypes as python-ptrace uses: numbers and structures as C lays them out in memory.

ctypes itself wants a C library that can be loaded at run time, and the executable has none.
"""

from __future__ import annotations

import struct
import sys

from pyrun._native import ffi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# PTRACE_GETEVENTMSG writes a whole word where python-ptrace gives it an int.
LEAST = 16


class Kind(type):
    """The class of a C type."""

    size_: int
    align_: int

    def __mul__(cls, count: int) -> Kind:
        return Kind("array", (Array,), {"item_": cls, "size_": cls.size_ * count, "align_": cls.align_})

    def load(cls, memory: memoryview, offset: int) -> Any:
        """The value that lies there: what is made of parts stays in that memory."""
        return cls(memory[offset : offset + cls.size_])

    def store(cls, memory: memoryview, offset: int, value: Any) -> None:
        memory[offset : offset + cls.size_] = value.memory_


class Data(metaclass=Kind):
    """A value of a C type."""

    size_, align_ = 0, 1
    memory_: memoryview

    def __init__(self, memory: memoryview | None = None) -> None:
        whole = memoryview(bytearray(max(self.size_, LEAST)))[: self.size_] if memory is None else memory
        object.__setattr__(self, "memory_", whole)


class NumberKind(Kind):
    format_: str

    def load(cls, memory: memoryview, offset: int) -> int | bytes:
        return struct.unpack_from(cls.format_, memory, offset)[0]

    def store(cls, memory: memoryview, offset: int, value: int | bytes) -> None:
        if isinstance(value, int):  # what is too large is cut off, as in C
            value = (value & ((1 << cls.size_ * 8) - 1)).to_bytes(cls.size_, sys.byteorder)
        memory[offset : offset + cls.size_] = value


class Number(Data, metaclass=NumberKind):
    def __init__(self, value: int = 0) -> None:
        Data.__init__(self)
        type(self).store(self.memory_, 0, value)

    @property
    def value(self) -> Any:
        return type(self).load(self.memory_, 0)


class Array(Data):
    item_: Kind

    def __len__(self) -> int:
        return self.size_ // self.item_.size_

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.item_.load(self.memory_, index * self.item_.size_)


class Structure(Data):
    """_fields_ are (name, type) pairs. Those of a member named in _anonymous_ count as the structure's own."""

    fields_: dict[str, tuple[Kind, int]] = {}
    overlaid_ = False

    def __init_subclass__(cls) -> None:
        end, cls.fields_ = 0, {}
        for name, kind in getattr(cls, "_fields_", ()):
            cls.align_ = max(cls.align_, kind.align_)
            offset = 0 if cls.overlaid_ else -(-end // kind.align_) * kind.align_
            cls.fields_[name] = kind, offset
            if name in getattr(cls, "_anonymous_", ()):
                cls.fields_ |= {inner: (part, offset + at) for inner, (part, at) in kind.fields_.items()}
            end = max(end, offset + kind.size_)
        cls.size_ = -(-end // cls.align_) * cls.align_

    def __getattr__(self, name: str) -> Any:
        try:
            kind, offset = self.fields_[name]
        except KeyError:
            raise AttributeError(name) from None
        value = kind.load(self.memory_, offset)
        return bytes(value.memory_).partition(b"\0")[0] if isinstance(value, Array) and value.item_ is c_char else value

    def __setattr__(self, name: str, value: Any) -> None:
        kind, offset = self.fields_[name]
        kind.store(self.memory_, offset, value)


class Union(Structure):
    overlaid_ = True


def _number(format: str) -> NumberKind:
    return NumberKind(f"c_{format}", (Number,), {"format_": format, "size_": struct.calcsize(format), "align_": struct.calcsize(format)})


c_char, c_ubyte, c_short, c_ushort, c_int, c_uint, c_long, c_ulong = map(_number, "cBhHiIlL")
c_uint16, c_uint32, c_uint64, c_size_t, c_void_p = map(_number, "HIQNP")


def c_char_p(data: bytes) -> bytes:
    return data


def POINTER(kind: Kind) -> Kind:  # ctypes' name
    return kind


def cast(data: bytes, kind: Kind) -> list:
    """What a pointer to that kind points to."""
    if len(data) < kind.size_:
        raise ValueError(f"{len(data)} bytes in place of {kind.size_}")
    return [kind.load(memoryview(bytearray(data)), 0)]


def sizeof(what: Kind | Data) -> int:
    return what.size_


def addressof(data: Data) -> int:
    return int(ffi.cast("uintptr_t", ffi.from_buffer(data.memory_)))


_errno = 0


def get_errno() -> int:
    return _errno


def set_errno(number: int) -> None:
    global _errno
    _errno = number
