"""Makes what is installed beside the executable, of the declarations that its help is made of and of README.md.

    python csrc/documents.py     build/man/*.8, build/completions/ and build/engines/

The manual pages use the macros of man(7) that groff and mandoc both know.
"""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
sys.path.insert(0, str(ROOT))

from pyrun import __version__  # noqa: E402
from pyrun.cli import completion, declaration, options, scan  # noqa: E402
from pyrun.cli.help import EXAMPLES, shown  # noqa: E402
from pyrun.config.annotations import NAMES  # noqa: E402

ANNOTATIONS = "pyrun-annotations"
SECTION = 8
WIDTH = 78  # of a line of source; mandoc complains of more than 80
SCRIPTS = {"bash": "pyrun", "zsh": "_pyrun", "fish": "pyrun.fish"}
"""Shell -> the name by which it finds its script."""

# --- what pyrun's own page has besides the help -----------------------------------------------------------------------

EXIT_STATUS = {
    "0": "The command has done what it was asked for.",
    "1": "It has failed, and has said why in one line.",
    "3": "There is no such command.",
    "130": "It was interrupted.",
    "255": "`exec` has failed; otherwise its status is the program's.",
}
RUN_STATUS = "That of `run` and `restore`, unless they detach, and of `exec` is the program's, or 128+N where signal N ended it."
ENVIRONMENT = {
    "XDG_RUNTIME_DIR": "Where an ordinary user has no --root, the state of his containers is in the directory pyrun below it.",
    "PATH": "Where criu(8), newuidmap(1) and newgidmap(1) are looked for, each when it is needed.",
    "LISTEN_FDS": "The sockets of sd_listen_fds(3) are handed on to the program.",
    "NOTIFY_SOCKET": "The program gets a socket of its own for sd_notify(3); what it says there is passed on.",
    scan.COMPLETE: "Used by completion.",
}
FILES = {
    "/run/pyrun": "The state of root's containers, a directory for each.",
    "/etc/criu/runc.conf": f"Options for criu; see {ANNOTATIONS}(8).",
}

# --- roff -------------------------------------------------------------------------------------------------------------


def escape(text: str, emphasized: str = "") -> str:
    """Text as roff shows it. `words` become bold, and the word `emphasized` italic."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = re.sub(r"`([^`]+)`", r"\\fB\1\\fR", text)
    return re.sub(rf"(?<![\w\\]){re.escape(emphasized)}(?!\w)", rf"\\fI{emphasized}\\fR", text) if emphasized else text


def lines(text: str) -> list[str]:
    """A paragraph's lines of source, none of which roff takes for a request."""
    wrapped = textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)
    return [f"\\&{line}" if line.startswith((".", "'")) else line for line in wrapped]


def verbatim(block: Iterable[str]) -> list[str]:
    return [".EX", *(escape(line) for line in block), ".EE"]


def prose(text: str) -> list[str]:
    """Paragraphs; the lines of one that is indented stay as they are."""
    made: list[str] = []
    for paragraph in text.split("\n\n"):
        made += [".PP"] if made else []
        if paragraph.startswith(" "):
            made += [".RS 4", *verbatim(textwrap.dedent(paragraph).splitlines()), ".RE"]
        else:
            made += lines(escape(" ".join(paragraph.split())))
    return made


def definitions(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Words, each with its explanation. The words are roff already."""
    return [line for word, text in pairs for line in (".TP", word, *lines(text))]


def option_list(params: Iterable[click.Parameter]) -> list[str]:
    return definitions(
        (
            ", ".join(f"\\fB{escape(name)}\\fR" for name in option.opts) + (f" \\fI{escape(option.metavar)}\\fR" if option.metavar else ""),
            escape(option.help or "", option.metavar or ""),
        )
        for option in shown(params)
    )


def reference(name: str) -> str:
    return f"\\fB{escape(name)}\\fR({SECTION})"


def page(name: str, summary: str, sections: dict[str, list[str]]) -> str:
    head = [f'.TH {name.upper()} {SECTION} {released()} "pyrun {__version__}" "System administration"',
            ".SH NAME", f"{escape(name)} \\- {escape(summary)}"]
    body = [line for title, content in sections.items() if content for line in (f".SH {title}", *content)]
    return "\n".join([*head, *body]) + "\n"


def released() -> str:
    """The date of the newest version in CHANGELOG.md."""
    found = re.search(r"^## \[[\d.]+\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    if not found:
        sys.exit("documents: CHANGELOG.md has no version with a date")
    return found[1]


# --- the pages --------------------------------------------------------------------------------------------------------


def pages() -> dict[str, str]:
    """Name -> source of each."""
    commands = [*declaration.COMMANDS, declaration.HELP_COMMAND]
    made = {f"pyrun-{command.name}": command_page(command) for command in commands}
    others = [reference(name) for name in [*made, ANNOTATIONS]]
    return {"pyrun": main_page(commands, others), ANNOTATIONS: annotations_page(), **made}


def main_page(commands: list[declaration.Command], others: list[str]) -> str:
    return page("pyrun", "Open Container Initiative runtime", {
        "SYNOPSIS": ["\\fBpyrun\\fR [\\fIglobal options\\fR] \\fIcommand\\fR [\\fIoptions\\fR] [\\fIarguments\\fR]"],
        "DESCRIPTION": prose(options.ABOUT),
        "COMMANDS": definitions((reference(f"pyrun-{command.name}"), escape(command.summary)) for command in commands),
        "GLOBAL OPTIONS": [*prose("They stand before the command or after it."), *option_list(declaration.PYRUN.params)],
        "COMPLETION": prose(options.COMPLETION),
        "EXIT STATUS": [*definitions((f"\\fB{code}\\fR", escape(text)) for code, text in EXIT_STATUS.items()), ".PP", *prose(RUN_STATUS)],
        "ENVIRONMENT": definitions((f"\\fB{name}\\fR", escape(text)) for name, text in ENVIRONMENT.items()),
        "FILES": definitions((f"\\fI{escape(path)}\\fR", escape(text)) for path, text in FILES.items()),
        "SEE ALSO": lines(", ".join([*others, "\\fBcriu\\fR(8)"])),
    })


def command_page(command: declaration.Command) -> str:
    usages = [usage.strip() for usage in command.usage.split("  |  ")]
    words = [re.sub(r"[A-Z]+(\\-[A-Z]+)*", r"\\fI\g<0>\\fR", escape(usage)) for usage in usages]
    synopsis = [f"\\fBpyrun {escape(command.name)}\\fR [\\fIoptions\\fR] {usage}".rstrip() for usage in words]
    return page(f"pyrun-{command.name}", command.summary, {
        "SYNOPSIS": [line for usage in synopsis for line in (".br", usage)][1:],
        "DESCRIPTION": prose(command.text or f"{command.summary[0].upper()}{command.summary[1:]}."),
        "OPTIONS": [*option_list(command.params), ".PP", *lines(f"The global options of {reference('pyrun')} stand before the command or after it.")],
        "EXAMPLES": definitions((f"\\fB{escape(line)}\\fR", escape(text)) for line, text in EXAMPLES[command.name]),
        "SEE ALSO": [f"{reference('pyrun')}, {reference(ANNOTATIONS)}"],
    })


def annotations_page() -> str:
    rows = NAMES.items()
    return page(ANNOTATIONS, "annotations in config.json that pyrun goes by", {
        "DESCRIPTION": prose(
            "A container's config.json can have `annotations`: names with strings as their values, set by an engine or by hand. Those below "
            "change what pyrun does; `pyrun features` lists them too. All others are kept: `pyrun state` and the hooks are told of them.\n\n"
            "An engine that lets its users set annotations lets them set these."
        ),
        "ANNOTATIONS": definitions(
            (f"\\fB{escape(name)}\\fR" + (f"\\fI{rest}\\fR" if rest else ""), escape(" ".join(text.split()), rest)) for name, (rest, _, text) in rows
        ),
        "EXAMPLES": verbatim(['"annotations": {', ",\n".join(f"    {example}" for _, (_, example, _) in rows), "}"]),
        "SEE ALSO": [f"{reference('pyrun')}, {reference('pyrun-features')}, \\fBcriu\\fR(8), \\fBsystemd.resource\\-control\\fR(5)"],
    })


# --- examples for engines ---------------------------------------------------------------------------------------------

ENGINES = {
    "dockerd": "docker/daemon.json",
    "containerd": "containerd/config.toml",
    "containerd 2": "containerd-2/10-pyrun.toml",
    "CRI-O": "crio/10-pyrun.conf",
    "podman": "podman/containers.conf",
    "Kubernetes": "kubernetes/runtimeclass.yaml",
}
"""Heading in README.md -> the file with that section's lines."""


def engines() -> dict[str, str]:
    """Name -> content of each file."""
    text = (ROOT / "README.md").read_text().partition("\n## Engines\n")[2].partition("\n## ")[0]
    sections = dict(re.findall(r"^### (.+)\n(?:.|\n)*?```\w+\n((?:.|\n)*?)```", text, re.MULTILINE))
    if sections.keys() != ENGINES.keys():
        sys.exit(f"documents: the engines of README.md are {', '.join(sections)}; those of ENGINES {', '.join(ENGINES)}")
    return {ENGINES[heading]: content for heading, content in sections.items()}


# --- writing ----------------------------------------------------------------------------------------------------------


def write(directory: Path, files: dict[str, str]) -> None:
    """The files, by their names, and no others, in a directory."""
    shutil.rmtree(directory, ignore_errors=True)
    for name, text in files.items():
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


def main() -> None:
    write(BUILD / "man", {f"{name}.{SECTION}": text for name, text in pages().items()})
    write(BUILD / "completions", {file: completion.script(shell, declaration.PYRUN) for shell, file in SCRIPTS.items()})
    write(BUILD / "engines", engines())


if __name__ == "__main__":
    main()
