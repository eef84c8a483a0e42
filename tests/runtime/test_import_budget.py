"""What a hot command imports, seen by running it: nothing beyond Python's built-in C modules and pyrun itself.

Run by the Python of .venv on the sources, isolated and without site, where Python has hardly more modules at its start
than the standalone binary has.
"""

import json
import subprocess
import sys

import pytest
from harness import PROJECT

BUILT_IN = {"posix", "errno", "time", "sys", "marshal", "_struct", "fcntl", "select", "_signal", "_cffi_backend"}
COLD = {"pyrun.cli", "pyrun.validate", "pyrun.trace", "pyrun.features", "pyrun.schemas"}
SITE = next(path for path in sys.path if path.endswith("site-packages"))

PROGRAM = f"""
import sys
before = set(sys.modules)
sys.path += [{str(PROJECT)!r}, {SITE!r}]
from pyrun.__main__ import main
status = main(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    file.write("\\n".join(sorted(set(sys.modules) - before)))
sys.exit(status)
"""


@pytest.fixture
def imported(run, tmp_path):
    """Runs a command on the sources; returns the names of the modules that it has imported."""

    def call(*args):
        command = [sys.executable, "-I", "-S", "-c", PROGRAM, tmp_path / "modules", *run.command(*args)[1:]]
        output = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        with open(tmp_path / "stderr", "w") as stderr:
            done = subprocess.run(command, **output, stderr=stderr, timeout=30, check=False)
        assert done.returncode == 0, (tmp_path / "stderr").read_text()
        return set((tmp_path / "modules").read_text().split())

    return call


def beyond_budget(modules):
    return sorted(name for name in modules if name in COLD or not (name in BUILT_IN or name.partition(".")[0] == "pyrun"))


def test_every_hot_command_keeps_its_import_budget(imported, bundle, run):
    b = bundle("sleep 100").write()
    name = run.new_id()
    pid_file = b.directory / "pid"
    process = b.directory / "process.json"
    process.write_text(json.dumps({**b.config["process"], "args": ["true"]}))
    lines = {
        "create": ["create", "--bundle", b.directory, "--pid-file", pid_file, name],
        "state": ["state", name],
        "start": ["start", name],
        "exec": ["exec", name, "true"],
        "exec --process": ["exec", "--process", process, "--detach", "--pid-file", pid_file, name],
        "kill": ["kill", name, "KILL"],
        "delete": ["delete", "--force", name],
        "run": ["run", "--bundle", bundle("true").write().directory, run.new_id()],
    }
    found = {command: beyond_budget(imported(*map(str, args))) for command, args in lines.items()}
    assert found == {command: [] for command in lines}


def test_the_words_that_callers_put_before_a_command_cost_no_import(imported, run, bundle, tmp_path):
    log = tmp_path / "log.json"
    args = ["--log", log, "--log-format", "json", "--systemd-cgroup=false", "run", "--bundle", bundle("true").write().directory]
    assert beyond_budget(imported(*map(str, args), run.new_id())) == []
