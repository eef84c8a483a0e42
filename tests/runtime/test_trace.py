"""pyrun trace: what is reported of a run, the seccomp profile that is made of it, and that nothing is left half dead."""

import json
import os
import pathlib
import re
import signal
import stat
import subprocess

import pytest
from harness import Terminal, read, until

REFUSE = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1}
THREADS = """
import os, threading
def work():
    os.getpriority(os.PRIO_PROCESS, 0)
threads = [threading.Thread(target=work) for _ in range(20)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
os.execv("/bin/sh", ["sh", "-c", "umask 7; echo executed"])
"""


@pytest.fixture
def trace(run, tmp_path):
    """trace(bundle, flags …) -> (the Result, the report)."""

    def call(target, *flags, **options):
        report = tmp_path / "report.json"
        directory = target.write().directory if hasattr(target, "directory") else target
        result = run("trace", "--format", "json", "--output", report, *flags, directory, **options)
        return result, json.loads(report.read_text())

    return call


def names(report):
    return {entry["name"] for entry in report["syscalls"]}


def count(report, name):
    return sum(entry["count"] for entry in report["syscalls"] if entry["name"] == name)


def started(run, *args):
    """`trace` in the background: the Popen and the file of its stdout."""
    out = run.directory / f"{run.new_id()}.out"
    with open(out, "wb") as file:
        return subprocess.Popen(run.command("trace", *args), stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.PIPE, text=True), out


def tracer_of(pid):
    return int(re.search(r"^TracerPid:\t(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[1])


def traced(bundle, run, script):
    """A running container that is traced: it, the Popen of `trace`, the file of its stdout."""
    c = bundle(script).detached()
    tracer, out = started(run, c.id)
    until(lambda: tracer_of(c.pid) == tracer.pid, what="it is traced")
    return c, tracer, out


# --- what is reported ----------------------------------------------------------------------------------------------------


def test_calls_files_and_programs(bundle, trace):
    b = bundle("cd /etc; cat passwd missing > /tmp/copy; umask 7; umask 7; rm /tmp/copy")
    result, report = trace(b)
    assert report["exitCode"] == result.code == 0 and "missing" in result.err
    assert count(report, "umask") >= 2 and {"openat", "execve", "write", "exit_group"} <= names(report)
    files = {entry["path"]: entry for entry in report["files"]}
    assert files["/etc/passwd"]["how"] == ["read"] and files["/etc/passwd"]["errors"] == {}
    assert files["/etc/missing"]["errors"] == {"ENOENT": 1}
    assert {"change", "write"} <= set(files["/tmp/copy"]["how"])
    assert {"path": "/bin/sh", "count": 1} in report["programs"]


def test_the_table(bundle, run):
    done = run("trace", bundle("echo hello; mount -t tmpfs none /tmp; exit 3").write().directory, code=3)
    assert done.out == "hello\n"
    for row in (r"^CALL +COUNT +ERRORS$", r"^FILE +HOW +COUNT", r"^write +\d+", r"^CAP_SYS_ADMIN +1 +1 +mount$",
                r"^mount\('none', '/tmp', 'tmpfs', .*\) +EPERM +1 +the kernel$",
                r"\d+ system calls of \d+ kinds; \d+ files; 1 capabilities asked"):  # fmt: skip
        assert re.search(row, done.err, re.MULTILINE), (row, done.err)


def test_capabilities_asked_for_and_refused(bundle, trace):
    b = bundle("hostname other; chown 1:1 /tmp; mknod /tmp/null c 1 3; kill -0 1; true")
    b.config["process"]["capabilities"] = {name: ["CAP_CHOWN"] for name in ("bounding", "effective", "permitted")}
    _, report = trace(b)
    found = {entry["name"]: (entry["count"], entry["refused"], entry["calls"]) for entry in report["capabilities"]}
    assert found["CAP_SYS_ADMIN"] == (1, 1, ["sethostname"])
    assert found["CAP_CHOWN"][:2] == (1, 0)
    assert found["CAP_MKNOD"][:2] == (1, 1)
    assert "CAP_KILL" not in found
    assert {("sethostname", "EPERM"), ("mknodat", "EPERM")} <= {(entry["call"].partition("(")[0], entry["error"]) for entry in report["refusals"]}


def test_a_file_that_may_not_be_read(bundle, trace):
    b = bundle("cat /secret; true")
    (b.rootfs / "secret").write_text("x")
    (b.rootfs / "secret").chmod(0)
    b.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    b.config["process"]["capabilities"] = {}
    _, report = trace(b)
    assert {entry["name"]: entry["refused"] for entry in report["capabilities"] if entry["refused"]} == {"CAP_DAC_OVERRIDE": 1}


def test_what_programs_are_given_is_not_told(bundle, trace):
    b = bundle(["sh", "-c", "SECRET=hush /bin/nothing password; true"])
    (b.rootfs / "bin/nothing").write_text("x")
    result, report = trace(b)
    assert any("/bin/nothing" in entry["call"] and entry["error"] == "EACCES" for entry in report["refusals"]), report["refusals"]
    assert "hush" not in json.dumps(report) and "password" not in json.dumps(report)


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -TERM $$; sleep 9", 0), ("kill -KILL $(sh -c 'echo $PPID')", 0)])
def test_the_exit_code_is_the_programs(bundle, trace, run, script, code):
    b = bundle(script)
    plain = b.run(code=None).code
    result, _ = trace(b, code=None, timeout=60)
    assert result.code == plain and (plain == code or not code)


def test_threads_and_an_exec_of_one(bundle, trace):
    b = bundle(["/usr/bin/python3", "-I", "-S", "-c", THREADS]).set("root", {"path": "/", "readonly": True})
    result, report = trace(b)
    assert result.out == "executed\n" and report["threads"] == 20
    assert count(report, "getpriority") == 20 and count(report, "umask") >= 1


def test_an_exec_by_another_thread_than_the_first(bundle, trace):
    program = """
import os, threading
threading.Thread(target=os.execv, args=("/bin/sh", ["sh", "-c", "umask 7; echo executed"])).start()
threading.Event().wait()
"""
    b = bundle(["/usr/bin/python3", "-I", "-S", "-c", program]).set("root", {"path": "/", "readonly": True})
    result, report = trace(b)
    assert result.out == "executed\n" and count(report, "umask") >= 1
    assert any(entry["path"] == "/bin/sh" for entry in report["programs"])


def test_signals_and_stops(bundle, trace):
    script = """
trap 'echo usr1' USR1; kill -USR1 $$
sleep 1000 & p=$!
kill -STOP $p
until grep -q '^State:.[tT]' /proc/$p/status; do :; done
sleep 0.1
grep -q '^State:.[tT]' /proc/$p/status && echo stopped
kill -CONT $p
while grep -q '^State:.[tT]' /proc/$p/status; do :; done
kill -TERM $p; wait $p; echo $?
"""
    result, report = trace(bundle(script))
    assert result.out == "usr1\nstopped\n143\n"
    assert report["signals"]["SIGUSR1"] == report["signals"]["SIGSTOP"] == report["signals"]["SIGTERM"] == 1
    assert report["processes"] >= 4


def test_a_terminal(bundle, run):
    b = bundle("read line; echo got $line; stty size", terminal=True).write()
    t = Terminal(run.command("trace", "--output", b.directory / "report", b.directory))
    t.send("word\n").expect("got word")
    assert t.wait() == 0 and "read" in (b.directory / "report").read_text()


def test_a_report_into_a_device(bundle, run, tmp_path):
    b = bundle("true").write()
    null = tmp_path / "null"
    os.mknod(null, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    (tmp_path / "link").symlink_to("real")
    run("trace", "--output", null, "--seccomp", tmp_path / "link", b.directory)
    assert stat.S_ISCHR(null.stat().st_mode) and (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text()


# --- profiles ------------------------------------------------------------------------------------------------------------


def test_a_profile_lets_this_run_work_and_no_other_call(bundle, trace, tmp_path):
    b = bundle("cat /etc/passwd | sort | head -1; sh -c 'echo $((6 * 7))'")
    profile = tmp_path / "profile.json"
    result, report = trace(b, "--seccomp", profile)
    written = json.loads(profile.read_text())
    assert written["defaultAction"] == "SCMP_ACT_ERRNO" and written["architectures"] == report["architectures"]
    (entry,) = written["syscalls"]
    assert entry["action"] == "SCMP_ACT_ALLOW" and entry["names"] == sorted({*names(report), *report["setup"], "restart_syscall", "rt_sigreturn"})
    b.set("linux.seccomp", written)
    assert b.run().out == result.out
    b.config["process"]["args"][-1] += "; mkdir /tmp/new || echo refused"
    done = b.run()
    assert done.out == result.out + "refused\n" and "not permitted" in done.err


@pytest.mark.parametrize("no_new_privs", [True, False])
def test_a_profile_has_what_pyrun_itself_calls(bundle, trace, tmp_path, no_new_privs):
    """Without no_new_privs the filter comes before the capabilities are set, which it must then allow."""
    b = bundle(["true"]).set("process.noNewPrivileges", no_new_privs)
    b.config["process"]["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [5]}
    _, report = trace(b, "--seccomp", tmp_path / "profile.json")
    assert "execve" in report["setup"] and ("capset" in report["setup"]) is not no_new_privs
    b.set("linux.seccomp", json.loads((tmp_path / "profile.json").read_text())).run()


def test_profiles_of_several_runs(bundle, trace, tmp_path):
    b, profile = bundle("mkdir /tmp/a; echo made"), tmp_path / "profile.json"
    trace(b, "--seccomp", profile, "--merge")
    first = json.loads(profile.read_text())
    b.config["process"]["args"] = ["sh", "-c", "rm -r /tmp/a; echo gone"]
    trace(b, "--seccomp", profile, "--merge")
    second = json.loads(profile.read_text())
    both = set(second["syscalls"][0]["names"])
    assert "mkdir" in both and both & {"rmdir", "unlinkat"} and set(first["syscalls"][0]["names"]) < both
    b.set("linux.seccomp", second)
    b.config["process"]["args"] = ["sh", "-c", "mkdir /tmp/a && rm -r /tmp/a; echo done"]
    assert b.run().out == "done\n"


def test_a_merge_keeps_the_rules_that_are_there(bundle, trace, tmp_path):
    profile = tmp_path / "profile.json"
    rule = {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]}
    profile.write_text(json.dumps({**REFUSE, "syscalls": [rule]}))
    trace(bundle("true"), "--seccomp", profile, "--merge")
    merged = json.loads(profile.read_text())
    assert merged["syscalls"][0] == rule and "execve" in merged["syscalls"][1]["names"]


def test_a_profile_is_checked_without_being_in_force(bundle, trace, tmp_path):
    profile = tmp_path / "profile.json"
    conditions = [{"index": 0, "value": 0o77, "op": "SCMP_CMP_EQ"}]
    b = bundle("mkdir /tmp/a; mkdir /tmp/b; umask 77; umask 22; echo $?")
    _, report = trace(b)
    allowed = sorted((names(report) | {*report["setup"]}) - {"mkdir", "umask"})
    rules = [{"names": allowed, "action": "SCMP_ACT_ALLOW"}, {"names": ["umask"], "action": "SCMP_ACT_ALLOW", "args": conditions},
             {"names": ["mkdir"], "action": "SCMP_ACT_KILL_PROCESS"}]  # fmt: skip
    profile.write_text(json.dumps({**REFUSE, "syscalls": rules}))
    result, report = trace(bundle(b.config["process"]["args"]), "--check", profile)
    assert result.out == "0\n"
    found = {entry["name"]: entry for entry in report["check"]}
    assert found["mkdir"] == {"name": "mkdir", "action": "SCMP_ACT_KILL_PROCESS", "count": 2}
    assert found["umask"]["action"] == "SCMP_ACT_ERRNO" and 0 < found["umask"]["count"] < count(report, "umask") and len(found) == 2


def test_a_config_is_a_profile_too(bundle, run):
    b = bundle("true").set("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW"}).write()
    done = run("trace", "--check", b.directory / "config.json", b.directory)
    assert "The profile refuses none of these calls." in done.err


def test_what_the_bundles_own_profile_refuses(bundle, trace):
    rules = [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}, {"names": ["mincore"], "action": "SCMP_ACT_ALLOW"}]
    b = bundle("mkdir /tmp/a; echo $?; cat /etc/passwd >/dev/null && echo read")
    b.set("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules})
    result, report = trace(b)
    assert "No space left" in result.err and result.out == "1\nread\n" == b.run().out
    (refusal,) = report["refusals"]
    assert refusal["profile"] and refusal["error"] == "ENOSPC" and refusal["call"].startswith("mkdir('/tmp/a'")


# --- a container that runs already -----------------------------------------------------------------------------------------


def test_a_running_container_is_followed_and_let_go(bundle, run):
    c = bundle("while :; do cat /etc/passwd > /tmp/copy; sleep 0.05; done").detached()
    tracer, out = started(run, "--format", "json", c.id)
    until(lambda: tracer_of(c.pid) == tracer.pid, what="it is traced")
    inside = c.exec("sh", "-c", "echo inside").out  # what comes later is none of the tracer's
    until(lambda: os.path.getmtime(c.bundle.rootfs / "tmp/copy") > os.stat(out).st_ctime + 1)
    tracer.send_signal(signal.SIGINT)
    _, err = tracer.communicate(timeout=20)
    report = json.loads(read(out))
    assert (tracer.returncode, err, inside) == (0, "", "inside\n")
    assert {"openat", "sendfile", "exit_group"} <= names(report) and "/etc/passwd" in {entry["path"] for entry in report["files"]}
    assert tracer_of(c.pid) == 0 and c.status() == "running"
    size = os.stat(c.bundle.rootfs / "tmp/copy").st_mtime_ns
    until(lambda: os.stat(c.bundle.rootfs / "tmp/copy").st_mtime_ns > size, what="it runs on")
    c.delete("--force")


def test_a_running_container_outlives_a_tracer_that_is_killed(bundle, run):
    c, tracer, _ = traced(bundle, run, "while :; do cat /etc/passwd > /tmp/copy; done")
    tracer.kill()
    tracer.communicate()
    until(lambda: tracer_of(c.pid) == 0)
    before = os.stat(c.bundle.rootfs / "tmp/copy").st_mtime_ns
    until(lambda: os.stat(c.bundle.rootfs / "tmp/copy").st_mtime_ns > before, what="it runs on")
    c.delete("--force")


def test_a_running_container_that_ends(bundle, run):
    c, tracer, out = traced(bundle, run, "sleep 1000")
    c.kill("KILL")
    _, err = tracer.communicate(timeout=20)
    assert tracer.returncode == 0 and not err and "system calls" in read(out)
    c.wait()
    c.delete()


BUSY = "for i in 1 2 3 4 5 6; do dd if=/dev/zero of=/dev/null bs=1 & done"


def test_signals_come_through_a_flood_of_calls(bundle, run):
    c, tracer, out = traced(bundle, run, f"{BUSY}; wait")
    tracer.send_signal(signal.SIGINT)
    tracer.communicate(timeout=20)
    assert tracer.returncode == 0 and "system calls" in read(out)
    c.delete("--force")


@pytest.mark.parametrize("terminal", [False, True])
def test_a_person_is_heard_amid_a_flood_of_calls(bundle, run, terminal):
    b = bundle(f"trap 'exit 5' INT; {BUSY}; echo ready; read line; echo got $line", terminal=terminal).write()
    words = run.command("trace", "--output", b.directory / "report", b.directory)
    t = Terminal(words)
    t.expect("ready")
    t.send("word\n" if terminal else "\x03")
    if terminal:
        t.expect("got word")
    assert t.wait() == (0 if terminal else 5)


# --- the end of the tracer -------------------------------------------------------------------------------------------------


def test_interrupts_are_the_programs(bundle, run):
    b = bundle("trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.01; done").write()
    tracer, out = started(run, b.directory)
    until(lambda: "ready" in read(out))
    tracer.send_signal(signal.SIGINT)
    tracer.communicate(timeout=20)
    assert tracer.returncode == 5 and read(out) == "ready\ncaught\n"


def test_a_bundle_dies_with_a_tracer_that_is_killed(bundle, run):
    b = bundle("echo ready; while :; do sleep 1000 & sleep 0.01; kill $!; done").write()
    name = run.new_id()
    tracer, out = started(run, "--id", name, b.directory)
    until(lambda: "ready" in read(out))
    pid = json.loads(run("state", name).out)["pid"]
    assert tracer_of(pid) == tracer.pid
    tracer.kill()
    tracer.communicate()
    until(lambda: json.loads(run("state", name).out)["status"] == "stopped")
    run("delete", name)


def test_a_stopped_tracer_only_delays(bundle, run):
    b = bundle("echo ready; for i in 1 2 3 4 5 6 7 8 9; do sleep 0.02; done; echo done").write()
    tracer, out = started(run, b.directory)
    until(lambda: "ready" in read(out))
    tracer.send_signal(signal.SIGSTOP)
    until(lambda: pathlib.Path(f"/proc/{tracer.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    tracer.send_signal(signal.SIGCONT)
    tracer.communicate(timeout=20)
    assert tracer.returncode == 0 and read(out) == "ready\ndone\n"


# --- what cannot be --------------------------------------------------------------------------------------------------------


def test_a_program_that_is_not_there(bundle, run):
    b = bundle(["/bin/missing"]).write()
    assert "no such file or directory" in run("trace", b.directory, code=1).err


def test_words_and_files_that_are_wrong(bundle, run, tmp_path):
    b = bundle("true").write()
    (tmp_path / "odd.json").write_text('{"defaultAction": "SCMP_ACT_NONE"}')
    (tmp_path / "none.json").write_text("{}")
    for words, said in [
        (["--format", "xml", b.directory], "use table or json"),
        (["--merge", b.directory], "--seccomp"),
        (["nothing"], "no container of that id"),
        ([tmp_path / "nothing"], "no such file or directory"),
        (["--check", tmp_path / "missing.json", b.directory], "missing.json: no such file"),
        (["--check", tmp_path / "odd.json", b.directory], "defaultAction"),
        (["--check", tmp_path / "none.json", b.directory], "no seccomp profile"),
        (["--seccomp", tmp_path / "odd.json", "--merge", b.directory], "defaultAction"),
    ]:
        done = run("trace", *words, code=1)
        assert said in done.err and done.err.count("\n") == 1 and not done.out, done


def test_a_paused_container(bundle, run):
    c = bundle("sleep 1000").detached()
    run("pause", c.id)
    assert "resume it first" in run("trace", c.id, code=1).err
    c.delete("--force")
