"""The long form of the fuzz tests, with coverage: `make fuzz`.

    PYTHONPATH=tests:. python -m fuzz.long SECONDS [TARGET…]     so many seconds for each target; without names: all

The targets in C are run by libFuzzer, those in Python by atheris, which is the same for Python: both look which inputs reach code that
none did before. These are kept in build/fuzz/corpus, where the next run begins. Chance alone, which is many times as
fast, has three quarters of the time, with what has been found so. A line for each target says how many inputs it had.
"""

import hashlib
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

from fuzz import programs

LIMITS = ["-timeout=20", "-rss_limit_mb=2048", "-max_len=8192", "-print_final_stats=1", "-verbosity=0"]
CHILD, COVERAGE, CHANCE = "--child", "coverage", "chance"


def corpus(name):
    """The directory of a target's inputs, with its seeds in it."""
    from fuzz import targets

    directory = programs.BUILT / "corpus" / name
    directory.mkdir(parents=True, exist_ok=True)
    for data in targets.seeds(name):
        (directory / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    return directory


def in_python(name, how, seconds, directory):
    """Runs a target of Python in this process, which it ends."""
    if how == CHANCE:
        by_chance(name, int(seconds), directory)
        return
    import atheris

    with atheris.instrument_imports(include=["pyrun"]):
        from fuzz import targets
    from fuzz import mutate

    targets.quiet()
    mutator = mutate.Mutator(targets.seeds(name), name in targets.AS_JSON)
    atheris.Setup(
        ["fuzz", f"-max_total_time={seconds}", *LIMITS, f"-artifact_prefix={programs.BUILT}/{name}-", directory],
        lambda data: targets.judge(name, data),
        custom_mutator=lambda data, most, seed: mutator.change(random.Random(seed), bytes(data), most),
    )  # fmt: skip
    atheris.Fuzz()


def by_chance(name, seconds, directory):
    from fuzz import mutate, targets

    targets.quiet()
    begun_with = [path.read_bytes() for path in pathlib.Path(directory).iterdir()]
    mutator, chance, count = mutate.Mutator(targets.seeds(name), name in targets.AS_JSON), random.Random(time.time_ns()), 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = mutator.change(chance, chance.choice(begun_with))
        count += 1
        try:
            targets.judge(name, data)
        except BaseException:
            print(f"=== Uncaught, for {data!r}")
            raise
    targets.tidy()
    print(f"{count} inputs")


def python(name, *words):
    """Runs a target of Python in a process of its own; returns its output. AssertionError: it found something."""
    command = [sys.executable, "-m", "fuzz.long", CHILD, name, *map(str, words)]
    # libFuzzer ends the process without a word to Python, so that what it has made is removed here.
    with tempfile.TemporaryDirectory(prefix="pyrun-fuzz-", dir="/dev/shm") as directory:
        done = subprocess.run(
            command, env=os.environ | {"TMPDIR": directory}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[max(done.stdout.find("=== Uncaught"), 0) :][:6000]
    return done.stdout


def run(name, seconds):
    """One target, for so many seconds; prints its figures. Returns whether nothing was found."""
    directory = corpus(name)
    begin = time.monotonic()
    try:
        if name in programs.TARGETS:
            said = programs.call(name, "clang", f"-max_total_time={seconds // 4}", *LIMITS, directory)
            count = programs.inputs(said)
            said = programs.call(name, "gcc", f"-max_total_time={seconds - seconds // 4}", f"-seed={time.time_ns()}", directory)
        else:
            count = programs.inputs(python(name, COVERAGE, seconds // 4, directory))
            said = python(name, CHANCE, seconds - seconds // 4, directory)
        count += programs.inputs(said)
    except AssertionError as found:
        print(f"{name}: FOUND\n{found}", flush=True)
        return False
    print(f"{name}: {count:,} inputs in {time.monotonic() - begin:.0f} s, nothing found", flush=True)
    return True


def main(seconds, *names):
    from fuzz import targets

    everything = [*programs.TARGETS, *targets.TARGETS]
    unknown = [name for name in names if name not in everything]
    if unknown:
        sys.exit(f"fuzz: no target {', '.join(unknown)}: there are {', '.join(everything)}")
    targets.quiet()
    results = [run(name, int(seconds)) for name in names or everything]
    targets.tidy()
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        in_python(*sys.argv[2:])
    elif len(sys.argv) < 2 or not sys.argv[1].isdigit():
        sys.exit(__doc__)
    else:
        os.nice(5)
        main(*sys.argv[1:])
