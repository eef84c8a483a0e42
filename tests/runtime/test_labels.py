"""What needs a security module or hardware that a machine may not have: said clearly, never ignored in silence."""

import pathlib

import pytest
from looks import one_line

pytestmark = pytest.mark.machine

NO_APPARMOR = pathlib.Path("/sys/module/apparmor/parameters/enabled")
NO_SELINUX = pathlib.Path("/sys/fs/selinux/enforce")
LABEL = "system_u:object_r:svirt_sandbox_file_t:s0:c715,c811"


@pytest.mark.skipif(NO_APPARMOR.exists(), reason="AppArmor is in this kernel")
def test_a_profile_without_apparmor_is_an_error(bundle):
    error = one_line(bundle().set("process.apparmorProfile", "box").call("create", code=1))
    assert 'process.apparmorProfile: "box" cannot be enforced: AppArmor is not enabled on this host' in error
    assert bundle("echo hi").set("process.apparmorProfile", "unconfined").run().out == "hi\n"
    assert '"strict" cannot be enforced: AppArmor' in bundle("sleep 100").detached().exec("true", flags=("--apparmor", "strict"), code=255).err


@pytest.mark.skipif(NO_SELINUX.exists(), reason="SELinux is on")
def test_a_process_label_without_selinux_is_an_error(bundle):
    error = one_line(bundle().set("process.selinuxLabel", LABEL).call("create", code=1))
    assert f'process.selinuxLabel: "{LABEL}" cannot be set: SELinux is not enabled on this host' in error
    assert "SELinux is not enabled" in bundle("sleep 100").detached().exec("true", flags=("--process-label", LABEL), code=255).err


@pytest.mark.skipif(NO_SELINUX.exists(), reason="SELinux is on")
def test_a_mount_label_without_selinux_is_a_warning(bundle):
    result = bundle("echo hi").set("linux.mountLabel", LABEL).run()
    assert result.out == "hi\n"
    assert f"linux.mountLabel: {LABEL} is not set: SELinux is not enabled on this host" in one_line(result)


@pytest.mark.skipif("resctrl" in pathlib.Path("/proc/mounts").read_text(), reason="resctrl is mounted")
def test_intel_rdt_without_resctrl_is_an_error(bundle):
    error = one_line(bundle().set("linux.intelRdt", {"closID": "gold"}).call("create", code=1))
    assert "linux.intelRdt: resctrl is not mounted on this host" in error
