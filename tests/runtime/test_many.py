"""Many containers, one after the other and at once: nothing of them stays."""

import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

injected = pytest.mark.skipif(not shutil.which("strace"), reason="needs strace, which makes system calls fail")
pytestmark = pytest.mark.worlds


def test_fifty_in_a_row(bundle, run, leftovers):
    b = bundle("true").write()
    for number in range(50):
        name = f"{run.token}-row-{number}"
        run("create", "--bundle", b.directory, name)
        run("delete", "--force", name)
    assert leftovers() == []


def test_twenty_at_once(bundle, run, leftovers):
    b = bundle("exec sleep 1000").write()

    def all_of_them(*words):
        """`words` for each container, all at the same time; asserts that all succeed."""

        def call(number):
            command = run.command(*words, f"{run.token}-once-{number}")
            return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False).returncode

        with ThreadPoolExecutor(20) as pool:
            assert list(pool.map(call, range(20))) == [0] * 20

    all_of_them("create", "--bundle", b.directory)
    all_of_them("start")
    assert run("list").out.count(" running ") == 20
    all_of_them("delete", "--force")
    assert run("list", "-q").out == ""
    assert leftovers() == []


@pytest.fixture
def hundreds(bundle, run):
    """Ids of 301 containers, forged of one that runs: every third is written as another program might, and the last one is damaged."""
    container = bundle("exec sleep 1000").detached()
    text = (run.root / container.id / "state.json").read_text()
    names = [f"box-{number:03}" for number in range(301)]
    for number, name in enumerate(names):
        (run.root / name).mkdir()
        forged = text.replace(f'"id":"{container.id}"', f'"id":"{name}"')
        (run.root / name / "state.json").write_text(forged if number % 3 else json.dumps(json.loads(forged)))
    (run.root / names[-1] / "state.json").write_text("{")
    yield names
    for name in names:
        shutil.rmtree(run.root / name)
    container.delete("--force")


@pytest.mark.parametrize(
    "around",
    [
        pytest.param([], id="two"),
        pytest.param(["taskset", "--cpu-list", "0"], id="one-processor"),
        pytest.param(["strace", "-f", "-o", "/dev/null", "-e", "inject=clone,clone3:error=EAGAIN"], marks=injected, id="no-thread"),
    ],
)
def test_hundreds_are_listed_in_order(hundreds, run, around):
    """By two threads, also where there is but one processor, and where the second one cannot be made."""
    done = subprocess.run([*around, *run.command("list", "--format", "json")], capture_output=True, text=True, check=False)
    listed = [entry for entry in json.loads(done.stdout) if entry["id"].startswith("box-")]
    assert [entry["id"] for entry in listed] == hundreds[:-1]
    assert listed[::20] == [json.loads(run("state", name).out) for name in hundreds[:-1:20]]
    assert {entry["status"] for entry in listed} == {"running"}
    assert {line.split(": ")[2] for line in done.stderr.splitlines()} == {f"load container {hundreds[-1]}"}
