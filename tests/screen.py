"""A screen, as a terminal shows it: as much of console_codes(4) as pyrun writes, and an error for what it is not known to write."""

import re

SEQUENCE = re.compile(r"\x1b\[(\?)?([\d;]*)([A-Za-z])")


class Screen:
    """feed() what was written; then `lines`, whether the other screen is `aside`, the cursor is `hidden`, and which lines are `marked`."""

    def __init__(self, columns, lines):
        self.columns, self.rows = columns, lines
        self.aside = self.hidden = self.reverse = False
        self.blank()

    def blank(self):
        self.cells = [[" "] * self.columns for _ in range(self.rows)]
        self.reversed = [False] * self.rows
        self.x = self.y = 0

    @property
    def lines(self):
        return ["".join(line).rstrip() for line in self.cells]

    @property
    def marked(self):
        return [line for line, mark in zip(self.lines, self.reversed, strict=True) if mark]

    def feed(self, text):
        """Returns what is left: the begin of a sequence that is not complete."""
        at = 0
        while at < len(text):
            if text[at] == "\x1b":
                match = SEQUENCE.match(text, at)
                if not match:
                    assert len(text) - at < 10, f"unknown: {text[at : at + 10]!r}"
                    return text[at:]
                self.obey(*match.groups())
                at = match.end()
                continue
            self.put(text[at])
            at += 1
        return ""

    def put(self, letter):
        if letter == "\r":
            self.x = 0
        elif letter == "\n":
            self.y += 1
            assert self.y < self.rows, "the screen has scrolled"
        else:
            assert letter.isprintable() and self.x < self.columns, f"{letter!r} at {self.x}"
            self.cells[self.y][self.x] = letter
            self.reversed[self.y] = self.reverse
            self.x += 1

    def obey(self, private, number, command):
        if private:
            on = {"h": True, "l": False}[command]
            if number == "1049":
                self.aside = on
            else:
                assert number == "25"
                self.hidden = not on
        elif command == "H":
            assert number == ""
            self.x = self.y = 0
        elif command == "K":
            self.cells[self.y][self.x :] = [" "] * (self.columns - self.x)
        elif command == "J":
            if number == "2":
                self.blank()
            for line in range(self.y + 1, self.rows):
                self.cells[line] = [" "] * self.columns
        else:
            assert command == "m"
            self.reverse = number == "7" or (self.reverse and number != "0")
