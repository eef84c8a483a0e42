"""Code of the image is loaded by a runtime process that has entered it: NSS, gconv, locales, Python modules."""

import os

import pytest

# Whoever opens one of these waits for ever.
BAITS = [
    "etc/nsswitch.conf", "etc/ld.so.cache", "etc/ld.so.preload", "etc/localtime", "etc/resolv.conf", "etc/host.conf", "etc/group",
    "lib/x86_64-linux-gnu/libnss_files.so.2", "lib/x86_64-linux-gnu/libc.so.6", "lib64/ld-linux-x86-64.so.2",
    "usr/lib/x86_64-linux-gnu/gconv/gconv-modules", "usr/lib/locale/locale-archive", "usr/lib/locale/C.utf8/LC_CTYPE",
    "usr/lib/python3.11/encodings/__init__.py", "usr/lib/python3.11/os.py", "usr/lib/python311.zip", "usr/bin/pyvenv.cfg",
]  # fmt: skip


@pytest.mark.parametrize("terminal", [False, True])
def test_nothing_of_the_image_is_opened(bundle, terminal):
    b = bundle("echo fine", terminal=terminal).set("process.env", ["PATH=/bin", "LANG=de_DE.UTF-8"])
    b.set("process.user", {"uid": 1000, "gid": 1000, "additionalGids": [2000]})
    for name in BAITS:
        path = b.rootfs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        os.mkfifo(path)
    if terminal:
        process = b.terminal()
        process.expect("fine")
        assert process.wait() == 0
        return
    assert b.run().out == "fine\n"
    container = b.set("process.args", ["sleep", "100"]).detached()
    assert container.exec("echo", "hi", flags=("--user", "1000:1000")).out == "hi\n"
    assert container.exec("true", flags=("--cwd", "/tmp")).code == 0
    container.kill("KILL")
    container.wait()
    container.delete()
