"""pyrun features: what this runtime can do."""

from pyrun import jsonio, output


def features(glob):
    """Prints the Features structure (features.md) as JSON."""
    from pyrun import cli
    from pyrun import features as table

    output.write(jsonio.dumps(table.features(cli.PYRUN.commands), 4) + "\n")
