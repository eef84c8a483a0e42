"""The linters, as `make lint` runs them (tests/lint.py)."""

import lint
import pytest


@pytest.mark.once
@pytest.mark.parametrize("name", lint.LINTERS)
def test_linter_has_nothing_to_say(name):
    assert lint.call(lint.LINTERS[name]) == ""
