"""The cold part: what needs more of Python than its core.

In the standalone binary a command begins with Python's core and the hot modules alone. start() brings up the rest: codecs,
io, sys.stdout, the import system, and the archive with the standard library, click, jsonschema and python-ptrace.
An ordinary Python has started whole; there both functions do nothing.
"""

from __future__ import annotations

import sys

_started = False


def start() -> None:
    """Starts the rest of Python, once. Afterwards everything can be imported as usual."""
    global _started
    standalone = sys.modules.get("pyrun._standalone")
    if standalone is None or _started:
        return
    _started = True
    from pyrun.base import archive

    archive.install(standalone)
    standalone.start_rest()
    import time

    time.tzset()  # time.timezone and so on are of the machine that built the binary


def finish() -> None:
    """Flushes stdout and stderr: the standalone binary ends with _exit(2), which does not."""
    if not _started:
        return
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream:
                stream.flush()
        except (OSError, ValueError):  # nobody reads it any more, or it is closed
            pass
