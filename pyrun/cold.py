"""The cold part: what needs more of Python than its core."""


def start():
    """Starts the rest of Python. An ordinary Python has started whole."""
