"""The targets in C: how their programs are built and called."""

import ctypes
import functools
import os
import pathlib
import re
import shutil
import subprocess
import sysconfig
import tempfile

from harness import PROJECT

HERE = pathlib.Path(__file__).resolve().parent
CSRC = PROJECT / "csrc"
BUILT = PROJECT / "build/fuzz"
# All of init, for which csrc/build.py has made the table.
INIT = [HERE / "init_calls.c", *sorted((CSRC / "init").glob("*.c")), PROJECT / "build/plan_table.c"]
JSON = [CSRC / f"json{part}.c" for part in ("", "_decode", "_encode")]
TARGETS = {"plan": INIT, "rest": INIT, "home": INIT, "json": JSON, "form": [CSRC / "native.c"]}
COMPILERS = {"clang": (["-fsanitize=fuzzer-no-link"], ["-fsanitize=fuzzer"], []), "gcc": ([], [], [HERE / "standalone.c"])}
"""(options, options for the linker, sources) that give a program its main(): libFuzzer, which sees what code an input reaches; or chance."""
CHECKS = ["-g", "-O2", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-fno-strict-aliasing"]
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"]
FOLDERS = ["-I", sysconfig.get_path("include"), "-iquote", CSRC, "-iquote", CSRC / "init", "-iquote", HERE]
LIBRARIES = ["-L", sysconfig.get_config_var("LIBDIR"), f"-lpython{sysconfig.get_config_var('LDVERSION')}"]


def build(name, compiler):
    """The path of a target's program, built as far as it is older than its sources."""
    BUILT.mkdir(parents=True, exist_ok=True)
    program = BUILT / f"{name}-{compiler}"
    options, link, main = COMPILERS[compiler]
    parts = [compiled(source, compiler, options) for source in [HERE / f"{name}.c", *main, *TARGETS[name]]]
    if not newer(program, parts):
        run(compiler, *CHECKS, *link, "-o", program, *parts, *(LIBRARIES if name == "json" else []))
    return program


def compiled(source, compiler, options):
    """The path of its object file. syscall and mmap are others for init alone, not for its targets."""
    part = BUILT / f"{compiler}-{source.parent.name}-{source.stem}.o"
    headers = [*HERE.glob("*.h"), HERE / "programs.py", *CSRC.glob("*.h"), *(CSRC / "init").glob("*.h")]
    if not newer(part, [source, *headers]):
        of_init = source in INIT and source.parent != HERE
        others = ["-Dmain=init_main", "-Dsyscall=init_syscall", "-Dmmap=init_mmap"] if of_init else []
        run(compiler, "-std=gnu11", *CHECKS, *WARNINGS, *options, *others, *FOLDERS, "-c", "-o", part, source)
    return part


def newer(made, sources):
    return made.exists() and all(source.stat().st_mtime_ns < made.stat().st_mtime_ns for source in sources)


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stderr}"


def call(name, compiler, *words):
    """Runs a target's program, in a directory of its own; returns its output. AssertionError: it found something."""
    program = build(name, compiler)
    with tempfile.TemporaryDirectory(prefix="pyrun-fuzz-", dir="/dev/shm") as directory:
        # Python ends with memory that it has not given back. Each of its objects shall be a block that is watched.
        env = os.environ | {"ASAN_OPTIONS": "detect_leaks=0", "PYTHONMALLOC": "malloc", "PYTHONPATH": str(HERE)}
        done = subprocess.run(
            [program, *map(str, words)], cwd=directory, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", check=False,
        )  # fmt: skip
        for find in pathlib.Path(directory).glob("*-*"):
            shutil.copy(find, BUILT)
    assert done.returncode == 0, f"{program.name} ended with {done.returncode}; what libFuzzer kept is in {BUILT}\n{done.stdout[-6000:]}"
    return done.stdout


def inputs(output):
    """How many inputs a program says it has had."""
    [found] = re.findall(r"^(?:stat::number_of_executed_units: *)?(\d+)(?: inputs)?$", output, re.MULTILINE)
    return int(found)


@functools.cache
def library():
    """init as a library, without the checks of the compiler: for its verify_plan()."""
    path = BUILT / "init.so"
    BUILT.mkdir(parents=True, exist_ok=True)
    if not newer(path, [*INIT[1:], *(CSRC / "init").glob("*.h"), CSRC / "plan.h"]):
        run("gcc", "-std=gnu11", "-O1", "-fPIC", "-shared", "-Dmain=init_main", *FOLDERS, "-o", path, *INIT[1:])
    return ctypes.CDLL(str(path))
