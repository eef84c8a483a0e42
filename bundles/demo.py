"""`make demo`: a session with pyrun on a terminal, really run, as a picture that plays: demo.svg beside this file."""

import html
import json
import os
import pathlib
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PYRUN = HERE.parent / "build/pyrun"
COLUMNS, LINES = 118, 30
LETTER, LINE, EDGE = 8.4, 18, 14  # px
TYPING, AFTER, PAUSE = 0.05, 0.25, 1.6  # s: a letter, a command until its output, its output until the next

SESSION = """\
pyrun run hello | head -8
# a config with faults: all of them at once, each with its line and a cure
pyrun validate wrong
# a container in the background
pyrun run --detach --bundle web web
pyrun list
pyrun exec web ps
pyrun kill web KILL; sleep 0.2; pyrun state web | grep status
pyrun delete web
# why did it die?
pyrun run eager
# what would create do?
pyrun plan hello | head -24
# what does a program ask of the kernel?
pyrun trace hello 2>&1 >/dev/null | head -16
"""

STYLES = {"1": "b", "2": "d", "31": "r", "32": "g", "33": "y", "34": "u", "35": "m", "36": "c"}
SHEET = """text{white-space:pre;font:14px ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#d8dee9}
.b{font-weight:bold}.d{opacity:.6}.r{fill:#ff6b6b}.g{fill:#9ece6a}.y{fill:#e0af68}.u{fill:#7aa2f7}.m{fill:#bb9af7}.c{fill:#7dcfff}.p{fill:#9ece6a}
.l{visibility:hidden;animation:show 0s forwards}@keyframes show{to{visibility:visible}}"""

BUNDLES = f"""
set -e
cp -a {HERE}/hello {HERE}/shell .
for name in web eager wrong; do
    cp -a shell $name
    sed -i 's/"terminal": true/"terminal": false/' $name/config.json
done
"""
ARGUMENTS = {"web": ["httpd", "-f", "-p", "8080"], "eager": ["sh", "-c", 'a=x; while :; do a="$a$a"; done']}


def prepare(directory):
    subprocess.run(["sh", "-c", BUNDLES], cwd=directory, check=True)
    for name in ("web", "eager", "wrong"):
        path = pathlib.Path(directory, name, "config.json")
        config = json.loads(path.read_text())
        config["process"]["args"] = ARGUMENTS.get(name, ["sh"])
        config["linux"].setdefault("resources", {})["memory"] = {"limit": 32 << 20}
        if name == "wrong":
            config["process"]["cwd"] = "tmp"
            config["linux"]["namespaces"].append({"type": "nett"})
            config["mounts"].append({"destination": "/data", "type": "bind", "source": "/no/such/place"})
        path.write_text(json.dumps(config, indent=4))


def run(command, directory):
    """What a command writes to a terminal."""
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(directory)
        os.environ["TERM"] = "xterm-256color"
        os.environ["PATH"] = f"{directory}/bin:{os.environ['PATH']}"
        os.execvp("sh", ["sh", "-c", f"stty cols {COLUMNS} rows {LINES}; {command}"])
    text, ended = b"", False
    # A container that goes on has the terminal, too: the output is whole when the shell has ended and nothing more is there.
    while not ended or select.select([master], [], [], 0)[0]:
        if select.select([master], [], [], 0.05)[0]:
            try:
                text += os.read(master, 65536)
            except OSError:  # EIO: nobody has the terminal any more
                break
        ended = ended or os.waitpid(pid, os.WNOHANG)[0] != 0
    os.close(master)
    if not ended:
        os.waitpid(pid, 0)
    return text.decode(errors="replace").replace("\r\n", "\n").rstrip("\n")


def visible(text):
    """Text as XML; its spaces stay as many as they are."""
    return html.escape(text, quote=False).replace(" ", "\u00a0")


def spans(line):
    """A line with escapes as the inside of a <text>."""
    made, style = [], set()
    for index, part in enumerate(re.split(r"\x1b\[([\d;]*)m", line)):
        if index % 2:
            for code in part.split(";"):
                style = style | {STYLES[code]} if code in STYLES else set() if code in ("", "0") else style
        elif part:
            text = visible(re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", part))
            made.append(f'<tspan class="{" ".join(sorted(style))}">{text}</tspan>' if style else text)
    return "".join(made)


def folded(line):
    """Pieces of a line as wide as the terminal; escapes take no room."""
    pieces, piece, width = [], "", 0
    for token in re.findall(r"\x1b\[[\d;?]*[A-Za-z]|.", line):
        if token[0] != "\x1b":
            if width == COLUMNS:
                pieces.append(piece)
                piece, width = "", 0
            width += 1
        piece += token
    return [*pieces, piece]


def record(directory):
    """[(second at which it appears, inside of a <text>)] of each line."""
    lines, clock = [], 0.5
    for command in SESSION.splitlines():
        clock += TYPING * min(len(command), 20)
        if command[0] == "#":
            lines.append((clock, f'<tspan class="d">{visible(command)}</tspan>'))
            continue
        lines.append((clock, f'<tspan class="p">#\u00a0</tspan><tspan class="b">{visible(command)}</tspan>'))
        clock += AFTER
        output = run(command, directory)
        lines += [(clock, spans(piece)) for line in output.splitlines() for piece in folded(line)]
        lines.append((clock, ""))
        clock += PAUSE
    return lines


def picture(lines):
    width, height = COLUMNS * LETTER + 2 * EDGE, LINES * LINE + 2 * EDGE
    end = lines[-1][0]
    moves = {}  # second -> how far the text has moved up
    for number, (second, _) in enumerate(lines):
        moves[second] = max(0, number + 1 - LINES) * LINE
    frames = "".join(f"{second / end * 100:.2f}%{{transform:translateY(-{up}px)}}" for second, up in moves.items())
    texts = "\n".join(
        f'<text xml:space="preserve" class="l" style="animation-delay:{second:.2f}s" x="{EDGE}" y="{number * LINE + 14}">{inside}</text>'
        for number, (second, inside) in enumerate(lines)
        if inside
    )
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}">
<style>{SHEET}
.s{{animation:scroll {end:.2f}s step-end forwards}}@keyframes scroll{{0%{{transform:translateY(0)}}{frames}}}</style>
<rect width="100%" height="100%" rx="8" fill="#1a1b26"/>
<svg y="{EDGE}" width="100%" height="{LINES * LINE}"><g class="s">
{texts}
</g></svg>
</svg>
"""


def main():
    if os.geteuid() != 0:
        sys.exit("demo: making containers needs root")
    with tempfile.TemporaryDirectory(prefix="pyrun-demo-") as directory:
        (pathlib.Path(directory) / "bin").mkdir()
        shutil.copy(PYRUN, f"{directory}/bin/pyrun")
        prepare(directory)
        (HERE / "demo.svg").write_text(picture(record(directory)))


if __name__ == "__main__":
    main()
