"""`delete --force` of a container that another command is still at work on."""

import subprocess
import time

import pytest
from harness import until

pytestmark = pytest.mark.worlds


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer", "startContainer"])
def test_delete_ends_a_run_that_waits_for_its_hook(bundle, run, kind):
    b = bundle("true").set(f"hooks.{kind}", [{"path": "/bin/sleep", "args": ["sleep", "100"]}]).write()
    name = run.new_id()
    creation = subprocess.Popen(run.command("run", "--bundle", b.directory, name), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    until(lambda: "sleep" in subprocess.run(["ps", "-o", "comm=", "--ppid", str(creation.pid)], capture_output=True, text=True).stdout)
    begin = time.monotonic()
    run("delete", "--force", name)
    _, err = creation.communicate(timeout=20)
    assert time.monotonic() - begin < 15
    assert creation.returncode == 1
    assert f"error running {kind} hook #0" in err
    assert run("list", "-q").out == ""
