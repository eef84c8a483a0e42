"""Our schema of a container's state beside the one that Debian packages."""

import json
import pathlib

import configs
import jsonschema
import pytest

from pyrun.config import faults

OFFICIAL = pathlib.Path("/usr/share/gocode/src/github.com/opencontainers/runtime-spec/schema/state-schema.json")
pytestmark = pytest.mark.skipif(not OFFICIAL.exists(), reason="needs the package golang-github-opencontainers-specs-dev")
STATE = {
    "ociVersion": "1.3.0",
    "id": "box",
    "status": "running",
    "pid": 5,
    "bundle": "/bundle",
    "annotations": {"org.example": "x"},
}
# What we refuse and it accepts: the format of ids, versions and paths, empty keys, a live container without its pid.
STRICTER = {"ociVersion", "id", "pid", "bundle", "annotations"}


def test_same_verdict_but_for_what_is_listed():
    schema = json.loads(OFFICIAL.read_text())
    official = jsonschema.Draft4Validator(schema, resolver=jsonschema.RefResolver(OFFICIAL.as_uri(), schema))
    assert official.is_valid(STATE) and list(faults.schema_faults("state", STATE)) == []
    refused = 0
    for keys, _ in configs.places(STATE):
        for change in [configs.remove, *map(configs.put, configs.WRONG)] if keys else ():
            state = faults.without_nulls(configs.changed(STATE, keys, change))
            ours = [path for path, *_ in faults.schema_faults("state", state)]
            theirs = list(official.iter_errors(state))
            refused += bool(theirs)
            assert ours or not theirs, state
            assert theirs or not ours or keys[0] in STRICTER, (state, ours)
    assert refused > 100


def test_what_runc_adds():
    for status in ("creating", "created", "running", "stopped", "paused"):
        state = STATE | {"status": status, "rootfs": "/bundle/rootfs", "created": "2026-01-31T12:00:00.5Z", "owner": "root"}
        assert list(faults.schema_faults("state", state)) == []
