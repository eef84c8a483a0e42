"""Completion: what can follow the words that a shell has so far. pyrun/cli/completion.py has the shells' side."""

from __future__ import annotations

import posix

from click.shell_completion import CompletionItem

from pyrun.base import log, output
from pyrun.base.errors import Error
from pyrun.cli import completion
from pyrun.cli.declaration import PYRUN, settings_of
from pyrun.cli.scan import COMPLETE
from pyrun.cli.settings import ROOTLESS
from pyrun.commands import kill, top
from pyrun.container import record, state
from pyrun.criu import arguments
from pyrun.plan import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    import click

WORDS = {
    "cap": process.CAPABILITIES,
    "cpu_idle": ("0", "1"),
    "empty_ns": ("network",),
    "log_format": log.FORMATS,
    "manage_cgroups_mode": [mode for mode in arguments.CGROUP_MODES if mode],
    "rootless": sorted({"auto", *ROOTLESS.values()}),
    "sort": tuple(top.ORDERS),
    "topic": tuple(PYRUN.commands),
}
"""Option or argument -> its values, where these are known words."""
PATHS = {"DIR": "dir", "FILE": "file", "PATH": "file"}
"""What an option takes, as its help names it -> what the shell itself completes."""
INSIDE = {"cwd", "cgroup"}
"""Options whose path is none of the host's."""
BUNDLES = {"create", "run", "restore", "trace"}
"""Commands whose container is new: the argument can be its bundle."""
ALIVE = {"created", "running", "paused"}
STATUSES = {
    "start": {"created"}, "pause": {"created", "running"}, "resume": {"paused"}, "exec": {"created", "running"},
    "checkpoint": {"running", "paused"}, "kill": ALIVE, "ps": ALIVE, "update": ALIVE, "events": ALIVE,
}  # fmt: skip
"""Command -> the statuses of containers that it works on, where these are not all."""


def answer() -> None:
    """Prints what the shell wants that has asked by _PYRUN_COMPLETE. Raises Error."""
    wanted = posix.environ[COMPLETE.encode()].decode(errors="replace")
    name, _, what = wanted.partition("_")
    if name not in completion.SHELLS or what not in ("source", "complete"):
        raise Error(f"{COMPLETE}={wanted}: use {', '.join(f'{shell}_source' for shell in completion.SHELLS)}")
    if what == "source":
        output.write(completion.script(name, PYRUN))
        return
    try:
        found = completion.shell(name, PYRUN, values).complete()
    except (KeyError, ValueError):  # $COMP_WORDS, $COMP_CWORD
        raise Error(f"{COMPLETE}={wanted} is for the script that {name}_source prints") from None
    output.write(f"{found}\n")


def values(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What the value of an option or argument can be."""
    name, command = param.name or "", ctx.info_name or ""
    if name == "signal":
        return signals(incomplete)
    if name == "id" and command not in BUNDLES:
        return [CompletionItem(id, help=status) for id, status in containers(ctx, STATUSES.get(command)) if id.startswith(incomplete)]
    if name == "target":
        running = [CompletionItem(id, help=status) for id, status in containers(ctx, {"running"}) if id.startswith(incomplete)]
        return [*running, CompletionItem(incomplete, type="dir")]
    if name == "image":
        return [CompletionItem(incomplete, type="file")]
    if name in ("id", "bundle"):
        return [CompletionItem(incomplete, type="dir")]
    words = (str(param.default), "json") if name == "format" else WORDS.get(name)
    if words:
        return [CompletionItem(word) for word in words if word.startswith(incomplete)]
    if name not in INSIDE and (kind := PATHS.get(param.metavar or "")):
        return [CompletionItem(incomplete, type=kind)]
    return []


def containers(ctx: click.Context, statuses: set[str] | None) -> list[tuple[str, str]]:
    """(id, status) of the containers below --root; none where that cannot be read, for a message would go amid what is typed."""
    root = settings_of(ctx.find_root().params).root
    try:
        names = record.ids(root)
    except (Error, OSError):
        return []
    found = []
    for name in names:
        try:
            status = state.load(root, name).status()
        except (Error, OSError):
            continue
        if statuses is None or status in statuses:
            found.append((name, status))
    return found


def signals(incomplete: str) -> list[CompletionItem]:
    """Names of signals, with SIG before them where the word begins so."""
    word = incomplete.upper()
    names = {("SIG" if word.startswith("SI") else "") + name: number for name, number in kill.SIGNALS.items()}
    return [CompletionItem(name, help=str(number)) for name, number in names.items() if name.startswith(word)]
