"""What a validation program of runtime-tools says, read from its TAP stream and its exit status."""

PASSED = "passed"


def judge(stream, code):
    """(number of assertions, result) of a program: its standard output (str), its exit status (None: over the time limit).

    result: "passed", or "failed: …". Some programs assert nothing and tell a failure only as `"error"` in a YAML block:
    to TAP such a stream is a success, here it is none.
    """
    lines = stream.splitlines()
    failed = sum(line.startswith("not ok") for line in lines)
    count = failed + sum(line.startswith("ok") for line in lines)
    if code is None:
        return count, "failed: over the time limit"
    if code:
        return count, f"failed: exit status {code}"
    if failed:
        return count, f"failed: {failed} not ok"
    if not count and any(line.startswith('    "error":') for line in lines):
        return count, "failed: error in YAML alone"
    return count, PASSED
