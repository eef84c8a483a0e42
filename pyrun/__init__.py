"""pyrun: an OCI low-level container runtime."""

__version__ = "0.1.0"
SPEC_VERSION = "1.3.0"
START = "ordinary"
"""How Python starts: `image` in an executable that has it in its memory, started (csrc/seed.py says so there)."""
