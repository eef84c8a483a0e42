"""How the help is laid out, and the examples in it, which the manual pages have too."""

from __future__ import annotations

import click

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

EXAMPLES = {
    "create": [
        ("pyrun create --bundle mybundle web", "the container web, of the bundle in mybundle"),
        ("pyrun create --pid-file web.pid mybundle", "the container mybundle; its pid goes to web.pid"),
    ],
    "start": [("pyrun start web", "what create has made begins to run")],
    "state": [("pyrun state web", "its status, pid and bundle")],
    "kill": [
        ("pyrun kill web", "TERM: please end"),
        ("pyrun kill web KILL", "end at once"),
        ("pyrun kill --all web HUP", "HUP for all its processes"),
    ],
    "delete": [
        ("pyrun delete web", "what is left of a container that has ended"),
        ("pyrun delete --force web", "also one that runs: it is killed first"),
    ],
    "run": [
        ("pyrun run mybundle", "the bundle in the directory mybundle, until its program ends"),
        ("pyrun run --detach --bundle mybundle web", "as the container web, in the background"),
    ],
    "list": [
        ("pyrun list", "a table"),
        ("pyrun list --quiet", "the ids, one a line"),
        ("pyrun --root /run/docker/runtime-runc/moby list", "those that dockerd has made"),
    ],
    "spec": [
        ("pyrun spec --bundle mybundle", "writes mybundle/config.json"),
        ("pyrun spec --rootless", "config.json here, for an ordinary user"),
    ],
    "exec": [
        ("pyrun exec web ls -l /", "a program, with its own options"),
        ("pyrun exec --tty --env TERM=xterm web sh", "a shell on this terminal"),
        ("pyrun exec --user 1000:1000 --cwd /srv web id", "as another user, in another directory"),
    ],
    "ps": [
        ("pyrun ps web", "as `ps -ef` shows them"),
        ("pyrun ps web -o pid,rss,args", "with other columns"),
        ("pyrun ps --format json web", "the pids alone"),
    ],
    "pause": [("pyrun pause web", "none of its processes runs on, until `pyrun resume web`")],
    "resume": [("pyrun resume web", "they run on")],
    "update": [
        ("pyrun update --memory 512M --pids-limit 100 web", "two limits"),
        ("pyrun update --cpu-period 100000 --cpu-quota 50000 web", "half a CPU"),
        ("pyrun update --resources limits.json web", "all that is in a file"),
    ],
    "events": [
        ("pyrun events --stats web", "what it uses now"),
        ("pyrun events --interval 1s web", "a line each second, until it ends"),
    ],
    "top": [
        ("pyrun top", "on a terminal: like top(1), of containers"),
        ("pyrun top --once --sort memory", "a table, the largest first"),
        ("pyrun top --interval 10s --format json", "a line each 10 seconds, for a program"),
    ],
    "checkpoint": [
        ("pyrun checkpoint --image-path saved web", "web is in the directory saved, and runs no more"),
        ("pyrun checkpoint --leave-running --image-path saved web", "it is saved, and runs on"),
    ],
    "restore": [("pyrun restore --detach --image-path saved --bundle mybundle web", "web runs on where it was")],
    "features": [("pyrun features", "mount options, capabilities and the rest")],
    "validate": [
        ("pyrun validate mybundle", "what is wrong with mybundle/config.json"),
        ("pyrun validate --process ls.json", "what is wrong with a file for `pyrun exec --process`"),
        ("pyrun validate --format json mybundle", "an array for scripts; so is the exit code"),
    ],
    "plan": [
        ("pyrun plan mybundle", "the container at a glance"),
        ("pyrun plan --format steps mybundle", "step by step; json is the same for a program"),
        ("pyrun plan --diff other mybundle", "what would be different with the bundle in other"),
    ],
    "trace": [
        ("pyrun trace mybundle", "runs it; then tables of calls, files, capabilities, refusals"),
        ("pyrun trace --seccomp profile.json mybundle", "and writes a profile for linux.seccomp that allows just this"),
        ("pyrun trace --seccomp profile.json --merge mybundle", "adds what another run calls"),
        ("pyrun trace --check profile.json mybundle", "what would that profile have refused?"),
        ("pyrun trace -f json -o report.json web", "the container web, until ^C; it runs on"),
    ],
    "unpack": [
        ("pyrun unpack web.tar web", "of what `docker save -o web.tar web` wrote; then `pyrun run web`"),
        ("pyrun unpack --tag latest layout mybundle", "of a layout in the directory `layout`, the image of that tag"),
        ("pyrun unpack --tty --cmd sh --env LANG=C web.tar web", "with another program, on a terminal"),
        ("pyrun unpack --platform linux/arm64 web.tar web", "an image for another machine"),
    ],
    "help": [("pyrun help run", "the same as `pyrun run --help`")],
}  # fmt: skip
"""A command's name -> its examples: what to type, and what it does."""


def sections(parts: dict[str, list[str]]) -> str:
    """Help text: each title that has lines, and the lines."""
    return "\n\n".join("\n".join([f"{title}:", *(f"   {line}".rstrip() for line in lines)]) for title, lines in parts.items() if lines)


def rows(pairs: Sequence[tuple[str, str]]) -> list[str]:
    width = max(len(left) for left, _ in pairs)
    return [f"{left:{width}}  {right}" for left, right in pairs]


def shown(params: Iterable[click.Parameter]) -> list[click.Option]:
    """The options that people are told of."""
    return [param for param in params if isinstance(param, click.Option) and not param.hidden]


def option_rows(params: Iterable[click.Parameter]) -> list[str]:
    return rows([(", ".join(option.opts) + (f" {option.metavar}" if option.metavar else ""), option.help or "") for option in shown(params)])
