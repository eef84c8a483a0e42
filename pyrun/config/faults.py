"""All faults of a config at once, by jsonschema and the rules, with what is allowed and a cure."""

from __future__ import annotations

import collections
import difflib
import functools
import re

import jsonschema

from pyrun.config import _checks, rules, schemas, shape
from pyrun.config.shape import describe, path_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

RESOURCES = _checks.CONFIG[1]["linux"][1]["resources"]
CHECKS = {"config": _checks.CONFIG, "process": _checks.PROCESS, "resources": RESOURCES}
"""The hot checks, which are made of the schemas, by the schemas' names."""
TYPES = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}


Fault = collections.namedtuple("Fault", "path message cure allowed", defaults=("", ""))
"""What is wrong at a path. cure: what can be done; allowed: what may stand there; both '' where the message alone says it."""


def faults(config: dict, bundle: str) -> list[Fault]:
    """Every fault of a config (dict) in a bundle (directory, str), none when it is valid.

    A rule is left out where a member it reads has a fault of its own.
    """
    config = without_nulls(config)
    found = list(schema_faults("config", config))
    wrong = Wrong(path for path, *_ in found)
    return found + rule_faults(config, bundle, lambda path: not wrong.touches(path))


def rule_faults(config: dict, bundle: str, sound: Callable[[str], bool]) -> list[Fault]:
    """Those of the rules whose members are sound."""
    return [Fault(path, message, cure, allowed_of(message)) for path, message, cure in rules.broken(config, bundle, sound)]


def allowed_of(message: str) -> str:
    """What a message like `must be from 1 to 99 with SCHED_FIFO, not 0` allows."""
    match = re.search(r"must (?:be )?(.+?)(?:(?:, not|:) .*)?$", message)
    return match[1] if match else ""


def unknown_members(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yields (path, the likely word or '') for each member of a value that specs/NAME.schema.json does not name."""
    yield from _unknown(CHECKS[name], value, [])


def _unknown(node: Any, value: Any, keys: list[str | int]) -> Iterator[tuple[str, str]]:
    """Members that the table of checks does not name: of a spelling mistake nobody else would speak."""
    if not isinstance(node, tuple) or type(value) is not node[0]:
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
                yield path_of([*keys, name]), likely[0] if likely else ""


def schema_faults(name: str, value: Any) -> Iterator[Fault]:
    """Yields what in a value breaks specs/NAME.schema.json, or `resources`. Members that are null count as left out."""
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
    if name == "resources":
        whole = validator("config")
        return whole.evolve(schema=whole.schema["properties"]["linux"]["properties"][name])
    base = jsonschema.Draft202012Validator
    # 1.0 is no integer to the callers' decoders either.
    types = base.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    strict = jsonschema.validators.extend(base, {"pattern": _pattern, "items": _items}, type_checker=types)
    return strict(schemas.load(name))


def _items(validator: Any, schema: dict, value: Any, _schema: dict) -> Iterator[Any]:
    """jsonschema takes its time, which counts for a long list: it is asked for the entries alone that the hot checks refuse."""
    if isinstance(value, list):
        node, inner = _node(schema), validator.evolve(schema=schema)
        for index, entry in enumerate(value):
            if node is None or shape.walk(node, entry):
                for error in inner.iter_errors(entry):
                    error.path.appendleft(index)
                    yield error


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


def _explain(error: Any) -> Iterator[Fault]:
    keys, schema, keyword, limit = list(error.absolute_path), error.schema, error.validator, error.validator_value
    message = schema.get("errorMessage")
    if "propertyNames" in error.absolute_schema_path:
        keys.append(error.instance)
    if keyword == "required":
        for name in limit:
            if name not in error.instance:
                member = schema.get("properties", {}).get(name, {})
                text = describe("required", None, None, member.get("errorMessage"), keys)
                yield Fault(path_of([*keys, name]), text, f"add {name}", _kind(member))
        return
    if keyword in ("minimum", "maximum"):
        keyword, limit = "range", (schema["minimum"], schema["maximum"])
    elif keyword == "type":
        limit = TYPES[limit if isinstance(limit, str) else limit[0]]
    elif keyword == "anyOf":
        limit = [name for choice in limit for name in choice["required"]]
    # What an environment has may be a secret.
    allowed, cure = _remedy(keyword, limit, None if "env" in keys else error.instance)
    yield Fault(path_of(keys), describe(keyword, limit, error.instance, message, keys), cure, allowed)


def _kind(schema: dict) -> str:
    return shape.KINDS[TYPES[schema["type"]]] if schema.get("type") in TYPES else ""


def _remedy(keyword: str, limit: Any, value: Any) -> tuple[str, str]:
    """(what is allowed, the cure) for a value that breaks a keyword of its schema."""
    if keyword == "type":
        return shape.KINDS[limit], _of_type(limit, value)
    if keyword == "enum":
        words = [word for word in limit if word]
        likely = difflib.get_close_matches(str(value), words, 1) or difflib.get_close_matches(str(value).upper(), words, 1)
        return ", ".join(words), f"is {likely[0]} meant?" if likely else "take one of these"
    if keyword == "range":
        return f"from {limit[0]} to {limit[1]}", "take a number of that range"
    if keyword == "pattern":
        return FORMS.get(schemas.FORMS.get(limit, ""), ("", ""))
    if keyword == "anyOf":
        return " or ".join(limit), f"add {limit[0]}"
    if keyword == "maxItems":
        return f"at most {limit} entries", "take some away"
    return "at least one entry" if keyword == "minItems" else "", "add one, or leave the member out"


def _of_type(kind: type, value: Any) -> str:
    if type(value) is str and ((kind is int and value.strip("-").isdecimal()) or (kind is bool and value in ("true", "false"))):
        return f"take the quotes away: {value.lstrip('0') or '0' if kind is int else value}"
    if kind is str and type(value) in (int, bool):
        return f'put it in quotes: "{shape.show(value)}"'
    if kind is int and type(value) is float:
        return f"write it without a fraction or exponent: {value:.0f}"
    if kind is list and type(value) in (str, dict):
        return "put it in [ ]"
    return f"write {shape.KINDS[kind]}"


# Name of a pattern (schemas.FORMS) -> what it allows, and the cure.
FORMS = {
    "text": ("text without a zero byte", "take the \\u0000 out"),
    "name": ("text that is not empty, without a zero byte", "give it a name"),
    "line": ("one line", "take the line break out"),
    "path": ("an absolute path", "let it begin with /"),
    "path_or_empty": ("an absolute path", "let it begin with /"),
    "file_name": ("the name of a file, without /", "take the / out"),
    "id_list": ("a list like 0-3,7", "write numbers with , and -"),
    "access": ("letters of r, w and m", "r is read, w write, m mknod"),
    "page_size": ("a size like 2MB or 1GB", "/sys/kernel/mm/hugepages has those of a kernel"),
    "bandwidth": ("one line that begins with MB:", "let it begin with MB:"),
    "not_empty": ("text that is not empty", "write something, or leave the member out"),
    "version": ("a version of the specification, 1.x.y", "write 1.2.0"),
}


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
