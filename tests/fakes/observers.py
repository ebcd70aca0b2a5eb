"""Who watches a run."""

from openbell.core.pipeline import JobNode, JobResult


class Silent:
    """Watches nothing; a `RunObserver`."""

    def job_started(self, node: JobNode, attempt: int) -> None:
        """Say nothing."""

    def job_ended(self, result: JobResult) -> None:
        """Say nothing."""
