"""Runs the linters: `make lint`, `make format`, the pre-commit hook and tests/unit/test_lint.py all take them from here.

    lint.py [--fix] [NAME …]     NAME: ruff, mypy, clang-format, shellcheck, cppcheck; without one, all

Their settings are in pyproject.toml and .clang-format. --fix: those that can, mend what they find.
"""

import pathlib
import shutil
import subprocess
import sys

PROJECT = pathlib.Path(__file__).resolve().parent.parent


def files(*patterns):
    return [str(path.relative_to(PROJECT)) for pattern in patterns for path in sorted(PROJECT.glob(pattern))]


C_SOURCES = files("csrc/**/*.[ch]", "bundles/*/*.c", "tests/**/*.c")
SHELL_SCRIPTS = files(".ci/run", "csrc/*.sh", "bundles/**/*.sh", "bundles/*/bin/*", "tests/**/*.sh")
LINTERS = {
    "ruff": ["ruff", "check", "."],
    "mypy": ["mypy"],
    "clang-format": ["clang-format", "--dry-run", "-Werror", *C_SOURCES],
    "shellcheck": ["shellcheck", *SHELL_SCRIPTS],
    # What it takes for wrong, slow or not portable; not its remarks on style. An answer stands at the place.
    "cppcheck": ["cppcheck", "--quiet", "--error-exitcode=1", "--std=c11", "--enable=warning,performance,portability", "--inline-suppr",
                 "--suppress=missingIncludeSystem", "-D__x86_64__", "-Icsrc", "-Icsrc/init", *files("csrc/**/*.c")],
}
FIXERS = {
    "ruff": ["ruff", "check", "--fix", "."],
    "clang-format": ["clang-format", "-i", *C_SOURCES],
}


def call(command):
    """What a linter says, "" if nothing: it is looked for beside this Python first, then in $PATH."""
    program, *args = command
    beside = pathlib.Path(sys.executable).with_name(program)
    path = beside if beside.exists() else shutil.which(program)
    if not path:
        return f"{program} is missing: `make lint` installs it from PyPI; if that has none for this machine, install the system's package\n"
    done = subprocess.run([path, *args], cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False)
    return done.stdout + done.stderr if done.returncode else ""


def main(words):
    table = FIXERS if "--fix" in words else LINTERS
    names = [word for word in words if word != "--fix"] or list(table)
    if unknown := set(names) - set(table):
        sys.exit(f"lint.py: unknown: {' '.join(sorted(unknown))}\n{__doc__}")
    failed = False
    for name in names:
        said = call(table[name])
        failed = failed or bool(said)
        print(f"{name}: {'failed' if said else 'ok'}\n{said}", end="", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
