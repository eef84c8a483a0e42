"""Whether the tests that specs/coverage.md names fail when the runtime ignores the field. Needs root; `make coverage-check` runs it.

    coverage_check.py [FIELD …]     all rows, or those of these fields; `linux.*` and the like are all that begin so

The runtime of a run is that of the checkout, in which dropped.py makes one member of the config, or one word of a list of
values, go away after it was checked. specs/coverage-check.md is written anew, a row for each row of coverage.md: first its
test with nothing dropped, which must pass, then with the field dropped, which must fail. Where a test is skipped, or where
nothing is there to drop, the table says why. The exit code is 1 if a test did not notice.
"""

import concurrent.futures
import os
import pathlib
import platform
import re
import shlex
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

import coverage_table
import dropped
from harness import PROJECT, make_rootfs

TABLE = PROJECT / "specs/coverage-check.md"
HERE = PROJECT / "tests"
AT_ONCE = 2
# Rows of which there is nothing to ignore.
NOTHING = {
    "process.commandLine": "nothing to ignore: of Windows",
    "process.user.username": "nothing to ignore: of Windows",
}
# Words whose loss no test can notice everywhere, and why.
UNSEEN = {
    "SCHED_ISO": "the check refuses it (unit/test_config_check.py::test_broken): Linux has none",
    "SCHED_FLAG_UTIL_CLAMP_MIN": "seen with CONFIG_UCLAMP_TASK alone",
    "SCHED_FLAG_UTIL_CLAMP_MAX": "seen with CONFIG_UCLAMP_TASK alone",
    "private": "the root of a container is private without it",
    "SCMP_ACT_NOTIFY": "as the default action it is refused, since the program's first call would wait for the agent",
    f"SCMP_ARCH_{platform.machine().upper()}": "that of the machine is in without it",
    "SECCOMP_FILTER_FLAG_TSYNC": "it is of other threads, and the process that takes the filter has none",
    "RLIMIT_NICE": "seen where the caller may raise it (CAP_SYS_RESOURCE)",
    "RLIMIT_RTPRIO": "seen where the caller may raise it (CAP_SYS_RESOURCE)",
}
HEAD = """# Whether the tests of coverage.md notice a field that is ignored

`make coverage-check` has written this: {counts}.

For each row of [coverage.md](coverage.md) the test that it names is run twice by a runtime which is that of the checkout: as it
is, and with the field taken out of the config after the check (a member that must be there becomes another). Of a list of
values each word goes in a run of its own. *yes*: the test passes with the field and fails without it. *skipped*: this machine
lacks what the row needs. *not tried yet*: no run has come to this row.

| field | test | fails when the field is ignored |
|---|---|---|
"""


class Outcome:
    """What pytest said of one run: passed, failed, skipped (numbers) and why it skipped."""

    def __init__(self, report):
        cases = list(xml.etree.ElementTree.parse(report).getroot().iter("testcase"))
        self.skipped = [case.find("skipped").get("message") for case in cases if case.find("skipped") is not None]
        self.failed = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
        self.passed = len(cases) - len(self.skipped) - self.failed


def run(test, rootfs, field="", word=""):
    """The Outcome of a test (FILE::NAME) on the runtime that ignores the field's word."""
    with tempfile.TemporaryDirectory(prefix="pyrun-coverage-") as directory:
        runtime, report = pathlib.Path(directory, "pyrun"), pathlib.Path(directory, "report.xml")
        command = shlex.join([sys.executable, str(HERE / "dropped.py"), field, word, str(rootfs)])
        runtime.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        runtime.chmod(0o755)
        environ = os.environ | {"PYRUN": str(runtime), "DROPPED": f"{field}\n{word}\n{rootfs}", "PYTHONPATH": f"{HERE}:{PROJECT}"}
        words = [*(["-x"] if field else []), "-q", "-p", "dropped", f"--junit-xml={report}", f"--basetemp={directory}/tests", HERE / test]
        done = subprocess.run([sys.executable, "-m", "pytest", *words], cwd=PROJECT, env=environ, capture_output=True, text=True, check=False)
        if done.returncode not in (0, 1):
            sys.exit(f"{test}: pytest ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return Outcome(report)


def answers(test, rows, rootfs):
    """Yields (field, last cell) of the rows that name a test."""
    sound = None
    for field, *_ in rows:
        path, _, words = field.partition(" ∈ ")
        sound = sound or (path not in NOTHING and run(test, rootfs)) or None
        if path in NOTHING:
            yield field, NOTHING[path]
        elif sound.failed:
            yield field, "no: the test fails in any case"
        elif not sound.passed:
            yield field, f"skipped: {sound.skipped[0]}"
        else:
            each = words.split("|") if words else dropped.KINDS if path.endswith("hooks.*") else [""]
            silent = [word for word in each if not run(test, rootfs, path, word).failed]
            yield field, noticed(each, silent)


def noticed(each, silent):
    """The words (list) for a row of which a test was tried without each word and did not notice the silent ones."""
    unknown = [word for word in silent if word not in UNSEEN]
    if unknown:
        return "no" if silent == list(each) else f"no, not for {', '.join(unknown)}"
    return "; ".join(["yes", *(f"not for {word}: {UNSEEN[word]}" for word in silent)])


def main(words):
    held = {cells[0]: cells[-1] for cells in coverage_table.rows(TABLE.read_text() if TABLE.exists() else "")}
    chosen = {}
    for row in coverage_table.FIELDS:
        if not words or any(names(word, row[0]) for word in words):
            chosen.setdefault(row[2], []).append(row)
    with tempfile.TemporaryDirectory(prefix="pyrun-coverage-") as directory, concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        rootfs = make_rootfs(pathlib.Path(directory, "rootfs"))
        pathlib.Path(directory).chmod(0o755)

        def ask(test):
            for field, said in answers(test, chosen[test], rootfs):
                print(f"{field[:80]}: {said}", flush=True)
                # What another machine has shown stays, where this one cannot.
                if not (said.startswith("skipped") and held.get(field, "").startswith("yes")):
                    held[field] = said
                write(held)

        list(pool.map(ask, chosen))
    return any(re.match(r"no\b", held[row[0]]) for rows in chosen.values() for row in rows)


def names(word, field):
    return field.startswith(word[:-1]) if word.endswith("*") else word in (field, field.partition(" ∈ ")[0])


def write(held):
    TABLE.write_text(text_of([(field, test, held.get(field, "not tried yet")) for field, _, test, _ in coverage_table.FIELDS]))


def text_of(lines):
    kinds = [re.split("[:;,]", said)[0] for _, _, said in lines]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(sorted(kinds, reverse=True)))
    cells = [(f"`{field}`".replace("|", "\\|"), f"`{test}`", said.replace("|", "\\|")) for field, test, said in lines]
    return HEAD.format(counts=counts) + "".join(f"| {' | '.join(row)} |\n" for row in cells)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
