"""A sample of what `make faults` does: SIGKILL, an error or a short read at a system call of each command, and of its init."""

import pytest
from checkpoints import criu
from faults.sweep import subjects, sweep
from faults.table import COMMANDS, CRIU

STRIDE = 131  # prime to the number of faults, so that each comes in turn


@pytest.mark.parametrize(("name", "whom"), subjects(COMMANDS))
def test_struck(name, whom, world):
    if name in CRIU and criu():
        pytest.skip(criu())
    count, wrong = sweep(world, name, whom, lambda points: points[::STRIDE])
    assert not wrong, "\n".join(wrong)
    assert count
