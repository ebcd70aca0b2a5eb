"""Purity of the cores, read from their syntax trees: same inputs, same outputs, on every machine and in every process.

A core may import what is on a list and nothing else, may not ask for the time, a random number or the outside world,
and may not let the order of a set into its results, because that order differs from process to process. On a line,
`# det-ok: reason` waives it.

What is a set is inferred within the module: displays, calls, comprehensions, annotations and assigned names. Sets that
arrive from other modules are missed.
"""

import ast
from collections.abc import Iterator

from tests.repo.syntax import Violation, parse, waived

_PURE = """
    __future__ abc array base64 bisect collections copy dataclasses datetime decimal difflib enum fnmatch fractions
    functools graphlib hashlib heapq hmac html itertools json keyword math msgspec numpy operator pathlib re shlex
    statistics string struct textwrap types typing unicodedata urllib uuid zlib
"""
PURE_MODULES = frozenset(_PURE.split())
PURE_NAMES = {
    "html": {"escape"},
    "urllib": {"quote"},
    "pathlib": {"PurePath", "PurePosixPath", "PureWindowsPath"},
    "uuid": {"UUID", "uuid3", "uuid5", "NAMESPACE_URL", "NAMESPACE_OID", "NAMESPACE_DNS"},
    "numpy": set(),
}
"""Modules of which only these names may be imported; nothing listed: all but `random`."""

CORES = ("openbell.core", "trading_engine.core")
IMPURE_BUILTINS = frozenset(
    {"open", "input", "print", "hash", "id", "eval", "exec", "breakpoint", "__import__", "vars"}
)
CLOCKS = frozenset({"now", "utcnow", "today", "time_ns", "monotonic", "perf_counter"})
SET_TYPES = frozenset({"set", "frozenset", "Set", "AbstractSet", "MutableSet"})
SET_METHODS = frozenset({"union", "intersection", "difference", "symmetric_difference"})
ORDER_BLIND = frozenset({"all", "any", "frozenset", "len", "max", "min", "set", "sorted", "sum"})
ORDER_TAKING = frozenset({"dict", "enumerate", "iter", "list", "map", "filter", "next", "reversed", "tuple", "zip"})


def purity(source: str) -> list[Violation]:
    """Find what makes a core module impure."""
    tree = parse(source)
    found = [*_imports(tree), *_calls(tree), *_effects(tree), *_set_orders(tree)]
    return sorted(v for v in found if not waived(source, v.line, "det"))


def _imports(tree: ast.Module) -> Iterator[Violation]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _check_module(node, alias.name, names=None)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield Violation(node.lineno, "relative import in a core; name the module in full")
            else:
                yield from _check_module(node, node.module or "", names=[alias.name for alias in node.names])


def _check_module(node: ast.stmt, module: str, names: list[str] | None) -> Iterator[Violation]:
    top = module.partition(".")[0]
    if module.startswith(CORES) or (names and all(f"{module}.{name}".startswith(CORES) for name in names)):
        return
    if top not in PURE_MODULES:
        yield Violation(
            node.lineno, f"imports {module}, which is not on the list of pure modules (tests/repo/purity.py)"
        )
    elif "random" in (*module.split("."), *(names or ())):
        yield Violation(node.lineno, "imports a source of randomness; take the seed or the draw as an input")
    elif PURE_NAMES.get(top):
        impure = [name for name in names or [module] if name not in PURE_NAMES[top]]
        if impure:
            yield Violation(node.lineno, f"imports {', '.join(impure)} from {module}; only its pure names are allowed")


def _calls(tree: ast.Module) -> Iterator[Violation]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Name(id=name) if name in IMPURE_BUILTINS:
                yield Violation(node.lineno, f"calls {name}()")
            case ast.Attribute(attr=name) if name in CLOCKS:
                yield Violation(node.lineno, f"asks a clock: .{name}(); the time arrives as an event")
            case ast.Attribute(attr="fromtimestamp") if len(node.args) + len(node.keywords) < 2:
                yield Violation(node.lineno, ".fromtimestamp() without a time zone depends on the machine")
            case ast.Attribute(attr="astimezone") if not node.args and not node.keywords:
                yield Violation(node.lineno, ".astimezone() without a time zone depends on the machine")
            case ast.Attribute(attr="random", value=ast.Name(id=owner)):
                yield Violation(node.lineno, f"draws from {owner}.random(); take the draw as an input")
            case _:
                pass


def _effects(tree: ast.Module) -> Iterator[Violation]:
    for node in ast.walk(tree):
        match node:
            case ast.AsyncFunctionDef() | ast.Await() | ast.AsyncFor() | ast.AsyncWith():
                yield Violation(node.lineno, "asynchronous code in a core; return a command instead")
            case ast.Global():
                yield Violation(node.lineno, "global state in a core; pass it in and return it")
            case ast.Attribute(attr="random", value=ast.Name(id="np" | "numpy")):
                yield Violation(node.lineno, "numpy.random in a core; take the draw as an input")
            case _:
                pass


def _set_orders(tree: ast.Module) -> Iterator[Violation]:
    shared = _Sets.of_module(tree)
    bodies = [tree.body, *(owner.body for owner in _classes(tree))]
    functions = [node for body in bodies for node in body if isinstance(node, ast.FunctionDef)]
    for function in functions:
        yield from _orders_taken(function, shared.within(function))
    inside = {id(node) for function in functions for node in ast.walk(function)}
    yield from _orders_taken(tree, shared, without=inside)


def _classes(tree: ast.Module) -> list[ast.ClassDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


def _orders_taken(scope: ast.AST, sets: "_Sets", without: set[int] | None = None) -> Iterator[Violation]:
    blind = {id(arg) for node in ast.walk(scope) for arg in _order_blind_arguments(node)}
    for node in ast.walk(scope):
        if without and id(node) in without:
            continue
        for taken in _order_takers(node, blind):
            if sets.is_set(taken):
                text = ast.unparse(taken)
                yield Violation(taken.lineno, f"takes the order of a set: {text}; sort it, or keep a tuple or a dict")


def _order_blind_arguments(node: ast.AST) -> list[ast.expr]:
    """Find arguments whose order cannot show in the result: `sorted(x for x in a_set)`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ORDER_BLIND:
        return list(node.args)
    return []


def _order_takers(node: ast.AST, blind: set[int]) -> list[ast.expr]:
    """Find the expressions whose order this node lets into what comes out of it."""
    match node:
        case ast.For(iter=iterated):
            return [iterated]
        case ast.ListComp() | ast.GeneratorExp() | ast.DictComp() if id(node) not in blind:
            return [generator.iter for generator in node.generators]
        case ast.Call(func=ast.Name(id=name)) if name in ORDER_TAKING and id(node) not in blind:
            return list(node.args)
        case ast.Call(func=ast.Attribute(attr="join" | "extend")):
            return list(node.args)
        case ast.Call(func=ast.Attribute(attr="pop", value=popped), args=[]):
            return [popped]
        case ast.Starred(value=starred):
            return [starred]
        case ast.Assign(targets=[ast.Tuple() | ast.List()], value=value):
            return [value]
        case _:
            return []


class _Sets:
    """What is known to be a set: attributes and functions of the whole module, names of the scope that is looked at."""

    def __init__(self, names: set[str], attributes: set[str]) -> None:
        self.names = names
        self.attributes = attributes

    @classmethod
    def of_module(cls, tree: ast.Module) -> "_Sets":
        """Learn the module's constants, the fields of its classes and the functions that return sets."""
        sets = cls(set(), set())
        for statement in tree.body:
            sets._learn(statement, names=sets.names)
        for owner in _classes(tree):
            for statement in owner.body:
                sets._learn(statement, names=sets.attributes)
        for node in ast.walk(tree):
            match node:
                case ast.FunctionDef(name=name, returns=ast.expr() as returns) if _is_set_type(returns):
                    sets.names.add(name)
                    sets.attributes.add(name)
                case ast.Assign(targets=[ast.Attribute()]) | ast.AnnAssign(target=ast.Attribute()):
                    sets._learn(node, names=set())
                case _:
                    pass
        return sets

    def within(self, function: ast.FunctionDef) -> "_Sets":
        """Add what the parameters and variables of one function are."""
        sets = _Sets(set(self.names), self.attributes)
        for node in ast.walk(function):
            match node:
                case ast.arg(arg=name, annotation=ast.expr() as annotation) if _is_set_type(annotation):
                    sets.names.add(name)
                case ast.stmt():
                    sets._learn(node, names=sets.names)
                case _:
                    pass
        return sets

    def _learn(self, statement: ast.stmt, *, names: set[str]) -> None:
        match statement:
            case ast.AnnAssign(target=target, annotation=annotation) if _is_set_type(annotation):
                pass
            case ast.Assign(targets=[target], value=value) if self.is_set(value):
                pass
            case _:
                return
        match target:
            case ast.Name(id=name):
                names.add(name)
            case ast.Attribute(attr=name):
                self.attributes.add(name)
            case _:
                pass

    def is_set(self, node: ast.expr) -> bool:
        """Tell whether the expression is known to be a set."""
        match node:
            case ast.Set() | ast.SetComp():
                return True
            case ast.Name(id=name):
                return name in self.names
            case ast.Attribute(attr=name):
                return name in self.attributes
            case ast.Call(func=ast.Name(id=name)):
                return name in SET_TYPES or name in self.names
            case ast.Call(func=ast.Attribute(attr=name, value=owner)):
                return name in self.attributes or (name in SET_METHODS and self.is_set(owner))
            case ast.BinOp(left=left, op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor(), right=right):
                return self.is_set(left) or self.is_set(right)
            case ast.IfExp(body=body, orelse=orelse):
                return self.is_set(body) or self.is_set(orelse)
            case _:
                return False


def _is_set_type(annotation: ast.expr) -> bool:
    match annotation:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in SET_TYPES
        case ast.Subscript(value=value):
            return _is_set_type(value)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _is_set_type(left) or _is_set_type(right)
        case _:
            return False
