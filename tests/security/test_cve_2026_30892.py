"""`exec -u 1` was taken for root."""

import pytest
from looks import one_line


@pytest.mark.parametrize(
    "user, uid, gid",
    [("1", 1, 77), ("0", 0, 77), ("1:2", 1, 2), ("1000:0", 1000, 0), ("4294967294:4294967294", 4294967294, 4294967294), ("0010", 10, 77)],
)
def test_numbers(bundle, user, uid, gid):
    """Without a group it is the config's."""
    container = bundle("sleep 100").set("process.user", {"uid": 5, "gid": 77}).detached()
    result = container.exec("sh", "-c", "grep -E '^(Uid|Gid)' /proc/self/status", flags=("-u", user))
    assert result.out.split() == ["Uid:", *[str(uid)] * 4, "Gid:", *[str(gid)] * 4]


@pytest.mark.parametrize("user", ["x", "1:", ":1", "1:x", "-1", "+1", " 1", "1 ", "0x1", "1:2:3", "4294967295", "1.0", "1\n", "root", "١"])
def test_what_is_no_number(bundle, user):
    container = bundle("sleep 100").detached()
    result = container.exec("id", flags=(f"--user={user}",), code=255)
    assert result.out == "" and "--user" in one_line(result).replace("\\n", "")
