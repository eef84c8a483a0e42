"""`exec --cap` gave the process inheritable capabilities (also CVE-2022-27650)."""

import pytest
from harness import until
from looks import fields


def sets(text):
    seen = fields(text)
    return {name: int(seen[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}


@pytest.mark.parametrize("flags", [(), ("--cap", "CAP_SYS_PTRACE"), ("--cap", "CAP_KILL", "--cap", "CAP_NET_RAW")])
def test_inheritable_stays_empty(bundle, flags):
    container = bundle("cat /proc/self/status; exec sleep 100").detached()
    seen = sets(container.exec("cat", "/proc/self/status", flags=flags).out)
    assert seen["CapInh"] == seen["CapAmb"] == 0
    added = {"CAP_SYS_PTRACE": 1 << 19, "CAP_NET_RAW": 1 << 13}
    for word, bit in added.items():
        for name in ("CapPrm", "CapEff", "CapBnd"):
            assert bool(seen[name] & bit) == (word in flags)
    until(lambda: "nonvoluntary_ctxt_switches" in container.out)  # the last line
    assert sets(container.out)["CapInh"] == 0


def test_the_template_has_no_inheritable_ones(run, tmp_path):
    import json

    run("spec", "--bundle", tmp_path)
    capabilities = json.loads((tmp_path / "config.json").read_text())["process"]["capabilities"]
    assert not capabilities.get("inheritable") and not capabilities.get("ambient")
