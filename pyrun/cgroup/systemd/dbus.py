"""A client of D-Bus (the D-Bus Specification, dbus.freedesktop.org), as much of it as it takes to ask systemd.

Values are marshalled by their signature; a variant is a pair of its signature and its value: `("as", ["a", "b"])`.
"""

from __future__ import annotations

import errno
import posix
import select
import time
from _struct import calcsize, pack, unpack_from
from _struct import error as struct_error  # type: ignore[attr-defined]  # which is not told of it

from pyrun.base import processes
from pyrun.base.errors import Error, words
from pyrun.host import sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

NUMBERS = {"y": "B", "b": "I", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d"}
ALIGNMENT = {"s": 4, "o": 4, "g": 1, "v": 1, "a": 4, "(": 8, "{": 8} | {kind: calcsize(form) for kind, form in NUMBERS.items()}
PAIRS = {"(": ")", "{": "}"}
CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
PATH, INTERFACE, MEMBER, ERROR_NAME, REPLY_SERIAL, DESTINATION, SENDER, SIGNATURE = range(1, 9)
FIELDS = {PATH: "o", INTERFACE: "s", MEMBER: "s", DESTINATION: "s", SIGNATURE: "g"}
FIXED = 16
"""Bytes of a header up to where its array of fields begins, which ends at a multiple of 8."""
# The server takes the user from the socket; asked by number it would have to be the one that the server knows us by, which
# in a user namespace is another. All that it answers is one `OK GUID` after the `DATA` (as sd-bus does it).
AUTHENTICATION = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n"
STREAM = 1
CHUNK = 65536
# What the specification allows at most: bytes of a message and of a signature, and how many types may be in one another.
LONGEST, LONGEST_SIGNATURE, DEEPEST = 1 << 27, 255, 64


class Refused(Error):
    """An error that was the answer to a call. name: as `org.freedesktop.systemd1.UnitExists`."""

    def __init__(self, name: str, text: str) -> None:
        Error.__init__(self, text)
        self.name = name


class Silent(Error):
    """There was no answer within the time limit, or the connection broke."""


class Message:
    """kind: CALL …; fields: {PATH: …}; body: the values."""

    def __init__(self, kind: int, fields: dict[int, Any], body: list) -> None:
        self.kind, self.fields, self.body = kind, fields, body


class Connection:
    """A connection to a message bus, or straight to a service that speaks D-Bus. Whatever it takes, all of it together ends
    within so many seconds. Raises OSError if nobody listens at the address.
    """

    def __init__(self, address: str, seconds: float, bus: bool = True) -> None:
        self.address = address
        self.deadline = time.monotonic() + seconds
        self.serial = 0
        self.input = bytearray()
        self.replies = {}
        self.signals = []
        self.sock = self._connect()
        self._write(AUTHENTICATION)
        self.authenticated = False
        if bus:
            # Nobody waits for the answer: without a right to speak the next call fails.
            self.send("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello")

    def close(self) -> None:
        if self.sock >= 0:
            posix.close(self.sock)
            self.sock = -1

    def call(self, destination: str, path: str, interface: str, member: str, signature: str = "", *values: Any) -> list:
        """What the method returns. Raises Refused, Silent."""
        return self.answer(self.send(destination, path, interface, member, signature, *values))

    def send(self, destination: str, path: str, interface: str, member: str, signature: str = "", *values: Any) -> int:
        """Sends a call; returns its number, for answer(). Raises Silent."""
        self.serial += 1
        fields = {PATH: path, INTERFACE: interface, MEMBER: member, DESTINATION: destination}
        self._write(encode_call(self.serial, fields, signature, values))
        return self.serial

    def answer(self, serial: int) -> list:
        """The values that a call returned. What comes before is kept. Raises Refused, Silent."""
        while serial not in self.replies:
            self._take()
        message = self.replies.pop(serial)
        if message.kind == ERROR:
            raise Refused(message.fields.get(ERROR_NAME, ""), str(*message.body[:1]))
        return message.body

    def signal(self) -> Message:
        """The next signal. Raises Silent."""
        while not self.signals:
            self._take()
        return self.signals.pop(0)

    def _take(self) -> None:
        message = self._receive()
        if message.kind == SIGNAL:
            self.signals.append(message)
        else:
            self.replies[message.fields.get(REPLY_SERIAL)] = message

    # --- bytes

    def _connect(self) -> int:
        while True:
            sock = sockets.connect_address(self.address, STREAM | posix.O_NONBLOCK)
            if sock >= 0:
                return sock
            # So many wait for the server that it has no room for another.
            if sock != -errno.EAGAIN or time.monotonic() > self.deadline:
                raise OSError(-sock, posix.strerror(-sock), self.address)
            time.sleep(0.01)

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[posix.write(self.sock, data) :]
            except BlockingIOError:
                self._wait(select.POLLOUT)
            except OSError as fault:
                raise Silent(f"{self.address}: {words(fault.errno)}") from None

    def _receive(self) -> Message:
        while not self.authenticated:
            line, end, rest = self.input.partition(b"\r\n")
            if not end:
                self._read()
                continue
            if line[:2] not in (b"OK", b"DA"):
                raise Silent(f"{self.address}: authentication failed: {line.decode('utf-8', 'replace')}")
            self.authenticated = line[:2] == b"OK"
            self.input = rest
        try:
            while (size := message_size(self.input)) > len(self.input):
                self._read()
            data = bytes(self.input[:size])
            del self.input[:size]
            return decode_message(data)
        except ValueError as fault:
            raise Silent(f"{self.address}: what came is no message of D-Bus: {fault}") from None

    def _read(self) -> None:
        while True:
            try:
                data = posix.read(self.sock, CHUNK)
            except BlockingIOError:
                self._wait(select.POLLIN)
            except OSError as fault:
                raise Silent(f"{self.address}: {words(fault.errno)}") from None
            else:
                if not data:
                    raise Silent(f"{self.address}: the connection was closed")
                self.input += data
                return

    def _wait(self, event: int) -> None:
        poll = select.poll()
        poll.register(self.sock, event)
        left = self.deadline - time.monotonic()
        if left <= 0 or not processes.patient(poll.poll, "waiting for systemd", left * 1000):
            raise Silent(f"{self.address}: no answer in time")


# --- messages ---------------------------------------------------------------------------------------------------------


def encode_call(serial: int, fields: dict[int, Any], signature: str, values: Sequence) -> bytes:
    """A method call. fields: {PATH: …}."""
    body = bytearray()
    for kind, value in zip(split(signature), values, strict=True):
        encode(body, kind, value)
    if signature:
        fields = fields | {SIGNATURE: signature}
    message = bytearray(pack("<BBBBII", ord("l"), CALL, 0, 1, len(body), serial))
    encode(message, "a(yv)", [(code, (FIELDS[code], value)) for code, value in fields.items()])
    _pad(message, 8)
    return bytes(message + body)


def message_size(data: bytes | bytearray) -> int:
    """The size of a message that begins with these bytes; more than there are, if they do not tell yet. Raises ValueError."""
    if len(data) < FIXED:
        return FIXED
    body, _, fields = unpack_from(_order(data) + "III", data, 4)
    size = FIXED + (fields + 7) // 8 * 8 + body
    if size > LONGEST:
        raise ValueError(f"it would have {size} bytes")
    return size


def decode_message(data: bytes) -> Message:
    """A whole message. Raises ValueError."""
    try:
        order = _order(data)
        pairs, offset = decode(data, 12, "a(yv)", order)
        fields = dict(pairs)
        offset = (offset + 7) // 8 * 8
        body = []
        for kind in split(fields.get(SIGNATURE, "")):
            value, offset = decode(data, offset, kind, order)
            body.append(value)
        return Message(data[1], fields, body)
    except (IndexError, TypeError, RecursionError, struct_error) as fault:
        raise ValueError(str(fault)) from None


def _order(data: bytes | bytearray) -> str:
    return "<" if data[0] == ord("l") else ">"


# --- values -----------------------------------------------------------------------------------------------------------


def split(signature: str) -> list[str]:
    """The complete types of a signature. Raises ValueError."""
    if len(signature) > LONGEST_SIGNATURE:
        raise ValueError(f"{signature[:30]!r}… is longer than a D-Bus signature may be")
    found = []
    while signature:
        size = _type_size(signature)
        found.append(signature[:size])
        signature = signature[size:]
    return found


def _type_size(signature: str, depth: int = 0, entry: bool = False) -> int:
    """entry: of an array, which alone may be of pairs of a key and a value."""
    first = signature[:1]
    if depth > DEEPEST:
        raise ValueError(f"{signature!r} is nested too deeply")
    if first == "a":
        return 1 + _type_size(signature[1:], depth + 1, True)
    if first in PAIRS:
        size, members = 1, 0
        while signature[size : size + 1] != PAIRS[first]:
            size += _type_size(signature[size:], depth + 1)
            members += 1
        if members and (first == "(" or (entry and members == 2 and signature[1] not in "av({")):
            return size + 1
    elif first in ALIGNMENT:
        return 1
    raise ValueError(f"{signature!r} is no D-Bus type")


def _pad(out: bytearray, size: int) -> None:
    out += bytes(-len(out) % size)


def encode(out: bytearray, kind: str, value: Any) -> None:
    """Appends a value of one complete type to a message. Raises struct.error for a number out of range."""
    first = kind[0]
    _pad(out, ALIGNMENT[first])
    if first in NUMBERS:
        out += pack("<" + NUMBERS[first], value)
    elif first in "sog":
        text = value.encode("utf-8", "surrogateescape")
        out += pack("<B" if first == "g" else "<I", len(text)) + text + b"\0"
    elif first == "v":
        encode(out, "g", value[0])
        encode(out, *value)
    elif first == "a":
        # The padding before the first entry does not count.
        head = len(out)
        out += bytes(4)
        _pad(out, ALIGNMENT[kind[1]])
        start = len(out)
        for entry in value:
            encode(out, kind[1:], entry)
        out[head : head + 4] = pack("<I", len(out) - start)
    else:
        for inner, entry in zip(split(kind[1:-1]), value, strict=True):
            encode(out, inner, entry)


def decode(data: bytes, offset: int, kind: str, order: str = "<") -> tuple[Any, int]:
    """(the value of one complete type at an offset, the offset behind it). A variant is what is in it."""
    first = kind[0]
    size = ALIGNMENT[first]
    offset = (offset + size - 1) // size * size
    if first in NUMBERS:
        (value,) = unpack_from(order + NUMBERS[first], data, offset)
        return bool(value) if first == "b" else value, offset + size
    if first in "sog":
        (length,) = unpack_from(order + ("B" if first == "g" else "I"), data, offset)
        start = offset + size
        return data[start : start + length].decode("utf-8", "surrogateescape"), start + length + 1
    if first == "v":
        signature, offset = decode(data, offset, "g", order)
        [held] = split(signature)
        return decode(data, offset, held, order)
    values = []
    if first == "a":
        (length,) = unpack_from(order + "I", data, offset)
        size = ALIGNMENT[kind[1]]
        offset = (offset + 4 + size - 1) // size * size
        end = offset + length
        while offset < end:
            value, offset = decode(data, offset, kind[1:], order)
            values.append(value)
        return values, offset
    for inner in split(kind[1:-1]):
        value, offset = decode(data, offset, inner, order)
        values.append(value)
    return tuple(values), offset
