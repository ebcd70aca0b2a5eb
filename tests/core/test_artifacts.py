"""Where outputs of needed jobs are found, and that none takes the place of another."""

from hypothesis import given
from hypothesis import strategies as st

from openbell.core.artifacts import lay_out_artifacts
from openbell.core.pipeline import Output


def left(**jobs: dict[str, str]) -> list[tuple[str, list[Output]]]:
    return [(name, [Output(path, sha, 1) for path, sha in outputs.items()]) for name, outputs in jobs.items()]


def placed(**jobs: dict[str, str]) -> dict[str, str]:
    return {output.path: output.sha256 for output in lay_out_artifacts(left(**jobs))}


def test_what_one_job_left_is_where_it_was_left() -> None:
    assert placed(a={"x": "1", "sub/y": "2"}, b={"z": "3"}) == {"x": "1", "sub/y": "2", "z": "3"}


def test_what_several_left_is_in_a_folder_of_each() -> None:
    assert placed(a={"x": "1"}, b={"x": "2", "y": "3"}) == {"a/x": "1", "b/x": "2", "y": "3"}


def test_the_same_content_is_in_both_places() -> None:
    assert placed(a={"x": "1"}, b={"x": "1"}) == {"x": "1", "a/x": "1", "b/x": "1"}


def test_a_file_where_another_job_has_a_folder() -> None:
    assert placed(a={"x": "1"}, b={"x/y": "2"}) == {"a/x": "1", "b/x/y": "2"}


def test_a_file_named_as_its_job_stays_where_it_was_left() -> None:
    assert placed(api={"api": "1"}, web={"web": "2", "api/x": "3"}) == {
        "api/api": "1", "web/web": "2", "web/api/x": "3",
    }  # fmt: skip
    assert placed(api={"api": "1"}, web={"web": "2"}) == {"api": "1", "web": "2"}


def test_a_folder_that_is_made_for_a_job_is_that_jobs() -> None:
    assert placed(a={"x": "1", "b/x": "3"}, b={"x": "2"}) == {"a/x": "1", "b/x": "2", "a/b/x": "3"}


PATHS = st.sampled_from(["x", "x/y", "x/y/z", "a", "b/x", "a/x", "y"])


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.dictionaries(PATHS, st.sampled_from("123"))))
def test_nothing_is_lost_and_nothing_stands_in_the_way(jobs: dict[str, dict[str, str]]) -> None:
    # What one job leaves is in a file system already, so it has no file where it has a folder.
    jobs = {
        name: {path: sha for path, sha in outputs.items() if not any(other.startswith(f"{path}/") for other in outputs)}
        for name, outputs in jobs.items()
    }
    found = lay_out_artifacts(left(**jobs))
    paths = [output.path for output in found]
    assert len(frozenset(paths)) == len(paths)
    assert not [path for path in paths if any(other.startswith(f"{path}/") for other in paths)]
    content = {output.path: output.sha256 for output in found}
    for name, outputs in jobs.items():
        for path, sha in outputs.items():
            assert sha in (content.get(path), content.get(f"{name}/{path}"))
