"""`features`: the specification's form, and what the runtime really knows."""

import json
import shutil
import subprocess

import pytest
from checkout import pyrun

from pyrun.config import faults
from pyrun.plan import mounts, namespaces


@pytest.fixture(scope="module")
def features():
    code, out, err = pyrun("features")
    assert (code, err) == (0, "")
    return json.loads(out)


def test_it_is_valid_by_the_schema(features):
    assert list(faults.schema_faults("features", features)) == []


def test_it_names_what_the_runtime_knows(features):
    assert features["ociVersionMin"] == "1.0.0"
    assert features["ociVersionMax"].startswith("1.3")
    assert set(features["mountOptions"]) == set(mounts.WORDS)
    assert set(features["linux"]["namespaces"]) == set(namespaces.FLAGS)
    assert "CAP_CHECKPOINT_RESTORE" in features["linux"]["capabilities"]
    assert "SCMP_ACT_NOTIFY" in features["linux"]["seccomp"]["actions"]
    assert set(features["linux"]["seccomp"]["supportedFlags"]) <= set(features["linux"]["seccomp"]["knownFlags"])
    assert features["linux"]["intelRdt"] == {"enabled": True, "schemata": True, "monitoring": True}
    assert features["linux"]["netDevices"] == features["linux"]["mountExtensions"]["idmap"] == {"enabled": True}
    assert features["annotations"]["org.pyrun.start"] == "ordinary"
    assert features["potentiallyUnsafeConfigAnnotations"] == ["org.systemd.property.", "org.criu.config", "run.oci.keep_original_groups"]


@pytest.mark.parametrize("name", ["runc", "crun"])
def test_nothing_that_others_know_is_missing(features, name):
    other = shutil.which(name)
    if not other:
        pytest.skip(f"{name} is not installed")
    done = subprocess.run([other, "features"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this {name} has no `features`")
    theirs = json.loads(done.stdout)
    assert set(theirs) <= set(features)
    assert set(theirs["linux"]) <= set(features["linux"])
    assert set(theirs["hooks"]) <= set(features["hooks"])
    # Kernels have taken `acl` out of mount(2); to newer runcs too it is an option of the file system like any other.
    assert set(theirs["mountOptions"]) - {"acl", "noacl"} <= set(features["mountOptions"])
    for key in ("namespaces", "capabilities"):
        assert set(theirs["linux"][key]) <= set(features["linux"][key])
    for key in ("actions", "operators", "archs"):
        assert set(theirs["linux"]["seccomp"].get(key, ())) <= set(features["linux"]["seccomp"][key])


def test_it_takes_no_argument():
    code, _, err = pyrun("features", "x")
    assert (code, err) == (1, 'pyrun: "features" requires exactly 0 arguments\n')
