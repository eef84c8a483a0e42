"""No wait and no limit goes by a clock that somebody may set: CLOCK_REALTIME is for what people read."""

import ast
import re

from checkout import PROJECT

FOR_PEOPLE = {
    "pyrun/base/timeline.py",  # times of the trace, which are init's too
    "pyrun/base/log.py",  # of its lines
    "pyrun/commands/top.py",  # in its head
    "pyrun/container/state.py",  # `created`
    "csrc/init/message.c",  # of the trace
}
REALTIME = {"time", "time_ns", "gmtime", "localtime", "ctime", "strftime"}


def reads_realtime(path):
    text = (PROJECT / path).read_text()
    if path.suffix == ".c":
        return bool(re.search(r"CLOCK_REALTIME|gettimeofday|[^_]time\(NULL\)", re.sub(r"/\*.*?\*/", "", text, flags=re.S)))
    return any(
        isinstance(node, ast.Attribute) and node.attr in REALTIME and isinstance(node.value, ast.Name) and node.value.id == "time"
        for node in ast.walk(ast.parse(text))
    )


def test_who_reads_the_clock_that_people_set():
    sources = [path.relative_to(PROJECT) for folder in ("pyrun", "csrc") for path in (PROJECT / folder).rglob("*.[cp]*")]
    assert {str(path) for path in sources if path.suffix in (".c", ".py") and reads_realtime(path)} == FOR_PEOPLE
