"""All faults of a config at once, by jsonschema and the rules."""

from __future__ import annotations

import difflib
import functools
import re

import jsonschema

from pyrun.config import _checks, rules, schemas, shape
from pyrun.config.shape import describe, path_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

CHECKS = {"config": _checks.CONFIG, "process": _checks.PROCESS}
"""The hot checks, which are made of the schemas, by the schemas' names."""
TYPES = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}


def faults(config: dict, bundle: str) -> list[tuple[str, str]]:
    """Every fault of a config (dict) in a bundle (directory, str): a list of (path, message), empty when it is valid.

    A rule is left out where a member it reads has a fault of its own.
    """
    config = without_nulls(config)
    found = list(schema_faults("config", config))
    wrong = Wrong(path for path, _ in found)
    return found + list(rules.broken(config, bundle, lambda path: not wrong.touches(path)))


def doubts(config: dict) -> Iterator[tuple[str, str]]:
    """Yields (path, message) for what is legal in a config (dict) but hardly meant."""
    config = without_nulls(config)
    yield from _unknown(_checks.CONFIG, config, [])
    for index, mount in enumerate(config.get("mounts", ())):
        if mount["destination"][:1] != "/":
            yield f"mounts[{index}].destination", f'is relative, which is deprecated, and taken as "/{mount["destination"]}"'


def _unknown(node: Any, value: Any, keys: list[str | int]) -> Iterator[tuple[str, str]]:
    """Members that the table of checks does not name: of a spelling mistake nobody else would speak."""
    if not isinstance(node, tuple):
        return
    if node[0] is list:
        for index, entry in enumerate(value):
            yield from _unknown(node[1], entry, [*keys, index])
    elif node[0] is dict:
        members, others = node[1:3]
        for name, member in value.items():
            if (inner := members.get(name, others)) is not None:
                yield from _unknown(inner, member, [*keys, name])
            else:
                likely = difflib.get_close_matches(name, members, 1)
                yield path_of([*keys, name]), f"unknown, and ignored{f': is {likely[0]} meant?' if likely else ''}"


def schema_faults(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yields (path, message) for what in a value breaks specs/NAME.schema.json. Members that are null count as left out."""
    seen = set()
    value = without_nulls(value)
    if name in CHECKS and not shape.walk(CHECKS[name], value):
        return  # all is well, and jsonschema need not be asked what is wrong
    for error in validator(name).iter_errors(value):
        for fault in _explain(error):
            if fault not in seen:
                seen.add(fault)
                yield fault


@functools.cache
def validator(name: str) -> Any:
    """A validator for specs/NAME.schema.json that agrees with the hot checks on two points where jsonschema is lenient."""
    base = jsonschema.Draft202012Validator
    # 1.0 is no integer to the callers' decoders either.
    types = base.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    strict = jsonschema.validators.extend(base, {"pattern": _pattern, "items": _items}, type_checker=types)
    return strict(schemas.load(name))


def _items(validator: Any, schema: dict, value: Any, _schema: dict) -> Iterator[Any]:
    """jsonschema takes its time, which counts for a long list: it is asked for the entries alone that the hot checks refuse."""
    if isinstance(value, list):
        node = _node(schema)
        for index, entry in enumerate(value):
            if node is None or shape.walk(node, entry):
                yield from validator.descend(entry, schema, path=index)


_nodes = {}  # id of a schema, which lives as long as its validator and so as long as we do -> what _node() gives


def _node(schema: dict) -> Any:
    """The hot check for a schema (dict); None where there is none."""
    if id(schema) not in _nodes:
        try:
            _nodes[id(schema)] = schemas.node(schema)
        except KeyError:
            _nodes[id(schema)] = None
    return _nodes[id(schema)]


def without_nulls(value: Any) -> Any:
    """A copy of decoded JSON without the members that are null, however deep it is nested."""
    top = [value]
    rest: list[dict | list] = [top]
    while rest:
        here = rest.pop()
        for key, member in list(here.items() if isinstance(here, dict) else enumerate(here)):
            if isinstance(member, dict):
                member = here[key] = {name: inner for name, inner in member.items() if inner is not None}
            elif isinstance(member, list):
                member = here[key] = list(member)
            else:
                continue
            rest.append(member)
    return top[0]


def _pattern(_validator: Any, pattern: str, value: Any, _schema: dict) -> Iterator[Any]:
    """`$` is the end of the string in ECMA 262, which JSON Schema refers to; Python's is also before a last newline."""
    if isinstance(value, str) and not re.search(pattern.replace("$", r"\Z"), value):
        yield jsonschema.ValidationError(f"{value!r} does not match {pattern!r}")


def _explain(error: Any) -> Iterator[tuple[str, str]]:
    keys, schema, keyword, limit = list(error.absolute_path), error.schema, error.validator, error.validator_value
    message = schema.get("errorMessage")
    if "propertyNames" in error.absolute_schema_path:
        keys.append(error.instance)
    if keyword == "required":
        for name in limit:
            if name not in error.instance:
                member = schema.get("properties", {}).get(name, {})
                yield path_of([*keys, name]), describe("required", None, None, member.get("errorMessage"), keys)
        return
    if keyword in ("minimum", "maximum"):
        keyword, limit = "range", (schema["minimum"], schema["maximum"])
    elif keyword == "type":
        limit = TYPES[limit if isinstance(limit, str) else limit[0]]
    elif keyword == "anyOf":
        limit = [name for choice in limit for name in choice["required"]]
    yield path_of(keys), describe(keyword, limit, error.instance, message, keys)


class Wrong:
    """The paths (iterable of str) of faults."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = set(paths)
        self.above = {above for path in self.paths for above in _upwards(path)}

    def touches(self, path: str) -> bool:
        """Whether there is a fault in what lies at a path, or in what it lies in."""
        return path in self.above or any(above in self.paths for above in _upwards(path))


def _upwards(path: str) -> Iterator[str]:
    """`linux.devices[3].path`, `linux.devices[3]`, `linux.devices`, `linux`, and the whole."""
    yield path
    for match in reversed(list(re.finditer(r"[.\[]", path))):
        yield path[: match.start()]
    yield ""
