"""Runs commands of the runtime in which one op of the plan is made to fail. A program of its own, started by test_failures.py:

    one request on each line of stdin:  {"args": ["create", …], "op": 7, "out": "/file", "err": "/file", "cwd": "/"}
    one answer on each line of stdout:  {"code": 1, "ops": 80, "op": "mount", "where": "mounts[0]"}

Each request is served by a child of its own, as the command would be by a new process. The op is replaced by one that no
kernel carries out at any stage: writing to the plan, which is sealed (EPERM), and closed later (EBADF).
"""

import json
import os
import sys

from pyrun import __main__
from pyrun.commands import exec as exec_command
from pyrun.container import make
from pyrun.plan.records import Plan

PLAN_SLOT = 1


def serve(request):
    report_to, report = os.pipe()[::-1]
    pid = os.fork()
    if pid == 0:
        os.close(report)
        os.chdir(request["cwd"])
        for fd, path in ((1, request["out"]), (2, request["err"])):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), fd)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        break_plans(request["op"], report_to)
        os._exit(__main__.main(request["args"]))
    os.close(report_to)
    with os.fdopen(report) as lines:
        answer = json.loads(lines.readline() or "{}")
    return {"code": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), **answer}


def break_plans(index, report_to):
    """The plan of a container, or of a process in one, gets a failing op at the index."""
    # Its first part is with init before the rest is made.
    make.first_part = broken(make.first_part, index)
    make.emit_rest = broken(make.emit_rest, index, report_to)
    exec_command.process_plan = broken(exec_command.process_plan, index, report_to)


def broken(make, index, report_to=-1):
    """make, which returns a plan or adds to the one that it is given; what it has made is told to report_to."""

    def wrapper(*args, **kwargs):
        plan = make(*args, **kwargs) or args[0]
        if index < len(plan.records):
            plan.records[index] = failing_op()
        if report_to >= 0:
            name, where, _ = plan.notes[index]
            os.write(report_to, json.dumps({"ops": len(plan.records), "op": name, "where": where}).encode() + b"\n")
        return plan

    return wrapper


def failing_op():
    plan = Plan()
    plan.cgroup_join(file=PLAN_SLOT)
    return plan.records[0]


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(serve(json.loads(line))), flush=True)
