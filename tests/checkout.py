"""pyrun as it runs from the checkout, by `python -m pyrun`: for tests that make no container."""

import os
import subprocess
import sys

from harness import PROJECT


def pyrun(*words, prefix=(), **options):
    """Runs `pyrun WORDS…`; returns (exit status, stdout, stderr). prefix: a command (tuple of str) that runs it; env (dict): besides PATH,
    all that the environment holds; further options are subprocess.run's.
    """
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), **options.pop("env", {})}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [*prefix, sys.executable, "-m", "pyrun", *map(str, words)]
    done = subprocess.run(command, env=environ, text=True, check=False, timeout=60, **(pipes | options))
    return done.returncode, done.stdout, done.stderr
