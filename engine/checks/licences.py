"""Check that every dependency that ships with the engine has a licence that the policy allows, as an SPDX expression.

Usage: python checks/licences.py requirements.lock FINDINGS   Which packages ship stands in the lock file, their
licences in what is installed here: License-Expression (PEP 639), else the classifiers, else the field License.
"X OR Y" needs one that is allowed, "X AND Y" both; a licence that is no expression is refused, for somebody must look.
"""

import json
import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from boolean.boolean import AND, OR, Expression
from license_expression import ExpressionError, LicenseSymbol, LicenseWithExceptionSymbol, get_spdx_licensing

ALLOWED = {"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MPL-2.0", "PSF-2.0", "Unlicense"}
"""What asks for the source of the whole product (GPL, AGPL, SSPL ...) is not among them."""

NAMES = {
    "MIT License": "MIT",
    "BSD License": "BSD-3-Clause",
    "BSD": "BSD-3-Clause",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
"""What licences were called in classifiers and texts before there were expressions."""

_SPDX = get_spdx_licensing()


def is_allowed(expression: Expression) -> bool:
    """Say whether the policy allows an expression."""
    match expression:
        case AND():
            return all(is_allowed(part) for part in expression.args)
        case OR():
            return any(is_allowed(part) for part in expression.args)
        case LicenseWithExceptionSymbol():
            return expression.license_symbol.key in ALLOWED
        case LicenseSymbol():
            return expression.key in ALLOWED
        case _:
            return False


def stated(package: Distribution) -> str:
    """Return what a package says of its licence, as an expression if it can be read as one; empty if nothing."""
    expression = package.metadata.get("License-Expression")
    if expression:
        return expression
    prefix = "License :: OSI Approved :: "
    classifiers = [text for text in package.metadata.get_all("Classifier") or () if text.startswith(prefix)]
    names = [text.removeprefix(prefix) for text in classifiers]
    if not names:
        # Some packages give the whole text, whose first line is its name.
        names = [(package.metadata.get("License") or "").strip().partition("\n")[0]]
    return " AND ".join(NAMES.get(name, name) for name in names)


def problem_of(licence: str) -> str | None:
    """Say what is wrong with a licence; None when nothing is."""
    if not licence:
        return "says nothing of its licence"
    try:
        expression = _SPDX.parse(licence, validate=True)
    except ExpressionError:
        return f"{licence!r} is no SPDX expression"
    return None if is_allowed(expression) else f"{licence!r} is not allowed"


def main(requirements: str, findings: str) -> int:
    """Compare the licences of the locked packages with the policy; what is refused is written down as lines of JSON."""
    names = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==", Path(requirements).read_text(), re.MULTILINE)
    found = 0
    refused = []
    for name in names:
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue  # It is for another platform.
        found += 1
        problem = problem_of(stated(package))
        if problem:
            line = {"rule": "licence", "message": f"{name} {package.version}: {problem}", "key": f"{name}: {problem}"}
            refused.append(json.dumps({**line, "path": requirements}))
            print(line["message"])
    Path(findings).write_text("".join(f"{line}\n" for line in refused))
    print(f"{found} packages, {len(refused)} with a licence that is not allowed")
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
