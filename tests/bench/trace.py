"""How much slower a program runs under `pyrun trace`: python tests/bench/trace.py [RUNTIME]

Three bundles, each by `run` and by `trace`, in turns: a shell that forks in a loop, python3, and busybox's httpd under load.
Printed is the least of the times of each, in milliseconds, and the ratio of both.
"""

import http.client
import json
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests")]

from harness import default_config, make_rootfs  # noqa: E402

ROUNDS = 15
REQUESTS = 300
PORT = 18080
PYTHON = """
import argparse, collections, decimal, email.message, json, logging, re, tempfile
words = collections.Counter(re.findall(r"[a-z]+", " ".join(map(str, vars(re))) * 200))
text = json.dumps([{"n": n, "words": words.most_common(50)} for n in range(2000)])
with tempfile.TemporaryFile("w") as file:
    for line in range(2000):
        file.write(text[line : line + 100])
assert len(json.loads(text)) == 2000
"""
LOOP = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); n=$(expr $i + 1); [ $n -gt $i ] || exit 1; done; sort /etc/passwd | grep -c root"


def bundle(directory, args, rootfs=None, network=True):
    directory.mkdir()
    config = default_config()
    config["process"]["args"] = args
    config["root"] = {"path": str(rootfs), "readonly": True}
    config["linux"]["namespaces"] = [space for space in config["linux"]["namespaces"] if network or space["type"] != "network"]
    config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"})
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def timed(command):
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    return time.perf_counter() - begin


def served(command):
    """The time of REQUESTS requests, one after the other, each of a connection of its own."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL) as server:
        try:
            while not answered():
                time.sleep(0.01)
            begin = time.perf_counter()
            for _ in range(REQUESTS):
                assert answered()
            return time.perf_counter() - begin
        finally:
            server.terminate()


def answered():
    connection = http.client.HTTPConnection("127.0.0.1", PORT)
    try:
        connection.request("GET", "/passwd")
        return connection.getresponse().read().startswith(b"root")
    except ConnectionRefusedError:
        return False
    finally:
        connection.close()


def main(runtime):
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        busybox = make_rootfs(directory / "rootfs")
        state = ["--root", str(directory / "state")]
        httpd = ["sh", "-c", f"trap 'kill $!; exit' TERM; httpd -f -p 127.0.0.1:{PORT} -h /etc & wait"]
        cases = {
            "busybox sh, 300 subshells in a loop": (timed, bundle(directory / "loop", ["sh", "-c", LOOP], busybox)),
            "python3": (timed, bundle(directory / "python", ["/usr/bin/python3", "-I", "-c", PYTHON], "/")),
            f"httpd, {REQUESTS} requests": (served, bundle(directory / "httpd", httpd, busybox, network=False)),
        }
        print("| program | run, ms | trace, ms | trace : run |\n|---|---|---|---|")
        for title, (measure, path) in cases.items():
            times = {"run": [], "trace": []}
            for _ in range(ROUNDS):
                times["run"].append(measure([runtime, *state, "run", "--bundle", path, "box"]))
                times["trace"].append(measure([runtime, *state, "trace", "--output", directory / "report", path]))
            plain, traced = (min(found) * 1000 for found in times.values())
            print(f"| {title} | {plain:.0f} | {traced:.0f} | {traced / plain:.2f} |", flush=True)


if __name__ == "__main__":
    main(*(sys.argv[1:] or [str(ROOT / "build/pyrun")]))
