"""Where in a JSON text a path of the config lies. Asked only for what is wrong: it reads the text a second time."""

from __future__ import annotations

import bisect
import re

from pyrun.base import jsonio
from pyrun.config.shape import path_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Of a text that a strict parser has taken. What is no string and no mark is a number, true, false or null.
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
_STEP = re.compile(r"\[(\d+)\]|\.?([^.\[\]]+)(?=[.\[]|$)")
EXCERPT = 70


class Node:
    """A value in the text, with its key where it is a member. inner: its members by name, its entries, or None if it has none."""

    __slots__ = ("start", "end", "inner", "spelled")

    def __init__(self, start: int, end: int, inner: Any) -> None:
        self.start, self.end, self.inner = start, end, inner
        self.spelled: dict[str, Node] | None = None

    def member(self, rest: str) -> tuple[Node, str] | None:
        """(the member or entry that the rest of a path leads to, what is then left of the path); None where there is none."""
        step = _STEP.match(rest)
        if step and step[1] and isinstance(self.inner, list):
            index = int(step[1])
            return (self.inner[index], rest[step.end() :]) if index < len(self.inner) else None
        if not isinstance(self.inner, dict):
            return None
        if step and step[2] in self.inner:
            return self.inner[step[2]], rest[step.end() :]
        # A name that is no plain word: as path_of() writes it, or as it is.
        if self.spelled is None:
            self.spelled = {form: node for name, node in self.inner.items() for form in (name, path_of([name]))}
        rest = rest.removeprefix(".")
        ends = [match.start() for match in re.finditer(r"[.\[]|$", rest)]
        for end in reversed(ends):
            if end and rest[:end] in self.spelled:
                return self.spelled[rest[:end]], rest[end:]
        return None


def scan(text: str) -> Node:
    """The text's value. Of members with the same name the last one holds, as for who reads the config."""
    root = Node(0, len(text), [])
    stack, key = [root], None
    for match in _WORD.finditer(text):
        word, above = match[0], stack[-1]
        if word in ",:":
            continue
        if word in "}]":
            stack.pop().end = match.end()
        elif key is None and isinstance(above.inner, dict):
            key = (jsonio.loads(word) if "\\" in word else word[1:-1]), match.start()
        else:
            node = Node(key[1] if key else match.start(), match.end(), {} if word == "{" else [] if word == "[" else None)
            if key:
                above.inner[key[0]] = node
            else:
                above.inner.append(node)
            key = None
            if node.inner is not None:
                stack.append(node)
    return root.inner[0] if root.inner else root


class Places:
    """Of one file. prefix: what its own paths begin with in a config: `process`, `linux.resources`, or ''."""

    def __init__(self, data: bytes, prefix: str = "") -> None:
        self.text = data.decode("utf-8", "replace").removeprefix("\ufeff")
        self.prefix = prefix
        self.root: Node | None = None
        self.breaks: list[int] = []

    def find(self, path: str) -> tuple[int, str]:
        """(line, what stands there: `"soft": 20`, '' if that is more than a plain value). Of what is missing, where it should be."""
        if self.root is None:
            self.root = scan(self.text)
            self.breaks = [match.start() for match in re.finditer("\n", self.text)]
        node, rest = self.root, path.removeprefix(self.prefix).removeprefix(".")
        while rest and (found := node.member(rest)):
            node, rest = found
        line = bisect.bisect_left(self.breaks, node.start) + 1
        if rest or node.inner is not None:
            return line, ""
        excerpt = " ".join(self.text[node.start : node.end].split())
        return line, excerpt if len(excerpt) <= EXCERPT else excerpt[: EXCERPT - 1] + "…"
