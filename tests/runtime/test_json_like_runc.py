"""What runc's callers read as JSON: the same keys and kinds of values from both, for a container of the same config.

`state`, `list`, `ps` and the keys of `events` while a container runs: test_life.py, test_events.py; `features`:
tests/unit/test_features.py; `spec --rootless`: test_rootless.py.
"""

import json
import shutil
import subprocess

import pytest

MIB = 1 << 20
RUNC = shutil.which("runc") or "/usr/sbin/runc"
pytestmark = pytest.mark.skipif(not shutil.which(RUNC), reason="no runc to compare with")


class Theirs:
    """runc with a state root of its own: `runc("state", name)` gives what it prints."""

    def __init__(self, root):
        self.root = root
        self.names = []

    def __call__(self, *args, stdin=None, **output):
        command = [RUNC, "--root", self.root, *map(str, args)]
        given = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        return subprocess.run(command, check=True, text=True, **given, **(output or {"stdout": subprocess.PIPE})).stdout

    def start(self, bundle, name):
        bundle.write()
        self.names.append(name)
        # Of pipes the container would hold the other end.
        self("run", "--detach", "--bundle", bundle.directory, name, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return name


@pytest.fixture
def runc(tmp_path):
    theirs = Theirs(tmp_path / "runc")
    yield theirs
    for name in theirs.names:
        theirs("delete", "--force", name)


def kinds(value):
    """The keys with the kinds of their values."""
    if isinstance(value, dict):
        return {key: kinds(one) for key, one in value.items()}
    if isinstance(value, list):
        return [kinds(one) for one in value[:1]]
    return type(value).__name__


def test_spec(run, runc, tmp_path):
    specs = []
    for call, name in ((run, "pyrun"), (runc, "runc")):
        directory = tmp_path / f"spec-{name}"
        directory.mkdir()
        call("spec", "--bundle", directory)
        spec = json.loads((directory / "config.json").read_text())
        assert spec.pop("hostname") == name
        del spec["ociVersion"]
        # Newer ones no longer write it.
        spec["process"]["capabilities"].pop("ambient", None)
        specs.append(spec)
    assert specs[0] == specs[1]


def test_a_list_of_none(run, runc, bundle):
    runc("delete", "--force", runc.start(bundle("true"), run.new_id()))
    bundle("true").create().delete("--force")
    assert run("list", "--format", "json").out.strip() == runc("list", "--format", "json").strip() == "null"


def test_ps(run, runc, bundle):
    b = bundle("sleep 101 & exec sleep 100")
    theirs, ours = runc("ps", "--format", "json", runc.start(b, run.new_id())), run("ps", "--format", "json", b.detached().id).out
    assert kinds(json.loads(theirs)) == kinds(json.loads(ours)) == ["int"]


UPDATES = [
    {"memory": {"limit": 48 * MIB, "reservation": 24 * MIB}, "pids": {"limit": 77}},
    {"cpu": {"shares": 512, "quota": 20000, "period": 100000}},
]


def limits(data):
    return data["memory"]["usage"]["limit"], data["memory"]["kernel"]["limit"], data["pids"]["limit"]


@pytest.mark.parametrize("resources", UPDATES)
def test_what_update_leaves(run, runc, bundle, resources):
    b = bundle("sleep 100").set("linux.resources.memory", {"limit": 64 * MIB}).set("linux.resources.pids.limit", 50)
    name, mine = runc.start(b, run.new_id()), b.detached()
    text = json.dumps(resources)
    runc("update", "--resources", "-", name, stdin=text)
    run("update", "--resources", "-", mine.id, stdin=text)
    theirs, ours = json.loads(runc("events", "--stats", name)), json.loads(run("events", "--stats", mine.id).out)
    assert kinds({key: theirs[key] for key in ("type", "id")}) == kinds({key: ours[key] for key in ("type", "id")})
    assert limits(theirs["data"]) == limits(ours["data"])
    states = json.loads(runc("state", name)), mine.state()
    assert kinds(states[0]) == kinds(states[1])
    assert states[0]["status"] == states[1]["status"] == "running"
