"""The schema checks of a config as the hot commands make them: a walk along the table made from specs/ (schemas.py)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

# --- the table -----------------------------------------------------------------------------------------------------------


def walk(node: Any, value: Any) -> list | None:
    """The first fault of value by an entry of the table (schemas.node): None, or a list for explain().

    The list is [keyword of the schema, its limit, value, message, *keys from the inside out]: nothing is spent on
    paths while all is well.
    """
    kind = node if type(node) is type else node[0]
    if type(value) is not kind:
        return ["type", kind, value, None]
    return WALKS[kind](node, value) if kind is not node else None


def _walk_object(node: Any, value: dict) -> list | None:
    _, members, others, required, names, one_of, unless, _ = node
    for name, member in value.items():
        inner = members.get(name, others)
        if inner is None or member is None or inner is type(member):
            continue
        fault = walk(inner, member)
        if fault:
            fault.append(name)
            return fault
    for name in required:
        if value.get(name) is None:
            inner = members[name]
            return ["required", None, value, inner[-1] if type(inner) is tuple else None, name]
    if names:
        for name, member in value.items():
            fault = _walk_string((str, *names), name)
            if fault and member is not None:
                fault.append(name)
                return fault
    if one_of:
        for name in one_of:
            if value.get(name) is not None:
                break
        else:
            return ["anyOf", one_of, value, None]
    if unless and value.get(unless[0], unless[1][0]) not in unless[1]:
        for name in unless[2]:
            if value.get(name) is None:
                return ["required", None, value, None, name]
    return None


def _walk_list(node: Any, value: list) -> list | None:
    _, entries, least, most, message = node
    if len(value) < least:
        return ["minItems", least, value, message]
    if most is not None and len(value) > most:
        return ["maxItems", most, value, message]
    if type(entries) is tuple and entries[2] == "text":
        # Hundreds of names: one join instead of a step for each. It takes nothing but strings.
        try:
            if "\0" not in "".join(value):
                return None
        except TypeError:
            pass
    if entries is not None:
        for index, entry in enumerate(value):
            fault = walk(entries, entry)
            if fault:
                fault.append(index)
                return fault
    return None


def _walk_string(node: Any, value: str) -> list | None:
    _, words, form, message = node
    if words is not None and value not in words:
        return ["enum", words, value, message]
    if form is not None and not FORMS[form](value):
        return ["pattern", form, value, message]
    return None


def _walk_integer(node: Any, value: int) -> list | None:
    _, least, most, message = node
    return None if least <= value <= most else ["range", (least, most), value, message]


WALKS: dict[type, Callable[[Any, Any], list | None]] = {dict: _walk_object, list: _walk_list, str: _walk_string, int: _walk_integer}


def known(node: Any, value: Any) -> Any:
    """A value that walk() has passed, without the members that the table does not name."""
    kind = node if type(node) is type else node[0]
    if kind is dict and kind is not node:
        members, others = node[1], node[2]
        return {name: known(inner, member) for name, member in value.items() if (inner := members.get(name, others)) is not None}
    if kind is list and node[1] is not None:
        return [known(node[1], entry) for entry in value]
    return value


def _version(text: str) -> bool:
    """SemVer 2.0.0 with major version 1."""
    text, plus, build = text.partition("+")
    core, dash, pre = text.partition("-")
    numbers = core.split(".")
    return (
        len(numbers) == 3
        and numbers[0] == "1"
        and all(_number(part) for part in numbers)
        and (not dash or all(_word(part) and (_number(part) or not _digits(part)) for part in pre.split(".")))
        and (not plus or all(map(_word, build.split("."))))
    )


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _number(text: str) -> bool:
    return _digits(text) and (text == "0" or text[0] != "0")


def _word(text: str) -> bool:
    return text.isascii() and text.replace("-", "0").isalnum()


def _page_size(text: str) -> bool:
    return text[-2:] in ("KB", "MB", "GB") and _digits(text[:-2]) and text[0] != "0"


# The patterns of the schemas, by their names in schemas.py.
FORMS = {
    "text": lambda text: "\0" not in text,
    "name": lambda text: text != "" and "\0" not in text,
    "line": lambda text: "\0" not in text and "\n" not in text,
    "path": lambda text: text[:1] == "/" and "\0" not in text,
    "path_or_empty": lambda text: text == "" or (text[0] == "/" and "\0" not in text),
    "file_name": lambda text: text != "" and "/" not in text and "\0" not in text,
    "id_list": lambda text: not text.strip("0123456789, -"),
    "access": lambda text: not text.strip("rwm"),
    "page_size": _page_size,
    "bandwidth": lambda text: text[:3] == "MB:" and "\0" not in text and "\n" not in text,
    "not_empty": lambda text: text != "",
    "version": _version,
}


# --- words -----------------------------------------------------------------------------------------------------------


KINDS = {str: "a string", int: "an integer", bool: "true or false", list: "a list", dict: "an object"}
SHOWN = 60


def explain(fault: list) -> tuple[str, str]:
    """(path, message) of what walk() found."""
    keyword, limit, value, message, *keys = fault
    keys.reverse()
    return path_of(keys), describe(keyword, limit, value, message, keys)


def describe(keyword: str, limit: Any, value: Any, message: str | None, keys: Sequence[str | int]) -> str:
    """The words for a value that breaks a keyword of its schema. message: the schema's errorMessage or None.

    keys: where it is; what an environment has may be a secret, and is not shown.
    """
    if "env" in keys and keyword in ("type", "pattern"):
        return message or "" if keyword == "pattern" else f"must be {KINDS[limit]}"
    lead = f"{message}: " if message else ""
    if keyword == "type":
        return f"must be {KINDS[limit]}, not {show(value)}"
    if keyword == "enum":
        return f"{lead}{show(value)} is none of {', '.join(word for word in limit if word)}"
    if keyword == "range":
        return f"{lead}must be from {limit[0]} to {limit[1]}, not {show(value)}"
    if keyword == "pattern":
        return f"{lead}{show(value)}"
    if keyword == "required":
        return f"missing{': ' + message if message else ''}"
    if keyword == "anyOf":
        return f"needs {' or '.join(limit)}"
    return message or (f"must have at most {limit} entries" if keyword == "maxItems" else "must not be empty")


def path_of(keys: Sequence[str | int]) -> str:
    """`linux.sysctl["net.core.somaxconn"]`, `mounts[3].options[1]` of the keys from the outside in."""
    path = ""
    for key in keys:
        if isinstance(key, int):
            path += f"[{key}]"
        elif key.isidentifier():
            path += f".{key}" if path else key
        else:
            path += f"[{show(key)}]"
    return path


def show(value: Any) -> str:
    """A value as it stands in the file, on one line and not too long."""
    if type(value) is str:
        text = value if len(value) <= SHOWN else value[:SHOWN] + "…"
        return f'"{repr(text)[1:-1]}"'
    if type(value) is int and value.bit_length() > 128:
        return "a number of many digits"
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    return KINDS[type(value)] if type(value) in (list, dict) else repr(value)
