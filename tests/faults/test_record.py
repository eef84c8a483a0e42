"""A state.json that is cut, or tells of a process that is another's by now; more of them in tests/runtime/test_state_record.py."""

import json
import os
import subprocess
import time

import pytest


@pytest.mark.parametrize("status", ["created", "running"])
def test_cut_anywhere(status, world):
    """Each command says so in one line, `list` shows the others, and `delete --force` ends what lives."""
    wrong = []
    size = len((world.root / world.bystander.id / "state.json").read_bytes())
    for length in (*range(0, size, 97), size - 1):
        made = world.made("create") if status == "created" else world.made("run", "--detach")
        path = world.root / made.id / "state.json"
        path.write_bytes(path.read_bytes()[:length])
        for words in (("state", made.id), ("kill", made.id, "KILL"), ("exec", made.id, "true"), ("delete", made.id)):
            code, _, said = world.call(*words, code=None)
            if code == 0 or said.count("\n") != 1 or "state.json" not in said or "internal error" in said:
                wrong.append(f"{length}: {words}: {code}: {said}")
        _, out, said = world.call("list", "--quiet")
        if world.bystander.id not in out.split() or made.id not in said:
            wrong.append(f"{length}: list: {out} {said}")
        code, _, said = world.call("delete", "--force", made.id, code=None)
        left = world.left()
        if code or left:
            wrong.append(f"{length}: delete --force: {code}: {said}: {left}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("command", ["kill ID KILL", "kill --all ID KILL", "delete --force ID", "pause ID", "exec ID true"])
def test_a_pid_that_is_another_process_now(command, world):
    made = world.made("run", "--detach")
    made.call("kill", "KILL").ends()
    time.sleep(2 / os.sysconf("SC_CLK_TCK"))  # one that is started in the same tick of the clock is not known as another
    with subprocess.Popen(["sleep", "1000"]) as other:
        try:
            path = world.root / made.id / "state.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": other.pid}))
            world.call(*command.replace("ID", made.id).split(), code=None)
            assert other.poll() is None and os.readlink(f"/proc/{other.pid}/cwd") == os.getcwd()
            assert made.status() in ("stopped", "")
        finally:
            other.kill()
    assert not world.removed(made.id)
