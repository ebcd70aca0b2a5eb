"""Git, through its plumbing commands: what a commit contains, what the working tree has changed, and clean copies.

Paths are relative to the project's folder, which may lie below the top of its repository. Contents are named by git's
own blob ids, so a commit of a thousand files is known from one `ls-tree`. Nothing here changes the repository.

Source: https://git-scm.com/docs (git-status, git-ls-tree, git-hash-object, git-checkout-index)
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from openbell.ports import AdapterError

SYSTEM = "git"
_HASH_CHUNK = 500
_LOG_FORMAT = "%H%x00%an%x00%ae%x00%ct%x00%s"


class Commit(msgspec.Struct, frozen=True):
    """A commit: its id, who wrote it, when it was committed (Unix seconds), and the first line of its message."""

    id: str
    author_name: str
    author_email: str
    committed_at_s: int
    subject: str

    @property
    def short(self) -> str:
        """The first seven characters of its id."""
        return self.id[:7]

    @property
    def author(self) -> str:
        """The author as git names one, "Ada <ada@example.com>": an approval by either name must not count."""
        named = f"{self.author_name} <{self.author_email}>" if self.author_email else self.author_name
        return named.strip()


class Snapshot(msgspec.Struct, frozen=True):
    """What a run sees: a commit, or the working tree as it is when `dirty` names changed files.

    `files` maps each path to mode and blob id ("100644 3b18e5...").
    """

    root: Path
    commit: Commit
    branch: str | None
    files: dict[str, str]
    dirty: tuple[str, ...] = ()


def snapshot(root: Path, *, commit: str | None = None) -> Snapshot:
    """Take down what a run of the project would see: the named commit, or HEAD with what the working tree changed.

    Raises `AdapterError` when the folder is in no repository, or the repository has no commit.
    """
    if commit is not None:
        files, found = _run_all(root, _ls_tree(commit), _log(commit))
        return Snapshot(root, _parse_commit(found), None, _parse_tree(files))
    status, files, found, prefix = _run_all(
        root,
        ["status", "--porcelain=v2", "--branch", "--untracked-files=all", "-z", "--", "."],
        _ls_tree("HEAD"),
        _log("HEAD"),
        ["rev-parse", "--show-prefix"],
    )
    branch, changed = _parse_status(status, os.fsdecode(prefix).rstrip("\n"))
    tree = _parse_tree(files)
    if changed:
        tree = _apply_changes(root, tree, changed)
    return Snapshot(root, _parse_commit(found), branch, tree, tuple(sorted(changed)))


def resolve(root: Path, ref: str) -> tuple[str, Literal["branch", "tag", "commit"]]:
    """Find the commit that a ref means, and whether it is a branch, a tag or a commit. A branch wins over a tag."""
    if ref.startswith("-"):
        raise AdapterError(SYSTEM, "resolve", f'"{ref}" is no ref.', effect="not_applied")
    full, kind = _name_in_full(root, ref)
    found = _run(root, "rev-parse", "--verify", "--quiet", f"{full}^{{commit}}", check=False)
    if not found:
        message = f'"{ref}" names no branch, tag or commit of this repository.'
        raise AdapterError(SYSTEM, "resolve", message, effect="not_applied")
    return found.decode().strip(), kind


def _name_in_full(root: Path, ref: str) -> tuple[str, Literal["branch", "tag", "commit"]]:
    """Name a branch or tag so that git takes no other for it: left to itself, it prefers a tag to a branch."""
    kinds: dict[str, Literal["branch", "tag", "commit"]] = {
        f"refs/heads/{ref}": "branch",
        f"refs/remotes/{ref}": "branch",
        f"refs/tags/{ref}": "tag",
    }
    present = _run(root, "for-each-ref", "--format=%(refname)", *kinds).decode().split("\n")
    return next(((full, kind) for full, kind in kinds.items() if full in present), (ref, "commit"))


def list_files(root: Path) -> tuple[str, ...]:
    """List the files of the working tree below a folder: those of the index, and new ones that are not ignored."""
    found = _run(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    paths = dict.fromkeys(os.fsdecode(entry) for entry in found.split(b"\0") if entry)
    return tuple(sorted(path for path in paths if (root / path).is_file()))


def tags_at(root: Path, commit: str) -> tuple[str, ...]:
    """Name the tags of a commit, in git's order."""
    return tuple(_run(root, "tag", "--points-at", commit).decode().split())


def is_ancestor(root: Path, commit: str, of: str) -> bool:
    """Whether a commit comes before another one, or is the same; False when the repository does not know both."""
    return _run(root, "merge-base", commit, of, check=False).decode().strip() == commit


def current_branch(root: Path) -> str:
    """Name the branch that is checked out; empty when none is, or there is no repository."""
    return _run(root, "branch", "--show-current", check=False).decode(errors="replace").strip()


def top(root: Path) -> Path:
    """Return the folder of the repository that a folder is in; raises `AdapterError` when it is in none."""
    return Path(os.fsdecode(_run(root, "rev-parse", "--show-toplevel")).rstrip("\n"))


def identity(root: Path) -> str:
    """Return the address that git would sign commits here with; empty when none is configured."""
    return _run(root, "config", "user.email", check=False).decode(errors="replace").strip()


def check_out(root: Path, commit: str, target: Path) -> None:
    """Write the files of a commit below the project's folder into an empty folder; the user's index stays as it is."""
    top, prefix = _run(root, "rev-parse", "--show-toplevel", "--show-prefix").decode().split("\n")[:2]
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="openbell-index-") as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        _run(Path(top), "read-tree", f"{commit}:{prefix.rstrip('/')}", env=index)
        _run(Path(top), "checkout-index", "--all", "--force", "--quiet", f"--prefix={target.resolve()}/", env=index)


def read_files(root: Path, files: Mapping[str, str]) -> dict[str, bytes]:
    """Read the contents of paths by their "mode blob", as a commit has them."""
    return {path: _run(root, "cat-file", "blob", entry.rpartition(" ")[2]) for path, entry in files.items()}


def copy_working_tree(snapshot_: Snapshot, target: Path) -> None:
    """Copy the files of a snapshot as they are in the working tree into an empty folder."""
    target.mkdir(parents=True, exist_ok=True)
    for path in snapshot_.files:
        source, copy = snapshot_.root / path, target / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink() or source.is_file():
            shutil.copy2(source, copy, follow_symlinks=False)


def _ls_tree(commit: str) -> list[str]:
    return ["ls-tree", "-r", "-z", commit]


def _log(commit: str) -> list[str]:
    return ["log", "-1", "--no-show-signature", f"--format={_LOG_FORMAT}", commit]


def _parse_commit(text: bytes) -> Commit:
    id_, name, email, time, subject = text.decode(errors="replace").rstrip("\n").split("\0", 4)
    return Commit(id_, name, email, int(time), subject)


def _parse_tree(text: bytes) -> dict[str, str]:
    files = {}
    for entry in text.split(b"\0"):
        meta, found, path = entry.partition(b"\t")
        if found:
            mode, _, blob = meta.decode().split(" ")
            files[os.fsdecode(path)] = f"{mode} {blob}"
    return files


def _parse_status(text: bytes, prefix: str) -> tuple[str | None, list[str]]:
    """Read porcelain version 2: the branch, and every path that differs from HEAD, relative to the project."""
    branch: str | None = None
    changed: dict[str, bool] = {}
    entries = iter(text.split(b"\0"))
    for entry in entries:
        line = os.fsdecode(entry)
        kind = line[:2]
        if line.startswith("# branch.head "):
            name = line.removeprefix("# branch.head ")
            branch = None if name == "(detached)" else name
        elif kind == "1 ":
            changed[line.split(" ", 8)[8]] = True
        elif kind == "2 ":
            changed[line.split(" ", 9)[9]] = True
            changed[os.fsdecode(next(entries))] = True
        elif kind == "u ":
            changed[line.split(" ", 10)[10]] = True
        elif kind == "? ":
            changed[line[2:]] = True
    return branch, [path.removeprefix(prefix) for path in changed if path.startswith(prefix)]


def _apply_changes(root: Path, tree: Mapping[str, str], changed: Sequence[str]) -> dict[str, str]:
    files = dict(tree)
    present = []
    for path in changed:
        files.pop(path, None)
        full = root / path
        if full.is_symlink():
            files[path] = f"120000 {_hash_blob(os.fsencode(full.readlink()), tree)}"
        elif full.is_file():
            present.append(path)
    for start in range(0, len(present), _HASH_CHUNK):
        chunk = present[start : start + _HASH_CHUNK]
        blobs = _run(root, "hash-object", "--", *chunk).decode().split()
        for path, blob in zip(chunk, blobs, strict=True):
            executable = (root / path).stat().st_mode & 0o100
            files[path] = f"{'100755' if executable else '100644'} {blob}"
    return dict(sorted(files.items()))


def _hash_blob(content: bytes, tree: Mapping[str, str]) -> str:
    """Name a blob as this repository would: SHA-1, or SHA-256 where its other names are that long."""
    example = next(iter(tree.values()), "")
    framed = b"blob %d\0" % len(content) + content
    if len(example.rpartition(" ")[2]) == 64:
        return hashlib.sha256(framed).hexdigest()
    return hashlib.sha1(framed, usedforsecurity=False).hexdigest()


def _environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    return {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", **(extra or {})}


def _run(root: Path, *arguments: str, env: Mapping[str, str] | None = None, check: bool = True) -> bytes:
    process = _start(root, arguments, env)
    return _finish(process, arguments, check=check)


def _run_all(root: Path, *commands: Sequence[str]) -> list[bytes]:
    """Run several commands side by side; they only read."""
    processes = [_start(root, command, None) for command in commands]
    results: list[bytes] = []
    failure: AdapterError | None = None
    for process, command in zip(processes, commands, strict=True):
        try:
            results.append(_finish(process, command, check=True))
        except AdapterError as error:
            failure = failure or error
    if failure:
        raise failure
    return results


def _start(root: Path, arguments: Iterable[str], env: Mapping[str, str] | None) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            ["git", *arguments], cwd=root, env=_environment(env), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    except FileNotFoundError:
        message = "git is not installed, or the folder is gone. Install git."
        raise AdapterError(SYSTEM, "start", message, effect="not_applied") from None


def _finish(process: subprocess.Popen[bytes], arguments: Sequence[str], *, check: bool) -> bytes:
    output, errors = process.communicate()
    if process.returncode and check:
        text = errors.decode(errors="replace").strip()
        raise AdapterError(SYSTEM, arguments[0], _explain(text), effect="not_applied")
    return output


def _explain(text: str) -> str:
    if "not a git repository" in text:
        begin = "git init && git add . && git commit -m begin"
        return f"no git repository here, and openbell runs commits. Begin with: {begin}"
    if "unknown revision" in text or "Not a valid object name" in text or "does not have any commits" in text:
        return "the repository has no such commit (is there any yet?). Begin with: git add . && git commit -m begin"
    return text.removeprefix("fatal: ")
