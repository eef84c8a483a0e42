"""Protocol buffers on the wire (protobuf.dev, Encoding), as far as criu's messages need them.

A message is a dict; its type is a table {name: (field's number, kind)}. Kinds: int (bool and enum too), str, or the table of
a message; [kind] for a repeated field, which is a list.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VARINT, BYTES = 0, 2
# Wire types that only unknown fields have (I64, I32): how many bytes there are to skip.
FIXED = {1: 8, 5: 4}
MASK64 = (1 << 64) - 1


def encode(table: dict, message: dict) -> bytes:
    """The bytes of a message; what is None is left out."""
    out = bytearray()
    for name, value in message.items():
        number, kind = table[name]
        repeated = kind.__class__ is list
        for one in value if repeated else () if value is None else (value,):
            _put(out, number, kind[0] if repeated else kind, one)
    return bytes(out)


def _put(out: bytearray, number: int, kind: Any, value: Any) -> None:
    if kind is int:
        _put_varint(out, number << 3 | VARINT)
        _put_varint(out, value & MASK64)  # a negative int32 takes ten bytes, as an int64 does
        return
    data = value.encode("utf-8", "surrogateescape") if kind is str else encode(kind, value)
    _put_varint(out, number << 3 | BYTES)
    _put_varint(out, len(data))
    out += data


def _put_varint(out: bytearray, value: int) -> None:
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def decode(table: dict, data: bytes) -> dict:
    """The message that some bytes are, without the fields that the table does not know. ValueError: they are none."""
    fields = {number: (name, kind) for name, (number, kind) in table.items()}
    message, at = {}, 0
    try:
        while at < len(data):
            key, at = _varint(data, at)
            value, at = _value(data, at, key & 7)
            if key >> 3 in fields:
                _set(message, *fields[key >> 3], value)
    except IndexError:
        raise ValueError("it ends within a field") from None
    return message


def _value(data: bytes, at: int, wire_type: int) -> tuple[int | bytes, int]:
    """The value that begins at a place, and where it ends."""
    if wire_type == VARINT:
        return _varint(data, at)
    if wire_type == BYTES:
        size, at = _varint(data, at)
    elif wire_type in FIXED:
        size = FIXED[wire_type]
    else:
        raise ValueError(f"wire type {wire_type}")
    if at + size > len(data):
        raise ValueError("it ends within a field")
    return data[at : at + size], at + size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value & MASK64, at
        if shift > 63:
            raise ValueError("a number of more than ten bytes")


def _set(message: dict, name: str, kind: Any, value: int | bytes) -> None:
    if kind.__class__ is list:
        message.setdefault(name, []).append(_python(kind[0], value))
    else:
        message[name] = _python(kind, value)


def _python(kind: Any, value: int | bytes) -> Any:
    if isinstance(value, int):
        if kind is not int:
            raise ValueError("a number where bytes belong")
        # int32 and int64 are two's complement in 64 bits; criu has no uint64.
        return value - (1 << 64) if value >> 63 else value
    if kind is int:
        raise ValueError("bytes where a number belongs")
    return value.decode("utf-8", "surrogateescape") if kind is str else decode(kind, value)
