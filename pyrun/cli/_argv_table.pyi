"""For mypy where pyrun/cli/_argv_table.py has not been built: `make lint` takes no compiler."""

from typing import Any

def __getattr__(name: str) -> Any: ...
