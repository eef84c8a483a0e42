"""The table that pyrun/cli/scan.py reads, made of the declaration: `python -m pyrun.cli.table` prints it as a Python module."""

from __future__ import annotations

import click

from pyrun.base import output
from pyrun.cli import declaration
from pyrun.cli.options import HELP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli import scan


def table() -> tuple[dict[str, scan.Option], dict[str, dict]]:
    """GLOBALS and COMMANDS for scan.read(): the commands, and no help."""

    def without_help(options: dict[str, scan.Option]) -> dict[str, scan.Option]:
        return {name: row for name, row in options.items() if row[0] != "help"}

    return without_help(declaration.options_of(declaration.PYRUN)), {
        command.name: {
            "options": without_help(declaration.options_of(command)),
            "defaults": {
                param.name: param.default
                for param in command.params
                if param is not HELP and (isinstance(param, click.Option) or (param.name, "maybe") in declaration.arguments_of(command))
            },
            "arguments": declaration.arguments_of(command),
            "stop": command.stop,
        }
        for command in declaration.COMMANDS
    }


def table_source() -> str:
    """The table as a Python module."""
    from pprint import pformat

    options, commands = (pformat(part, width=120, sort_dicts=False) for part in table())
    return f'"""The hot commands\' options, made from pyrun/cli/declaration.py."""\n\nGLOBALS = {options}\n\nCOMMANDS = {commands}\n'


if __name__ == "__main__":
    output.write(table_source())
