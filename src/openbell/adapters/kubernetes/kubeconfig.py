"""Finds the cluster that a context names, as kubectl and helm find it: KUBECONFIG may name several files.

Source: https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openbell.ports import AdapterError

if TYPE_CHECKING:
    import httpx2

SYSTEM = "kubernetes"
KINDS = ("clusters", "contexts", "users")
FILES = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
"""Fields that name files: relative to the file they stand in."""


def connect(context: str, *, timeout_s: float) -> "httpx2.AsyncClient":
    """Open a client for a context, or for the current one; raises `AdapterError` that says what is missing where."""
    try:
        import httpx2
        import yaml
        from lightkube.config.client_adapter import AsyncClient, ConnectionParams
        from lightkube.config.kubeconfig import KubeConfig
        from lightkube.core.exceptions import ConfigError
    except ImportError as error:
        message = f"{error.name} is not installed; install it with: pip install 'openbell[kubernetes]'"
        raise AdapterError(SYSTEM, "connect", message, effect="not_applied") from error
    where = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    # What kubectl does: files that are not there are passed over.
    files = [path for name in where.split(os.pathsep) if name and (path := Path(name).expanduser()).exists()]
    try:
        # As kubectl and helm do it: the account of a pod counts only where there is no such file.
        known = KubeConfig.from_dict(_merged(files)) if files else KubeConfig.from_env()
        if context and context not in known.contexts:
            names = ", ".join(known.contexts) or "none"
            message = f'{where} has no context "{context}"; it has: {names}. Set context to one of them'
            raise AdapterError(SYSTEM, "connect", message, effect="not_applied")
        chosen = known.get(context or None)
        if chosen is None:
            message = f"{where} chooses no context; name one: context"
            raise AdapterError(SYSTEM, "connect", message, effect="not_applied")
        return AsyncClient(chosen, ConnectionParams(timeout=httpx2.Timeout(timeout_s), trust_env=False))
    except (
        ConfigError, OSError, yaml.YAMLError, httpx2.InvalidURL,
        AssertionError, AttributeError, KeyError, TypeError, ValueError,
    ) as error:  # fmt: skip
        # What is missing in the file, or of a wrong type, lightkube says by whatever it stumbles over.
        message = f"no cluster: {words(error)}. Name one in KUBECONFIG (now {where})"
        raise AdapterError(SYSTEM, "connect", message, effect="not_applied") from error


def words(error: Exception) -> str:
    """One line of an error, and of one that says only a name its kind as well."""
    text = " ".join(str(error).split()) or "it cannot be used"
    return f"{type(error).__name__}: {text}" if isinstance(error, (AttributeError, KeyError, TypeError)) else text


def _merged(files: Iterable[Path]) -> dict[str, Any]:
    """Lay files over each other: of two things with one name the first one counts."""
    import yaml

    current, found = None, {kind: dict[str, Any]() for kind in KINDS}
    for file in files:
        content = yaml.safe_load(file.read_text()) or {}
        current = current or content.get("current-context")
        for kind in KINDS:
            for one in content.get(kind) or ():
                found[kind].setdefault(one["name"], _absolute(one, kind.removesuffix("s"), file.absolute().parent))
    return {"current-context": current, **{kind: list(named.values()) for kind, named in found.items()}}


def _absolute(one: dict[str, Any], key: str, folder: Path) -> dict[str, Any]:
    fields = one.get(key) or {}
    return {**one, key: {**fields, **{name: str(folder / fields[name]) for name in FILES if fields.get(name)}}}
