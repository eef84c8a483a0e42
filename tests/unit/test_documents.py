"""What the documents say of the checkout is so: links lead somewhere, lists are whole, the version is the newest."""

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


def test_security_lists_every_attack_that_is_carried_out():
    listed = re.findall(r"^\| (CVE-\d+-\d+) ", (PROJECT / "SECURITY.md").read_text(), re.MULTILINE)
    carried_out = [path.stem[5:].replace("_", "-").upper() for path in (PROJECT / "tests/security").glob("test_cve_*.py")]
    assert sorted(listed) == sorted(carried_out)
