"""What a hot command imports, seen by running it: nothing beyond Python's built-in C modules and pyrun itself.

Run by the Python of .venv on the sources, isolated and without site, where Python has hardly more modules at its start
than the standalone binary has.
"""

import json
import sys

import pytest
from harness import PROJECT, Runner

from csrc.modules import COLD

BUILT_IN = {"posix", "errno", "time", "sys", "marshal", "_struct", "fcntl", "select", "_signal", "_cffi_backend"}
# The build drops it, with the annotations that it is for.
BUILT_IN |= {"__future__"}
SITE = next(path for path in sys.path if path.endswith("site-packages"))

PROGRAM = """#!{python} -IS
import sys
before = set(sys.modules)
sys.path += [{project!r}, {site!r}]
from pyrun.__main__ import main
status = main(sys.argv[1:])
with open({result!r}, "w") as file:
    file.write("\\n".join(sorted(set(sys.modules) - before)))
sys.exit(status)
"""


@pytest.fixture
def imported(run, tmp_path):
    """Runs a command on the sources; returns the names of the modules beyond the budget that it has imported."""
    program, result = tmp_path / "pyrun", tmp_path / "modules"
    program.write_text(PROGRAM.format(python=sys.executable, project=str(PROJECT), site=SITE, result=str(result)))
    program.chmod(0o755)
    runner = Runner(str(program), tmp_path, run.token)

    def call(*args):
        runner(*args)
        modules = result.read_text().split()
        return [name for name in modules if name in COLD or not (name in BUILT_IN or name.partition(".")[0] == "pyrun")]

    return call


def test_every_hot_command_keeps_its_import_budget(imported, bundle, run):
    b = bundle("sleep 100").write()
    name = run.new_id()
    pid_file = b.directory / "pid"
    process = b.directory / "process.json"
    process.write_text(json.dumps({**b.config["process"], "args": ["true"]}))
    limits = b.directory / "limits.json"
    limits.write_text(json.dumps({"pids": {"limit": 30}}))
    lines = {
        "create": ["create", "--bundle", b.directory, "--pid-file", pid_file, name],
        "state": ["state", name],
        "start": ["start", name],
        "exec": ["exec", name, "true"],
        "exec --process": ["exec", "--process", process, "--detach", "--pid-file", pid_file, name],
        "ps": ["ps", name],
        "pause": ["pause", name],
        "resume": ["resume", name],
        "update": ["update", "--pids-limit", "20", name],
        "update --resources": ["update", "--resources", limits, name],
        "events --stats": ["events", "--stats", name],
        "kill": ["kill", name, "KILL"],
        "delete": ["delete", "--force", name],
        "run": ["run", "--bundle", bundle("true").write().directory, run.new_id()],
    }
    found = {command: imported(*args) for command, args in lines.items()}
    assert found == {command: [] for command in lines}


def test_the_words_that_callers_put_before_a_command_cost_no_import(imported, run, bundle, tmp_path):
    log = tmp_path / "log.json"
    args = ["--log", log, "--log-format", "json", "--systemd-cgroup=false", "run", "--bundle", bundle("true").write().directory]
    assert imported(*args, run.new_id()) == []
