"""The linters, with the settings of pyproject.toml and .clang-format. `make lint` runs them alone."""

import pathlib
import shutil
import subprocess
import sys

import pytest
from harness import PROJECT

C_SOURCES = [
    path for pattern in ("csrc/**/*.[ch]", "bundles/*/*.c", "tests/**/*.c") for path in sorted(PROJECT.glob(pattern))
]
SHELL_SCRIPTS = [
    PROJECT / ".ci/run",
    *sorted(PROJECT.glob("csrc/*.sh")),
    *sorted(PROJECT.glob("bundles/**/*.sh")),
    *sorted(PROJECT.glob("bundles/*/bin/*")),
    *sorted(PROJECT.glob("tests/**/*.sh")),
]
LINTERS = {
    "ruff": ["ruff", "check", "."],
    "mypy": ["mypy"],
    "clang-format": ["clang-format", "--dry-run", "-Werror", *C_SOURCES],
    "shellcheck": ["shellcheck", *SHELL_SCRIPTS],
}


@pytest.mark.parametrize("name", LINTERS)
def test_linter_has_nothing_to_say(name):
    program, *args = LINTERS[name]
    beside = pathlib.Path(sys.executable).with_name(program)
    path = beside if beside.exists() else shutil.which(program)
    assert path, f"{program} is missing: `make test` installs it"
    done = subprocess.run([path, *args], cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
