"""Limits of a cgroup that are too small for init itself."""

import pytest

pytestmark = pytest.mark.worlds


@pytest.mark.parametrize("limit", [4096, 65536])
@pytest.mark.parametrize("command", ["create", "run"])
def test_too_little_memory_for_init(command, limit, bundle, leftovers):
    said = bundle().set("linux.resources.memory.limit", limit).call(command, code=1).err
    assert said.count("\n") == 1 and leftovers() == []
    assert f"linux.resources.memory.limit: {limit} is too low: init was killed by the memory limit" in said


def test_init_needs_no_second_task(bundle):
    """The least that pids.limit can be is enough: init joins its cgroup, and clones nothing there."""
    assert bundle(["echo", "fine"]).set("linux.resources.pids.limit", 1).run().out == "fine\n"
