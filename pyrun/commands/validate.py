"""validate: all faults of a bundle's config.json, one on a line."""

from pyrun import cold, config, output


def validate(glob, *, bundle):
    """Prints every fault as `path: message`; the exit status is 1 if there is one."""
    cold.start()
    from pyrun.validate import faults

    found = faults(config.load(bundle), bundle)
    for path, message in found:
        output.write(f"{path}: {message}\n" if path else f"{message}\n")
    return 1 if found else 0
