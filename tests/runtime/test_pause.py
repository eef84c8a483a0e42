"""`pause` and `resume`."""

import time

import pytest

pytestmark = pytest.mark.worlds


def count(container):
    return container.bundle.rootfs.joinpath("ticks").stat().st_size


@pytest.mark.arm64
@pytest.mark.kernels
def test_nothing_happens_in_a_paused_container(bundle, run):
    c = bundle("while :; do echo >>/ticks; sleep 0.01; done").detached()
    c.exec("sh", "-c", "until [ -s /ticks ]; do sleep 0.01; done")
    run("pause", c.id)
    assert '"paused"' in run("state", c.id).out
    assert " paused " in run("list").out
    before = count(c)
    time.sleep(0.2)  # twenty ticks
    assert count(c) == before
    run("resume", c.id)
    assert '"running"' in run("state", c.id).out
    c.exec("sh", "-c", f"until [ $(wc -c </ticks) -gt {before} ]; do sleep 0.01; done")


def test_the_wrong_state_in_runcs_words(bundle, run):
    c = bundle("sleep 100").create()
    assert run("resume", c.id, code=1).err == "pyrun: container not paused\n"
    # A created container can be paused, too.
    run("pause", c.id)
    assert run("pause", c.id, code=1).err == "pyrun: container not running\n"
    run("resume", c.id)
    assert '"created"' in run("state", c.id).out
    c.start()
    c.kill("KILL")
    c.wait()
    assert run("pause", c.id, code=1).err == "pyrun: container not running\n"
    assert run("resume", c.id, code=1).err == "pyrun: container not paused\n"
    for command in ("pause", "resume"):
        assert run(command, "nosuch", code=1).err == f'pyrun: container does not exist: "nosuch" (below --root {run.root})\n'


def test_a_paused_container_takes_no_process_and_can_be_deleted(bundle, run):
    c = bundle("sleep 100").detached()
    run("pause", c.id)
    assert "cannot exec in a paused container" in c.exec("true", code=255).err
    c.delete("--force")
    assert run("state", c.id, code=1).err == f'pyrun: container does not exist: "{c.id}" (below --root {run.root})\n'


def test_a_killed_container_does_not_stay_paused(bundle, run):
    c = bundle("sleep 100").detached()
    run("pause", c.id)
    c.kill("KILL")
    assert c.wait() == 137
    c.delete()
