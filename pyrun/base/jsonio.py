"""JSON as the runtime reads and writes it: configs, state files, what commands print."""

from __future__ import annotations

from pyrun._json import dumps as encode
from pyrun._json import loads as decode
from pyrun.base import files
from pyrun.base.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def loads(text: bytes | str) -> Any:
    """The value of a JSON text; bytes are UTF-8. Strict RFC 8259; of duplicate keys the last one holds.

    Raises Error: `line L column C: what`.
    """
    try:
        return decode(text)
    except ValueError as fault:
        raise Error(str(fault)) from None


def dumps(value: object, indent: int | None = None) -> str:
    """JSON as Go's json.Marshal writes it, or with indent (in spaces) as json.MarshalIndent does; keys in the order given.

    File names that are not UTF-8 (surrogateescape) are written as lone surrogates, and loads() gives them back.
    """
    return encode(value, -1 if indent is None else indent).decode()


def read(path: str) -> Any:
    """The value in a JSON file. OSError where it cannot be read, Error where it is no JSON."""
    return loads(files.read_regular(path))


def write(path: str, value: object, mode: int = 0o600) -> None:
    """Makes `path` a compact JSON file of value (files.replace). OSError."""
    files.replace(path, encode(value), mode)
