"""The `openbell` command. Each command lives in a module of its own and is imported only when it is called."""

import sys
from typing import NamedTuple

import openbell


class Command(NamedTuple):
    """One command of the command line: its group on the help page, where it lives, what it does.

    A name may be two words, `image build`; its function is `image_build` of its module.
    """

    group: str
    module: str
    summary: str


COMMANDS: dict[str, Command] = {
    "init": Command("Project", "project", "write an openbell.toml for the project in this folder"),
    "check": Command("Project", "project", "validate openbell.toml and say what would run, and why"),
    "run": Command("Project", "run", "run the pipeline of a commit"),
    "scan": Command("Project", "scan", "look for findings again, as each night: dependencies, secrets, code, licences"),
    "findings": Command("Project", "findings", "what scanners found: what is open, due, waived"),
    "runs": Command("Project", "run", "list the runs that are known"),
    "sarif": Command("Project", "sarif", "write a report of a scanner that speaks no SARIF as SARIF"),
    "bench": Command("Project", "bench", "are the benchmarks slower than those of another commit?"),
    "report": Command("Project", "report", "what the jobs of a run reported: tests, coverage, benchmarks, findings"),
    "tests": Command("Project", "tests", "which tests are slow, flaky, in quarantine"),
    "log": Command("Project", "run", "show the log of a job"),
    "explain": Command("Project", "cache", "why a job's result would be reused, or not"),
    "verify": Command("Project", "cache", "execute jobs whose results would be reused, and compare"),
    "cache": Command("Project", "cache", "how much of what jobs left is kept here; remove what is not used"),
    "fingerprint": Command("Project", "fingerprint", "under which name a job's result may be kept elsewhere"),
    "image build": Command("Project", "image", "build an image of containers, push it, and name it by its digest"),
    "image verify": Command("Project", "image", "check an image in a registry, and what was signed of it"),
    "release list": Command("Deliver", "release", "the releases that were built"),
    "release show": Command("Deliver", "release", "what a release consists of, and what proves it"),
    "release verify": Command("Deliver", "release", "check that a release is unchanged, signed, and of its source"),
    "release key": Command("Deliver", "release", "make a key pair for signing releases"),
    "deploy": Command("Deliver", "deploy", "bring a release into an environment"),
    "approve": Command("Deliver", "deploy", "approve a rollout that waits for a person"),
    "rollback": Command("Deliver", "deploy", "bring the previous release back"),
    "abort": Command("Deliver", "deploy", "stop a rollout and take its candidate back"),
    "resume": Command("Deliver", "deploy", "go on with what an interrupted openbell left"),
    "status": Command("Look", "environment", "what runs where"),
    "watch": Command("Look", "deploy", "follow a rollout live"),
    "why": Command("Look", "deploy", "explain a decision with the evidence it stood on"),
    "timing": Command("Look", "timing", "where the time of a run went, and what would make it shorter"),
    "up": Command("Environment", "environment", "start an environment on this machine"),
    "down": Command("Environment", "environment", "stop an environment; its data stays"),
    "doctor": Command("Environment", "doctor", "what is missing on this machine, and how to get it"),
    "render": Command("Environment", "render", "files for other systems: workflows, hooks, permissions in a cluster"),
    "demo": Command("Environment", "demo", "the whole story on this machine, with orders flowing"),
}


PLAIN_RUN_OPTIONS = frozenset({"--json", "--no-deploy"})


def overview() -> str:
    """Compose the help page: the commands by group. Kept free of the parser so that it appears at once."""
    lines = [
        f"openbell {openbell.__version__}: {openbell.__doc__ or ''}".rstrip(),
        "",
        "Usage: openbell COMMAND [--help]",
    ]
    group = ""
    width = max(map(len, COMMANDS))
    for name, command in COMMANDS.items():
        if command.group != group:
            group = command.group
            lines += ["", group]
        lines.append(f"  {name:<{width}} {command.summary}")
    lines += [
        "",
        "Exit codes: 0 done; 1 work failed or was rolled back; 2 usage or configuration; 3 waits for a person;",
    ]
    lines += ["            130 interrupted. State lives in .openbell/ of the project, or where OPENBELL_STATE says."]
    lines += ["", "Completion of commands and options in bash, zsh or fish: openbell --install-completion"]
    return "\n".join(lines)


def main() -> None:
    """Run the command that the arguments name; the exit code is its return value."""
    try:
        code = run_at_once(sys.argv[1:])
        # What is still buffered must not fail after all is done, where nobody could catch it.
        print(end="", flush=True)
    except BrokenPipeError:
        from openbell.cli.terminal import UNREAD, forget

        forget(sys.stdout)
        code = UNREAD
    sys.exit(code)


def run_at_once(arguments: list[str]) -> int:
    """Carry a command out, or show the help page; neither that nor a plain `openbell run` waits for the parser.

    When nothing is left to do, such a run takes less time than it takes to import the parser.
    """
    if arguments in ([], ["--help"], ["-h"], ["help"]):
        print(overview())
        return 0
    if arguments[:1] == ["run"] and PLAIN_RUN_OPTIONS.issuperset(arguments[1:]):
        _import_without_extensions()
        from openbell.cli.running import run_pipeline
        from openbell.wiring.pipeline import RunRequest

        try:
            return run_pipeline(RunRequest(), deploy="--no-deploy" not in arguments, json="--json" in arguments)
        except KeyboardInterrupt:
            return 130
    from openbell.cli.parser import parse_and_run

    return parse_and_run(arguments)


def _import_without_extensions() -> None:
    """Import msgspec without `typing_extensions`, if it is not there yet.

    It takes from it what `typing` has, too, in each Python that we run on. That costs a cached run 8 of 120 ms.
    """
    name = "typing_extensions"
    if name in sys.modules:
        return
    sys.modules[name] = None  # type: ignore[assignment]  # the way to say that a module cannot be imported
    try:
        import msgspec  # noqa: F401
    finally:
        del sys.modules[name]
