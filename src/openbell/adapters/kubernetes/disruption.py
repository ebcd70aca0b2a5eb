"""Whether the nodes of an environment can be drained: PodDisruptionBudgets that never let a pod go.

Openbell itself ends pods by scaling them down, which no budget holds up; an eviction is refused for as long as the
budget says so, and the drain of a node waits for ever.

Source: https://kubernetes.io/docs/tasks/run-application/configure-pdb/
"""

from openbell.adapters.kubernetes.api import FORBIDDEN, Api
from openbell.adapters.kubernetes.objects import Metadata, Read
from openbell.ports import AdapterError

REMEDY = "Let one go at a time (maxUnavailable: 1), or run more than minAvailable asks for"


class BudgetStatus(Read, frozen=True, kw_only=True):
    """How a budget is used."""

    disruptions_allowed: int = 0
    current_healthy: int = 0
    expected_pods: int = 0


class Budget(Read, frozen=True, kw_only=True):
    """A PodDisruptionBudget."""

    metadata: Metadata
    status: BudgetStatus = BudgetStatus()


class Budgets(Read, frozen=True, kw_only=True):
    """A list of PodDisruptionBudgets."""

    items: tuple[Budget, ...] = ()


async def stuck_budgets(api: Api) -> list[str]:
    """Say which budgets allow no eviction although all their pods are healthy; nothing if they may not be seen."""
    try:
        found = await api.read("policy/v1/poddisruptionbudgets", Budgets)
    except AdapterError as error:
        if error.operation.endswith(f" {FORBIDDEN}"):
            return []
        raise
    return [
        f"the PodDisruptionBudget {one.metadata.name} lets no pod go, though all are healthy "
        f"({one.status.current_healthy} of {one.status.expected_pods}): no node that runs one of them can be drained"
        for one in found.items
        if not one.status.disruptions_allowed and one.status.current_healthy >= one.status.expected_pods > 0
    ]
