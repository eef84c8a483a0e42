"""pyrun trace: what a container's processes ask of the kernel, and what they are refused."""

from __future__ import annotations

import posix

from pyrun.base import log
from pyrun.base.errors import Error
from pyrun.base.output import write
from pyrun.cli import scan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.settings import Settings
    from pyrun.container.state import Container
    from pyrun.trace.report import Report

FORMATS = ("table", "json")


def trace(settings: Settings, *, target: str, id: str | None, seccomp: str | None, merge: bool, check: str | None, format: str,
          output: str | None) -> int:  # fmt: skip
    """Runs a bundle, or follows a container, and reports. Returns the exit code of a bundle's program."""
    if format not in FORMATS:
        raise Error("invalid format option: use table or json")
    if merge and not seccomp:
        raise Error("--merge: --seccomp FILE says which profile the calls are added to")
    try:
        from pyrun.trace import profile
        from pyrun.trace.report import Report
    except ModuleNotFoundError as fault:
        raise Error(f"this executable was built without python-ptrace, which `trace` is done by ({fault})") from None
    if merge and seccomp and posix.access(seccomp, posix.F_OK):
        profile.read(seccomp)  # what is wrong with it is said before anything runs
    container = None if id else find(settings, target)
    report = Report(profile.Check(check) if check else None, running=container is not None)
    code = attach(container, report) if container else run(settings, report, target, id)
    if seccomp and container:
        log.warning("the profile lacks what was called before: for a start too, add it (--merge) to that of `trace BUNDLE`")
    if seccomp:
        profile.write(seccomp, report.names(), report.archs(), merge)
    tell(report, code, format, output, 1 if container else 2)
    return code


def find(settings: Settings, target: str) -> Container | None:
    """The container of that id; None if there is none, or the word is a path."""
    from pyrun.container import record, state

    if "/" in target:
        return None
    try:
        return state.load(settings.root, target)
    except record.Gone:
        if not scan.holds_config(target):
            raise Error(f"{target}: there is no container of that id, and no bundle in a directory of that name") from None
        return None


def run(settings: Settings, report: Report, target: str, id: str | None) -> int:
    from pyrun.container import make
    from pyrun.plan.request import Request
    from pyrun.trace import bundle

    directory, id = scan.bundle_and_id(target, id or f"trace-{posix.getpid()}")
    foreground = bundle.Watched()
    foreground.adopt_orphans()
    creation = make.create(settings, Request(id, directory), waits=False, foreground=foreground, creation=bundle.creation_of(report, foreground))
    code = creation.attend(foreground)
    foreground.tracer.finish()
    return code


def attach(container: Container, report: Report) -> int:
    from pyrun.trace import attach

    if (status := container.status()) != "running":
        raise Error(f"cannot trace a container that is {status}: {'resume it first' if status == 'paused' else 'it must be running'}")
    attach.follow(container, report).finish()
    return 0


def tell(report: Report, code: int, format: str, path: str | None, fd: int) -> None:
    import json

    from pyrun.base import files
    from pyrun.trace import profile
    from pyrun.trace.report import table

    found = {"exitCode": code} | report.as_json()
    text = json.dumps(found, indent=2) + "\n" if format == "json" else table(found)
    if path:
        profile.put(path, text)
    elif fd == 1:
        write(text)
    else:
        files.write_all(fd, text.encode(errors="surrogateescape"))
