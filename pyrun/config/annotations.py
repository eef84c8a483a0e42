"""The annotations of a config that change what the runtime does. All others are kept, and shown by `state` and to hooks.

NAMES is what `features` lists, and what the manual page of annotations is made of.
"""

from __future__ import annotations

SYSTEMD_PROPERTY = "org.systemd.property."
"""runc's; what follows is the name of a property."""
CRIU_CONFIG = "org.criu.config"
"""runc's."""
# crun's annotation, which `podman run --group-add keep-groups` sets: files of the caller's own groups stay within reach.
KEEP_GROUPS = "run.oci.keep_original_groups"

NAMES = {
    SYSTEMD_PROPERTY: (
        "NAME",
        f'"{SYSTEMD_PROPERTY}TimeoutStopSec": "uint64 10"',
        "A property of the unit that systemd makes for the container with --systemd-cgroup, which is set as systemd.unit(5),\n"
        "systemd.scope(5) and systemd.resource-control(5) describe it. The value is in GVariant's text form: true, 'text', 5, uint64 5,\n"
        "['a', 'b']. A NAME that ends in Sec is a time in seconds.",
    ),
    CRIU_CONFIG: (
        "",
        f'"{CRIU_CONFIG}": "/etc/criu/web.conf"',
        "The file of criu's options, in the form of criu(8), that checkpoint and restore hand to criu. They count for more than those\n"
        "of the command line. Without the annotation it is /etc/criu/runc.conf; with an empty value there is none.",
    ),
    KEEP_GROUPS: (
        "",
        f'"{KEEP_GROUPS}": "1"',
        "Any value but 0: the program keeps the supplementary groups of the caller, in place of process.user.additionalGids. An\n"
        "ordinary user's container can thus use files of these groups.",
    ),
}  # fmt: skip
"""Name, where one that ends in a dot stands for all that begin so -> (what follows the dot, an example, what it does)."""
