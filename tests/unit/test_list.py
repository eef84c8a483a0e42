"""`list` finds most containers that run by csrc/running.c: it must say what a look by Python says, or leave it to that."""

import json
import os
import random

import pytest

from pyrun.base.processes import start_time
from pyrun.commands import list as list_command
from pyrun.container import record, state

found_so = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, whose containers alone are found so")
NAME = "box"
BYTES = b'{}[]",:\\/. 019truefalsn-\x00\x7f\xc3'
USUAL = {"paths": {"cpu": "/sys/fs/cgroup/cpu", "devices": "/sys/fs/cgroup/devices/a b"}, "claimed": True}
STATES = {
    "plain": {},
    "annotations": {"annotations": {"a": "b", "c d": ""}},
    "waits": {"notes": {"12": ["wait_start", "", ""], "13": ["exec", "", ""]}, "stdio": ["/dev/null", "pipe:[1]"]},
    "systemd": {"cgroup": {**USUAL, "systemd": ["pyrun-box.scope", False]}},
}


@pytest.fixture
def root(tmp_path):
    tmp_path.chmod(0o711)
    (tmp_path / NAME).mkdir()
    return tmp_path


def written(root, members):
    """The state.json of a container whose process we are."""
    data = {"id": NAME, "bundle": "/b", "rootfs": "/b/rootfs", "cgroup": USUAL}
    data |= {"pid": os.getpid(), "startTime": start_time(os.getpid()), "bootId": state.boot_id()}
    container = state.Container(str(root), record.BLANK | data | members)
    container.save()
    return (root / NAME / "state.json").read_bytes()


def quickly(root):
    """What running.c says, None if nothing."""
    (line,) = list_command.running(str(root), [NAME])
    return json.loads(line) if line else None


def slowly(root):
    return list_command.look(str(root), NAME)


@found_so
@pytest.mark.parametrize("members", STATES.values(), ids=STATES)
def test_what_pyrun_writes_is_known(root, members):
    written(root, members)
    found = quickly(root)
    assert found["status"] == "running"
    assert found == slowly(root)


@pytest.mark.parametrize(
    "members",
    [
        {"creating": True},
        {"pid": 0},
        {"startTime": 1},
        {"bootId": "another"},
        {"bundle": "/b\u00fcndel"},
        {"bundle": "/b\x00"},
        {"cgroup": None},
        {"cgroup": {"paths": {"freezer": "/sys/fs/cgroup/freezer/there is none"}, "claimed": True}},
        {"cgroup": {"paths": {"": "/sys/fs/cgroup/../none"}, "claimed": True}},
        {"version": 1},
        {"more": 1},
    ],
    ids=str,
)
def test_what_does_not_surely_run_is_left(root, members):
    written(root, members)
    assert quickly(root) is None


def test_the_start_socket_is_seen(root):
    written(root, {})
    (root / NAME / "start.sock").touch()
    assert quickly(root) is None


@found_so
@pytest.mark.parametrize("members", STATES.values(), ids=STATES)
def test_a_damaged_state_is_judged_alike(root, members):
    text, chance, path = written(root, members), random.Random(1), root / NAME / "state.json"
    agreed = 0
    for _ in range(1000):
        at, size = chance.randrange(len(text)), chance.choice((0, 1, 1, 1, 2, 5))
        put = bytes(chance.choices(BYTES, k=chance.choice((0, 1, 1, 2))))
        path.write_bytes(text[:at] + put + text[at + size :])
        found = quickly(root)
        if found is not None:
            assert found == slowly(root), path.read_bytes()
            agreed += 1
    assert agreed > 20
