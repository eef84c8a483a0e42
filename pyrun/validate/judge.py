"""Everything that is to be said about a file: its form, what it means, and whether this host can do it."""

from __future__ import annotations

import collections
import re

from pyrun.base.errors import ConfigError
from pyrun.config import faults, load
from pyrun.validate import host, semantics, trial
from pyrun.validate.places import Places
from pyrun.validate.roots import exists
from pyrun.validate.subject import ERROR, HOST, SCHEMA, SEMANTICS, WARNING, Found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.validate.subject import Subject


Finding = collections.namedtuple("Finding", "level severity path line found allowed message cure")
"""One thing that is to be said, with where it stands. found: as it stands there; '' where nothing does, or a secret may.

allowed, cure: '' where the message says it.
"""


def judge(subject: Subject) -> list[Finding]:
    """All findings, in the order of the levels and, within one, of the lines. Makes nothing."""
    found = list(_form(subject))
    if subject.given is None:
        return found
    places = Places(subject.data, subject.prefix)
    later = []
    seen = set()
    for level, one, allowed in _meaning(subject):
        # What follows from a fault of the same place is not worth a word.
        if (one.path, one.severity) not in seen or level == SCHEMA:
            seen.add((one.path, one.severity))
            line, excerpt = places.find(one.path)
            shown = "" if "env" in one.path and "env" in re.split(r"[.\[]", one.path) else excerpt
            later.append(Finding(level, one.severity, one.path, line, shown, allowed or faults.allowed_of(one.message), one.message, one.cure))
    later.sort(key=lambda finding: finding.line)
    return found + [finding for level in (SCHEMA, SEMANTICS, HOST) for finding in later if finding.level == level]


def _form(subject: Subject) -> Iterator[Finding]:
    """Whether it is JSON; decodes it."""
    if subject.data.startswith(load.BOM):
        yield Finding(SCHEMA, ERROR, "", 1, "", "", "begins with a byte order mark, which JSON may not", "save it as UTF-8 without one")
    try:
        subject.decode()
    except ConfigError as fault:
        place = re.search(r"line (\d+) column (\d+): ", fault.message)
        line, column = (int(place[1]), int(place[2])) if place else (1, 1)
        message = fault.message.replace(place[0], "") if place else fault.message
        yield Finding(SCHEMA, ERROR, "", line, "", "", message, _syntax_cure(subject.data, line, column, message))


def _syntax_cure(data: bytes, line: int, column: int, message: str) -> str:
    """For the slips that are made most when JSON is written by hand."""
    lines = data.decode("utf-8", "replace").removeprefix("\ufeff").split("\n")
    before, here = "\n".join([*lines[: line - 1], lines[line - 1][: column - 1]]).rstrip(), lines[line - 1][column - 1 :]
    if here[:1] in ("}", "]") and before.endswith(","):
        return f"take the comma before {here[0]} away"
    if here[:2] in ("//", "/*") or here[:1] == "#":
        return "JSON has no comments: take it out"
    if here[:1] == "'":
        return 'put strings in "'
    if "expected ','" in message and here[:1] in ('"', "{", "["):
        return "put a comma before it"
    return f"correct column {column}"


def _meaning(subject: Subject) -> Iterator[tuple[str, Found, str]]:
    """Yields (level, what was found, what is allowed or '')."""
    schema = list(faults.schema_faults(subject.name, subject.given))
    if subject.prefix:
        schema = [fault._replace(path=_prefixed(subject, fault.path)) for fault in schema]
    for fault in schema:
        yield SCHEMA, Found(fault.path, fault.message, fault.cure), fault.allowed
    subject.know_wrong(fault.path for fault in schema)
    for path, likely in faults.unknown_members(subject.name, subject.given):
        cure = f"is {likely} meant?" if likely else "take it out, if nobody else reads it"
        yield SCHEMA, Found(_prefixed(subject, path), "unknown, and ignored", cure, WARNING), ""
    rules = faults.rule_faults(subject.whole, subject.bundle, subject.sound)
    for fault in rules:
        # A root that is not there is not the config's fault.
        yield HOST if fault.path == "root.path" else SEMANTICS, Found(fault.path, fault.message, fault.cure), fault.allowed
    for one in subject.run(semantics.CHECKS):
        yield SEMANTICS, one, ""
    here = exists("/proc/self/mountinfo")
    if not here:
        yield HOST, Found("", "/proc is not mounted: nothing runs here, and this host cannot be looked at", "mount -t proc proc /proc"), ""
    for level, one in trial.refusals(subject, whole=not schema and not rules):
        if here or level != HOST:
            yield level, one, ""
    for one in subject.run(host.CHECKS) if here else ():
        yield HOST, one, ""


def _prefixed(subject: Subject, path: str) -> str:
    return f"{subject.prefix}.{path}".rstrip(".") if subject.prefix and path[:1] != "[" else f"{subject.prefix}{path}"
