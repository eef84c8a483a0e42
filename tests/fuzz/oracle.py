"""What pyrun's JSON must do with any bytes: the same as the standard library's, but for what is written here, and no more.

- NaN and Infinity, which are no JSON, are refused; so is a number that no double holds, which the standard library reads as infinite.
- More than 200 lists and objects in one another are refused.
- Half a surrogate pair is U+FFFD, as in Go; but U+DC80 .. U+DCFF are the bytes of a name that is not UTF-8.
- Bytes are UTF-8; the standard library would guess.
"""

import json
import math
import re

DEPTH = 200
HALVES = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def _text(text):
    return HALVES.sub("\ufffd", text).encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def _refused(word):
    raise ValueError(word)


def _number(word):
    value = float(word)
    return value if math.isfinite(value) else _refused(word)


def _object(pairs):
    return {_text(name): value for name, value in pairs}


def _whole(value, depth=0):
    """The standard library's value, with texts as ours has them."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | dict):
        if depth == DEPTH:
            raise ValueError("too deep")
        if isinstance(value, list):
            return [_whole(one, depth + 1) for one in value]
        return {name: _whole(one, depth + 1) for name, one in value.items()}
    return value


DECODER = json.JSONDecoder(parse_constant=_refused, parse_float=_number, object_pairs_hook=_object)


def standard(data):
    """The value of these bytes; ValueError."""
    try:
        return _whole(DECODER.decode(data.decode()))
    except RecursionError:
        raise ValueError("too deep") from None


def judge_of(module):
    """judge(data) for a module with loads() and dumps(): raises AssertionError where it differs."""

    def judge(data):
        try:
            wanted = repr(standard(data))  # by repr: 1, 1.0 and True are equal, and -0.0 is 0.0
        except ValueError:
            wanted = None
        try:
            value = module.loads(data)
        except ValueError as fault:
            assert re.match(r"line \d+ column \d+: .", str(fault)), fault
            assert wanted is None, f"{fault}, but it is {wanted}: {data}"
            return
        assert repr(value) == wanted, f"{value!r}, but it is {wanted}: {data}"
        for indent in (-1, 2):
            again = module.dumps(value, indent)
            assert repr(module.loads(again)) == wanted, f"{again} is written for {data}"
            assert repr(standard(again)) == wanted, f"{again} is written for {data}"

    return judge
