"""The JSON Schemas of specs/, and the table of hot checks that is made of them.

    python -m pyrun.config.schemas > pyrun/config/_checks.py

The import of jsonschema alone takes longer than a container. The hot commands therefore check a config with a table
that says the same as the schemas (shape.py walks it); a test holds both to the same verdict.
"""

from __future__ import annotations

import json
import pkgutil

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The tables of _checks.py and their schemas; CONFIG uses PROCESS.
TABLES = {"PROCESS": "process", "CONFIG": "config"}
# Hot modules have no regular expressions: every pattern a schema may use has a function in shape.py (FORMS), by name.
FORMS = {
    r"^[^\u0000]*$": "text",
    r"^[^\u0000]+$": "name",
    r"^[^\u0000\n]*$": "line",
    r"^/[^\u0000]*$": "path",
    r"^(/[^\u0000]*)?$": "path_or_empty",
    r"^[^/\u0000]+$": "file_name",
    r"^[0-9, -]*$": "id_list",
    r"^[rwm]*$": "access",
    r"^[1-9][0-9]*[KMG]B$": "page_size",
    r"^MB:[^\u0000\n]*$": "bandwidth",
    r"^1\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
    r"(\.(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$": "version",
}
# What has no say in the verdict.
NOTES = {"$comment", "title", "description", "errorMessage"}


def load(name: str) -> Any:
    """The schema specs/NAME.schema.json (dict), with every $ref replaced by what it refers to."""
    files = {}

    def document(file: str) -> Any:
        if file not in files:
            files[file] = json.loads(pkgutil.get_data("pyrun", f"specs/{file}") or b"")
        return files[file]

    def expand(schema: Any, file: str) -> Any:
        if isinstance(schema, list):
            return [expand(entry, file) for entry in schema]
        if not isinstance(schema, dict):
            return schema
        result = {}
        if "$ref" in schema:
            target, _, pointer = schema["$ref"].partition("#")
            target = target or file
            referred = document(target)
            for key in pointer.split("/")[1:]:
                referred = referred[key]
            result = expand(referred, target)
        # jsonschema would give what has a $schema of its own to that version's validator, not to ours.
        return result | {key: expand(value, file) for key, value in schema.items() if key not in ("$ref", "$defs", "$schema")}

    file = f"{name}.schema.json"
    return expand(document(file), file)


# --- schema -> table ---------------------------------------------------------------------------------------------------


def node(schema: dict) -> Any:
    """A schema as an entry of the table. KeyError for a keyword that has no hot check.

    (str, words, form, message)                                                  words: tuple, one of FORMS; or None
    (int, least, most, message)
    (list, entries, least, most, message)                                        entries: what each of them must be
    (dict, members, others, required, names, one_of, unless, message)            others: what members not named must be
    bool, str, dict: any value of that type

    message: the schema's errorMessage or None. names: (words, form, message) for the members' names. one_of: members of
    which one must be there. unless: (member, words, required), required unless the member is one of the words.
    """
    return NODES[schema["type"]](Keywords(schema))


class Keywords(dict):
    """A schema whose keywords are taken out one by one: what is left over would have been missed."""

    def __init__(self, schema: dict) -> None:
        dict.__init__(self, {key: value for key, value in schema.items() if key not in NOTES and key != "type"})
        self.message = schema.get("errorMessage")

    def end(self) -> None:
        if self:
            raise KeyError(f"no hot check for {dict(self)}")


def _boolean(schema: Keywords) -> type:
    schema.end()
    return bool


def _string(schema: Keywords) -> Any:
    words, form = _words(schema), _form(schema)
    schema.end()
    return str if words is form is None else (str, words, form, schema.message)


def _integer(schema: Keywords) -> tuple:
    least, most = schema.pop("minimum"), schema.pop("maximum")
    schema.end()
    return (int, least, most, schema.message)


def _array(schema: Keywords) -> tuple:
    entries = node(schema.pop("items")) if "items" in schema else None
    least, most = schema.pop("minItems", 0), schema.pop("maxItems", None)
    schema.end()
    return (list, entries, least, most, schema.message)


def _object(schema: Keywords) -> Any:
    members = {name: node(member) for name, member in schema.pop("properties", {}).items()}
    others = node(schema.pop("additionalProperties")) if "additionalProperties" in schema else None
    required = tuple(schema.pop("required", ()))
    names = None
    if "propertyNames" in schema:
        rule = Keywords(schema.pop("propertyNames"))
        names = (_words(rule), _form(rule), rule.message)
        rule.end()
    one_of = tuple(name for choice in schema.pop("anyOf", ()) for name in choice["required"])
    unless = None
    if "if" in schema:
        [(member, words)] = schema.pop("if")["properties"].items()
        unless = (member, tuple(words["enum"]), tuple(schema.pop("else")["required"]))
    schema.end()
    if not members and others is None:
        return dict
    return (dict, members, others, required, names, one_of, unless, schema.message)


def _words(schema: Keywords) -> tuple | None:
    return tuple(schema.pop("enum")) if "enum" in schema else None


def _form(schema: Keywords) -> str | None:
    if schema.pop("minLength", 0) == 1:
        return "not_empty"
    return FORMS[schema.pop("pattern")] if "pattern" in schema else None


NODES = {"boolean": _boolean, "string": _string, "integer": _integer, "array": _array, "object": _object}


# --- table -> Python ---------------------------------------------------------------------------------------------------


def source() -> str:
    """The text of _checks.py. An entry that occurs in several places is written once."""
    tables = {name: node(load(schema)) for name, schema in TABLES.items()}
    lines = ['"""Made from specs/*.schema.json by `python -m pyrun.config.schemas`. Do not edit."""', ""]
    counts, names = {}, {}

    def count(value: Any) -> None:
        if isinstance(value, tuple):
            counts[repr(value)] = counts.get(repr(value), 0) + 1
        if isinstance(value, tuple | dict):
            for inner in value.values() if isinstance(value, dict) else value:
                count(inner)

    def text(value: Any) -> str:
        if isinstance(value, type):
            return value.__name__
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key!r}: {text(inner)}" for key, inner in value.items()) + "}"
        if not isinstance(value, tuple) or not value or not isinstance(value[0], type):
            return repr(value)
        key = repr(value)
        if key in names:
            return names[key]
        body = "(" + ", ".join(map(text, value)) + ")"
        if counts[key] > 1:
            names[key] = f"N{len(names)}"
            lines.append(f"{names[key]} = {body}")
            return names[key]
        return body

    for table in tables.values():
        count(table)
    for name, table in tables.items():
        lines.append(f"{name} = {text(table)}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(source(), end="")
