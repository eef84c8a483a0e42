"""Random changes of inputs. The same Random gives the same changes."""

import json

from harness import PROJECT

NUMBERS = [0, 1, -1, 2, 7, 8, 10, 100, 1000, 1001, 4095, 4096, 65535, 65536, 2**22, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63,
           2**64 - 1, 2**64, -(2**31), -(2**63), -(2**63) - 1, 10**30, 0.5, -0.0, 1e300]  # fmt: skip
TEXTS = ["", " ", "/", ".", "..", "/..", "//", "a/b", "/proc", "/sys/fs/cgroup", "/dev", "/dev/pts", "\0", "a\0b", "\n", "a\nb", "\x1b[2J", "\u202e",
         "é", "\udc80", "-", "-1", "max", "0-3,7", "3-0", "99999999999999999999", "0x10", "010", "1e9", "%d", "a=b", "=", ",", ":", "a:b:c",
         "a.slice:b:c", "idmap=uids=0-1-2;gids=@0-0-1", "idmap", "remount", "tmpcopyup", "x" * 300, "..." * 100, "٣"]  # fmt: skip
PIECES = [b"", b"\0", b"\xff", b"\n", b":", b"/", b"\\", b"\\u", b"\\ud83d\\ude00", b'"', b"[", b"{", b"}", b"]", b",", b"1", b"-", b"e9", b"0x",
          b"'", b"@", b"(", b"<", b"()", b"@as []", b"uint64 ", b"\x80\x80\x80", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\x01\0\0\0"]  # fmt: skip


def _words():
    """The names and the words of the schemas."""
    rest = [json.loads(path.read_text()) for path in sorted((PROJECT / "specs").glob("*.json"))]
    names, values = set(), set()
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            names |= set(value.get("properties", ())) if isinstance(value.get("properties"), dict) else set()
            values |= {word for word in value.get("enum", ()) if isinstance(word, str)} if isinstance(value.get("enum"), list) else set()
            rest += value.values()
        elif isinstance(value, list):
            rest += value
    return sorted(names), sorted(values)


NAMES, VALUES = _words()


def _places(value, found):
    """All (container, key) in a value."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        found.append((value, key))
        if isinstance(inner, dict | list):
            _places(inner, found)
    return found


class Mutator:
    """donors: inputs that pieces are taken from."""

    def __init__(self, donors, as_json):
        self.donors = donors
        self.as_json = as_json
        self.places = [place for data in donors for place in _places(json.loads(data), [])] if as_json else []

    def change(self, random, data, most=8192):
        """Other bytes."""
        if self.as_json and random.randrange(16):
            try:
                value = json.loads(data)
            except (ValueError, RecursionError):
                value = None
            if isinstance(value, dict):
                for _ in range(random.choice((1, 1, 2, 4))):
                    self._change_value(random, value)
                data = json.dumps(value, ensure_ascii=bool(random.randrange(2))).encode("utf-8", "surrogatepass")
                if random.randrange(8):
                    return data[:most]
        for _ in range(random.choice((1, 1, 2, 4))):
            data = self._change_bytes(random, data)
        return data[:most]

    def _change_value(self, random, value):
        places = _places(value, [])
        donor, of = random.choice(self.places)
        if not places or not random.randrange(6):
            # A member or an entry as there is one somewhere else, in some object or list.
            container = random.choice([value, *(one[key] for one, key in places if isinstance(one[key], dict | list))])
            piece = json.loads(json.dumps(donor[of]))
            if isinstance(container, dict):
                container[of if isinstance(of, str) and random.randrange(4) else random.choice(NAMES)] = piece
            else:
                container.insert(random.randrange(len(container) + 1), piece)
            return
        container, key = random.choice(places)
        kind = random.randrange(9)
        if kind == 0:
            del container[key]
        elif kind == 1:
            container[key] = random.choice(NUMBERS)
        elif kind == 2:
            container[key] = random.choice(TEXTS)
        elif kind == 3:
            container[key] = random.choice(VALUES)
        elif kind == 4:
            container[key] = random.choice((None, True, False, [], {}, [[]], [{}], {"": {}}))
        elif kind == 5 and isinstance(container[key], str):
            text = container[key]
            at = random.randrange(len(text) + 1)
            container[key] = text[:at] + random.choice(TEXTS) + text[at + random.randrange(3) :]
        elif kind == 6 and isinstance(container[key], int):
            container[key] += random.choice((-1, 1))
        elif kind == 7 and isinstance(container, list):
            container.append(json.loads(json.dumps(container[key])))
        else:
            # What the same member has elsewhere.
            same = [one[name] for one, name in self.places if name == key]
            container[key] = json.loads(json.dumps(random.choice(same) if same else donor[of]))

    def _change_bytes(self, random, data):
        at = random.randrange(len(data) + 1)
        kind = random.randrange(6)
        if kind == 0:
            return data[:at] + data[at + random.randrange(16) :]
        if kind == 1:
            return data[:at] + random.choice(PIECES) * random.choice((1, 1, 1, 2, 300)) + data[at:]
        if kind == 2:
            donor = random.choice(self.donors)
            begin = random.randrange(len(donor) + 1)
            return data[:at] + donor[begin : begin + random.randrange(64)] + data[at:]
        if kind == 3:
            return data[:at] + data[at : at + random.randrange(64)] + data[at:]
        return data[:at] + bytes([random.randrange(256) if kind == 4 else (data[at : at + 1] or b"x")[0] ^ 1 << random.randrange(8)]) + data[at + 1 :]
