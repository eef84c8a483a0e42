"""process.apparmorProfile where the kernel has AppArmor: the profile holds. test_labels.py: where it has none."""

import json
import pathlib
import shutil
import subprocess

import pytest
from looks import one_line

NEEDED = pathlib.Path("/sys/kernel/security/apparmor/profiles")

pytestmark = [pytest.mark.machine, pytest.mark.skipif(not NEEDED.exists(), reason="AppArmor is not in this kernel")]

RULES = """
profile {name} flags=(attach_disconnected, mediate_deleted) {{
    file,
    network,
    capability,
    signal,
    deny {denied} w,
}}
"""
WRITE = "echo x >/root/free && echo x >/home/denied"
WHICH = "/proc/self/attr/current"


def parser(option, text):
    subprocess.run([shutil.which("apparmor_parser") or "/sbin/apparmor_parser", "--skip-cache", option], input=text, text=True, check=True)


@pytest.fixture
def load(token):
    """load(path): the name of a profile, loaded, that allows all but writing to the path. It is removed after the test."""
    loaded = []

    def make(denied):
        name = f"{token}-{len(loaded)}"
        loaded.append(RULES.format(name=name, denied=denied))
        parser("--add", loaded[-1])
        return name

    yield make
    for text in loaded:
        parser("--remove", text)


def test_a_profile_holds(bundle, load):
    name = load("/home/denied")
    result = bundle(f"cat {WHICH}; {WRITE}").set("process.apparmorProfile", name).run(code=1)
    assert result.out == f"{name} (enforce)\n"
    assert result.err == "sh: can't create /home/denied: Permission denied\n"


def test_without_a_profile_the_same_may_be_written(bundle):
    """And `unconfined` is what it says."""
    assert bundle(f"cat {WHICH}; {WRITE}").run().out == "unconfined\n"
    assert bundle(f"cat {WHICH}; {WRITE}").set("process.apparmorProfile", "unconfined").run().out == "unconfined\n"


@pytest.mark.parametrize("privileges", [True, False])
def test_with_and_without_no_new_privileges(bundle, load, privileges):
    b = bundle(["cat", WHICH]).set("process.noNewPrivileges", privileges)
    name = load("/home/denied")
    assert b.set("process.apparmorProfile", name).run().out == f"{name} (enforce)\n"


def test_exec_has_the_profile_of_the_config(bundle, load):
    name = load("/home/denied")
    c = bundle("sleep 100").set("process.apparmorProfile", name).detached()
    result = c.exec("sh", "-c", f"cat {WHICH}; {WRITE}", code=1)
    assert result.out == f"{name} (enforce)\n"
    assert "can't create /home/denied: Permission denied" in result.err


def test_exec_with_a_profile_of_its_own(bundle, load, run, tmp_path):
    c = bundle("sleep 100").set("process.apparmorProfile", load("/home/denied")).detached()
    other = load("/tmp/denied")
    assert c.exec("cat", WHICH, flags=("--apparmor", other)).out == f"{other} (enforce)\n"
    assert "Permission denied" in c.exec("sh", "-c", "echo x >/tmp/denied", flags=("--apparmor", other), code=1).err
    process = tmp_path / "process.json"
    process.write_text(json.dumps({"args": ["cat", WHICH], "cwd": "/", "env": ["PATH=/bin"], "apparmorProfile": other}))
    assert run("exec", "--process", process, c.id).out == f"{other} (enforce)\n"


def test_a_profile_that_is_not_loaded(bundle, run, leftovers, token):
    """An error that names the setting, the profile and the cure; and nothing is left."""
    b = bundle("true").set("process.apparmorProfile", f"{token}-none")
    for command in ("create", "run"):
        error = one_line(b.call(command, code=1))
        assert f"process.apparmorProfile: write {token}-none: no such file or directory" in error
        assert "apparmor_parser" in error
    assert leftovers() == []
    c = bundle("sleep 100").detached()
    assert f"{token}-none" in c.exec("true", flags=("--apparmor", f"{token}-none"), code=255).err
    assert c.status() == "running"
