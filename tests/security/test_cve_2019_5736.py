"""A container overwrites the runtime's executable through /proc/self/exe of a process that entered it."""

import hashlib
import os
import threading


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def everything(bundle):
    """A container with as many rights as there are."""
    for names in bundle.config["process"]["capabilities"].values():
        names += ["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN", "CAP_FOWNER"]
    return bundle


def test_an_interpreter_that_is_proc_self_exe(bundle, own_binary):
    before = digest(own_binary)
    b = everything(bundle(["/exploit"]))
    (b.rootfs / "exploit").write_text("#!/proc/self/exe\n")
    (b.rootfs / "exploit").chmod(0o755)
    b.run(code=None)
    b.set("process.args", ["/proc/self/exe"]).run(code=None)
    container = b.set("process.args", ["sleep", "100"]).detached()
    container.exec("/exploit", code=None)
    container.exec("/proc/self/exe", code=None)
    assert digest(own_binary) == before


def test_writing_to_the_exe_of_every_process(bundle, own_binary):
    before = digest(own_binary)
    script = "while :; do for p in /proc/[0-9]*; do [ $p = /proc/1 ] || (echo x >$p/exe; readlink $p/exe); done; done 2>/dev/null"
    container = everything(bundle(script)).detached()

    def execs():
        for _ in range(10):
            container.exec("true")

    threads = [threading.Thread(target=execs) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert digest(own_binary) == before
    seen = set(container.out.split("\n"))
    assert not [name for name in seen if str(own_binary) in name or "python" in name]


def test_init_is_no_file_of_the_host(bundle, own_binary):
    container = everything(bundle("true")).create()
    assert "memfd:" in os.readlink(f"/proc/{container.pid}/exe")
    with open(f"/proc/{container.pid}/maps") as lines:
        names = {line.split(None, 5)[5].strip() for line in lines if len(line.split(None, 5)) == 6}
    assert all(name.startswith(("/memfd:", "[")) for name in names), names
    # Sealed: not even a process with every right can write to it.
    result = container.exec("sh", "-c", "for n in 1 2 3; do echo x >/proc/1/exe && echo written; done", code=None)
    assert "written" not in result.out
    container.start()
