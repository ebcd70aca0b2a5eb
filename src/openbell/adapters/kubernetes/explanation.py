"""What a person is told of a pod that does not get ready: the sentence of its diagnosis, and what says more.

More is the end of its log, and what a service that refuses its own probe answers; both are asked for through the API
server. What cannot be had is left out, for the sentence stands by itself.
"""

from openbell.adapters.kubernetes.api import Api
from openbell.adapters.kubernetes.diagnosis import Diagnosis
from openbell.adapters.kubernetes.objects import HttpGet
from openbell.ports import AdapterError

NO_LOG = "unable to retrieve container logs"
"""What a node says, as if it were a log, of a container that has just been removed."""
LAST_LINES = 12
ANSWER_MAX = 300


async def explain(api: Api, found: Diagnosis) -> str:
    """The diagnosis in one sentence, then on lines of their own what was answered and the last lines of the log."""
    said = [found.sentence]
    if found.asked is not None:
        said.append(await _answer(api, found.subject, found.asked))
    if found.container is not None:
        said.append(await last_lines(api, found.subject, found.container))
    return "\n".join(filter(None, said))


async def last_lines(api: Api, pod: str, container: str) -> str:
    """The end of a container's log, of the process before this one if it has ended; empty when there is none."""
    params = {"tailLines": str(LAST_LINES), **({"container": container} if container else {})}
    for previous in ("true", "false"):
        try:
            text = await api.text(f"v1/pods/{pod}/log", params={**params, "previous": previous})
        except AdapterError:
            continue
        if text.strip() and not text.startswith(NO_LOG):
            return text.rstrip()
    return ""


async def _answer(api: Api, pod: str, asked: HttpGet) -> str:
    """What the service answers now; empty when it does not."""
    try:
        answer = await api.ask_pod(pod, int(asked.port), asked.path, "GET")
    except AdapterError:
        return ""
    text = " ".join(answer.text.split())
    return f"GET {asked.path} answered {answer.status_code}: {text[:ANSWER_MAX]}".rstrip(": ")
