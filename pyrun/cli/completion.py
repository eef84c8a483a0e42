"""The shells' side of completion: what they read once, and how they ask. It is click's, with what its scripts get wrong set right.

A shell calls `pyrun` without words, and with what has been typed in the environment. pyrun/commands/complete.py answers.
"""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from pyrun.cli.scan import COMPLETE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

PROGRAM = "pyrun"


class Bash(BashComplete):
    def get_completion_args(self) -> tuple[list[str], str]:
        # bash takes `--option=value` apart.
        words, last = super().get_completion_args()
        args: list[str] = []
        for word in words:
            if args and args[-1].startswith("-") and (word == "=" or args[-1].endswith("=")):
                args[-1] += word
            else:
                args.append(word)
        if args and args[-1].startswith("-") and args[-1].endswith("="):
            last = args.pop() + last
        return args, last


class Zsh(ZshComplete):
    # Of `--option=value` the value alone is to be replaced. As a file in $fpath it is the body of a function, which is called more than
    # once: only the first time is it `loadautofunc`.
    source_template = ZshComplete.source_template.replace(
        "    local -a completions\n", "    compset -P '-*='\n    local -a completions\n", 1
    ).replace("$zsh_eval_context[-1] == loadautofunc", "$funcstack[1] == _%(prog_name)s")


class Fish(FishComplete):
    # It replaces the whole of `--option=value`.
    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        found = super().get_completions(args, incomplete)
        option, equals, _ = incomplete.partition("=")
        for item in found:
            if incomplete.startswith("-") and equals and item.type == "plain":
                item.value = f"{option}={item.value}"
        return found


SHELLS: dict[str, type[ShellComplete]] = {"bash": Bash, "zsh": Zsh, "fish": Fish}


def shell(name: str, root: click.Command, values: Callable | None = None) -> ShellComplete:
    """A shell's side. values: what options.complete() calls."""
    return SHELLS[name](root, {"obj": values}, PROGRAM, COMPLETE)


def script(name: str, root: click.Command) -> str:
    """What the shell of that name reads, once."""
    side = shell(name, root)
    return side.source_template % side.source_vars()
