"""How the conformance suite's TAP streams are judged."""

import pytest
from conformance.tap import judge

ERROR = '  ---\n  {\n    "error": "hooks MUST be called"\n  }\n  ...\n'


@pytest.mark.parametrize(
    "stream, code, wanted",
    [
        ("TAP version 13\nok 1 - a\nok 2 # SKIP b\n1..2\n", 0, (2, "passed")),
        ("TAP version 13\n1..0\n", 0, (0, "passed")),
        ("", 0, (0, "passed")),
        ("ok 1 - a\nnot ok 2 - b\n1..2\n", 0, (2, "failed: 1 not ok")),
        ("ok 1 - a\n1..1\n", 1, (1, "failed: exit status 1")),
        ("ok 1 - a\n", None, (1, "failed: over the time limit")),
        (f"TAP version 13\n{ERROR}1..0\n", 0, (0, "failed: error in YAML alone")),
        # An error that was wanted stands below its assertion.
        (f"TAP version 13\nok 1 - a\n{ERROR}1..1\n", 0, (1, "passed")),
    ],
)
def test_verdict(stream, code, wanted):
    assert judge(stream, code) == wanted
