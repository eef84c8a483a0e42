"""The command tree: every command, option and help text, declared once, in click.

What a hot command's words mean is also written into the table that pyrun/cli/scan.py reads (pyrun/cli/table.py).
Both ways scan words with scan.scan() and give a command the same keyword arguments.
"""

from __future__ import annotations

import click

from pyrun import __version__
from pyrun.base import log, output
from pyrun.base.errors import Error
from pyrun.cli import scan
from pyrun.cli.help import EXAMPLES, option_rows, rows, sections
from pyrun.cli.options import (
    ABOUT,
    BUNDLE,
    BUNDLE_ARGUMENT,
    BUNDLE_TEXT,
    COMPLETION,
    CONSOLE_SOCKET,
    CRIU_OPTIONS,
    DETACH,
    GLOBALS,
    HELP,
    ID,
    IMAGE_PATH,
    NO_NEW_KEYRING,
    NO_PIVOT,
    NO_SUBREAPER,
    PID_FILE,
    PIDFD_SOCKET,
    PRESERVE_FDS,
    THIS_BUNDLE,
    TRACE_TEXT,
    UNPACK_TEXT,
    VALIDATE_TEXT,
    VERSION,
    WORK_PATH,
    argument,
    flag,
    number,
    numbers,
    text,
    texts,
)
from pyrun.cli.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, NoReturn

    from click.shell_completion import CompletionItem

UNKNOWN_TOPIC = 3


class Misused(Exception):
    """Words that `command` does not take; settings: the global options read before them."""

    def __init__(self, command: Command | Root, ctx: click.Context, fault: scan.Refused) -> None:
        guess = likely(fault.name, options_of(command), "--") if isinstance(fault, scan.Unknown) else ""
        super().__init__(f"{fault}{guess}")
        self.command, self.settings = command, ctx.find_root().params


class Command(click.Command):
    """A command. stop: whether the first argument ends the options."""

    name: str

    def __init__(self, name: str, usage: str, summary: str, *params: click.Parameter, text: str = "", stop: bool = False) -> None:
        super().__init__(name, params=[*params, HELP], callback=lambda **values: values, short_help=summary, add_help_option=False)
        self.usage, self.summary, self.text, self.stop = usage, summary, text, stop

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # Not click's own: that knows GNU's style alone. For completion it has to learn what an option begins with.
        if ctx.resilient_parsing:
            super().parse_args(ctx, [])
        values = {}
        try:
            rest = scan.scan(options_of(self), args, self.stop, values, ctx.find_root().params)
            if values.pop("help", False) and not ctx.resilient_parsing:
                show_help(self)
            values |= scan.arguments(self.name, arguments_of(self), rest)
        except scan.Refused as fault:
            if not ctx.resilient_parsing:
                raise Misused(self, ctx, fault) from None
        for param in self.params:
            param.handle_parse_result(ctx, values, [])
        return []

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """What can be completed: global options may follow the command."""
        return [*super().get_params(ctx), *GLOBALS]

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        # After the container's id all words are another program's.
        return [] if self.stop and ctx.params.get("id") else super().shell_complete(ctx, incomplete)

    def manual(self) -> str:
        return sections({
            "NAME": [f"pyrun {self.name} - {self.summary}"],
            "USAGE": [f"pyrun {self.name} [options] {self.usage}"],
            "DESCRIPTION": self.text.splitlines(),
            "OPTIONS": option_rows(self.params),
            "GLOBAL OPTIONS": option_rows(GLOBALS),
            "EXAMPLES": rows(EXAMPLES[self.name]),
        })


class Root(click.Group):
    """`pyrun` itself."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:  # a shell asks what could follow
            super().parse_args(ctx, [])
            ctx.params.clear()  # defaults, which would count as given
        values = ctx.params
        try:
            ctx.args = scan.scan(options_of(self), args, True, values, values)
        except scan.Refused as fault:
            if not ctx.resilient_parsing:
                raise Misused(self, ctx, fault) from None
            ctx.args = []
        if values.pop("help", False) and not ctx.resilient_parsing:
            show_help(self)
        for param in self.params:
            param.handle_parse_result(ctx, values, [])
        return ctx.args

    def invoke(self, ctx: click.Context) -> tuple[str, dict[str, Any]]:
        """Returns (command's name, its keyword arguments); raises SystemExit after help."""
        if ctx.params.pop("version"):
            return "version", {}
        if not ctx.args:
            show_help(self)
        command = topic(ctx.args[0])
        with command.make_context(command.name, ctx.args[1:], parent=ctx) as inner:
            values = command.invoke(inner)
        if command is HELP_COMMAND:
            show_help(topic(values["topic"]) if values["topic"] else self)
        return command.name, values

    def manual(self) -> str:
        return sections({
            "NAME": ["pyrun - Open Container Initiative runtime"],
            "USAGE": ["pyrun [global options] command [options] [arguments]"],
            "VERSION": [__version__],
            "DESCRIPTION": ABOUT.splitlines(),
            "COMMANDS": rows([(command.name, command.summary) for command in [*COMMANDS, HELP_COMMAND]]),
            "GLOBAL OPTIONS": option_rows(self.params),
            "COMPLETION": COMPLETION.splitlines(),
        })


def parse(words: Sequence[str]) -> scan.CommandLine:
    """Reads a command line as scan.parse() does, and says what is wrong with one. Returns (Settings, name, keyword arguments).

    words: what follows the program's name. Raises Error, and SystemExit(0) after help.
    """
    settings = {}
    try:
        with PYRUN.make_context("pyrun", list(words)) as context:
            settings = context.params
            name, values = PYRUN.invoke(context)
    except Misused as fault:
        start_log(fault.settings)
        output.write(f"Incorrect Usage.\n\n{fault.command.manual()}\n")
        raise Error(str(fault)) from None
    except Error:
        start_log(settings)
        raise
    return Settings(**settings), name, values


def start_log(given: dict[str, Any]) -> None:
    """What is wrong with the words shall reach the log that they name."""
    settings = settings_of(given)
    log.start(settings.log, settings.log_format, settings.debug)


def settings_of(given: dict[str, Any]) -> Settings:
    """The global options, of a context's parameters."""
    return Settings(**{name: value for name, value in given.items() if name != "version"})


def topic(name: str) -> Command:
    """The command of that name."""
    command = HELP_COMMAND if name == "h" else PYRUN.commands.get(name)
    if not isinstance(command, Command):
        raise Error(f"No help topic for '{name}'{likely(name, PYRUN.commands)}", UNKNOWN_TOPIC)
    return command


def likely(word: str, known: Iterable[str], before: str = "") -> str:
    """A guess, to be added to a message, which of the known words a mistyped one was meant to be; '' if there is none."""
    from difflib import get_close_matches

    found = get_close_matches(word, known, 1)
    return f": is {before}{found[0]} meant?" if found else ""


# --- help ------------------------------------------------------------------------------------------------------------

def show_help(command: Command | Root) -> NoReturn:
    output.write(command.manual() + "\n")
    raise SystemExit(0)


# --- the commands --------------------------------------------------------------------------------------------------

COMMANDS = [
    Command(
        "create", "CONTAINER-ID", "make a container, ready for start",
        BUNDLE, CONSOLE_SOCKET, PIDFD_SOCKET, PID_FILE, NO_PIVOT, NO_NEW_KEYRING, PRESERVE_FDS, ID,
        text=BUNDLE_TEXT,
    ),
    Command("start", "CONTAINER-ID", "run the program of a created container", ID),
    Command("state", "CONTAINER-ID", "print a container's state as JSON", ID),
    Command(
        "kill", "CONTAINER-ID [SIGNAL]", "send a signal to a container's first process",
        flag("--all", "-a", help="send it to all processes of the container"),
        ID, argument("signal", default="SIGTERM"),
        text="SIGNAL is a name (KILL, SIGKILL, RTMIN+3) or a number; TERM where it is left out.",
    ),
    Command(
        "delete", "CONTAINER-ID", "remove a stopped container and all that it held",
        flag("--force", "-f", help="end the container first if it is not stopped (SIGKILL); an unknown id is no error"),
        ID,
    ),
    Command(
        "run", "CONTAINER-ID", "create, start and wait for a container, then delete it",
        BUNDLE, CONSOLE_SOCKET, PIDFD_SOCKET, DETACH,
        flag("--keep", help="do not delete the container when it has ended"),
        PID_FILE,
        NO_SUBREAPER,
        NO_PIVOT, NO_NEW_KEYRING, PRESERVE_FDS, ID,
        text=f"{BUNDLE_TEXT}\nThe exit code is the program's, or 128+N where signal N ended it.",
    ),
    Command(
        "list", "", "list the containers",
        text("--format", "-f", metavar="FORMAT", default="table", help="table or json (default: table)"),
        flag("--quiet", "-q", help="print the ids alone"),
        text="The containers are those under the directory that --root names.",
    ),
    Command(
        "spec", "", "write a config.json to begin with",
        text("--bundle", "-b", metavar="DIR", help="write it there (default: the working directory)"),
        flag("--rootless", help="make it one that needs no privileges, with a user namespace"),
        text="Its program is `sh` on a terminal, in the root file system `rootfs` beside it, which you fill. For create and\n"
             "run --detach set process.terminal to false, and process.args to a program that needs no terminal.\n"
             "A file that exists is kept.",
    ),
    Command(
        "exec", "CONTAINER-ID COMMAND [ARGUMENT]...  |  -p FILE CONTAINER-ID", "run another process in a running container",
        CONSOLE_SOCKET, PIDFD_SOCKET,
        text("--cwd", metavar="DIR", help="working directory in the container"),
        texts("--env", "-e", metavar="NAME=VALUE", help="add to the environment"),
        flag("--tty", "-t", help="give the process a terminal"),
        text("--user", "-u", metavar="UID[:GID]", help="the user, and group, that it runs as"),
        numbers("--additional-gids", "-g", metavar="GID", help="add this supplementary group"),
        text("--process", "-p", metavar="FILE", help="read the whole process from FILE: JSON, as `process` in config.json"),
        DETACH, PID_FILE,
        text("--process-label", metavar="LABEL", help="SELinux label of the process"),
        text("--apparmor", metavar="PROFILE", help="AppArmor profile of the process"),
        # Not given, it is what config.json says.
        flag("--no-new-privs", default=None, help="let the process and its children gain no privileges"),
        texts("--cap", "-c", metavar="CAP_NAME", help="add this capability"),
        PRESERVE_FDS,
        texts("--cgroup", metavar="[CONTROLLER,...:]PATH", help="run it in a cgroup below the container's"),
        flag("--ignore-paused", help="exec in a paused container too; the process waits until it is resumed"),
        ID, argument("args", nargs=-1, required=False),
        text="All that follows CONTAINER-ID is the command, options of its own included.",
        stop=True,
    ),
    Command(
        "ps", "CONTAINER-ID [PS-OPTION]...", "show the processes of a container",
        text("--format", "-f", metavar="FORMAT", default="table", help="table, or json for the pids alone (default: table)"),
        ID, argument("args", nargs=-1, required=False),
        text="All that follows CONTAINER-ID is passed to ps(1) in place of -ef.",
        stop=True,
    ),
    Command("pause", "CONTAINER-ID", "suspend all processes of a container", ID),
    Command("resume", "CONTAINER-ID", "resume the processes of a paused container", ID),
    Command(
        "update", "CONTAINER-ID", "change the limits of a container",
        text("--resources", "-r", metavar="FILE", help="read them from FILE: JSON, as linux.resources in config.json; - is stdin"),
        text("--blkio-weight", metavar="N", help="share of block I/O, 10 to 1000"),
        text("--cpu-period", metavar="USEC", help="the period that --cpu-quota counts for"),
        text("--cpu-quota", metavar="USEC", help="CPU time in each period; -1: no limit"),
        text("--cpu-burst", metavar="USEC", help="CPU time saved up in idle periods that may be added to one"),
        text("--cpu-share", metavar="N", help="share of CPU time, 2 to 262144 (others have 1024)"),
        text("--cpu-idle", metavar="0|1", help="1: run only when no other process wants to (SCHED_IDLE)"),
        text("--cpu-rt-period", metavar="USEC", help="the period that --cpu-rt-runtime counts for"),
        text("--cpu-rt-runtime", metavar="USEC", help="real-time CPU time in each period"),
        text("--cpuset-cpus", metavar="LIST", help="CPUs it may use, as 0-2,7"),
        text("--cpuset-mems", metavar="LIST", help="memory nodes it may use, as 0-1"),
        text("--memory", metavar="SIZE", help="memory in bytes, or as 50M; -1: no limit"),
        text("--memory-reservation", metavar="SIZE", help="memory that is left to it when memory is short"),
        text("--memory-swap", metavar="SIZE", help="memory and swap together; -1: no limit of swap"),
        text("--kernel-memory", metavar="SIZE", help="ignored: the kernel has no such limit any more"),
        text("--kernel-memory-tcp", metavar="SIZE", help="ignored, as --kernel-memory"),
        text("--pids-limit", metavar="N", help="number of processes; -1: no limit"),
        text("--l3-cache-schema", metavar="SCHEMA", help="Intel RDT/CAT: the L3 cache it may use"),
        text("--mem-bw-schema", metavar="SCHEMA", help="Intel RDT/MBA: the memory bandwidth it may use"),
        ID,
        text="What is not named stays as it is. With --resources the other options for limits are ignored.",
    ),
    Command(
        "events", "CONTAINER-ID", "show what a container uses, as lines of JSON",
        text("--interval", metavar="TIME", default="5s", help="how often, as 100ms, 5s or 1m30s (default: 5s)"),
        flag("--stats", help="show what it uses now, and end"),
        ID,
        text="A line for each --interval, and one when its memory runs out. It ends with the container.",
    ),
    Command(
        "top", "", "show what all containers use, again and again",
        text("--interval", metavar="TIME", default="1s", help="how often, as 500ms, 1s or 1m (default: 1s)"),
        text("--sort", metavar="ORDER", default="cpu", help="cpu, memory, pids, io or name (default: cpu)"),
        text("--format", "-f", metavar="FORMAT", default="table", help="table or json (default: table)"),
        flag("--once", help="show it once, and end"),
        text="On a terminal the screen is painted anew each --interval; its last line says what the keys do. Elsewhere a table is printed\n"
             "each time, or a JSON array on a line. PSI is the part of the last 10 s in which some process had to wait (cgroup v2).",
    ),
    Command(
        "checkpoint", "CONTAINER-ID", "save a running container in files, and end it",
        IMAGE_PATH, WORK_PATH,
        text("--parent-path", metavar="DIR", help="the directory of an earlier --pre-dump, relative to --image-path"),
        flag("--leave-running", help="let it run on"),
        flag("--pre-dump", help="only save its memory, and let it run on: a later checkpoint saves what has changed since"),
        text("--page-server", metavar="ADDRESS:PORT", help="send the memory to the criu page server at ADDRESS:PORT"),
        number("--status-fd", metavar="FD", default=None, help="write a zero byte to FD when --lazy-pages can be served"),
        flag("--tcp-skip-in-flight", help="leave out TCP connections that are not established yet"),
        flag("--link-remap", help="save open files whose names were removed, by temporary links"),
        *CRIU_OPTIONS, ID,
        text="It needs criu. The container, which must be running or paused, is removed when its state is saved; restore\n"
             "brings it back. What criu has to say is in dump.log in --work-path.",
    ),
    Command(
        "restore", "CONTAINER-ID", "restore a container that checkpoint has saved",
        BUNDLE, IMAGE_PATH, WORK_PATH, CONSOLE_SOCKET, DETACH, PID_FILE, NO_SUBREAPER,
        flag("--no-pivot", help="ignored: criu has only one way to change the root"),
        text("--lsm-profile", metavar="TYPE:NAME", help="the AppArmor or SELinux profile it gets instead of its own"),
        text("--lsm-mount-context", metavar="LABEL", help="the SELinux context that mounts get instead of their own"),
        *CRIU_OPTIONS, ID,
        text=f"{BUNDLE_TEXT}\nIt needs criu, and the bundle that the container was made of. stdin, stdout and stderr take the place of those\n"
             "it had; where they were files they must be the same ones, opened to append. What criu has to say is in restore.log\n"
             "in --work-path. The exit code is that of `run`.",
    ),
    Command("features", "", "show what this runtime can do, as JSON", text="The form is that of the specification's features.md."),
    Command(
        "validate", "[BUNDLE] | --process FILE | --resources FILE", "tell what is wrong with a config, and whether it runs here",
        THIS_BUNDLE,
        text("--process", "-p", metavar="FILE", help="look at FILE instead, which is as `exec --process` takes it"),
        text("--resources", "-r", metavar="FILE", help="look at FILE instead, which is as `update --resources` takes it; - is stdin"),
        text("--format", "-f", metavar="FORMAT", default="text", help="text or json (default: text)"),
        BUNDLE_ARGUMENT,
        text=VALIDATE_TEXT,
    ),
    Command(
        "plan", "[BUNDLE]", "show how a bundle's container would be made",
        THIS_BUNDLE,
        text("--format", "-f", metavar="FORMAT", default="text", help="text, steps or json (default: text)"),
        text("--diff", metavar="DIR", help="show what would be different for the bundle in DIR"),
        BUNDLE_ARGUMENT,
        text="Nothing is made. It is all that create and start would do, by subject: namespaces, cgroup, mounts and so on. --format steps has it\n"
             "step by step, in order, and json too; each step names the part of config.json that it comes from. Of the environment the names\n"
             "are shown. Paths in the bundle begin with a dot.",
    ),
    Command(
        "trace", "BUNDLE | CONTAINER-ID", "report what a container's processes ask of the kernel",
        text("--id", metavar="CONTAINER-ID", help="run the bundle as a container of this id (default: trace-PID)"),
        text("--seccomp", metavar="FILE", help="write the smallest seccomp profile that allows what was called"),
        flag("--merge", help="add the calls to the profile that is in FILE already"),
        text("--check", metavar="FILE", help="tell which calls the profile in FILE would have refused"),
        text("--format", "-f", metavar="FORMAT", default="table", help="table or json (default: table)"),
        text("--output", "-o", metavar="FILE", help="write the report to FILE"),
        argument("target"),
        text=TRACE_TEXT,
    ),
    Command(
        "unpack", "IMAGE BUNDLE", "make a bundle of a container image",
        text("--tag", metavar="NAME", help="the image to take where IMAGE has several: its name, or the tag alone"),
        text("--platform", metavar="OS/ARCH[/VARIANT]", help="take the image for this platform (default: this machine's)"),
        text("--entrypoint", metavar="WORDS", help="run this in place of the image's entry point and command"),
        text("--cmd", metavar="WORDS", help="run this in place of the image's command"),
        texts("--env", "-e", metavar="NAME=VALUE", help="add to the environment"),
        flag("--tty", "-t", help="give the program a terminal"),
        argument("image"), argument("bundle"),
        text=UNPACK_TEXT,
    ),
]

HELP_COMMAND = Command("help", "[COMMAND]", "show help, or that of a command", argument("topic", required=False, default=None))

PYRUN = Root(
    "pyrun",
    params=[*GLOBALS, HELP, VERSION],
    commands=[*COMMANDS, HELP_COMMAND],
    add_help_option=False,
)


# --- tables ----------------------------------------------------------------------------------------------------------

def options_of(command: click.Command) -> dict[str, scan.Option]:
    """name -> (keyword, kind, whether it is a global one), as scan.scan() wants it: a command's own options and, after
    any command, the global ones."""
    scopes = [(True, command.params)] if command is PYRUN else [(True, [*GLOBALS]), (False, command.params)]
    return {
        name.lstrip("-"): (option.name or "", kind(option), is_global)
        for is_global, params in scopes
        for option in params
        if isinstance(option, click.Option)
        for name in option.opts
    }


def kind(option: click.Option) -> str:
    if option.is_flag:
        return "flag"
    return ("number" if isinstance(option.type, click.IntRange) else "text") + "s" * option.multiple


def arguments_of(command: click.Command) -> tuple[tuple[str, str], ...]:
    """(keyword, kind) of each argument, as scan.arguments() wants them."""
    return tuple(
        (param.name or "", "rest" if param.nargs == -1 else "one" if param.required else "maybe")
        for param in command.params if isinstance(param, click.Argument)
    )
