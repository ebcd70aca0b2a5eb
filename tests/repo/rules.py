"""The rules about the tree, each a function from the text of a file to its violations.

They keep what a linter has no rule for. `tests/repo/test_tree.py` says which rule holds where; every rule is shown to
fail by `tests/repo/test_rules.py`.
"""

import ast
import re
from collections.abc import Callable, Iterator

from tests.repo.syntax import Violation, parse, waived

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 800
FILE_LINES_EXPECTED = 500
FORBIDDEN_MODULES = ("utils", "util", "helpers", "helper", "manager", "managers", "base", "common", "misc")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def function_size(source: str) -> list[Violation]:
    """A function fits a screen."""
    sizes = [(node, (node.end_lineno or node.lineno) - node.lineno + 1) for node in _functions(parse(source))]
    return [
        Violation(node.lineno, f"{node.name} has {lines} lines, {FUNCTION_LINES_MAX} are allowed; split it")
        for node, lines in sizes
        if lines > FUNCTION_LINES_MAX
    ]


def file_size(source: str) -> list[Violation]:
    """A file is one idea. Above the expected size it says why in its first line: `# size-ok: reason`."""
    lines = len(source.splitlines())
    if lines > FILE_LINES_MAX:
        return [Violation(1, f"{lines} lines, {FILE_LINES_MAX} are allowed; split the file")]
    if lines > FILE_LINES_EXPECTED and not waived(source, 1, "size"):
        remedy = "split it, or say why not in its first line: # size-ok: reason"
        return [Violation(1, f"{lines} lines, {FILE_LINES_EXPECTED} are expected; {remedy}")]
    return []


def module_docstring(source: str) -> list[Violation]:
    """A module says what it is for."""
    tree = parse(source)
    return [] if ast.get_docstring(tree) or not tree.body else [Violation(1, "the module has no docstring")]


def public_docstrings(source: str) -> list[Violation]:
    """Each public class, function and method says in one sentence what it does."""
    return [
        Violation(node.lineno, f"{node.name} has no docstring")
        for node in _public_definitions(parse(source).body)
        if not ast.get_docstring(node)
    ]


def mutable_defaults(source: str) -> list[Violation]:
    """A default argument is not shared between calls."""
    found = []
    for node in ast.walk(parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            defaults = [*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)]
            found += [Violation(d.lineno, f"mutable default {ast.unparse(d)}") for d in defaults if _is_mutable(d)]
    return found


def keyword_only_defaults(source: str) -> list[Violation]:
    """Arguments with defaults are keyword-only in public functions, so that calls say what they mean."""
    return _positional_defaults(source, lambda default: True)


def keyword_only_values(source: str) -> list[Violation]:
    """Switches, numbers and texts with defaults are keyword-only: `up(True, 5)` says nothing, `up(progress)` does."""
    return _positional_defaults(source, lambda default: isinstance(default, ast.Constant) and default.value is not None)


QUANTITIES = re.compile(
    r"(^|_)(timeout|duration|interval|latency|delay|elapsed|deadline|ttl|grace|backoff|uptime|memory|weight)$"
)
NUMBERS = re.compile(r"\b(int|float)\b")


def units(source: str) -> list[Violation]:
    """A number that has a unit says it, last: `timeout_s`, `latency_ms`, `weight_pct`, `memory_bytes`."""
    found = []
    for node in ast.walk(parse(source)):
        match node:
            case ast.AnnAssign(target=ast.Name(id=name) | ast.Attribute(attr=name), annotation=annotation):
                pass
            case ast.arg(arg=name, annotation=ast.expr() as annotation):
                pass
            case ast.FunctionDef(name=name, returns=ast.expr() as annotation):
                pass
            case _:
                continue
        if QUANTITIES.search(name) and NUMBERS.search(ast.unparse(annotation)):
            found.append(Violation(node.lineno, f"{name} is a number without a unit; say {name}_s, _ms, _pct, _bytes"))
    return [violation for violation in found if not waived(source, violation.line, "unit")]


PRODUCTS = re.compile(
    r"kubernetes|k8s|helm|haproxy|supervisor|nginx|traefik|docker(?!file)|systemd|github|gitlab|slack|pagerduty|grafana"
    r"|prometheus|sqlite|postgres",
    re.IGNORECASE,
)


def product_names(source: str) -> list[Violation]:
    """Above the adapters nothing is decided by the name of a product: neither in names nor in comparisons."""
    found = []
    for node in ast.walk(parse(source)):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                texts = [name]
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                texts = [name]
            case ast.alias(name=name):
                texts = [name]
            case ast.Compare(left=left, comparators=comparators):
                texts = _strings(left, *comparators)
            case ast.MatchValue(value=value):
                texts = _strings(value)
            case _:
                continue
        line = getattr(node, "lineno", 1)
        found += [Violation(line, f"decides by a product's name: {text}") for text in texts if PRODUCTS.search(text)]
    return [violation for violation in found if not waived(source, violation.line, "product")]


def module_name(path: str) -> list[Violation]:
    """A module is named by what it is about; takes the path instead of the text."""
    stem = path.rpartition("/")[2].removesuffix(".py")
    if stem.lower() in FORBIDDEN_MODULES:
        return [Violation(1, f"a module named {stem} is about nothing in particular; name it by its idea")]
    return []


_MACHINE_PATH = r"(?<![\w.\-}])/(?:work/(?:main|shared)|root/|home/(?!user\b)\w+/)"
# Put together from its parts, so that this file names no registry's host either.
_REGISTRY_HOST = "|".join(
    re.escape(".".join(parts))
    for parts in (
        ("pypi", "org"),
        ("python" + "hosted", "org"),
        ("registry", "npmjs", "org"),
        ("crates", "io"),
        ("proxy", "golang", "org"),
        ("repo", "maven", "org"),
        ("repo1", "maven", "org"),
    )
)
_HYPE = (
    r"blazing|seamless|effortless|world-class|cutting-edge|revolution|game.chang|supercharge|next-generation"
    r"|state-of-the-art|enterprise-grade|battle-tested|best-in-class|production-ready|delightful"
)
TEXT_RULES = (
    (re.compile(_MACHINE_PATH), "a path of somebody's machine"),
    (re.compile(_REGISTRY_HOST, re.IGNORECASE), "the host name of a package registry"),
    (re.compile(rf"\b(?:{_HYPE})", re.IGNORECASE), "a word that advertises"),
    (re.compile("\N{EM DASH}"), "an em dash; use a full stop, a comma or a colon"),
    (re.compile(r"\b(?:TODO|FIXME|XXX)\b(?!.*#\d+)"), "work left undone without the number of an issue"),
    (re.compile(r"^(?:<{7}|>{7}) "), "a merge conflict"),
)


def text(source: str) -> list[Violation]:
    """What no file may say, whatever its kind; `text-ok: reason` in a comment on the line waives it."""
    found = []
    for number, line in enumerate(source.splitlines(), start=1):
        for pattern, what in TEXT_RULES:
            match = pattern.search(line)
            if match and not waived(source, number, "text"):
                found.append(Violation(number, f"{what}: {match.group()}"))
    return found


def _positional_defaults(source: str, wanted: Callable[[ast.expr], bool]) -> list[Violation]:
    found = []
    for node in _public_definitions(parse(source).body):
        if isinstance(node, Function) and not node.name.startswith("__"):
            positional = [*node.args.posonlyargs, *node.args.args]
            defaults = dict(zip(reversed(positional), reversed(node.args.defaults), strict=False))
            names = [arg.arg for arg in positional if arg in defaults and wanted(defaults[arg])]
            if names:
                found.append(Violation(node.lineno, f"{node.name}: {', '.join(names)} must be keyword-only (after *)"))
    return found


def _functions(tree: ast.Module) -> list[Function]:
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def _public_definitions(body: list[ast.stmt]) -> Iterator[Function | ast.ClassDef]:
    """Yield public functions, classes and methods; what overrides another's contract is described there."""
    for node in body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            if not {"overload", "override"} & {_last_name(decorator) for decorator in node.decorator_list}:
                yield node
            if isinstance(node, ast.ClassDef):
                yield from _public_definitions(node.body)


def _last_name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=func):
            return _last_name(func)
        case _:
            return ""


def _is_mutable(node: ast.expr) -> bool:
    match node:
        case ast.List() | ast.Dict() | ast.Set() | ast.ListComp() | ast.DictComp() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id="list" | "dict" | "set" | "defaultdict" | "bytearray" | "deque")):
            return True
        case _:
            return False


def _strings(*nodes: ast.expr) -> list[str]:
    return [
        child.value
        for node in nodes
        for child in ast.walk(node)
        if isinstance(child, ast.Constant) and isinstance(child.value, str)
    ]
