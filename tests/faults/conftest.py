"""A world (world.py) for the tests of faults."""

import uuid

import pytest
from faults.world import World


@pytest.fixture(scope="module")
def world(pyrun, tmp_path_factory):
    world = World(pyrun, tmp_path_factory.mktemp("faults"), f"pyrun-faults-{uuid.uuid4().hex[:8]}")
    yield world
    world.close()


@pytest.fixture(autouse=True)
def nothing_wrong(world):
    """After each test the bystander is as it was, and nothing else is there."""
    yield
    found = world.left() + world.touched()
    world.sweep()
    assert not found
