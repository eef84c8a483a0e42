"""Completion in the real shells: what the key TAB makes of a line, where pyrun is installed as `make install` does it."""

import os
import re
import shutil
import subprocess

import pytest
from harness import PROJECT, Terminal

PROMPT = "[0]> "
LONG_LINES = "stty columns 300; "
BASH_COMPLETION = "/usr/share/bash-completion/bash_completion"
README = (PROJECT / "README.md").read_text()


def shells(*names):
    """A mark: the test is run with each shell."""
    missing = {name: pytest.mark.skipif(not shutil.which(name), reason=f"the package {name} is not installed") for name in names}
    return pytest.mark.parametrize("shell", [pytest.param(name, marks=missing[name]) for name in names])


@pytest.fixture(scope="module")
def prefix(pyrun, tmp_path_factory):
    """A directory in which pyrun is installed; the executable in it is the one under test."""
    root = tmp_path_factory.mktemp("installed")
    subprocess.run(["make", "install", f"PREFIX={root}"], cwd=PROJECT, check=True, capture_output=True, timeout=300)
    (root / "bin/pyrun").unlink()
    (root / "bin/pyrun").symlink_to(pyrun)
    return root


@pytest.fixture
def after_tab(prefix, tmp_path):
    """after_tab(shell, line, wanted): presses TAB behind the line; what the shell shows then, up to the text that is wanted."""
    opened = []
    environment = [f"PATH={prefix}/bin:{os.environ['PATH']}", f"HOME={tmp_path}", "TERM=dumb"]
    data = f"XDG_DATA_DIRS={prefix}/share:/usr/share"

    def terminal(shell, setup):
        command = {"bash": ["bash", "--norc"], "zsh": ["zsh", "-f"]}[shell]
        prompt = {"bash": "PS1=[$?]> ", "zsh": "PS1=[%?]> "}[shell]
        opened.append(Terminal(["/usr/bin/env", *environment, data, prompt, *command, "-i"]))
        opened[0].expect(PROMPT)
        opened[0].send(f"{LONG_LINES}{setup}; printf 're%s\\n' ady\n").expect("ready")
        return opened[0]

    def press(shell, line, wanted, setup=None):
        if shell == "fish":
            command = f"{setup or ''}\ncomplete -C '{line}'"
            shown = subprocess.run(["env", *environment, data, "fish", "-c", command], capture_output=True, text=True, check=True, timeout=60)
            assert wanted in shown.stdout and not shown.stderr, shown
            return shown.stdout
        ways = {
            "bash": f"source {BASH_COMPLETION}",
            "zsh": f"fpath=({prefix}/share/zsh/site-functions $fpath); autoload -U compinit; compinit -u -d {tmp_path}/zcompdump",
        }
        if not opened:
            terminal(shell, setup or ways[shell])
        shown = opened[0].send(f"{line}\t").expect(wanted)
        opened[0].send("\x15")  # the line is taken back
        return shown

    yield press
    for shell in opened:
        shell.send("\x15exit\n")
        shell.wait()


ALL = shells("bash", "zsh", "fish")


@ALL
@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("pyrun feat", "features"),
        ("pyrun list --for", "--format"),
        ("pyrun list --format j", "json"),
        ("pyrun list --format=j", "json"),
        ("pyrun plan --format te", "text"),
        ("pyrun state --log-f", "--log-format"),
        ("pyrun --root /tmp exec --cap CAP_SYS_MO", "CAP_SYS_MODULE"),
        ("pyrun kill web KI", "KILL"),
        ("pyrun kill web SIGKI", "SIGKILL"),
        ("pyrun help feat", "features"),
        ("pyrun checkpoint --manage-cgroups-mode st", "strict"),
    ],
)  # fmt: skip
def test_words(after_tab, shell, line, wanted):
    after_tab(shell, line, wanted)


@ALL
def test_directories_of_bundles(after_tab, tmp_path, shell):
    (tmp_path / "mybundle").mkdir()
    (tmp_path / "myfile").touch()
    after_tab(shell, f"pyrun run {tmp_path}/my", "mybundle/")
    after_tab(shell, f"pyrun create --bundle {tmp_path}/my", "mybundle/")


@ALL
def test_the_id_of_a_container(after_tab, bundle, run, shell):
    created = bundle("sleep 100").create()
    after_tab(shell, f"pyrun --root {run.root} delete {run.token}", created.id)
    after_tab(shell, f"pyrun start --root {run.root} {run.token}", created.id)


@shells("zsh", "fish")
def test_ids_are_shown_with_their_status(after_tab, bundle, run, shell):
    created, running = (bundle("sleep 100").create() for _ in range(2))
    running.start()
    again = "\t" * (shell == "zsh")  # the first one completes what both ids begin with
    shown = after_tab(shell, f"pyrun --root {run.root} state {run.token}{again}", "running")
    assert re.search(rf"{created.id}\b.*created", shown)


@shells("fish")
def test_a_command_is_offered_the_containers_that_it_works_on(after_tab, bundle, run, shell):
    created, running = (bundle("sleep 100").create() for _ in range(2))
    running.start()
    assert created.id not in after_tab(shell, f"pyrun --root {run.root} checkpoint ", running.id)
    assert running.id not in after_tab(shell, f"pyrun --root {run.root} start ", created.id)


@shells("fish")
def test_the_options_of_a_program_in_a_container_are_not_ours(after_tab, shell):
    assert "--env" in after_tab(shell, "pyrun exec --", "--env")
    assert after_tab(shell, "pyrun exec web ls --", "") == ""


@shells("fish")
def test_a_state_that_cannot_be_read_is_no_message_in_the_line(after_tab, tmp_path, shell):
    (tmp_path / "state/broken").mkdir(parents=True)
    (tmp_path / "state/broken/state.json").write_text("{")
    for root in (f"{tmp_path}/state", "/nowhere"):
        assert after_tab(shell, f"pyrun --root {root} delete ", "") == ""


@ALL
def test_the_readmes_line_turns_it_on(after_tab, shell):
    line = re.search(rf"^.*_PYRUN_COMPLETE={shell}_source pyrun.*?(?=  )", README, re.MULTILINE)[0]
    before = {"zsh": "autoload -U compinit; compinit -u; "}.get(shell, "")
    after_tab(shell, "pyrun feat", "features", setup=before + line)


def test_what_is_no_shell_is_refused(pyrun):
    done = subprocess.run([pyrun], env={"_PYRUN_COMPLETE": "tcsh_source"}, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "pyrun: _PYRUN_COMPLETE=tcsh_source: use bash_source, zsh_source, fish_source\n")


def test_a_command_line_is_one_whatever_the_environment_says(pyrun, tmp_path):
    command = [pyrun, "--root", tmp_path, "list", "--quiet"]
    done = subprocess.run(command, env={"_PYRUN_COMPLETE": "bash_complete"}, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
