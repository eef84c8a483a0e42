"""Reading config.json: what is wrong with a file, in one line that names it and the place."""

import pytest

from pyrun.base.errors import ConfigError, Error
from pyrun.config import load as configuration

OVERLONG = "[" * 100000


@pytest.fixture
def load(tmp_path):
    def load(content):
        (tmp_path / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
        return configuration.load(str(tmp_path))

    return load


def test_config(load):
    assert load('{"ociVersion": "1.3.0", "x": [1, 1.5, true, "é \\ud83d\\ude00"]}') == {"ociVersion": "1.3.0", "x": [1, 1.5, True, "é 😀"]}


def test_numbers_keep_all_digits(load):
    assert load('{"hard": 18446744073709551615, "soft": -9223372036854775808}') == {"hard": 2**64 - 1, "soft": -(2**63)}


def test_null_members_are_left_out(load):
    text = '{"linux": null, "mounts": null, "process": {"user": null, "args": ["a", null], "rlimits": [{"type": null, "soft": 1}]}}'
    assert load(text) == {"process": {"args": ["a", None], "rlimits": [{"soft": 1}]}}


def test_name_that_is_not_utf8(load):
    """Python and our own output write such a byte as U+DC80 + byte - 0x80."""
    assert load(r'{"cwd": "/\udcff"}')["cwd"].encode("utf-8", "surrogateescape") == b"/\xff"


def test_half_of_a_surrogate_pair(load):
    """Such a string could not be given to the kernel; Go's decoder reads it the same way."""
    assert load(r'{"cwd": "/\ud800x"}')["cwd"] == "/\ufffdx"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "config.json: syntax error: line 1 column 1"),
        ("{", "config.json: syntax error: line 1 column 2"),
        ('{\n  "a": 1,\n}', "config.json: syntax error: line 3 column 1"),
        ('{\n  "a" 1}', "config.json: syntax error: line 2 column 7"),
        ('{"a": "\n"}', "config.json: syntax error: line 1 column 8"),
        ('{"a": NaN}', "config.json: syntax error: line 1 column 7"),
        ('{"a": 1} x', "config.json: syntax error: line 1 column 10"),
        (b'{"a": "\xff"}', "config.json: syntax error: line 1 column 8"),
        (OVERLONG, "config.json: syntax error: line 1 column "),
        ("null", "config.json: must be an object, not null"),
        ("[]", "config.json: must be an object, not a list"),
        ('"x"', 'config.json: must be an object, not "x"'),
    ],
)
def test_broken_file(load, content, words):
    with pytest.raises(ConfigError) as caught:
        load(content)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_bundle(tmp_path):
    with pytest.raises(Error, match="/nowhere/config.json: no such file or directory"):
        configuration.load(str(tmp_path / "nowhere"))
    (tmp_path / "file").touch()
    with pytest.raises(Error, match="/file/config.json: not a directory"):
        configuration.load(str(tmp_path / "file"))


def test_no_config(tmp_path):
    with pytest.raises(Error, match="config.json: no such file or directory: `pyrun spec` makes one"):
        configuration.load(str(tmp_path))


def test_config_that_cannot_be_read(tmp_path):
    (tmp_path / "config.json").mkdir()
    with pytest.raises(Error, match="config.json: is a directory"):
        configuration.load(str(tmp_path))


def test_process_file(tmp_path):
    path = tmp_path / "process.json"
    path.write_text('{"cwd": "/", "args": ["sh"], "env": null}')
    assert configuration.load_process(str(path)) == {"cwd": "/", "args": ["sh"]}
    with open(path) as file:
        assert configuration.load_process(f"/dev/fd/{file.fileno()}")["cwd"] == "/"
    path.write_text("{x}")
    with pytest.raises(ConfigError, match=r"process.json: syntax error: line 1 column 2"):
        configuration.load_process(str(path))
    with pytest.raises(Error, match="/nowhere/process.json: no such file or directory"):
        configuration.load_process("/nowhere/process.json")


@pytest.mark.parametrize("id", ["a", "0", "_x", "+", "-", "a.b", "A-Z_0+9.", "x" * 1024])
def test_id(id):
    configuration.check_id(id)


@pytest.mark.parametrize("id", ["", ".", "..", ".a", "a/b", "../a", "a b", "a\n", "a\0", "é", "a:b", "a\\", "x" * 1025])
def test_odd_id(id):
    with pytest.raises(Error, match="^invalid container ID format: ") as caught:
        configuration.check_id(id)
    assert "\n" not in str(caught.value)
