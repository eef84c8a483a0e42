"""Several inits at once: that of a container, and those of its hooks."""

import pathlib

from pyrun.init import session
from pyrun.plan.clone import emit_clone
from pyrun.plan.records import Plan


def waiting_init():
    """One that has told of its process, which waits."""
    plan = Plan()
    emit_clone(plan, 0, ())
    plan.barrier(number=1)
    init = session.Init(plan)
    init.spawn()
    init.drive(barrier=lambda number: False)
    return init


def test_a_process_that_nobody_has_heard_of_is_no_other_inits():
    one = waiting_init()
    try:
        assert pathlib.Path(f"/proc/{one.pid}/comm").read_text() == "pyrun:init\n"
        assert session._silent_child() == 0
        session._known.discard(one.pid)
        assert session._silent_child() == one.pid
    finally:
        one.kill()
