"""specs/coverage.md: a row for every member and every list of values of the schema, with a file and a test that exist."""

import ast
import re

from coverage_table import COVERAGE, FIELDS, rows, section
from harness import PROJECT

from pyrun.config import schemas

# Other systems are none of our business.
PLATFORMS = {"vm", "windows", "solaris", "freebsd", "zos"}
KINDS = re.compile(r"^hooks\.(prestart|createRuntime|createContainer|startContainer|poststart|poststop)\b")


def members(schema, path=""):
    """Yields (path, words or None): each member of an object below a schema, and each list of values."""
    for part in (schema, *schema.get("allOf", ()), *schema.get("anyOf", ()), *schema.get("oneOf", ())):
        if "enum" in part:
            yield path, set(part["enum"]) - {""}
        names = part.get("propertyNames", {}).get("enum", ())
        named = {name: part["additionalProperties"] for name in names}
        for name, inner in (part.get("properties", {}) | named).items():
            if path or name not in PLATFORMS:
                yield f"{path}.{name}".lstrip("."), None
                yield from members(inner, f"{path}.{name}".lstrip("."))
        if isinstance(part.get("items"), dict):
            yield from members(part["items"], f"{path}[]")


def wanted():
    """{path: set of words, empty for a member}; value lists are named as in the table, by their path."""
    found = {}
    for path, words in members(schemas.load("config")):
        path = KINDS.sub("hooks.*", path)
        found[path if words is None else f"{path} ∈"] = words or set()
    return found


def test_every_field_has_one_row_and_every_row_is_of_a_field():
    named = [path if " ∈ " not in path else path[: path.index(" ∈ ") + 2] for path, *_ in FIELDS]
    assert len(named) == len(set(named))
    assert set(named) == set(wanted())


def test_value_lists_are_the_schemas():
    lists = wanted()
    for path, *_ in FIELDS:
        if " ∈ " in path:
            field, words = path.split(" ∈ ")
            # We take the recursive words of propagation too, which the specification does not name.
            extra = {"rprivate", "rshared", "rslave", "runbindable"} if field == "linux.rootfsPropagation" else set()
            assert set(words.split("|")) == lists[f"{field} ∈"] - extra, field


def test_every_file_and_every_test_exists():
    functions = {}
    for row in rows(COVERAGE):
        for cell in row:
            if "::" in cell:
                file, name = cell.split("::")
                if file not in functions:
                    tree = ast.parse((PROJECT / "tests" / file).read_text())
                    functions[file] = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
                assert name in functions[file], cell
    for path, file, test, _ in FIELDS:
        assert "::" in test, path
        assert file.startswith("none: ") or (PROJECT / file).is_file(), path


def test_each_test_has_been_tried_without_its_field():
    """`make coverage-check FIELDS=…` writes the answers."""
    _, *tried = rows((PROJECT / "specs/coverage-check.md").read_text())
    assert [(field, test) for field, test, _ in tried] == [(field, test) for field, _, test, _ in FIELDS]
    assert [row for row in tried if re.split("[:;]", row[2])[0] not in ("yes", "skipped", "nothing to ignore")] == []


def test_the_totals_are_those_of_the_suites_pages():
    suites, conformance = [(PROJECT / "specs" / name).read_text() for name in ("suites.md", "conformance.md")]
    passed = re.search(r"^(\d+) of (\d+) programs pass", conformance, re.MULTILINE)
    for suite, _, *numbers in list(rows(section("Other suites")))[1:]:
        if "runtime-tools" in suite:
            assert (numbers[0], suite.split()[-2]) == passed.groups()
        else:
            assert f"| {' | '.join(numbers)} |" in suites, suite
