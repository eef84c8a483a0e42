"""Makes pyrun/_native.pyi of the headers that cffi reads, so that mypy checks what Python calls in the extension."""

import re
from pathlib import Path

FUNCTION = re.compile(r"^\s*([\w ]+?)\s*\b(native_\w+)\(([^)]*)\);", re.MULTILINE)
ENUM = re.compile(r"\benum\b[^{;]*\{([^}]*)\}")
DEFINE = re.compile(r"^\s*#\s*define\s+(\w+)", re.MULTILINE)

HEAD = '''"""Made of csrc/*.h by csrc/native_stub.py."""

from collections.abc import Sequence
from typing import Any

class CData:
    def __getitem__(self, index: int) -> Any: ...
    def __setitem__(self, index: int, value: object) -> None: ...
    def __getattr__(self, member: str) -> Any: ...

class Buffer:
    def __getitem__(self, range: slice) -> bytes: ...

class CType:
    fields: list[tuple[str, Any]]
    def __getattr__(self, name: str) -> Any: ...

class FFI:
    NULL: CData
    def new(self, declaration: str, init: object = ...) -> CData: ...
    def buffer(self, data: CData, size: int = ...) -> Buffer: ...
    def from_buffer(self, declaration: object, data: object = ...) -> CData: ...
    def string(self, data: CData, limit: int = ...) -> bytes: ...
    def sizeof(self, what: CData | CType | str) -> int: ...
    def typeof(self, what: CData | str) -> CType: ...
    def cast(self, declaration: str, data: object) -> CData: ...

class Lib:
'''


def annotation(kind: str) -> str:
    """What cffi takes for a parameter of a C type: bytes for a constant pointer to bytes, a sequence for a constant array of numbers."""
    if "*" not in kind and "[" not in kind:
        return "int"
    if not kind.startswith("const "):
        return "CData"
    return "bytes | CData" if "char" in kind or "void" in kind else "Sequence[int] | CData"


def source(headers: list[str]) -> str:
    """The stub. headers: their texts, as cffi can read them."""
    text = "\n".join(headers)
    lines = []
    for result, name, parameters in FUNCTION.findall(text):
        words = []
        for parameter in [] if parameters.strip() == "void" else parameters.split(","):
            last = re.findall(r"\w+", parameter.partition("[")[0])[-1]
            words.append(f", {last}: {annotation(parameter.strip())}")
        lines.append(f"    def {name}(self{''.join(words)}, /) -> {'None' if result == 'void' else 'int'}: ...\n")
    for body in ENUM.findall(text):
        lines += [f"    {name}: int\n" for name in re.findall(r"(\w+)\s*(?:=[^,]*)?(?:,|$)", body.strip())]
    lines += [f"    {name}: int\n" for name in DEFINE.findall(text)]
    return f"{HEAD}{''.join(lines)}\nffi: FFI\nlib: Lib\n"


def write(headers: list[str], path: Path) -> None:
    """Writes the stub, if it has changed."""
    made = source(headers)
    if not path.exists() or path.read_text() != made:
        path.write_text(made)
