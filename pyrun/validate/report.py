"""The findings as they are printed."""

from __future__ import annotations

from pyrun.base import jsonio
from pyrun.base.errors import visible
from pyrun.cli.paint import Paint
from pyrun.validate.subject import ERROR, HOST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pyrun.validate.judge import Finding

FINE, INVALID, NOT_HERE = 0, 1, 2
"""Exit codes."""


def verdict(findings: Iterable[Finding]) -> int:
    """The exit code."""
    levels = {finding.level for finding in findings if finding.severity == ERROR}
    return INVALID if levels - {HOST} else NOT_HERE if levels else FINE


def document(findings: Iterable[Finding]) -> str:
    """For programs. What is not there is null."""
    return jsonio.dumps([dict(zip(finding._fields, (value or None for value in finding), strict=True)) for finding in findings]) + "\n"


def text(file: str, findings: Sequence[Finding]) -> str:
    """For people: of each finding what is wrong, where, and what can be done."""
    paint = Paint()
    lines = []
    for finding in findings:
        about = f"{finding.path}: " if finding.path else ""
        lines.append(f"{paint(finding.severity, f'{finding.severity}[{finding.level}]')}: {paint('strong', visible(about + finding.message))}")
        shown = f"    {visible(finding.found)}" if finding.found else ""
        lines.append(f"  {paint('dim', '-->')} {visible(file)}:{finding.line}{paint('dim', shown)}")
        if finding.cure:
            lines.append(f"  {paint('cure', 'cure')}: {visible(finding.cure)}")
        lines.append("")
    errors = sum(finding.severity == ERROR for finding in findings)
    counted = ", ".join(f"{count} {word}{'s' * (count > 1)}" for count, word in ((errors, "error"), (len(findings) - errors, "warning")) if count)
    code = verdict(findings)
    said = ("is valid", "is not valid", "is valid, but will not run on this host")[code]
    lines.append(f"{visible(file)} {paint('error' if code else 'good', said)}{f': {counted}' if counted else ''}")
    return "\n".join(lines) + "\n"
