"""A scanner that reports each line with "eval(", as SARIF, and projects that run it."""

import json

SCANNER = """
import json, sys
from pathlib import Path

name, out, *files = sys.argv[1:]
results = []
for file in files:
    for number, line in enumerate(Path(file).read_text().split("\\n"), start=1):
        for rule in ("eval(", "exec(", "assert "):
            if rule in line:
                place = {"artifactLocation": {"uri": file}, "region": {"startLine": number}}
                result = {"ruleId": rule.strip("( "), "message": {"text": line.strip()}}
                results.append({**result, "locations": [{"physicalLocation": place}]})
scores = {"eval": "9.8", "exec": "7.5", "assert": "3.0"}
rules = [{"id": rule, "properties": {"security-severity": score}} for rule, score in scores.items()]
run = {"tool": {"driver": {"name": name, "rules": rules}}, "results": results}
Path(out).write_text(json.dumps({"version": "2.1.0", "runs": [run]}))
sys.exit(1 if results else 0)
"""

SCANNED = """
[project]
name = "scanned"
[jobs.sast]
stage = "quality"
run = "python3 scan.py sast {out}/x.sarif *.txt"
reports = { sarif = "x.sarif" }
findings_exit_codes = [1]
[jobs.bundle]
stage = "build"
run = "cp a.txt {out}/"
"""


def sarif(*results: tuple[str, str, str], tool: str = "audit") -> str:
    """Write SARIF of results: rule, score, message."""
    rules = [{"id": rule, "properties": {"security-severity": score}} for rule, score, _ in results]
    found = [{"ruleId": rule, "message": {"text": message}} for rule, _, message in results]
    return json.dumps({"runs": [{"tool": {"driver": {"name": tool, "rules": rules}}, "results": found}]})
