"""`list` and `state`."""

import json
import os

import pytest
from checkout import pyrun


@pytest.fixture
def root(tmp_path):
    """A state directory with two containers that have stopped, and things that are no containers."""
    directory = tmp_path / "root"
    for name, bundle in (("b", "/srv/a-bundle"), ("a", "/srv/b")):
        (directory / name).mkdir(parents=True)
        (directory / name / "state.json").write_text(json.dumps({
            "id": name, "ociVersion": "1.3.0", "bundle": bundle, "rootfs": f"{bundle}/rootfs", "annotations": {"key": "<é>"} if name == "a" else {},
            "created": "2026-01-02T03:04:05.678901234Z", "pid": 0, "startTime": 0, "bootId": "another", "creating": False,
            "cgroup": None, "mask": 0, "notes": {},
        }))  # fmt: skip
    return directory


def test_table(root):
    code, out, err = pyrun("--root", root, "list")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "ID          PID         STATUS      BUNDLE          CREATED                          OWNER",
        "a           0           stopped     /srv/b          2026-01-02T03:04:05.678901234Z   root",
        "b           0           stopped     /srv/a-bundle   2026-01-02T03:04:05.678901234Z   root",
    ]
    assert pyrun("--root", root, "list", "--format", "table") == (code, out, err)


def test_ids_alone(root):
    assert pyrun("--root", root, "list", "-q") == (0, "a\nb\n", "")


def test_json_on_one_line(root):
    code, out, err = pyrun("--root", root, "list", "--format=json")
    assert (code, err, out.count("\n")) == (0, "", 1)
    first, second = json.loads(out)
    keys = ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created"]
    assert list(first) == [*keys, "annotations", "owner"]
    assert list(second) == [*keys, "owner"]
    assert (first["id"], first["status"], first["annotations"], first["owner"]) == ("a", "stopped", {"key": "<é>"}, "root")


def test_an_empty_root(tmp_path):
    assert pyrun("--root", tmp_path, "list") == (0, "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n", "")
    assert pyrun("--root", tmp_path, "list", "-q") == (0, "", "")
    assert pyrun("--root", tmp_path, "list", "-f", "json") == (0, "null\n", "")


def test_a_container_that_cannot_be_read_is_left_out(root):
    (root / "begun").mkdir()
    (root / "cut").mkdir()
    (root / "cut/state.json").write_text('{"id":')
    (root / "strange").mkdir()
    (root / "strange/state.json").write_text("{}")
    code, out, err = pyrun("--root", root, "list", "-q")
    assert (code, out) == (0, "a\nb\n")
    lines = err.splitlines()  # none about the one that is not made yet
    assert lines[0].startswith("pyrun: warning: load container cut: ")
    assert "load container strange:" in lines[1] and "is not a container's state" in lines[1]
    assert len(lines) == 2


def test_state(root):
    code, out, err = pyrun("--root", root, "state", "a")
    assert (code, err) == (0, "")
    assert out.startswith('{\n  "ociVersion": "1.3.0",\n  "id": "a",\n  "pid": 0,\n  "status": "stopped",\n')
    assert [json.loads(out)] == json.loads(pyrun("--root", root, "list", "-f", "json")[1])[:1]


@pytest.mark.parametrize("name", ["nobody", "b/"])
def test_state_of_an_unknown_container(root, name):
    code, out, err = pyrun("--root", root, "state", name)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert os.path.exists(root / "b/state.json")


def test_words_for_a_container_that_is_not_there(root):
    assert pyrun("--root", root, "state", "nobody") == (1, "", f'pyrun: container does not exist: "nobody" (below --root {root})\n')
