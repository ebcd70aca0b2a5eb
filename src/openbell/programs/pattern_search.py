"""Finds the first line that each of some regular expressions matches: a program, so that it can be ended.

An expression may take longer than anybody waits, and nothing stops it from within. Reads `{"lines": [...], "patterns":
[...]}` as JSON on standard input, and prints for each pattern the number of its line from 1, or 0, as soon as it knows.
"""

import json
import re
import sys


def first_line(pattern: str, lines: list[str]) -> int:
    """Return the number of the first line that a pattern matches, from 1; 0 when there is none."""
    search = re.compile(pattern).search
    return next((number for number, line in enumerate(lines, 1) if search(line)), 0)


def main() -> None:
    """Answer for one set of lines and patterns."""
    asked = json.load(sys.stdin)
    for pattern in asked["patterns"]:
        sys.stdout.write(f"{first_line(pattern, asked['lines'])}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
