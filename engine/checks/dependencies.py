"""Audit the locked dependencies for known vulnerabilities, and say so when that was not possible.

Exit code 0: every dependency was looked up and none is vulnerable. 1: vulnerabilities were found. 75: the advisory
database could not be asked, about some or all of them. pip-audit alone ends with 0 when it could look up nothing.
"""

import json
import subprocess
import sys
from pathlib import Path

UNREACHABLE = 75
"""EX_TEMPFAIL of sysexits.h."""


def main(requirements: str, report: str) -> int:
    """Run pip-audit and read its report."""
    command = ["pip-audit", "--requirement", requirements, "--disable-pip", "--require-hashes", "--timeout", "10"]
    command += ["--progress-spinner", "off", "--format", "json", "--output", report]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        dependencies = json.loads(Path(report).read_text())["dependencies"]
    except (OSError, ValueError, KeyError):
        print(ended.stderr, file=sys.stderr)
        print("advisory database unreachable")
        return UNREACHABLE
    vulnerable = [(found["name"], advisory) for found in dependencies for advisory in found.get("vulns", ())]
    for name, advisory in vulnerable:
        fixed = ", ".join(advisory.get("fix_versions", ())) or "no version"
        print(f"{name}: {advisory['id']}, fixed in {fixed}")
    if vulnerable:
        return 1
    skipped = [found["name"] for found in dependencies if "skip_reason" in found]
    if skipped or not dependencies:
        part = "" if len(skipped) == len(dependencies) else f" for {len(skipped)} of {len(dependencies)} dependencies"
        print(f"advisory database unreachable{part}")
        return UNREACHABLE
    print(f"{len(dependencies)} dependencies, none with a known vulnerability")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
