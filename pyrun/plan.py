"""The Plan: ops in the order init executes them, packed as csrc/plan.h says. Every op remembers where it came from."""

from pyrun._native import ffi, lib
from pyrun.errors import Error

OP_NAMES = {getattr(lib, name): name[3:] for name in dir(lib) if name.startswith("OP_") and name != "OP_COUNT"}
