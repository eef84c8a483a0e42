"""What is installed beside the executable, and the packages: manual pages, completions, examples, the list of components."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import tomllib

import pytest
from harness import PROJECT

from pyrun.cli import declaration
from pyrun.config import annotations

pytestmark = pytest.mark.once

EXECUTABLE = PROJECT / "build/pyrun"
COMMANDS = [command.name for command in [*declaration.COMMANDS, declaration.HELP_COMMAND]]
PAGES = ["pyrun", "pyrun-annotations", *(f"pyrun-{name}" for name in COMMANDS)]
COMPLETIONS = ["bash-completion/completions/pyrun", "fish/vendor_completions.d/pyrun.fish"]


def needs(program, package=None):
    return pytest.mark.skipif(not shutil.which(program), reason=f"the package {package or program} is not installed")


def call(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files_in(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


# --- manual pages -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def manuals():
    call("make", "man", cwd=PROJECT)
    return PROJECT / "build/man"


@pytest.fixture
def text_of(manuals):
    """text_of(name): a manual page as it is read, in long lines."""
    def read(name):
        environment = os.environ | {"LC_ALL": "C.UTF-8", "MANWIDTH": "400", "MAN_KEEP_FORMATTING": ""}
        return re.sub(r"[ ‐]+", " ", call("man", "--local-file", manuals / f"{name}.8", env=environment).replace("‐", "-"))

    return read


def test_there_is_a_page_of_each_command(manuals):
    assert files_in(manuals) == sorted(f"{name}.8" for name in PAGES)


@needs("man", "man-db")
def test_man_has_no_complaint_of_a_page(manuals):
    for path in sorted(manuals.iterdir()):
        command = ["man", "--warnings", "--encoding=UTF-8", "--local-file", path]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, ""), path


@needs("mandoc")
def test_mandoc_has_no_complaint_of_a_page(manuals):
    assert call("mandoc", "-T", "lint", *sorted(manuals.iterdir())) == ""


@needs("man", "man-db")
@pytest.mark.parametrize("command", declaration.COMMANDS, ids=lambda command: command.name)
def test_a_page_says_what_the_help_says(text_of, command):
    page = text_of(f"pyrun-{command.name}")
    assert f"pyrun-{command.name} - {command.summary}" in page
    for line in command.manual().partition("OPTIONS:\n")[2].partition("GLOBAL OPTIONS:\n")[0].splitlines():
        names, _, help = line.strip().partition("  ")
        assert names in page
        assert " ".join(help.replace("`", "").split()) in page
    for line in command.manual().partition("EXAMPLES:\n")[2].splitlines():
        assert line.strip().partition("  ")[0] in page


@needs("man", "man-db")
def test_pyruns_page_has_global_options_and_how_completion_is_turned_on(text_of):
    page = text_of("pyrun")
    for option in declaration.GLOBALS:
        assert option.hidden or option.opts[0] in page
    assert 'eval "$(_PYRUN_COMPLETE=bash_source pyrun)"' in page
    assert all(f"{name}(8)" in page for name in PAGES[1:])


@needs("man", "man-db")
def test_the_page_of_annotations_has_those_that_features_lists(text_of):
    page = text_of("pyrun-annotations")
    for name in json.loads(call(EXECUTABLE, "features"))["potentiallyUnsafeConfigAnnotations"]:
        assert name in page
        assert annotations.NAMES[name][1] in page


# --- make install -----------------------------------------------------------------------------------------------------


def test_install_and_uninstall(tmp_path):
    call("make", "install", f"DESTDIR={tmp_path}", "PREFIX=/opt/x", cwd=PROJECT)
    share = [*(f"man/man8/{name}.8" for name in PAGES), *COMPLETIONS, "zsh/site-functions/_pyrun"]
    assert files_in(tmp_path / "opt/x") == sorted(["bin/pyrun", *(f"share/{name}" for name in share)])
    assert (tmp_path / "opt/x/share/man/man8/pyrun.8").stat().st_mode & 0o777 == 0o644
    (tmp_path / "opt/x/bin/other").touch()
    call("make", "uninstall", f"DESTDIR={tmp_path}", "PREFIX=/opt/x", cwd=PROJECT)
    assert files_in(tmp_path / "opt/x") == ["bin/other"]


# --- make deb ---------------------------------------------------------------------------------------------------------


@needs("dh", "debhelper")
def test_the_package_for_debian(deb, tmp_path):
    call("dpkg-deb", "--extract", deb, tmp_path)
    share = tmp_path / "usr/share"
    assert (tmp_path / "usr/bin/pyrun").read_bytes() == EXECUTABLE.read_bytes()
    assert files_in(share / "man") == sorted(f"man8/{name}.8.gz" for name in PAGES)
    assert all((share / name).is_file() for name in [*COMPLETIONS, "zsh/vendor-completions/_pyrun"])
    documents = {name.partition("/")[0].removesuffix(".gz") for name in files_in(share / "doc/pyrun")}
    assert documents == {"README.md", "SECURITY.md", "changelog", "changelog.Debian", "copyright", "examples", "pyrun.cdx.json"}
    assert call("dpkg-deb", "--field", deb, "Recommends") == "criu, uidmap\n"
    assert re.findall(r"[a-z][\w.+-]+", call("dpkg-deb", "--field", deb, "Depends")) in ([], ["libc6"])
    assert call("dpkg-deb", "--field", deb, "Version").startswith(call(EXECUTABLE, "--version").splitlines()[0].removeprefix("pyrun version "))


@needs("dh", "debhelper")
def test_the_package_has_an_example_for_each_engine(deb, tmp_path):
    call("dpkg-deb", "--extract", deb, tmp_path)
    examples = tmp_path / "usr/share/doc/pyrun/examples"
    assert json.loads((examples / "docker/daemon.json").read_text())["runtimes"]["pyrun"]["path"] == "/usr/bin/pyrun"
    for name in ("containerd/config.toml", "containerd-2/10-pyrun.toml", "crio/10-pyrun.conf", "podman/containers.conf"):
        assert '"/usr/bin/pyrun"' in json.dumps(tomllib.loads((examples / name).read_text()))
    assert "handler: pyrun\n" in (examples / "kubernetes/runtimeclass.yaml").read_text()
    assert len(files_in(examples)) == 6


@needs("dh", "debhelper")
@needs("lintian")
def test_lintian_has_no_complaint(deb):
    """What it would say is explained in csrc/debian/pyrun.lintian-overrides."""
    assert call("lintian", "--no-user-dirs", "--allow-root", "--display-info", "--fail-on", "error,warning,info", deb) == ""


# --- the list of components -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def components():
    call(PROJECT / ".venv/bin/python", "package.py", "sbom", cwd=PROJECT / "csrc")
    return json.loads((PROJECT / "build/pyrun.cdx.json").read_text())


def test_the_list_of_components_is_of_this_executable(components):
    described = components["metadata"]["component"]
    assert (components["bomFormat"], described["name"]) == ("CycloneDX", "pyrun")
    assert described["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(EXECUTABLE.read_bytes()).hexdigest()}]
    versions = {entry["name"]: entry["version"] for entry in components["components"]}
    pinned = re.findall(r"^(\S+)==([^\s;]+)", (PROJECT / "csrc/requirements.txt").read_text(), re.MULTILINE)
    assert {(name, version) for name, version in versions.items() if name in dict(pinned)} <= set(pinned)
    facts = json.loads(call(EXECUTABLE, "features"))["annotations"]
    assert facts["io.github.seccomp.libseccomp.version"] == versions["libseccomp"]


def test_no_package_that_the_executable_carries_is_missing_in_the_list(components):
    """Bytecode names the file that it was made of."""
    modules = {"attr": "attrs", "ptrace": "python-ptrace"}
    known = rb"click|cffi|jsonschema|attrs?|pyrsistent|ptrace|pycparser|setuptools|pkg_resources|rpds|referencing"
    carried = set(re.findall(rb"\b(" + known + rb")/\w+\.py", EXECUTABLE.read_bytes()))
    listed = {entry["name"] for entry in components["components"]}
    assert {modules.get(name.decode(), name.decode()) for name in carried} <= listed
    assert {"cpython", "cffi", "click", "jsonschema", "attrs", "pyrsistent", "libseccomp", "libffi", "zlib", "zstd", "glibc"} <= listed


def test_the_license_of_each_component_is_in_the_package(components):
    text = (PROJECT / "csrc/debian/copyright").read_text()
    assert [entry["name"] for entry in components["components"] if f"\n  {entry['name']} " not in text] == []


def test_the_tarball_has_what_belongs_to_the_executable(tmp_path):
    call("make", "dist", cwd=PROJECT)
    (tarball,) = PROJECT.glob(f"dist/pyrun-*-{os.uname().machine}.tar.gz")
    call("sha256sum", "--check", f"{tarball.name}.sha256", cwd=tarball.parent)
    call("tar", "-xf", tarball, "-C", tmp_path)
    (root,) = tmp_path.iterdir()
    top = {"pyrun", "README.md", "CHANGELOG.md", "LICENSE", "COPYRIGHT", "pyrun.cdx.json", "man", "completions", "engines"}
    assert {path.name for path in root.iterdir()} == top
    assert files_in(root / "man") == sorted(f"{name}.8" for name in PAGES)
    assert files_in(root / "completions") == ["_pyrun", "pyrun", "pyrun.fish"]
    assert len(files_in(root / "engines")) == 6
