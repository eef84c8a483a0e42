"""Each pair of commands at once on one container."""

import itertools

import pytest

LIVE = {
    "start": ("start", None),
    "exec": ("exec", None, "true"),
    "kill": ("kill", None, "KILL"),
    "delete": ("delete", None),
    "delete --force": ("delete", "--force", None),
    "pause": ("pause", None),
    "resume": ("resume", None),
    "update": ("update", "--pids-limit", "77", None),
    "state": ("state", None),
    "list": ("list",),
}
MAKING = ("create", "run --detach")


def at_once(world, name, *commands):
    """Starts commands, and waits for both: lines of what is wrong."""
    found, running, codes = [], {}, {}
    for number, words in enumerate(commands):
        err = world.directory / f"once.{number}"
        words = [name if word is None else word for word in words]
        running[world.begin(words, world.directory / f"once.out.{number}", err)] = (words, err)
    for pid, (words, _) in sorted(running.items(), key=lambda item: item[1][0][0] != "pause"):
        codes[pid] = world.wait(pid)
        if words[0] == "pause":  # an exec waits until what it has entered goes on
            world.call("resume", name, code=None)
    for pid, (words, err) in running.items():
        said = err.read_text()
        lines = said.count("\n")
        if codes[pid] < 0 or "internal error" in said or (codes[pid] and lines != 1) or (not codes[pid] and lines and "warning" not in said):
            found.append(f"{' '.join(map(str, words))}: {codes[pid]}: {said}")
    return found + world.forgotten(name) + world.removed(name) + world.touched()


@pytest.mark.parametrize("status", ["created", "running"])
def test_of_a_container(status, world):
    wrong = []
    for one, other in itertools.combinations_with_replacement(LIVE, 2):
        made = world.made("create") if status == "created" else world.made("run", "--detach")
        wrong += [f"{one} and {other}: {line}" for line in at_once(world, made.id, LIVE[one], LIVE[other])]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("making", MAKING)
def test_of_one_that_is_made(making, world):
    wrong = []
    for other in (*LIVE, *MAKING):
        name = world.new_id()
        make, second = ([*command.split(), "--bundle", world.bundle, None] for command in (making, other))
        wrong += [f"{making} and {other}: {line}" for line in at_once(world, name, make, LIVE.get(other, second))]
    assert not wrong, "\n".join(wrong)
