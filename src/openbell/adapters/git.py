"""Git, through its plumbing commands: what a commit contains, what the working tree has changed, and clean copies.

Paths are relative to the project's folder, which may lie below the top of its repository. Contents are named as git
names them, so a commit of a thousand files is known from one `ls-tree`. Nothing here changes the repository.

A name is that of the bytes that a job will see: git's own view of the working tree is not taken for it, because git
passes over files that it was told to (assume-unchanged), compares what its filters and line ends make of a file, may be
told to ignore modes and times, and looks at whole seconds only. `openbell.tree_index` reads the tree instead, and files
are written to a tree of the run without any conversion. Of submodules jobs see nothing.

Source: https://git-scm.com/docs (git-ls-files, git-ls-tree, git-hash-object, git-checkout-index, gitattributes)
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from openbell.core.hunks import parse_hunks
from openbell.ports import AdapterError
from openbell.tree_index import TreeIndex, blob_id, hash_blob

SYSTEM = "git"
_HASH_CHUNK = 500
_SEEING_ALL = ("-c", "core.fsmonitor=false", "-c", "core.untrackedCache=false")
_UNHOOKED = ("-c", f"core.hooksPath={os.devnull}", "-c", "core.fsmonitor=false", "-c", "core.symlinks=true")
_UNCONVERTED = "* -text !eol !crlf !ident !filter !working-tree-encoding\n"
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

    `files` maps each path to mode and content ("100644 3b18e5..."). `copied` are those whose bytes are in the working
    tree only: what was changed, and what git converts. `read_files` counts those that were read to know it.
    """

    root: Path
    commit: Commit
    branch: str | None
    files: dict[str, str]
    dirty: tuple[str, ...] = ()
    copied: tuple[str, ...] = ()
    read_files: int = 0


def snapshot(root: Path, *, commit: str | None = None, index: Path | None = None) -> Snapshot:
    """Take down what a run of the project would see: the named commit, or the working tree with HEAD as its commit.

    With `index`, a file that is kept between calls, what has not changed since the last one is not read again.
    Raises `AdapterError` when the folder is in no repository, or the repository has no commit.
    """
    if commit is not None:
        files, found = _run_all(root, _ls_tree(commit), _log(commit))
        return Snapshot(root, _parse_commit(found), None, _parse_tree(files))
    listed, files, found, ref = _run_all(
        root,
        [*_SEEING_ALL, "ls-files", "-v", "--cached", "--others", "--exclude-standard", "-z"],
        _ls_tree("HEAD"),
        _log("HEAD"),
        ["rev-parse", "--symbolic-full-name", "HEAD"],
    )
    head = _parse_tree(files)
    scanned = TreeIndex(root, index, algorithm=_algorithm(head))
    seen = _scan(scanned, head, *_parse_listing(listed))
    dirty, copied = _compare(root, scanned, head, seen)
    scanned.save()
    branch = ref.decode(errors="surrogateescape").strip()
    named = branch.removeprefix("refs/heads/") if branch.startswith("refs/heads/") else None
    return Snapshot(root, _parse_commit(found), named, seen, dirty, copied, scanned.read_files)


def _scan(scanned: TreeIndex, head: Mapping[str, str], paths: Sequence[str], absent: Sequence[str]) -> dict[str, str]:
    """Take down the working tree: `absent` are files that a sparse checkout left out, and that are as in the commit."""
    seen = scanned.scan(paths)
    links = [path for path, entry in seen.items() if entry.startswith("120000") and head.get(path, "")[:6] != "120000"]
    if links:
        # A link in the place of a folder: what git still lists below the folder is not part of the tree.
        below = tuple(f"{link}/" for link in links)
        seen = {path: entry for path, entry in seen.items() if not path.startswith(below)}
    seen |= {path: head[path] for path in absent if path in head}
    seen |= {path: entry for path, entry in head.items() if entry.startswith("160000")}
    return seen if list(seen) == list(head) else dict(sorted(seen.items()))


def _compare(
    root: Path, scanned: TreeIndex, head: Mapping[str, str], seen: dict[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Find what differs from the commit, and what must be copied. Modes that git is to ignore become the commit's."""
    if seen == head:
        return (), ()
    changed = [path for path, entry in seen.items() if head.get(path) != entry]
    only_modes = [path for path in changed if head.get(path, "")[7:] == seen[path][7:]]
    if only_modes and _run(root, "config", "--type=bool", "core.fileMode", check=False).strip() == b"false":
        seen.update({path: head[path] for path in only_modes})
        changed = [path for path in changed if head.get(path) != seen[path]]
    same = _converted(root, scanned, head, seen, changed)
    gone = [path for path in head if path not in seen]
    return tuple(sorted([*gone, *(path for path in changed if path not in same)])), tuple(changed)


def _converted(
    root: Path, scanned: TreeIndex, head: Mapping[str, str], seen: Mapping[str, str], changed: Sequence[str]
) -> set[str]:
    """Find those files whose bytes differ from the commit's only because git converts them (line ends, filters)."""
    attributes = " ".join(entry for path, entry in seen.items() if path.endswith(".gitattributes"))
    pairs = {path: (seen[path], head[path]) for path in changed if seen[path][:6] == head.get(path, "")[:6] != "120000"}
    unknown = [path for path, pair in pairs.items() if scanned.remembered(*pair, attributes) is None]
    answers: dict[tuple[str, str], bool] = {}
    for start in range(0, len(unknown), _HASH_CHUNK):
        chunk = unknown[start : start + _HASH_CHUNK]
        cleaned = _run(root, "hash-object", "--", *chunk).decode().split()
        for path, blob in zip(chunk, cleaned, strict=True):
            answers[pairs[path]] = blob == head[path][7:]
    if answers:
        scanned.remember(answers, attributes)
    return {path for path, pair in pairs.items() if scanned.remembered(*pair, attributes)}


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


def remote_url(root: Path) -> str:
    """Return the URL of the remote `origin` as it is configured, a login in it included; empty when there is none."""
    return _run(root, "config", "remote.origin.url", check=False).decode(errors="replace").strip()


def check_out(root: Path, commit: str, target: Path) -> None:
    """Write the files of a commit below the project's folder into an empty folder, as the repository has them."""
    _write_entries(root, _parse_tree(_run(root, *_ls_tree(commit))), target)


def lay_out(seen: Snapshot, target: Path) -> None:
    """Write the files of a snapshot into an empty folder, each with exactly the mode and the bytes that it names.

    Raises a retryable `AdapterError` when the working tree changed meanwhile.
    """
    copied = frozenset(seen.copied)
    _write_entries(seen.root, {path: entry for path, entry in seen.files.items() if path not in copied}, target)
    algorithm = _algorithm(seen.files)
    for path in seen.copied:
        source, copy = seen.root / path, target / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Not with its times: a tool that keeps a cache by time and size must not take it for what was there before.
            shutil.copyfile(source, copy, follow_symlinks=False)
            if seen.files[path][:6] != "120000":
                copy.chmod(0o755 if seen.files[path][:6] == "100755" else 0o644)
                same = f"{seen.files[path][:6]} {hash_blob(str(copy), algorithm)}" == seen.files[path]
            else:
                same = TreeIndex(target, None, algorithm=algorithm).scan([path]).get(path) == seen.files[path]
        except OSError:
            same = False
        if not same:
            raise _changed("copy")


def _changed(operation: str) -> AdapterError:
    message = f"the working tree changed while it was {'copied' if operation == 'copy' else 'read'}. Run again."
    return AdapterError(SYSTEM, operation, message, retryable=True, effect="not_applied")


def _write_entries(root: Path, files: Mapping[str, str], target: Path) -> None:
    """Write contents of the repository into a folder through an index of our own, and without converting them.

    A repository of our own with the objects of the other one: its attributes come before those of any file, and its
    configuration has no filters and no hooks.
    """
    target.mkdir(parents=True, exist_ok=True)
    objects = _run(root, "rev-parse", "--git-path", "objects").decode().rstrip("\n")
    settings = _run(root, "config", "-z", "--get-regexp", r"^(extensions|remote|promisor)\.", check=False)
    with tempfile.TemporaryDirectory(prefix="openbell-git-") as folder:
        own = Path(folder)
        for name in ("objects", "refs", "info"):
            (own / name).mkdir()
        (own / "HEAD").write_text("ref: refs/heads/none\n")
        (own / "info" / "attributes").write_text(_UNCONVERTED)
        (own / "config").write_text("[core]\nrepositoryformatversion = 1\nbare = false\n")
        for setting in filter(None, settings.split(b"\0")):
            name, _, value = os.fsdecode(setting).partition("\n")
            if name not in ("extensions.worktreeconfig", "extensions.refstorage"):
                _run(own, "config", "--file", str(own / "config"), "--add", name, value or "true")
        env = {
            "GIT_DIR": folder, "GIT_WORK_TREE": str(target.resolve()), "GIT_INDEX_FILE": str(own / "index"),
            "GIT_OBJECT_DIRECTORY": str((root / objects).resolve()),
        }  # fmt: skip
        lines = b"".join(os.fsencode(f"{entry}\t{path}\0") for path, entry in files.items())
        _run(target, *_UNHOOKED, "update-index", "-z", "--index-info", env=env, given=lines)
        _run(target, *_UNHOOKED, "checkout-index", "--all", "--force", "--quiet", env=env)


def read_files(seen: Snapshot, paths: Iterable[str]) -> dict[str, bytes]:
    """Read the contents of paths as a snapshot has them; raises `AdapterError` when one has changed since."""
    contents = {}
    for path in paths:
        entry = seen.files[path]
        if path in seen.copied:
            contents[path] = (seen.root / path).read_bytes()
            if blob_id(contents[path], _algorithm(seen.files)) != entry[7:]:
                raise _changed("read")
        else:
            contents[path] = _run(seen.root, "cat-file", "blob", entry[7:])
    return contents


def merge_base(root: Path, one: str, other: str) -> str | None:
    """Find the commit that two commits or refs have in common; None when they have none, or are none."""
    found = _run(root, "merge-base", "--end-of-options", one, other, check=False).decode().split()
    return found[0] if found else None


def parent(root: Path, commit: str) -> str | None:
    """Find the first parent of a commit; None when it has none, or the clone does not go back so far."""
    found = _run(root, "rev-parse", "--verify", "--quiet", f"{commit}^1^{{commit}}", check=False).decode().split()
    return found[0] if found else None


def distance(root: Path, base: str, commit: str) -> int:
    """Count the commits that a commit has and its base has not."""
    return int(_run(root, "rev-list", "--count", f"{base}..{commit}"))


def changed_lines(seen: Snapshot, base: str) -> dict[str, tuple[range, ...]]:
    """Find the lines of a snapshot that a base commit does not have, by path; of files that are new, all lines.

    Files without text, and lines that are gone, are not among them. Raises `AdapterError` when there is no such base.
    """
    against = [base] if seen.dirty else [base, seen.commit.id]
    found = _run(
        seen.root, "-c", "core.quotePath=false", "diff", "--unified=0", "--no-color", "--no-ext-diff", "--no-textconv",
        "--no-renames", "--relative", "--src-prefix=a/", "--dst-prefix=b/", *against, "--", ".",
    )  # fmt: skip
    lines = parse_hunks(found)
    if seen.dirty:
        known = _parse_tree(_run(seen.root, *_ls_tree(base)))
        # Files that git does not follow yet are no part of a diff.
        for path in seen.dirty:
            if path in seen.files and path not in known and path not in lines and (seen.root / path).is_file():
                lines[path] = (range(1, (seen.root / path).read_bytes().count(b"\n") + 2),)
    return lines


def _ls_tree(commit: str) -> list[str]:
    return ["ls-tree", "-r", "-z", commit]


def _log(commit: str) -> list[str]:
    return ["log", "-1", "--no-show-signature", f"--format={_LOG_FORMAT}", commit]


def _parse_commit(text: bytes) -> Commit:
    id_, name, email, time, subject = text.decode(errors="replace").rstrip("\n").split("\0", 4)
    return Commit(id_, name, email, int(time), subject)


def _parse_tree(text: bytes) -> dict[str, str]:
    files = {}
    for entry in os.fsdecode(text).split("\0"):
        meta, found, path = entry.partition("\t")
        if found:
            files[path] = f"{meta[:6]} {meta.rpartition(' ')[2]}"
    return files


def _parse_listing(text: bytes) -> tuple[list[str], list[str]]:
    """Read `ls-files -v`: the paths of the working tree, and those that a sparse checkout has left out of it."""
    paths: dict[str, bool] = {}
    absent = []
    for entry in os.fsdecode(text).split("\0"):
        if entry[:1] in ("S", "s"):
            absent.append(entry[2:])
        elif entry:
            paths[entry[2:]] = True
    return list(paths), absent


def _algorithm(files: Mapping[str, str]) -> str:
    """How this repository names contents: SHA-1, or SHA-256 where its names are that long."""
    return "sha256" if len(next(iter(files.values()), "")) == 7 + 64 else "sha1"


def _environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    return {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", **(extra or {})}


def _run(
    root: Path, *arguments: str, env: Mapping[str, str] | None = None, check: bool = True, given: bytes | None = None
) -> bytes:
    process = _start(root, arguments, env, reads=given is not None)
    return _finish(process, arguments, check=check, given=given)


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


def _start(
    root: Path, arguments: Iterable[str], env: Mapping[str, str] | None, *, reads: bool = False
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            ["git", *arguments], cwd=root, env=_environment(env),
            stdin=subprocess.PIPE if reads else subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    except FileNotFoundError:
        message = "git is not installed, or the folder is gone. Install git."
        raise AdapterError(SYSTEM, "start", message, effect="not_applied") from None


def _finish(
    process: subprocess.Popen[bytes], arguments: Sequence[str], *, check: bool, given: bytes | None = None
) -> bytes:
    output, errors = process.communicate(given)
    if process.returncode and check:
        text = errors.decode(errors="replace").strip()
        raise AdapterError(SYSTEM, _operation(arguments), _explain(text), effect="not_applied")
    return output


def _operation(arguments: Sequence[str]) -> str:
    """Name a command without its settings."""
    return next(word for at, word in enumerate(arguments) if word != "-c" and (at == 0 or arguments[at - 1] != "-c"))


def _explain(text: str) -> str:
    if "not a git repository" in text:
        begin = "git init && git add . && git commit -m begin"
        return f"no git repository here, and openbell runs commits. Begin with: {begin}"
    if "unknown revision" in text or "Not a valid object name" in text or "does not have any commits" in text:
        return "the repository has no such commit (is there any yet?). Begin with: git add . && git commit -m begin"
    return text.removeprefix("fatal: ")
