"""The bytes of a layer: read from the image's file, checked, unpacked, and read in order by what takes the tar archive apart."""

from __future__ import annotations

import errno
import zlib

from pyrun._native import ffi, lib
from pyrun.base.errors import Error
from pyrun.image.archive import PIECE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyrun.image.archive import Blob

AT_ONCE = 1 << 20  # bytes that are unpacked at once
GZIP, ZSTD, SKIPPABLE = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x2a\x4d\x18"
OTHERS = {b"\xfd7zXZ": "xz", b"BZh": "bzip2"}
HEADER_AND_ALL = 31  # of zlib: gzip


class Sum:
    """A SHA-256."""

    def __init__(self) -> None:
        self.state = ffi.new("struct sha256 *")
        lib.native_sha256_begin(self.state)

    def add(self, data: bytes) -> None:
        lib.native_sha256_more(self.state, data, len(data))

    def end(self) -> str:
        """As digests are written."""
        out = ffi.new("uint8_t[32]")
        lib.native_sha256_end(self.state, out)
        return f"sha256:{ffi.buffer(out)[:].hex()}"


def digest(data: bytes) -> str:
    found = Sum()
    found.add(data)
    return found.end()


class Layer:
    """A tar.Reader of a layer. digest: of the file, None where nothing says it; diff_id: of the bytes in it.

    taken(n): is told of bytes of the file; given(n): of bytes of the archive. Both may raise.
    """

    def __init__(self, blob: Blob, digest: str | None, diff_id: str, taken: Callable[[int], None], given: Callable[[int], None]) -> None:
        self.blob, self.digest, self.diff_id, self.taken, self.given = blob, digest, diff_id, taken, given
        self.name, self.position = blob.name, 0
        self.packed, self.plain = Sum(), Sum()
        self.pieces = unpacked(self.name, self._file())
        self.piece = b""
        self.at = 0  # in the piece

    def _file(self) -> Iterator[bytes]:
        while data := self.blob.read(PIECE):
            self.packed.add(data)
            self.taken(len(data))
            yield data

    def some(self, most: int) -> bytes:
        """One to `most` of the bytes that follow; none at the end."""
        while self.at == len(self.piece):
            piece = next(self.pieces, b"")
            if not piece:
                return b""
            self.given(len(piece))
            self.plain.add(piece)
            self.piece, self.at = piece, 0
        data = self.piece[self.at : self.at + most]
        self.at += len(data)
        self.position += len(data)
        return data

    def read(self, size: int) -> bytes:
        data = self.some(size)
        while len(data) < size and (more := self.some(size - len(data))):
            data += more
        return data

    def skip(self, size: int) -> None:
        while size:
            data = self.some(min(size, AT_ONCE))
            if not data:
                raise Error(f"{self.name}: the layer ends too early")
            size -= len(data)

    def finish(self) -> None:
        """Reads the rest, and compares the digests. Raises Error."""
        while self.some(AT_ONCE):
            pass
        for wanted, found, what in ((self.digest, self.packed, "digest"), (self.diff_id, self.plain, "diff_id, the digest of what is in it,")):
            if wanted and (is_so := found.end()) != wanted:
                raise Error(f"{self.name}: its {what} is {is_so}, not {wanted}: the image is damaged or was changed")


# --- compression --------------------------------------------------------------------------------------------------------------


def unpacked(name: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The bytes in a file, by what it begins with: docker, too, does not go by media types."""
    first = next(pieces, b"")
    for magic, what in OTHERS.items():
        if first.startswith(magic):
            raise Error(f"{name}: a layer is packed with gzip or Zstandard, this one with {what}")
    if first.startswith(GZIP):
        yield from _gzip(name, _again(first, pieces))
    elif first.startswith(ZSTD) or (first[1:4] == SKIPPABLE and first[0] & 0xF0 == 0x50):
        yield from _zstd(name, _again(first, pieces))
    else:
        yield from _again(first, pieces)


def _again(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _gzip(name: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    member = None  # a file may have several, one after the other
    try:
        for piece in pieces:
            data = piece
            while data:
                if member is None:
                    if not data.strip(b"\0"):  # padding
                        break
                    member = zlib.decompressobj(HEADER_AND_ALL)
                if out := member.decompress(data, AT_ONCE):
                    yield out
                data = member.unused_data if member.eof else member.unconsumed_tail
                member = None if member.eof else member
    except zlib.error as fault:
        raise Error(f"{name}: damaged: {fault}") from None
    if member is not None:
        raise Error(f"{name}: damaged: the gzip file ends too early")


def _zstd(name: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    stream = ffi.new("void **")
    if lib.native_zstd_begin(stream) < 0:
        raise MemoryError
    out, used, whole = ffi.new("char[]", AT_ONCE), ffi.new("size_t *"), ffi.new("int *")
    try:
        for piece in pieces:
            used[0] = 0
            size = AT_ONCE
            # What fills the room may have left more behind, unless a frame has ended.
            while used[0] < len(piece) or (size == AT_ONCE and not whole[0]):
                size = lib.native_zstd_more(stream[0], piece, len(piece), used, out, AT_ONCE, whole)
                if size == -errno.ENOMEM:
                    raise MemoryError
                if size < 0:
                    raise Error(f"{name}: damaged, or packed with Zstandard in a way that takes more than 128 MiB of memory")
                if size:
                    yield ffi.buffer(out, size)[:]
        if not whole[0]:
            raise Error(f"{name}: damaged: the Zstandard file ends too early")
    finally:
        lib.native_zstd_end(stream[0])
