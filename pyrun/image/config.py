"""config.json of an image's own config, as the image specification's conversion.md has it, with docker's defaults for the rest."""

from __future__ import annotations

import posix

from pyrun.base import files
from pyrun.base.errors import Error
from pyrun.config.annotations import NAMES as OURS
from pyrun.config.example import example, unified, without_privileges
from pyrun.image import profile
from pyrun.image.layout import member, strings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
WHERE = "the image's config"
ABOUT = "org.opencontainers.image."
# What conversion.md makes annotations of: member of the image's JSON, or of its `config` -> the name behind ABOUT.
TOLD = {"author": "author", "created": "created", "os": "os", "architecture": "architecture", "variant": "variant", "os.version": "os.version"}


class Wishes:
    """What the caller wants of config.json. cmd, entrypoint: words in the place of the image's, None for these."""

    def __init__(self, cmd: list[str] | None, entrypoint: list[str] | None, env: Sequence[str], terminal: bool) -> None:
        for entry in env:
            if "=" not in entry[1:]:
                raise Error(f"--env {entry}: not of the form NAME=VALUE")
        self.cmd, self.entrypoint, self.env, self.terminal = cmd, entrypoint, env, terminal


class ImageConfig:
    """What an image says about its container. image: the JSON object. Raises Error."""

    def __init__(self, image: dict) -> None:
        self.image = image
        inner = self.inner = member(image, "config", dict, WHERE, {})
        self.user = member(inner, "User", str, WHERE, "")
        self.cwd = files.clean(member(inner, "WorkingDir", str, WHERE, "/"))
        self.env = strings(inner, "Env", WHERE, [])
        self.entrypoint, self.cmd = (strings(inner, name, WHERE, []) for name in ("Entrypoint", "Cmd"))
        self.volumes = sorted({files.clean(path) for path in member(inner, "Volumes", dict, WHERE, {})})
        texts = [self.user, self.cwd, *self.env, *self.entrypoint, *self.cmd, *self.volumes]
        if any("\0" in text for text in texts):
            raise Error(f"{WHERE}: a zero byte in a string")

    def args(self, wishes: Wishes) -> list[str]:
        """What is executed. As with docker, another entry point does without the command that was for the old one."""
        cmd = wishes.cmd if wishes.cmd is not None else [] if wishes.entrypoint is not None else self.cmd
        args = [*(self.entrypoint if wishes.entrypoint is None else wishes.entrypoint), *cmd]
        if not args:
            raise Error("the image names no program: --cmd says what shall be run")
        return args

    def environment(self, wishes: Wishes) -> list[str]:
        found = {}
        for entry in [PATH, *self.env, *wishes.env, *(["TERM=xterm"] if wishes.terminal else [])]:
            name, equals, _ = entry.partition("=")
            if name and equals:
                found[name] = entry
        return list(found.values())

    def annotations(self) -> tuple[dict[str, str], list[str]]:
        """Those of config.json, and the names of labels that are left out: those that the runtime goes by are the caller's alone."""
        found = {f"{ABOUT}{name}": self.image[key] for key, name in TOLD.items() if isinstance(self.image.get(key), str)}
        if isinstance(self.inner.get("StopSignal"), str):
            found[f"{ABOUT}stopSignal"] = self.inner["StopSignal"]
        if ports := member(self.inner, "ExposedPorts", dict, WHERE, {}):
            found[f"{ABOUT}exposedPorts"] = ",".join(sorted(ports))
        labels = member(self.inner, "Labels", dict, WHERE, {})
        ours = [name for name in labels if any(name == known or (known[-1] == "." and name.startswith(known)) for known in OURS)]
        found |= {name: value for name, value in labels.items() if isinstance(value, str) and name and name not in ours}
        return found, ours


def make(image: ImageConfig, wishes: Wishes, user: dict, mappings: tuple[list[dict], list[dict]] | None) -> dict:
    """The config, but for the mounts of volumes. user: process.user. mappings: the ids of an ordinary user's container."""
    config = example(cgroup_namespace=unified())
    process, linux = config["process"], config["linux"]
    process |= {
        "terminal": wishes.terminal,
        "user": user,
        "args": image.args(wishes),
        "env": image.environment(wishes),
        "cwd": image.cwd,
        "capabilities": profile.capabilities(user["uid"] == 0),
        "noNewPrivileges": False,  # as docker has it: su and ping work
    }
    del process["rlimits"]
    config["root"]["readonly"] = False
    linux["maskedPaths"], linux["readonlyPaths"] = profile.MASKED, profile.READONLY
    linux["seccomp"] = profile.seccomp(member(image.image, "architecture", str, WHERE, ""))
    if mappings:
        without_privileges(config, posix.geteuid(), posix.getegid())
        linux["uidMappings"], linux["gidMappings"] = mappings
    config["annotations"] = image.annotations()[0]
    return config
