"""Write the schemas of Kubernetes objects for kubeconform, which would fetch them from the network otherwise.

Usage: python checks/kubernetes_schemas.py FOLDER   They come from the package kubernetes-validate, where all of a
version share one file of definitions; kubeconform wants each by itself.
"""

import importlib.util
import json
import re
import sys
from pathlib import Path

VERSION = "1.34.0"
"""The oldest version would do for the chart; this one is the newest that it is tried on."""
KINDS = (
    "configmap-v1",
    "deployment-apps-v1",
    "job-batch-v1",
    "networkpolicy-networking-v1",
    "poddisruptionbudget-policy-v1",
    "service-v1",
    "serviceaccount-v1",
)
"""What the chart consists of; kubeconform says which one is missing here."""
UNAVAILABLE = 75
_REFERENCE = re.compile(r'"[^"]*_definitions\.json#/\$defs/([\w.-]+)"')


def self_contained(schema: str, definitions: dict[str, object]) -> str:
    """Return a schema with those definitions in it that it refers to, directly or not."""
    needed: dict[str, object] = {}
    pending = _REFERENCE.findall(schema)
    while pending:
        name = pending.pop()
        if name not in needed:
            needed[name] = definitions[name]
            pending += re.findall(r'"#/\$defs/([\w.-]+)"', json.dumps(definitions[name]))
    content = json.loads(_REFERENCE.sub(r'"#/$defs/\1"', schema))
    return json.dumps({**content, "$defs": needed})


def main(folder: str) -> int:
    """Write the schemas into a folder."""
    package = importlib.util.find_spec("kubernetes_validate")
    if package is None or package.origin is None:
        print("no schemas: pip install kubernetes-validate")
        return UNAVAILABLE
    source = Path(package.origin).parent / "kubernetes-json-schema" / f"v{VERSION}-local-strict"
    definitions = json.loads((source / "_definitions.json").read_text())["$defs"]
    Path(folder).mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        schema = (source / f"{kind}.json").read_text()
        (Path(folder) / f"{kind}.json").write_text(self_contained(schema, definitions))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
