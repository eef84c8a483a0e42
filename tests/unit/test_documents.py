"""What the documents say of the checkout is so: links lead somewhere, lists are whole, the version is the newest."""

import ast
import re

import pytest
from harness import PROJECT

import pyrun

DOCUMENTS = [*PROJECT.glob("*.md"), *PROJECT.glob("specs/*.md"), *PROJECT.glob("bundles/*/README.md")]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_links_lead_somewhere(path):
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()) if "://" not in link]
    assert [link for link in links if link and not (path.parent / link).exists()] == []


def test_the_newest_version_of_the_changelog_is_the_programs():
    versions = re.findall(r"^## \[(.+?)\]", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[:2] == ["Unreleased", pyrun.__version__]


def test_the_version_of_debians_package_is_the_programs():
    first = (PROJECT / "csrc/debian/changelog").read_text().partition("\n")[0]
    assert first.startswith(f"pyrun ({pyrun.__version__}-")


def test_security_lists_every_attack_that_is_carried_out():
    listed = re.findall(r"^\| (CVE-\d+-\d+) ", (PROJECT / "SECURITY.md").read_text(), re.MULTILINE)
    carried_out = [path.stem[5:].replace("_", "-").upper() for path in (PROJECT / "tests/security").glob("test_cve_*.py")]
    assert sorted(listed) == sorted(carried_out)


# `FILE` or `FILE:NAME` in a text that describes the sources: a function, class, table or method (Class.method).
NAMED = re.compile(r"`((?:pyrun|csrc|tests|specs)/[\w./-]+\.(?:py|c|h|json))(?::([\w.]+))?`")


def defined(tree, names):
    """Whether a Python module (or class) defines a name, given in parts: ["Class", "method"]."""
    for node in tree.body:
        found = [node.name] if hasattr(node, "name") else [target.id for target in getattr(node, "targets", ()) if hasattr(target, "id")]
        if names[0] in found and (len(names) == 1 or defined(node, names[1:])):
            return True
    return False


@pytest.mark.parametrize("path", [PROJECT / "specs/design.md", PROJECT / "specs/extending.md"], ids=lambda path: path.name)
def test_names_of_the_sources_are_true(path):
    missing = []
    for file, name in set(NAMED.findall(path.read_text())):
        if "NAME" in file:
            continue
        text = (PROJECT / file).read_text() if (PROJECT / file).is_file() else None
        if text is None or not name:
            found = text is not None
        elif file.endswith(".py"):
            found = defined(ast.parse(text), name.split("."))
        else:
            found = re.search(rf"^\w.*\b{name}\(", text, re.MULTILINE)
        if not found:
            missing.append(f"{file}:{name}")
    assert sorted(missing) == []


def test_design_has_every_module():
    """The table of packages in specs/design.md names each, but commands, whose modules have their names, and what the build makes."""
    rows = dict(re.findall(r"^\| `([\w/]+)/` \| (.*) \|$", (PROJECT / "specs/design.md").read_text(), re.MULTILINE))
    modules = {str(path.relative_to(PROJECT / "pyrun"))[:-3] for path in (PROJECT / "pyrun").rglob("[!_]*.py")}
    commands = {name.removeprefix("commands/") for name in modules if name.startswith("commands/")}
    named = {f"{package}/{word}" for package, row in rows.items() for word in re.findall(r"`([a-z]\w+)`", row)}
    assert sorted(name for name in modules - named if not name.startswith("commands/")) == []
    assert sorted(name for name in named - modules if name.rpartition("/")[2] not in commands) == []
