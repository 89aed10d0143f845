"""What of a bundle's config may run: only allow-listed classes and a small grammar of expressions.

Works on plain JSON data with the standard library alone: nothing is imported, instantiated or evaluated
here. The audit is a filter; the sandbox around the process is the cage.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from dicomnode.infer.allowed import BUILTINS, CLASSES, FUNCTIONS, METHODS, REMOVED

REFERENCE: Final = re.compile(r"@(\w*(?:::\w*)*)")
LOCAL_REFS: Final = "__local_refs"
SPECIAL_KEYS: Final = frozenset({"_target_", "_disabled_", "_requires_", "_desc_", "_mode_"})
MODES: Final = frozenset({"default", "callable"})
MAX_POWER: Final = 64
MODULES: Final = frozenset({"math", "monai", "np", "numpy", "torch"})
"""Names that an expression may not give to anything else: dotted names are judged by them."""
GRAMMAR: Final = (
    ast.Expression, ast.Constant, ast.Load, ast.Store, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.Subscript, ast.Slice,
    ast.Starred, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Lambda, ast.arguments, ast.arg,
    ast.ListComp, ast.GeneratorExp, ast.comprehension, ast.keyword, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
    ast.JoinedStr, ast.FormattedValue, ast.Name, ast.Attribute, ast.Call,
)


class NotAllowed(ValueError):
    """The config asks for something that is not on the list; one line for each."""


def evaluated_slice(config: Mapping[str, Any], roots: tuple[str, ...]) -> dict[str, Any]:
    """Return the top-level entries that ``roots`` need, cleaned and checked.

    Loaders and savers are gone from every chain; every ``_target_`` is the full name of an allowed class.

    Parameters
    ----------
    config:
        Parsed config with macros and relative ids resolved, so that ids are separated by ``::``.
    roots:
        Top-level ids that will be evaluated; absent ones are left out.

    Raises
    ------
    NotAllowed
        With every problem of the slice, not the first.
    """
    wanted, queue = {}, [root for root in roots if root in config]
    while queue:
        name = queue.pop()
        if name in wanted or name not in config:
            continue
        wanted[name] = _cleaned(config[name], config)
        queue.extend(reference.split("::")[0] for reference in references(wanted[name]))
    problems = [problem for name, value in wanted.items() for problem in problems_of(value, name)]
    if problems:
        raise NotAllowed("; ".join(dict.fromkeys(problems)))
    return {name: _canonical(value) for name, value in wanted.items()}


def references(value: object) -> set[str]:
    """Return the ids that a config value refers to (``@id::sub``)."""
    found = set()
    for _where, item in _walk(value, ""):
        if isinstance(item, str) and (item.startswith("$") or REFERENCE.fullmatch(item)):
            found |= set(REFERENCE.findall(item))
    return found


def short_name(target: str) -> str:
    """Return the class name without module; dictionary transforms have three spellings (d, D, Dict)."""
    name = target.rsplit(".", 1)[-1]
    if name.endswith("Dict") and f"{name[:-4]}d" in CLASSES.keys() | REMOVED:
        return f"{name[:-4]}d"
    if name.endswith("D") and f"{name[:-1]}d" in CLASSES.keys() | REMOVED:
        return f"{name[:-1]}d"
    return {"Unet": "UNet", "unet": "UNet"}.get(name, name)


def is_removed(value: object, config: Mapping[str, Any]) -> bool:
    """Whether a list entry is a loader or saver, itself or by reference."""
    if isinstance(value, str) and (match := REFERENCE.fullmatch(value)):
        value = at(config, match[1])
    return isinstance(value, Mapping) and isinstance(value.get("_target_"), str) \
        and short_name(value["_target_"]) in REMOVED


def at(config: Mapping[str, Any], name: str) -> object:
    """Return what an id (``a::b::0``) means, None where it leads nowhere."""
    place: Any = config
    for key in name.split("::"):
        if isinstance(place, list):
            place = place[int(key)] if key.isdigit() and int(key) < len(place) else None
        else:
            place = place.get(key) if isinstance(place, Mapping) else None
    return place


def problems_of(value: object, where: str) -> Iterator[str]:
    """Yield one line for each thing in a config value that is not allowed."""
    for place, item in _walk(value, where):
        if isinstance(item, Mapping) and "_target_" in item:
            yield from _component_problems(item, place)
        elif isinstance(item, str) and item.startswith("$"):
            yield from (f"{place}: {problem}" for problem in expression_problems(item))


def _component_problems(item: Mapping[str, Any], where: str) -> Iterator[str]:
    target = item["_target_"]
    if not isinstance(target, str) or not _names_allowed_class(target):
        yield f"{where}: class {target!r} is not on the list of allowed classes"
    if item.get("_mode_", "default") not in MODES:
        yield f"{where}: _mode_ = {item['_mode_']!r}; allowed are default, callable"
    unknown = [key for key in item if key.startswith("_") and key not in SPECIAL_KEYS]
    if unknown:
        yield f"{where}: keys {unknown} are not allowed"


def _names_allowed_class(target: str) -> bool:
    full = CLASSES.get(short_name(target))
    if full is None:
        return False
    package = full.rsplit(".", 1)[0]
    return "." not in target or target == full or target.startswith(f"{package}.")


def expression_problems(expression: str) -> Iterator[str]:
    """Yield what an expression (``$...``) does beyond the grammar."""
    code = REFERENCE.sub(rf"{LOCAL_REFS}['\1']", expression.lstrip("$").strip())
    try:
        tree = ast.parse(code, mode="eval")
    except (SyntaxError, ValueError):
        yield f"{expression!r} is not one expression"
        return
    bound = frozenset({LOCAL_REFS, *BUILTINS})
    yield from (f"{problem} in {expression!r}" for problem in _node_problems(tree.body, bound))


def _node_problems(node: ast.AST, bound: frozenset[str]) -> Iterator[str]:
    dotted = _dotted(node)
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and dotted in FUNCTIONS:
        return
    if not isinstance(node, GRAMMAR):
        yield f"{type(node).__name__} is not allowed"
    elif isinstance(node, ast.Attribute) and node.attr not in METHODS:
        yield f"{dotted or node.attr!r} is not allowed"
    elif isinstance(node, ast.Name) and (node.id not in bound or (node.id.startswith("_") and node.id != LOCAL_REFS)):
        yield f"name {node.id!r} is not allowed"
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow | ast.LShift):
        if not (isinstance(node.right, ast.Constant) and isinstance(node.right.value, int | float)
                and abs(node.right.value) <= MAX_POWER):
            yield "a power with an exponent that is no small number is not allowed"
    elif isinstance(node, ast.arg) and (node.arg.startswith("_") or node.arg in MODULES):
        yield f"name {node.arg!r} is not allowed"
    elif isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store):
        yield "an assignment to a part of something is not allowed"
    for child, known in _scopes(node, bound):
        yield from _node_problems(child, known)


def _scopes(node: ast.AST, bound: frozenset[str]) -> Iterator[tuple[ast.AST, frozenset[str]]]:
    """Yield each part of a node with the names that hold there: a name holds only where Python binds it.

    Outside of its lambda or comprehension the same name is Python's own again: ``[0 for exec in []] + exec(...)``.
    """
    if isinstance(node, ast.Lambda):
        yield node.args, bound
        yield node.body, bound | {arg.arg for arg in ast.iter_child_nodes(node.args) if isinstance(arg, ast.arg)}
    elif isinstance(node, ast.ListComp | ast.GeneratorExp):
        for part in node.generators:
            yield part.iter, bound
            bound |= _stored(part.target)
            yield from ((item, bound) for item in (part.target, *part.ifs))
        yield node.elt, bound
    else:
        yield from ((child, bound) for child in ast.iter_child_nodes(node))


def _stored(target: ast.AST) -> frozenset[str]:
    return frozenset(node.id for node in ast.walk(target)
                     if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)) - MODULES


def _dotted(node: ast.AST) -> str:
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    parts.append({"numpy": "np"}.get(node.id, node.id))
    return ".".join(reversed(parts))


def _cleaned(value: object, config: Mapping[str, Any]) -> object:
    if isinstance(value, Mapping):
        return {key: _cleaned(item, config) for key, item in value.items()}
    if isinstance(value, list):
        return [_cleaned(item, config) for item in value if not is_removed(item, config)]
    return value


def _canonical(value: object) -> object:
    if isinstance(value, Mapping):
        made = {key: _canonical(item) for key, item in value.items()}
        if "_target_" in made:
            made["_target_"] = CLASSES[short_name(str(made["_target_"]))]
        return made
    return [_canonical(item) for item in value] if isinstance(value, list) else value


def _walk(value: object, where: str) -> Iterator[tuple[str, object]]:
    yield where, value
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _walk(item, f"{where}#{key}" if where else str(key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _walk(item, f"{where}#{number}")
