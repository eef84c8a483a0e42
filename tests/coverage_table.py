"""specs/coverage.md as the tests read it."""

import re

from harness import PROJECT

COVERAGE = (PROJECT / "specs/coverage.md").read_text()


def rows(text):
    """The cells of each row of the tables in a text, without their headings."""
    for line in text.splitlines():
        cells = [cell.strip().strip("`").replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells and not cells[0].startswith("---"):
            yield cells


def section(title):
    """The text below a heading."""
    return COVERAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


# Field, file, test, needs.
FIELDS = list(rows(section("Fields")))[1:]
