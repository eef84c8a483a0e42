"""Commands of the runtime struck at each of their system calls. `make faults` runs this: all points, and a count at the end.

    sweep.py [--stride N] [--offset N] [COMMAND…]          every N-th point
    sweep.py --call NUMBER --fault ENOMEM COMMAND           one of them again
"""

import argparse
import contextlib
import os
import pathlib
import signal
import sys
import tempfile
import time
import uuid

from checkpoints import criu
from faults.following import FAULTS, TERM, Followed
from faults.table import COMMANDS, CRIU, INIT
from faults.world import PATIENCE, Hangs, World, limit
from harness import PROJECT


def follow(world, name, case, whom):
    return Followed(world.command(*case.words), case.made.pid if (name, whom) == ("start", "init") else whom, world.out, world.err)


def points(world, name, whom):
    """(number, call, fault) of all that can happen to a command."""
    case = COMMANDS[name](world)
    with limit(PATIENCE):
        followed = follow(world, name, case, whom)
        calls = followed.calls()
    assert followed.code == 0 and case.done(), f"{name} fails when nothing is done to it: {world.err.read_text()}"
    world.removed(case.made.id)
    # What SIGTERM does to the others is seen by tests/runtime/test_kill_anywhere.py.
    faults = [*FAULTS, TERM] if name in CRIU and whom == "pyrun" else FAULTS
    return [(number, call, fault) for number, call in enumerate(calls) for fault in faults if fault.applies(call)]


def strike(world, name, whom, number, call, fault):
    """Lets one thing happen. Lines of what is wrong then; None where it did not come to it."""
    case = COMMANDS[name](world)
    try:
        with limit(PATIENCE):
            followed = follow(world, name, case, whom)
            struck = followed.strike(number, call, fault)
    except Hangs:
        for pid in world.living():
            os.kill(pid, signal.SIGKILL)
        world.removed(case.made.id)
        return [f"hangs: {world.err.read_text()}"]
    said = world.err.read_text()
    killed = whom == "pyrun" and struck and followed.code in (-signal.SIGKILL, -signal.SIGTERM)
    try:
        found = case.killed() if killed else judged(case, whom, followed.code, said)
        found += world.forgotten(case.made.id) + world.removed(case.made.id) + world.touched()
    except (Hangs, AssertionError, OSError) as error:
        found = [f"{type(error).__name__}: {error}"]
    if found:
        found.append(f"exit code {followed.code}: {said}")
    return found if struck or found else None


def judged(case, whom, code, said):
    """Whether exit code and message tell the truth."""
    if code == 0:
        return [] if case.done() or (whom == "init" and case.struck_later()) else ["it has not done what it says"]
    found = [] if said.count("\n") == 1 and said.strip() and "internal error" not in said else ["not one line"]
    if code < 0:
        found.append("ended by a signal")
    return found + case.failed()


def sweep(world, name, whom, choose, tell=lambda done, all, wrong: None):
    """(points, lines of what is wrong) of one command. choose(list of points) -> those that are tried."""
    chosen, report, count = choose(points(world, name, whom)), [], 0
    for at, (number, call, fault) in enumerate(chosen):
        found = strike(world, name, whom, number, call, fault)
        if found:
            report.append(f"{name}, {whom}, call {number} {call.name}, {fault.name}: {'; '.join(line.strip() for line in found)}")
            world.sweep()
        count += found is not None
        tell(at + 1, len(chosen), len(report))
    return count, report


def subjects(names):
    """(command, whom) of what can be followed of them."""
    return [(name, whom) for name in names for whom in ("pyrun", "init") if whom == "pyrun" or name in INIT]


def progress(what):
    """For sweep(): a line that is written over again and again, on a terminal; a few lines elsewhere."""
    terminal = sys.stderr.isatty()

    def tell(done, all, wrong):
        if terminal or done == all or done % 500 == 0:
            end = "\r" if terminal and done < all else "\n"
            print(f"{what}: {done} of {all}, {wrong} wrong", end=end, file=sys.stderr, flush=True)

    return tell


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--offset", type=int, default=0)
    parser.add_argument("commands", nargs="*", metavar="COMMAND")
    parser.add_argument("--call", type=int)
    parser.add_argument("--fault")
    options = parser.parse_args()

    def choose(all):
        return [point for point in all[options.offset :: options.stride]
                if options.call in (None, point[0]) and options.fault in (None, point[2].name)]  # fmt: skip

    program = os.environ.get("PYRUN") or PROJECT / "build/pyrun"
    total, wrong, begin = 0, [], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pyrun-faults-") as directory:
        world = World(str(program), pathlib.Path(directory), f"pyrun-faults-{uuid.uuid4().hex[:8]}")
        with contextlib.closing(world):
            for name, whom in subjects(options.commands or COMMANDS):
                if name in CRIU and criu():
                    print(f"{name}: left out: {criu()}", file=sys.stderr)
                    continue
                count, report = sweep(world, name, whom, choose, progress(f"{name}, {whom}"))
                total += count
                wrong += report
                print(*report, sep="\n", end="\n" if report else "", flush=True)
    print(f"{total} points, {len(wrong)} wrong, in {time.monotonic() - begin:.0f} s")
    return bool(wrong)


if __name__ == "__main__":
    import ctypes

    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: what the runtime leaves becomes a child of ours
    sys.exit(main())
