"""The constructor text inside published checkpoints, read as data.

Training scripts store the model as the text of a call, e.g. ``Name(img_size=(224, 224), conf_mode=('exp', 1, inf))``.
Running that text would hand the machine to whoever wrote the file. Here it is parsed: one call of a known class, with
named arguments made of plain values; everything else is refused.
"""

from __future__ import annotations

import ast
import math
from typing import Any

from worldline.errors import WeightsError

# class name in the text -> it is a multi-view model
KNOWN_CLASSES = {"AsymmetricCroCo3DStereo": False, "AsymmetricCroCo3DStereoMultiView": True, "Spann3R": False}
_LONGEST = 20_000  # characters; real texts have some 500


def parse_constructor(text: str) -> tuple[str, dict[str, Any]]:
    """Class name and options of a constructor text.

    Values may be numbers, ``inf``, strings, booleans, None, and tuples, lists and dicts of them.

    Raises:
        WeightsError: the text is anything but a call of a known class with such arguments. Nothing of it is run.
    """
    call = _parse(text)
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise _refused("it is not the call of a model class")
    if call.func.id not in KNOWN_CLASSES:
        raise _refused(f"it names the unknown model class {call.func.id[:60]!r}")
    if call.args or any(keyword.arg is None for keyword in call.keywords):
        raise _refused("it has arguments without a name")
    if len({keyword.arg for keyword in call.keywords}) < len(call.keywords):
        raise _refused("it has an argument twice")
    try:
        return call.func.id, {str(keyword.arg): _value(keyword.value) for keyword in call.keywords}
    except RecursionError as error:
        raise _refused("it is nested too deeply") from error


def _parse(text: str) -> ast.expr:
    if not isinstance(text, str) or len(text) > _LONGEST:
        raise _refused("it is too long or no text")
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _refused("it is not an expression") from error


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=None | bool() | int() | float() | str()):
            return node.value
        case ast.Name(id="inf"):
            return math.inf
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
            number = _value(operand)
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise _refused("it has a sign before something that is no number")
            return -number if isinstance(sign, ast.USub) else number
        case ast.Tuple(elts=elements):
            return tuple(_value(element) for element in elements)
        case ast.List(elts=elements):
            return [_value(element) for element in elements]
        case ast.Dict(keys=keys, values=values):
            return {_key(key): _value(value) for key, value in zip(keys, values, strict=True)}
    raise _refused(f"it contains {_describe(node)}")


def _key(node: ast.expr | None) -> str | int:
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int):
        return node.value
    raise _refused("it has a dictionary key that is neither text nor a whole number")


def _describe(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        return f"a call: {ast.unparse(node)[:60]!r}"
    if isinstance(node, ast.Name):
        return f"the name {node.id[:60]!r}"
    return f"{type(node).__name__}: {ast.unparse(node)[:60]!r}"


def _refused(reason: str) -> WeightsError:
    return WeightsError(
        f"The constructor text in the checkpoint is refused: {reason}. It was not run.",
        "If you trust the tensors, convert with --ignore-options: sizes are then read from the shapes.",
    )


def plain_options(options: dict[str, Any]) -> dict[str, Any]:
    """Options from a hub ``config.json`` in the form of :func:`parse_constructor`: tuples, and real infinities."""
    return {str(key): _plain(value) for key, value in options.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_plain(item) for item in value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, str) and value.lower() in ("inf", "-inf", "infinity", "-infinity"):
        return float(value)
    return value
