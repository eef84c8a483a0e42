"""What was seen: counted and looked at, as a table and as JSON."""

from __future__ import annotations

import errno
import signal

from pyrun.base.errors import visible
from pyrun.trace import calls, profile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from pyrun._native import CData
    from pyrun.trace.tracer import Call

REFUSED = (errno.EPERM, errno.EACCES)
MANY = 1000  # texts of refused calls, and no more
Key = tuple[str, str]  # the name of a call, its architecture


class Report:
    """check: the profile that calls are held against. running: whether the program has begun; before, it is pyrun's init that calls."""

    def __init__(self, check: profile.Check | None, running: bool) -> None:
        self.checked = check
        self.running = running
        self.processes = self.threads = 0
        self.arch = profile.native_arch()
        self.setup: dict[Key, int] = {}
        self.counts: dict[Key, int] = {}
        self.errors: dict[Key, dict[int, int]] = {}
        self.files: dict[str, dict[str, Any]] = {}
        self.programs: dict[str, int] = {}
        self.capabilities: dict[str, dict[str, Any]] = {}
        self.refusals: dict[tuple[str, int, bool], int] = {}
        self.signals: dict[int, int] = {}
        self.against: dict[tuple[str, str], int] = {}

    # --- what is seen

    def wants(self, name: str) -> bool:
        """Whether calls of this name are looked at, and not just counted."""
        return name in calls.TOLD or bool(self.checked and name in self.checked.conditional)

    def begin(self, counted: CData) -> None:
        """The program begins."""
        if not self.running:
            self.running = True
            self.take(counted)
            self.setup, self.counts = self.counts, {}
            self.before = list(counted)

    before: Sequence[int] = ()

    def take(self, counted: CData) -> None:
        """The calls that were counted by their numbers."""
        for number, count in enumerate(counted):
            if count := count - (self.before[number] if self.before else 0):
                self.counts[profile.name_of(profile.ARCHS[self.arch], number), self.arch] = count

    def count(self, name: str, arch: str) -> None:
        self.counts[name, arch] = self.counts.get((name, arch), 0) + 1

    def check(self, call: Call) -> None:
        if self.checked and call.name in self.checked.conditional and (action := self.checked.refuses(call.name, call.arch, call.values)):
            self.against[call.name, action] = self.against.get((call.name, action), 0) + 1

    def ended(self, call: Call, result: int, by_profile: bool = False) -> None:
        if not self.running:
            return
        number = -result if -4096 < result < 0 else 0
        if number:
            errors = self.errors.setdefault((call.name, call.arch), {})
            errors[number] = errors.get(number, 0) + 1
        refused = number in REFUSED or by_profile
        if refused and len(self.refusals) < MANY:
            key = call.text(), number, by_profile
            self.refusals[key] = self.refusals.get(key, 0) + 1
        for path in call.paths:
            entry = self.files.setdefault(path, {"how": set(), "count": 0, "errors": {}})
            entry["how"].add(call.how)
            entry["count"] += 1
            if number:
                entry["errors"][number] = entry["errors"].get(number, 0) + 1
        if call.how == calls.EXECUTE and not number:
            for path in call.paths:
                self.programs[path] = self.programs.get(path, 0) + 1
        if not by_profile:
            self._capability(call.name, bool(call.paths), number)

    def _capability(self, name: str, has_path: bool, number: int) -> None:
        refused = number in REFUSED
        found = calls.ASKING.get(name) or (refused and calls.AT_MOST.get(name)) or ""
        if has_path and number == errno.EACCES:
            found = calls.FILE_RIGHTS
        if found:
            entry = self.capabilities.setdefault(found, {"calls": set(), "count": 0, "refused": 0})
            entry["calls"].add(name)
            entry["count"] += 1
            entry["refused"] += refused

    # --- what is told

    def names(self) -> set[str]:
        """All calls, those of pyrun's init before the program included: what a profile must allow."""
        return {name for name, _ in (*self.setup, *self.counts) if not name.startswith("syscall_")} | {*calls.SOMETIMES}

    def archs(self) -> set[str]:
        return {self.arch, *(arch for _, arch in self.counts)}

    def would_refuse(self) -> list[dict[str, Any]]:
        if not self.checked:
            return []
        found = dict(self.against)
        for counts in (self.setup, self.counts):
            for (name, arch), count in counts.items():
                if name not in self.checked.conditional and (action := self.checked.refuses(name, arch)):
                    found[name, action] = found.get((name, action), 0) + count
        return [{"name": name, "action": action, "count": count} for (name, action), count in sorted(found.items())]

    def as_json(self) -> dict[str, Any]:
        def errors(found: dict[int, int]) -> dict[str, int]:
            return {_errno(number): count for number, count in sorted(found.items())}

        return {
            "programs": [{"path": path, "count": count} for path, count in self.programs.items()],
            "processes": self.processes,
            "threads": self.threads,
            "signals": {_signal(number): count for number, count in sorted(self.signals.items())},
            "architectures": sorted(self.archs()),
            "syscalls": [
                {"name": name, "architecture": arch, "count": count, "errors": errors(self.errors.get((name, arch), {}))}
                for (name, arch), count in sorted(self.counts.items())
            ],
            "setup": sorted(name for name, _ in self.setup),
            "files": [
                {"path": path, "how": sorted(entry["how"]), "count": entry["count"], "errors": errors(entry["errors"])}
                for path, entry in sorted(self.files.items())
            ],
            "capabilities": [
                {"name": name, "calls": sorted(entry["calls"]), "count": entry["count"], "refused": entry["refused"]}
                for name, entry in sorted(self.capabilities.items())
            ],
            "refusals": [
                {"call": text, "error": _errno(number), "profile": by_profile, "count": count}
                for (text, number, by_profile), count in self.refusals.items()
            ],
            **({"check": self.would_refuse()} if self.checked else {}),
        }


def _errno(number: int) -> str:
    return errno.errorcode.get(number, str(number))


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def table(found: dict[str, Any]) -> str:
    """The report for people."""
    parts = [
        _section("CALL COUNT ERRORS", [(_call(entry), entry["count"], _counts(entry["errors"])) for entry in _by_count(found["syscalls"])]),
        _section("FILE HOW COUNT ERRORS", [
            (entry["path"], ", ".join(entry["how"]), entry["count"], _counts(entry["errors"])) for entry in found["files"]
        ]),
        _section("CAPABILITY ASKED REFUSED BY", [
            (entry["name"], entry["count"], entry["refused"], " ".join(entry["calls"])) for entry in found["capabilities"]
        ]),
        _section("REFUSED ERROR COUNT BY", [
            (entry["call"], entry["error"], entry["count"], "the bundle's seccomp profile" if entry["profile"] else "the kernel")
            for entry in found["refusals"]
        ]),
        _section("SIGNAL COUNT", list(found["signals"].items())),
    ]  # fmt: skip
    if "check" in found:
        rows = [(entry["name"], entry["action"], entry["count"]) for entry in found["check"]]
        parts.append(_section("THE-PROFILE-REFUSES ACTION COUNT", rows) or "The profile refuses none of these calls.\n")
    total = sum(entry["count"] for entry in found["syscalls"])
    refused = sum(entry["refused"] for entry in found["capabilities"])
    summary = (
        f"{total} system calls of {len(found['syscalls'])} kinds; {len(found['files'])} files; {len(found['capabilities'])} capabilities asked "
        f"for, refused {refused} times; {len(found['refusals'])} refusals; {found['processes']} processes and {found['threads']} threads started\n"
    )
    return "\n".join([*filter(None, parts), summary])


def _by_count(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(entries, key=lambda entry: (-entry["count"], entry["name"]))


def _call(entry: dict[str, Any]) -> str:
    return entry["name"] if entry["architecture"] == profile.native_arch() else f"{entry['name']} ({entry['architecture'][10:].lower()})"


def _counts(errors: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in errors.items())


def _section(title: str, rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return ""
    cells = [[word.replace("-", " ") for word in title.split()], *([visible(str(cell)) for cell in row] for row in rows)]
    widths = [min(100, max(len(row[column]) for row in cells)) for column in range(len(cells[0]))]
    return "".join("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths)).rstrip() + "\n" for row in cells)
