"""The text format of GVariant, as far as the values of systemd's properties go (docs.gtk.org/glib, GVariant Text Format)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Variant = tuple[str, Any]

KEYWORDS = {
    "boolean": "b", "byte": "y", "int16": "n", "uint16": "q", "int32": "i", "handle": "h", "uint32": "u", "int64": "x", "uint64": "t",
    "double": "d", "string": "s", "objectpath": "o", "signature": "g",
}  # fmt: skip
RANGES = {"y": (0, 8), "n": (1, 16), "q": (0, 16), "i": (1, 32), "u": (0, 32), "x": (1, 64), "t": (0, 64)}
"""(whether signed, bits) of the whole numbers."""
ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
SHOWN = 40
"""Characters of the text that an error has."""
DEEPEST = 64
"""How many values may be in one another: no type of D-Bus is deeper."""
WORD = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-._")


def parse(text: str) -> Variant:
    """(signature, value) of a value in text form: `true`, `'a'`, `5` (int32), `uint64 5`, `['a', 'b']`, `@as []`. Raises ValueError."""
    reader = Reader(text)
    kind, value = reader.value(None)
    if reader.peek():
        raise ValueError(f"more than one value, from {text[reader.at :][:SHOWN]!r} on")
    return one_type(kind), value


def one_type(kind: str) -> str:
    """A signature, which must be that of one value. Raises ValueError."""
    from pyrun.cgroup.systemd import dbus

    if dbus.split(kind) != [kind]:
        raise ValueError(f"{kind!r} is not one D-Bus type")
    return kind


class Reader:
    def __init__(self, text: str) -> None:
        self.text, self.at, self.depth = text, 0, 0

    def peek(self) -> str:
        """The next character that is no space; '' at the end."""
        while self.text[self.at : self.at + 1] in (" ", "\t", "\n"):
            self.at += 1
        return self.text[self.at : self.at + 1]

    def word(self, letters: set[str] = WORD) -> str:
        start = self.at
        while self.at < len(self.text) and self.text[self.at] in letters:
            self.at += 1
        return self.text[start : self.at]

    def value(self, kind: str | None) -> Variant:
        """kind: the signature it must have, None where it tells itself."""
        if self.depth == DEEPEST:
            raise ValueError("nested too deeply")
        self.depth += 1
        found = self._value(kind)
        self.depth -= 1
        return found

    def _value(self, kind: str | None) -> Variant:
        first = self.peek()
        if first == "@":
            self.at += 1
            return self.value(one_type(self.word(WORD | set("(){}"))))
        if first in ("'", '"'):
            return self._typed(kind, "s", self.string(first), "sog")
        if first == "[":
            return self.array(kind)
        if first == "(":
            return self.tuple(kind)
        word = self.word()
        if word in KEYWORDS:
            return self.value(KEYWORDS[word])
        if word in ("true", "false"):
            return self._typed(kind, "b", word == "true", "b")
        return number(word, kind)

    def _typed(self, kind: str | None, usual: str, value: object, allowed: str) -> Variant:
        if kind is not None and kind not in allowed:
            raise ValueError(f"{value!r} is not of type {kind!r}")
        return kind or usual, value

    def string(self, quote: str) -> str:
        found = ""
        self.at += 1
        while (letter := self.text[self.at : self.at + 1]) != quote:
            if letter == "\\":
                self.at += 1
                letter = self.text[self.at : self.at + 1]
                letter = ESCAPES.get(letter, letter)
            if not letter:
                raise ValueError(f"a string without its closing {quote}")
            found += letter
            self.at += 1
        self.at += 1
        return found

    def array(self, kind: str | None) -> Variant:
        """The entries have the type of the first one."""
        if kind is not None and kind[:1] != "a":
            raise ValueError(f"an array is not of type {kind!r}")
        inner = kind and kind[1:]
        values = []
        for _ in self._entries("]"):
            inner, value = self.value(inner)
            values.append(value)
        if inner is None:
            raise ValueError("an empty array has no type: write @as []")
        return "a" + inner, values

    def tuple(self, kind: str | None) -> Variant:
        from pyrun.cgroup.systemd import dbus

        kinds: list[str] | None = dbus.split(kind[1:-1]) if kind else None
        found = []
        for _ in self._entries(")"):
            if kinds is not None and len(found) == len(kinds):
                raise ValueError(f"a tuple is not of type {kind!r}")
            found.append(self.value(kinds[len(found)] if kinds else None))
        if kinds is not None and len(found) < len(kinds):
            raise ValueError(f"a tuple is not of type {kind!r}")
        return f"({''.join(inner for inner, _ in found)})", tuple(value for _, value in found)

    def _entries(self, end: str) -> Iterator[None]:
        self.at += 1
        while self.peek() != end:
            yield
            if self.peek() == ",":
                self.at += 1
            elif self.peek() != end:
                raise ValueError(f"expected , or {end} at {self.text[self.at :][:SHOWN]!r}")
        self.at += 1


def number(word: str, kind: str | None) -> Variant:
    """(signature, value) of a number in decimal, octal (010) or hexadecimal (0x8)."""
    if kind not in (None, "d", *RANGES):
        raise ValueError(f"{word!r} is not of type {kind!r}")
    if kind == "d" or (kind is None and "." in word):
        return "d", float(word)
    digits = word.lstrip("+-")
    octal = len(digits) > 1 and digits.isdigit() and digits[0] == "0"
    try:
        value = int(word, 8 if octal else 0)
    except ValueError:
        raise ValueError(f"{word!r} is no value") from None
    signed, bits = RANGES[kind or "i"]
    least = -(1 << (bits - 1)) if signed else 0
    if not least <= value < least + (1 << bits):
        raise ValueError(f"{word} is out of range")
    return kind or "i", value
