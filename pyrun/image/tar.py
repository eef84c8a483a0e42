"""The headers of a tar archive: POSIX (ustar, pax) and GNU's, with sparse files.

Python's tarfile takes a damaged header for the end of the archive and reads extended headers of any size into memory; here both are
errors. What stands in a header is not to be trusted: whoever uses an Entry looks at its names.
"""

from __future__ import annotations

from pyrun.base.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    class Reader(Protocol):
        """Bytes that are read in order."""

        name: str  # for messages
        position: int

        def read(self, size: int) -> bytes:
            """As many bytes, fewer only at the end."""

        def skip(self, size: int) -> None:
            """Raises Error where the bytes end before that."""


BLOCK = 512
EXTENDED = 1 << 20  # bytes of an extended header, and of the map of a sparse file
FILE, LINK, SYMLINK, DIRECTORY, FIFO = "file", "hard link", "symlink", "directory", "FIFO"
CHARACTER, BLOCK_DEVICE = "character device", "block device"
KINDS = {b"0": FILE, b"\0": FILE, b"7": FILE, b"S": FILE, b"1": LINK, b"2": SYMLINK, b"3": CHARACTER, b"4": BLOCK_DEVICE, b"5": DIRECTORY, b"6": FIFO}
XATTR = "SCHILY.xattr."
FAR = 1 << 40  # seconds from 1970: no file is from beyond


class Entry:
    """A file of an archive. stored: bytes of it there, which come next. size: of the file. parts: where these bytes are in it, as
    (offset, size), None for a file without holes.
    """

    __slots__ = ("device", "gid", "kind", "mode", "mtime", "name", "parts", "size", "stored", "target", "uid", "xattrs")

    def __init__(self, header: bytes) -> None:
        self.kind = KINDS.get(header[156:157], "")
        self.name = text(header[0:100])
        if header[257:263] == b"ustar\0" and header[345] != 0:
            self.name = f"{text(header[345:500])}/{self.name}"
        self.mode, self.uid, self.gid = (number(header[start : start + 8]) for start in (100, 108, 116))
        self.size = self.stored = number(header[124:136])
        self.mtime = number(header[136:148]) * 10**9  # ns
        self.target = text(header[157:257])
        self.device = (0, 0)
        if self.kind in (CHARACTER, BLOCK_DEVICE):
            self.device = number(header[329:337]), number(header[337:345])
        self.parts: list[tuple[int, int]] | None = None
        self.xattrs: dict[str, bytes] = {}


class Damaged(ValueError):
    """What is wrong with a header; entries() says where."""


def entries(reader: Reader) -> Iterator[Entry]:
    """The entries, up to the archive's end. Between two of them as much of an entry's bytes as is wanted may be read. Raises Error."""
    count = 0
    try:
        while True:
            count += 1
            entry = _next(reader)
            if entry is None:
                return
            end = reader.position + entry.stored
            yield entry
            reader.skip(end - reader.position + padding(entry.stored))
    except Damaged as fault:
        raise Error(f"{reader.name}: entry {count}: {fault}") from None


def padding(size: int) -> int:
    return -size % BLOCK


def _next(reader: Reader) -> Entry | None:
    """The next entry, with what extended headers say of it; None at the end."""
    records: list[tuple[str, bytes]] = []
    long: dict[bytes, str] = {}
    while header := _header(reader):
        kind = header[156:157]
        if kind in (b"x", b"X"):
            records += _records(_extended(reader, header))
        elif kind in (b"L", b"K"):
            long[kind] = text(_extended(reader, header))
        elif kind == b"g":  # for all that follow; docker and containerd pass over it
            _extended(reader, header)
        else:
            return _complete(reader, header, long, records)
    if records or long:
        raise Damaged("the archive ends after an extended header")
    return None


def _header(reader: Reader) -> bytes | None:
    header = reader.read(BLOCK)
    if not header.strip(b"\0"):  # none, or the first of the two blocks at the end
        return None
    if len(header) < BLOCK:
        raise Damaged("the archive ends in a header")
    plain = header[:148] + b" " * 8 + header[156:]
    digits = header[148:156].replace(b"\0", b" ").strip()
    sums = (sum(plain), sum(byte - (byte > 127) * 256 for byte in plain))  # the second is of old tars, whose bytes had a sign
    if not (digits and set(digits) <= set(b"01234567") and int(digits, 8) in sums):
        raise Damaged("no tar header (its checksum is wrong)")
    return header


def _extended(reader: Reader, header: bytes) -> bytes:
    size = number(header[124:136])
    if not 0 <= size <= EXTENDED:
        raise Damaged(f"an extended header of {size} bytes")
    data = reader.read(size)
    if len(data) < size:
        raise Damaged("the archive ends in an extended header")
    reader.skip(padding(size))
    return data


def _complete(reader: Reader, header: bytes, long: dict[bytes, str], records: list[tuple[str, bytes]]) -> Entry:
    entry = Entry(header)
    entry.name = long.get(b"L", entry.name)
    entry.target = long.get(b"K", entry.target)
    if header[156:157] == b"S":
        entry.size = number(header[483:495])
        entry.parts = _gnu_map(reader, header)
    pax = dict(records)
    for name, value in pax.items():
        if name.startswith(XATTR):
            entry.xattrs[name[len(XATTR) :]] = value
        elif name in PAX:
            PAX[name](entry, value)
    if not entry.kind:
        raise Damaged(f'"{entry.name}" is of the unknown type "{text(header[156:157])}"')
    if entry.kind != FILE:
        entry.size = entry.stored = 0
    elif header[156:157] == b"\0" and entry.name.endswith("/"):  # before POSIX
        entry.kind, entry.size, entry.stored = DIRECTORY, 0, 0
    elif any(name.startswith("GNU.sparse.") for name in pax):
        _pax_sparse(reader, entry, pax, records)
    if entry.stored < 0 or entry.size < 0 or entry.uid < 0 or entry.gid < 0:
        raise Damaged(f'"{entry.name}": a negative size or owner')
    if abs(entry.mtime) > FAR * 10**9:
        raise Damaged(f'"{entry.name}": no such time')
    if "\0" in entry.name or "\0" in entry.target:
        raise Damaged("a name with a zero byte")
    if entry.parts is not None:
        _check_map(entry)
    return entry


# --- values -------------------------------------------------------------------------------------------------------------------


def text(field: bytes) -> str:
    """A name, up to the first NUL."""
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def number(field: bytes) -> int:
    """A number in octal digits or, where the first bit is set, in binary (GNU). Raises Damaged."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ~(0x80 << 8 * (len(field) - 1))
        return value - (1 << 8 * len(field) - 1) if field[0] & 0x40 else value
    digits = field.partition(b"\0")[0].strip(b" ")
    if not all(0x30 <= digit <= 0x37 for digit in digits):
        raise Damaged(f'"{text(digits)}" is no number')
    return int(digits or b"0", 8)


def decimal(value: bytes) -> int:
    digits = value.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > 20:
        raise Damaged(f'"{text(value[:40])}" is no number')
    return int(value)


def _time(value: bytes) -> int:
    """Seconds with a fraction -> ns."""
    seconds, _, fraction = value.partition(b".")
    if fraction and not fraction.isdigit():
        raise Damaged(f'"{text(value[:40])}" is no time')
    more = int(fraction[:9].ljust(9, b"0") or b"0")
    return decimal(seconds) * 10**9 + (-more if value[:1] == b"-" else more)


def _whole(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _records(data: bytes) -> list[tuple[str, bytes]]:
    """The records `LENGTH NAME=VALUE\\n` of a pax header, in their order."""
    found, start = [], 0
    while start < len(data):
        length, space, _ = data[start : start + 8].partition(b" ")
        if not space or not length.isdigit():
            break
        record = data[start : start + int(length)]
        name, equals, value = record[len(length) + 1 : -1].partition(b"=")
        if len(record) != int(length) or record[-1:] != b"\n" or not equals:
            break
        found.append((_whole(name), value))
        start += len(record)
    if start < len(data) and data[start:].strip(b"\0"):
        raise Damaged("a damaged pax header")
    return found


def _set_size(entry: Entry, value: bytes) -> None:
    entry.stored = decimal(value)
    if entry.parts is None:
        entry.size = entry.stored


PAX = {
    "path": lambda entry, value: setattr(entry, "name", _whole(value)),
    "linkpath": lambda entry, value: setattr(entry, "target", _whole(value)),
    "uid": lambda entry, value: setattr(entry, "uid", decimal(value)),
    "gid": lambda entry, value: setattr(entry, "gid", decimal(value)),
    "mtime": lambda entry, value: setattr(entry, "mtime", _time(value)),
    "size": _set_size,
}


# --- sparse files -------------------------------------------------------------------------------------------------------------


def _gnu_map(reader: Reader, header: bytes) -> list[tuple[int, int]]:
    """GNU's own form: four parts in the header, 21 in each block that follows."""
    table, more, blocks = header[386:482], header[482], 0
    while more:
        block = reader.read(BLOCK)
        blocks += 1
        if len(block) < BLOCK or blocks * BLOCK > EXTENDED:
            raise Damaged("a damaged map of a sparse file")
        table, more = table + block[:504], block[504]
    numbers = [number(table[start : start + 12]) for start in range(0, len(table), 12) if table[start] != 0]
    return _pairs(numbers)


def _pax_sparse(reader: Reader, entry: Entry, pax: dict[str, bytes], records: list[tuple[str, bytes]]) -> None:
    """The three forms that GNU tar has had with pax headers."""
    entry.name = _whole(pax.get("GNU.sparse.name", entry.name.encode("utf-8", "surrogateescape")))
    entry.size = decimal(pax.get("GNU.sparse.realsize", pax.get("GNU.sparse.size", b"")))
    if pax.get("GNU.sparse.major") == b"1":
        entry.parts = _stored_map(reader, entry)
    elif "GNU.sparse.map" in pax:
        entry.parts = _pairs([decimal(word) for word in pax["GNU.sparse.map"].split(b",") if word])
    else:
        entry.parts = _pairs([decimal(value) for name, value in records if name in ("GNU.sparse.offset", "GNU.sparse.numbytes")])


def _stored_map(reader: Reader, entry: Entry) -> list[tuple[int, int]]:
    """A map that stands before the file's bytes: how many parts, then their numbers, each in a line."""
    data, wanted, taken = b"", 1, 0
    while data.count(b"\n") < wanted:
        block = reader.read(BLOCK)
        taken += BLOCK
        data += block
        if len(block) < BLOCK or taken > min(EXTENDED, entry.stored):
            raise Damaged("a damaged map of a sparse file")
        if wanted == 1 and b"\n" in data:
            count = decimal(data.partition(b"\n")[0])
            if count < 0:
                raise Damaged("a damaged map of a sparse file")
            wanted += 2 * count
    entry.stored -= taken
    return _pairs([decimal(word) for word in data.split(b"\n")[1:wanted]])


def _pairs(numbers: list[int]) -> list[tuple[int, int]]:
    if len(numbers) % 2:
        raise Damaged("a damaged map of a sparse file")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _check_map(entry: Entry) -> None:
    end = 0
    for offset, size in entry.parts or ():
        if offset < end or size < 0 or offset + size > entry.size:
            raise Damaged(f'"{entry.name}": a damaged map of a sparse file')
        end = offset + size
    if sum(size for _, size in entry.parts or ()) != entry.stored:
        raise Damaged(f'"{entry.name}": the map of a sparse file is not of its size')
