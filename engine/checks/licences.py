"""Check that every dependency that ships with the engine has a licence on the list.

Reads which packages ship from the lock file, and their licences from what is installed here. A dual licence needs one
that is on the list; "X AND Y" needs both.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ALLOWED = re.compile(
    r"(MIT|MIT License|BSD|BSD License|BSD-[23]-Clause|Apache-2\.0|Apache Software License|ISC|PSF-2\.0|Unlicense|0BSD"
    r"|Python Software Foundation License|Mozilla Public License 2\.0 \(MPL 2\.0\)|MPL-2\.0)",
)
EITHER, BOTH = re.compile(r"\s*;\s*|\s+OR\s+"), re.compile(r"\s+AND\s+")


def is_allowed(licence: str) -> bool:
    """Say whether the list has it; some packages give the whole text, whose first line is its name."""
    name = licence.strip().partition("\n")[0]
    return any(all(ALLOWED.fullmatch(part) for part in BOTH.split(choice)) for choice in EITHER.split(name))


def main(requirements: str) -> int:
    """Compare the licences of the locked packages with the list."""
    names = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==", Path(requirements).read_text(), re.MULTILINE)
    command = ["pip-licenses", "--format", "json", "--packages", *names]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    refused = [package for package in found if not is_allowed(package["License"])]
    for package in refused:
        licence = package["License"].strip().partition("\n")[0]
        print(f"{package['Name']} {package['Version']}: {licence!r} is not allowed")
    print(f"{len(found)} packages, {len(refused)} with a licence that is not on the list")
    return 1 if refused or not found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
