"""Writes csrc/order.txt: the object files whose code the hot commands run. As root, with valgrind, after `make`.

python tests/bench/order.py

The linker lays the code of these together (csrc/binary.py), so that a start has less of the executable mapped. To be run again where Python, libc
or what commands call has changed much; an older list costs time, and nothing else.
"""

import bisect
import collections
import pathlib
import re
import subprocess
import sys
import tempfile
import textwrap

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests/bench")]

import bundles  # noqa: E402

COMMANDS = [["create", "--bundle", "{bundle}", "box"], ["state", "box"], ["start", "box"], ["exec", "box", "/bin/true"], ["list"],
            ["kill", "box", "KILL"], ["delete", "--force", "box"], ["state", "box"]]
GRAIN = 16
"""Bytes: what is counted."""
ENOUGH = 0.03
"""The part of a section of more than SMALL bytes that is run. One with less would fill the pages with what nobody wants."""
SMALL = 4096
WIDTH = 130
# libm's choose their version at each start. libc's are written for other processors than that of valgrind.
MORE = {"libm-": ["*"], "libc": ["mem*-avx512*", "mem*-evex*", "str*-evex*"]}
HEAD = """\
# The object files whose code hot commands run, by the archive that they are in; our own are in none. tests/bench/order.py made it.
# csrc/binary.py has the linker lay their code and constants together.
"""


def executed(program):
    """The addresses, in units of GRAIN bytes, that are executed in any of the commands."""
    found = set()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        place = pathlib.Path(directory)
        bundle = bundles.make_all(place / "bundles", program, ())["sleep"]
        for words in COMMANDS:
            command = [program, "--root", place / "state", *(word.format(bundle=bundle) for word in words)]
            watched = ["valgrind", "--tool=lackey", "--trace-mem=yes", f"--log-file={place / 'log'}", *command]
            subprocess.run(watched, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            with open(place / "log") as lines:
                found.update(int(line[3:].partition(",")[0], 16) // GRAIN for line in lines if line.startswith("I "))
    return found


def sections(linked):
    """(address, size, name, archive, object file) of each section of code, by the linker's map."""
    row = re.compile(r"^ (\.text\S*)\s+0x([0-9a-f]+)\s+0x([0-9a-f]+) (?:\S*/)?(?:(\S+)\.a\((\S+)\.o\)|(\S+)\.o)$", re.MULTILINE)
    text = linked.read_text().partition("Linker script and memory map")[2]
    found = [(int(at, 16), int(size, 16), name, archive, member or own) for name, at, size, archive, member, own in row.findall(text)]
    return sorted(section for section in found if section[1])


def main():
    found = sections(ROOT / "build/seed.map")
    starts = [section[0] for section in found]
    counts = collections.Counter(bisect.bisect(starts, grain * GRAIN) - 1 for grain in executed(str(ROOT / "build/pyrun")))
    chosen = collections.defaultdict(set)
    for index, count in counts.items():
        _, size, name, archive, member = found[index]
        cold = archive.startswith("libpython") and name != ".text.hot"
        if not cold and (size <= SMALL or count * GRAIN / size >= ENOUGH):
            chosen[re.sub(r"^(libpython3|libm-).*", r"\1", archive)].add(member)
    for archive, names in MORE.items():
        chosen[archive] = set(names) if "*" in names else chosen[archive] | set(names)
    rows = [f"{archive}: {line}\n" for archive in sorted(chosen, reverse=True) for line in textwrap.wrap(" ".join(sorted(chosen[archive])), WIDTH)]
    (ROOT / "csrc/order.txt").write_text(HEAD + "".join(rows))


if __name__ == "__main__":
    main()
