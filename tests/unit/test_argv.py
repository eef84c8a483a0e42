"""The command line: Go's style of options, and the same reading with and without click."""

import os
import random

import pytest

from pyrun.base import log
from pyrun.base.errors import Error
from pyrun.cli import declaration, scan, table

# Each of them right.
LINES = [
    "create ID",
    "create --bundle /b --pid-file /p --console-socket /c --pidfd-socket /f --preserve-fds 3 --no-pivot --no-new-keyring ID",
    "create -bundle /b -pid-file=/p -no-pivot=false -no-new-keyring=true ID",
    "create ID --bundle=/b -b /c",
    "create -b= ID",
    "--root /r --log /l --log-format json --debug --systemd-cgroup --rootless=true start ID",
    "-root=/r -log=/l -debug=0 start ID",
    "start ID --root /r --debug",
    "--root /a state ID --root /b",
    "state -- --odd-id",
    "--debug -- state ID",
    "run -d --keep --no-subreaper -b /b ID",
    "run --detach=F --keep=T ID",
    "run bundles/hello",
    "kill ID",
    "kill ID 9",
    "kill --all ID 9",
    "kill -a ID KILL",
    "kill ID --all 9",
    "kill ID -9",
    "delete --force ID",
    "delete ID -f",
    "list",
    "list -q",
    "list --format=json",
    "list -f json --quiet=false",
    "spec",
    "spec -b /b --rootless",
    "--rootless false spec --rootless=0",
    "exec ID ls -l --all",
    "exec ID -- ls -- -l",
    "exec -- ID ls",
    "exec -d -t -u 1:2 -e A=1 --env B=2,3 -e= --cwd /w ID env",
    "exec -p /dev/fd/4 ID",
    "exec --process=p.json --pid-file f --detach ID",
    "exec --cap CAP_A -c CAP_B -g 1 --additional-gids 2 -g=3 ID id",
    "exec --cgroup cpu,memory:/a --cgroup pids:/b --preserve-fds=2 --ignore-paused ID true",
    "exec --apparmor p --process-label l --no-new-privs --console-socket c --pidfd-socket s ID true",
    "exec --no-new-privs=false ID true",
    "plan",
    "plan bundles/hello",
    "plan -b /b",
    "plan --format json -b /b",
    "--version",
    "-v list",
]
WRONG = [
    "",
    "nonsense",
    "help",
    "run",
    "run a b",
    "state",
    "state a b",
    "list a",
    "kill",
    "kill a 9 b",
    "exec",
    "--nonsense list",
    "list --nonsense",
    "list ---quiet",
    "list -qf json",
    "--root",
    "create -b",
    "list --quiet=perhaps",
    "run --preserve-fds=x a",
    "run --preserve-fds=-1 a",
    "run --preserve-fds= a",
    "exec -g ٣ ID ls",
    "--help",
    "list -h",
    "exec -h",
]
GLOBALS, COMMANDS = table.table()


@pytest.fixture(autouse=True)
def no_log(monkeypatch):
    """Wrong words are written to the log that they name; these tests name any."""
    monkeypatch.setattr(log, "start", lambda *_: None)


def quick(words):
    """What the table says, or None."""
    try:
        glob, name, values = scan.read(GLOBALS, COMMANDS, words)
    except scan.Refused:
        return None
    return vars(glob), name, values


def by_click(words):
    try:
        glob, name, values = declaration.parse(words)
    except (Error, SystemExit):
        return None
    return vars(glob), name, values


@pytest.mark.parametrize("line", LINES)
def test_both_ways_read_the_same(line):
    words = line.split()
    assert quick(words) == by_click(words) is not None


@pytest.mark.parametrize("line", WRONG)
def test_neither_way_takes_what_is_wrong(line):
    words = line.split()
    assert quick(words) is None
    assert by_click(words) is None


def test_both_ways_agree_on_any_words():
    dice = random.Random(1)
    vocabulary = [*COMMANDS, "--", "-", "--=", "-9", "ID", "x=y", "", "é\udcff", "7", "true", "false", "json"]
    vocabulary += [f"{dashes}{name}{value}" for dashes in ("-", "--") for name in ("b", "bundle", "force", "q", "root", "debug", "e", "g", "a", "log")
                   for value in ("", "=", "=true", "=7", "=a=b")]
    accepted = 0
    for _ in range(4000):
        words = [dice.choice(list(COMMANDS)), *dice.choices(vocabulary, k=dice.randrange(5))]
        dice.random() < 0.3 and dice.shuffle(words)
        read = quick(words)
        assert read == by_click(words), words
        accepted += read is not None
    assert accepted > 400


def test_a_table_that_the_build_has_made_is_of_today():
    table = pytest.importorskip("pyrun.cli._argv_table")
    assert (table.GLOBALS, table.COMMANDS) == (GLOBALS, COMMANDS)


def test_without_a_table_click_decides(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyrun.cli._argv_table", None)
    monkeypatch.delattr("pyrun.cli._argv_table", raising=False)
    assert scan.parse(["list"]) is None


def test_values():
    line = "--root x/../y/. --systemd-cgroup exec -e A=1 -e B=2 -g 5 -u 1 ID sh -c"
    glob, name, values = declaration.parse(line.split())
    assert (name, values["id"], values["args"]) == ("exec", "ID", ("sh", "-c"))
    assert (values["env"], values["additional_gids"], values["user"]) == (("A=1", "B=2"), (5,), "1")
    assert (values["no_new_privs"], values["tty"], values["pid_file"], values["cap"]) == (None, False, None, ())
    assert (glob.root, glob.root_given, glob.systemd_cgroup, glob.debug) == (f"{os.getcwd()}/y", True, True, False)
    assert (glob.log, glob.log_format, glob.rootless) == (None, "text", "auto")


def test_an_argument_that_is_a_bundle(tmp_path, monkeypatch):
    bundle = tmp_path / "hello"
    bundle.mkdir()
    (bundle / "config.json").write_text("{}")
    (tmp_path / "link").symlink_to(bundle)
    (tmp_path / "empty").mkdir()
    path = str(bundle)
    monkeypatch.chdir(tmp_path)
    assert scan.bundle_and_id(None, "hello") == (path, "hello")
    assert scan.bundle_and_id(None, "./hello//") == (path, "hello")
    assert scan.bundle_and_id(None, path) == (path, "hello")
    assert scan.bundle_and_id(None, "link") == (path, "link")
    assert scan.bundle_and_id("empty", "hello") == (str(tmp_path / "empty"), "hello")
    assert scan.bundle_and_id(None, "") == (str(tmp_path), "")
    (bundle / "empty").mkdir()
    monkeypatch.chdir(bundle)
    assert scan.bundle_and_id(None, "empty") == (path, "empty")
    assert scan.bundle_and_id(None, ".") == (path, "hello")
    assert scan.bundle_and_id(None, "name") == (path, "name")


@pytest.mark.parametrize(
    ("bundle", "word", "message"),
    [
        (None, "./none", "./none/config.json: no such file or directory"),
        (None, "none/", "none/config.json: no such file or directory"),
        ("none", "id", "none/config.json: no such file or directory"),
        (None, "none", "none/config.json: no such file or directory, nor is there one in the working directory: `pyrun spec` makes one"),
        (None, "empty", "empty/config.json: no such file or directory, nor is there one in the working directory: `pyrun spec` makes one"),
        (None, "./file", "./file/config.json: not a directory: give the directory that holds config.json"),
        ("file", "id", "file/config.json: not a directory: give the directory that holds config.json"),
    ],
)
def test_a_bundle_that_is_not_there(tmp_path, monkeypatch, bundle, word, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Error) as caught:
        scan.bundle_and_id(bundle, word)
    assert str(caught.value) == message
