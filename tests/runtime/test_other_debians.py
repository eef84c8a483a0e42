"""build/pyrun runs on Debian 11, 12 and 13 as debootstrap makes them: without Python, without anything of ours."""

import json
import shutil
import subprocess

import pytest
from harness import PROJECT, default_config, make_rootfs

SUITES = {"11": "bullseye", "12": "bookworm", "13": "trixie"}
MIRROR = "http://deb.debian.org/debian"
# In a mount namespace of its own: /proc, /dev and /sys with the cgroups are those of the machine. pivot_root wants a mount.
ENTER = """
mount --bind "$0" "$0"
for name in proc dev sys; do mount --rbind "/$name" "$0/$name"; done
mount -t tmpfs run "$0/run"
root=$0
exec chroot "$root" "$@"
"""

pytestmark = [pytest.mark.once, pytest.mark.skipif(not shutil.which("debootstrap"), reason="debootstrap is not installed")]


@pytest.fixture(scope="module", params=SUITES)
def debian(request, tmp_path_factory):
    """A function that runs a command in a minimal Debian which has the binary in /usr/bin, and a bundle in /bundle."""
    root = tmp_path_factory.mktemp("debian") / request.param
    made = subprocess.run(
        ["debootstrap", "--variant=minbase", SUITES[request.param], root, MIRROR], capture_output=True, text=True, timeout=3000, check=False
    )
    assert made.returncode == 0, made.stdout + made.stderr
    shutil.copy(PROJECT / "build/pyrun", root / "usr/bin/pyrun")
    make_rootfs(root / "bundle/rootfs")

    def call(*command, code=0):
        enter = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", ENTER, root, *command]
        done = subprocess.run(enter, capture_output=True, text=True, timeout=300, check=False)
        assert code in (None, done.returncode), done.stdout + done.stderr
        return done.stdout

    call.root = root
    yield call
    shutil.rmtree(root)


def configure(debian, *args):
    config = default_config()
    config["process"].update(terminal=False, args=list(args))
    (debian.root / "bundle/config.json").write_text(json.dumps(config))


def test_it_has_no_python(debian):
    debian("sh", "-c", "command -v python3", code=127)


def test_hot_and_cold_commands(debian):
    assert debian("pyrun", "--version").startswith("pyrun version")
    assert "COMMANDS" in debian("pyrun", "--help")
    configure(debian, "true")
    assert "config.json is valid" in debian("pyrun", "validate", "/bundle", code=None)
    (debian.root / "bundle/config.json").unlink()
    debian("pyrun", "spec", "--bundle", "/bundle")
    assert json.loads((debian.root / "bundle/config.json").read_text())["ociVersion"]


@pytest.fixture(scope="module")
def installed(debian, deb):
    """The same with the package of `make deb` installed, and the shells that it completes for."""
    (debian.root / "usr/bin/pyrun").unlink()
    shutil.copy(deb, debian.root / "pyrun.deb")
    debian("apt-get", "-q", "-y", "install", "--no-install-recommends", "/pyrun.deb", "man-db", "bash-completion", "fish", "zsh")
    return debian


def test_manual_pages_of_the_package(installed):
    assert "Open Container Initiative runtime" in installed("man", "--pager=cat", "pyrun")
    assert "run another process in a running container" in installed("man", "--pager=cat", "pyrun-exec")


# What a shell has loaded by itself answers for `pyrun feat` and the key Tab; zsh, which takes a terminal for it, says which function would.
TAB = {
    "bash": """
        source /usr/share/bash-completion/bash_completion
        _completion_loader pyrun || true
        COMP_WORDS=(pyrun feat) COMP_CWORD=1
        _pyrun_completion pyrun
        echo "${COMPREPLY[@]}"
    """,
    "fish": "complete --do-complete 'pyrun feat' | cut -f 1",
    "zsh": "autoload -Uz compinit; compinit -D; echo $_comps[pyrun]",
}


@pytest.mark.parametrize("shell", TAB)
def test_completion_of_the_package(installed, shell):
    assert installed(shell, "-c", TAB[shell]) == {"zsh": "_pyrun\n"}.get(shell, "features\n")


def test_a_container(debian, token):
    configure(debian, "sh", "-c", "echo from $(hostname); exit 7")
    assert debian("pyrun", "run", "--bundle", "/bundle", f"{token}-run", code=7) == "from pyrun\n"


def test_create_start_delete(debian, token):
    configure(debian, "true")
    life = "pyrun create --bundle /bundle $0 && pyrun state $0 && pyrun start $0 && pyrun delete --force $0"
    assert json.loads(debian("sh", "-c", life, f"{token}-life"))["status"] == "created"
