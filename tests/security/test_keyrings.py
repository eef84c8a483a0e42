"""Keys of the caller's session (keyrings(7)) are not the container's."""

import pathlib
import subprocess

import pytest
from harness import until


@pytest.fixture
def asking(bundle, tmp_path):
    """A container's Bundle, and words that run in it and here: they print the number and the name of their session keyring."""
    b = bundle("/keyring; sleep 100")
    subprocess.run(["gcc", "-O2", "-static", "-o", b.rootfs / "keyring", pathlib.Path(__file__).with_name("keyring.c")], check=True)
    return b


def printed(container):
    until(lambda: container.out.endswith("\n"))
    return container.out


def test_the_callers_keyring_is_not_the_containers(asking):
    ours = subprocess.run([asking.rootfs / "keyring"], capture_output=True, text=True, check=True).stdout.split()
    if ours[0] == "-1":
        pytest.skip("this kernel has no keyrings")
    container = asking.detached()
    first, *others = [text.split() for text in (printed(container), container.exec("/keyring").out, container.exec("/keyring").out)]
    for id, name in (first, *others):
        assert id != ours[0] and name.endswith(f";_ses.{container.id}")


def test_but_for_a_container_that_shares_it(asking):
    ours = subprocess.run([asking.rootfs / "keyring"], capture_output=True, text=True, check=True).stdout
    container = asking.detached("--no-new-keyring")
    assert printed(container) == container.exec("/keyring").out == ours
