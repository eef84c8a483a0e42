"""validate: all faults of a bundle's config.json, one on a line."""

from pyrun import cold, config


def validate(glob, *, bundle):
    """Prints every fault as `path: message`; the exit status is 1 if there is one."""
    cold.start()
    from pyrun.validate import faults

    found = faults(config.load(bundle), bundle)
    for path, message in found:
        print(f"{path}: {message}" if path else message)
    return 1 if found else 0
