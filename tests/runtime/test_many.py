"""Many containers, one after the other and at once: nothing of them stays."""

import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

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
