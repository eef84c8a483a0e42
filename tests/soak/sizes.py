"""How much the load tests do: the short form, and what $SOAK says instead: `alive=1000 cycles=10000`. `make soak` has the long one."""

import os

SIZES = {
    "alive": 30,  # containers at once
    "cycles": 60,  # runs, one after the other
    "creators": 6,  # processes that make containers, and are killed at random
    "seconds": 8,  # for which they do
    "probed": 10,  # containers that are asked by exec
    "probing": 4,  # seconds for which they are
    "every": 0,  # seconds after which each of them is asked again, as a kubelet does; 0: at once
    "engine": 4,  # containers of dockerd, and pods of containerd
}


def size(name):
    given = dict(word.split("=") for word in os.environ.get("SOAK", "").split())
    unknown = set(given) - set(SIZES)
    assert not unknown, f"SOAK: {unknown}: there are {', '.join(SIZES)}"
    return int(given.get(name, SIZES[name]))
