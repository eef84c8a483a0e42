"""validate: all faults of a bundle's config.json, one on a line."""

from pyrun import cold, config, log, output


def validate(glob, *, bundle):
    """Prints every fault as `path: message`, or that there is none; the exit status is 1 if there is one. Doubts are warnings."""
    cold.start()
    from pyrun.trial import refusals
    from pyrun.validate import doubts, faults

    found = config.load(bundle)
    wrong = faults(found, bundle) or refusals(found, bundle, glob)
    if not wrong:
        for path, message in doubts(found):
            log.warning(f"{config.FILE}: {path}: {message}")
    for path, message in wrong:
        output.write(f"{path}: {message}\n" if path else f"{message}\n")
    if not wrong:
        output.write(f"{bundle}/{config.FILE} is valid\n")
    return 1 if wrong else 0
