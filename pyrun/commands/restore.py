"""pyrun restore: a container goes on where `checkpoint` saved it."""

from pyrun import argv, cgroup, compile, criu, criu_options, external, interrupts, launch, lifecycle, state, tty
from pyrun import config as configs
from pyrun.revival import Revival

LOG = "restore.log"


def restore(
    glob, *, id, bundle, image_path, work_path, console_socket, detach, pid_file, no_subreaper, no_pivot, lsm_profile, lsm_mount_context,
    **shared,
):  # fmt: skip
    """Returns the exit code of the program, 128 + N if signal N ended it; 0 at once if detached.

    shared: the options that checkpoint has too. no_pivot: criu has one way to change the root, whatever the file system.
    """
    bundle, id = argv.bundle_and_id(bundle, id)
    configs.check_id(id)
    config = configs.load(bundle)
    configs.check(config, bundle=bundle)
    console = tty.Console(config.get("process") or {}, console_socket, detach)
    options = criu_options.common(config, shared) | {"lsm_profile": lsm_profile, "lsm_mount_context": lsm_mount_context}
    criu.use(glob.criu, "restore")
    foreground = tty.Foreground()
    if not (detach or no_subreaper):
        foreground.adopt_orphans()
    directories = criu_options.Directories(image_path, work_path, LOG, make=False)
    try:
        options["inherit_fd"] = external.inherited(directories.image_path)
        console.connect()
        revival = begin(glob, id, bundle, config, console, pid_file, None if detach else foreground)
        revival.run(options, directories)
    finally:
        directories.close()
    return 0 if detach else attend(revival, foreground)


def begin(glob, id, bundle, config, console, pid_file, foreground):
    """The Revival, and the container's directory."""
    group = cgroup.open(config, id, glob)
    shares = launch.open_shares(config, id)
    interrupts.interruptible()
    mask = interrupts.hold_interrupts()
    container = state.Container.make(glob.root, id, bundle, compile.rootfs_path(config, bundle), config)
    return Revival(container, config, group, shares, console, pid_file, foreground, mask)


def attend(revival, foreground):
    """Stays until the program ends, and removes the container then. Returns the exit code."""
    container = revival.container
    foreground.adopt(revival.console)
    container.unlock()
    code = foreground.wait(container.data["pid"])
    try:
        container.lock()
        lifecycle.destroy(container, revival.config)
    except state.Gone:
        pass  # `delete --force` was what ended it
    return code
