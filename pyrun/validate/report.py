"""The findings as they are printed."""

from __future__ import annotations

import posix

from pyrun.base import jsonio
from pyrun.base.errors import visible
from pyrun.validate.subject import ERROR, HOST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pyrun.validate.judge import Finding

FINE, INVALID, NOT_HERE = 0, 1, 2
"""Exit codes."""
COLOURS = {"error": "1;31", "warning": "1;33", "strong": "1", "dim": "2", "cure": "32", "good": "1;32"}


def verdict(findings: Iterable[Finding]) -> int:
    """The exit code."""
    levels = {finding.level for finding in findings if finding.severity == ERROR}
    return INVALID if levels - {HOST} else NOT_HERE if levels else FINE


def document(findings: Iterable[Finding]) -> str:
    """For programs. What is not there is null."""
    return jsonio.dumps([{name: value or None for name, value in finding._asdict().items()} for finding in findings]) + "\n"


class Paint:
    """Colours, on a terminal and without $NO_COLOR (no-color.org)."""

    def __init__(self) -> None:
        self.on = posix.isatty(1) and not posix.environ.get(b"NO_COLOR") and posix.environ.get(b"TERM") != b"dumb"

    def __call__(self, colour: str, text: str) -> str:
        return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if self.on and text else text


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
