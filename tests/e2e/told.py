"""What people see when something goes wrong on one machine: the cases of docs/troubleshooting.md that faults show."""

from tests.troubleshooting import Case

TOLD = {
    case.name: case
    for case in (
        Case(
            "never-healthy",
            "one machine",
            "A service that never gets healthy",
            done="The service `api` of the release is `sleep 1000`: it runs, and never answers.",
            remedy="Start the service as the release does (`run` of its `[services]` table, with a port of your own) "
            "and ask for `/readyz`. One that needs longer to start gets `healthy_timeout_s`.",
            told="when the time is up",
        ),
        Case(
            "full-disk",
            "one machine",
            "A disk that is full",
            done="No byte can be written where openbell keeps its state.",
            remedy="Make room, then say the same command again: nothing was begun that is not written down.",
            told="by the command",
        ),
        Case(
            "not-ended",
            "one machine",
            "A rollout that has not ended",
            done="A rollout was interrupted with Ctrl-C, and then its environment is to be stopped.",
            remedy="Go on with it (`openbell resume`) or take it back (`openbell abort`).",
            told="by the command",
        ),
    )
}
