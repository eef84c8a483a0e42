"""gcc's warnings and its analyzer (-fanalyzer) have nothing to say of the C sources."""

import subprocess
import sysconfig

import pytest
from harness import PROJECT

SOURCES = sorted(PROJECT.glob("csrc/*.c")) + sorted(PROJECT.glob("csrc/init/*.c"))
WARNINGS = [
    "-Werror", "-Wall", "-Wextra", "-fanalyzer",
    "-Wno-unused-parameter",  # the form of a function that a table calls
    "-Wno-analyzer-fd-leak",  # a failed op ends init and with it its files; dup2(2) is there for the number, not for a new file
    "-Wno-analyzer-undefined-behavior-ptrdiff",  # the linker's symbols lie in one segment
]  # fmt: skip


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(PROJECT / "csrc")))
def test_gcc_has_nothing_to_say(source, tmp_path):
    include = ["-iquote", PROJECT / "csrc", "-iquote", PROJECT / "csrc/init", "-isystem", sysconfig.get_path("include")]
    command = ["gcc", "-std=gnu11", "-O2", *WARNINGS, *include, "-S", "-o", tmp_path / "out.s", source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
