"""The attacks are carried out as they should be: on a runtime known to be vulnerable, Debian 12's first runc, the same tests fail.

Only those are tried whose harm stays in the test's own directory.
"""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
VULNERABLE = "1.1.5+ds1-1+deb12u1"
ATTACKS = {
    "test_cve_2026_41579.py::test_dev_is_a_symlink[False-absolute]": "assert tree(host) == before",
    "test_cve_2026_47766.py::test_parents_of_a_node[/dev/made]": "assert victim.unchanged()",
    "test_cve_2026_88264.py::test_the_terminal_covers_nothing_but_dev_console[bin/target]": 'assert ("directory" if path',
    "test_leaked_files.py::test_of_a_hook[createContainer]": "exec.fifo",
}


def test_on_a_vulnerable_runtime(tmp_path):
    runc = shutil.which("runc")
    if not runc or VULNERABLE not in subprocess.check_output([runc, "--version"], text=True):
        pytest.skip(f"needs runc {VULNERABLE}")
    command = [sys.executable, "-m", "pytest", "-q", "-vv", "-p", "no:cacheprovider", "--basetemp", tmp_path / "inner"]
    result = subprocess.run(
        [*command, *(f"{HERE}/{name}" for name in ATTACKS)], env=os.environ | {"PYRUN": runc}, capture_output=True, text=True, check=False, timeout=60
    )
    assert f"{len(ATTACKS)} failed" in result.stdout.splitlines()[-1] and "passed" not in result.stdout.splitlines()[-1], result.stdout
    assert not [name for name, words in ATTACKS.items() if words not in result.stdout], result.stdout
