"""Runs chat templates, which come with models from strangers, under limits.

What holds, beside what Jinja's immutable sandbox holds (no private attributes, no way to Python's internals, no
change to what is passed in, no other templates):

- Nothing grows past a number of characters that the caller names: not the text, nor any string or list on the
  way there. What could grow by more than its parts (`*`, `%`, `replace`, `join`, `indent`, JSON) is measured before
  it is made, the rest right after. A list counts as often as it is held, so that nested ones cannot multiply.
- Rendering ends within two seconds of this thread's processor time and the time of one operation on values of
  that size: the clock is read in each turn of a loop and for each call, filter, operator and literal.
- Filters and methods of strings are those that chat templates use, and no others.

What the values mean (messages, tools, special tokens) is not known here.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping
from types import GeneratorType
from typing import Any, Final

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.filters import FILTERS
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from fairlead.errors import InvalidRequest, ModelFileError
from fairlead.service import template_functions as functions
from fairlead.service.template_functions import Budget, Exceeded, Refused, checked, current

MAX_SOURCE_CHARS: Final = 1 << 18
_COMPILE_CHARS: Final = 1 << 20

_FILTERS: Final = (
    "abs", "capitalize", "count", "d", "default", "dictsort", "first", "float", "int", "items", "last", "length",
    "list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse", "select", "selectattr", "sort",
    "string", "title", "trim", "unique", "upper",
)  # fmt: skip
_STRING_METHODS: Final = frozenset(
    {
        "capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha", "isdecimal", "isdigit",
        "islower", "isnumeric", "isspace", "istitle", "isupper", "join", "lower", "lstrip", "partition",
        "removeprefix", "removesuffix", "replace", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "split",
        "splitlines", "startswith", "strip", "swapcase", "title", "upper",
    }
)  # fmt: skip
# Of these, the result can be more than the parts.
_MEASURED_METHODS: Final[Mapping[str, Callable[..., str]]] = {"join": functions.join_with, "replace": functions.replace}
_CONTAINER_METHODS: Final = frozenset({"copy", "count", "get", "index", "items", "keys", "values"})


class Sandbox:
    """One compiled template."""

    def __init__(self, source: str) -> None:
        """Compiles.

        Raises:
            ModelFileError: the template is too long, is not a template, or asks for what is not offered.
        """
        if len(source) > MAX_SOURCE_CHARS:
            raise ModelFileError(f"the chat template has {len(source)} characters; {MAX_SOURCE_CHARS} are allowed")
        token = current.set(Budget(_COMPILE_CHARS))
        try:
            self._template = _Environment().from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise ModelFileError(f"the chat template is wrong in line {error.lineno}: {error.message}") from error
        except (Exceeded, RecursionError, SyntaxError, MemoryError, ValueError, OverflowError) as error:
            raise ModelFileError(f"the chat template cannot be compiled: {_shown(error)}") from error
        finally:
            current.reset(token)

    def render(self, variables: Mapping[str, object], max_chars: int) -> str:
        """The template's text for these variables.

        Raises:
            InvalidRequest: the template refuses them, by `raise_exception`.
            ModelFileError: the template fails, or goes past the limits.
        """
        budget = Budget(max_chars)
        token = current.set(budget)
        try:
            pieces, size = [], 0
            for piece in self._template.generate(variables):
                size += len(piece)
                budget.check(size)
                budget.tick()
                pieces.append(piece)
            return "".join(pieces)
        except Refused as error:
            raise InvalidRequest(
                f"the model's chat template refuses these messages: {_shown(error)}", param="messages"
            ) from error
        except (
            Exceeded, jinja2.TemplateError, RecursionError, MemoryError, ArithmeticError, AttributeError,
            LookupError, TypeError, ValueError,
        ) as error:  # fmt: skip
            raise ModelFileError(f"the model's chat template failed: {_shown(error)}") from error
        finally:
            current.reset(token)


def _shown(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:500]


# ---- the environment ------------------------------------------------------------------------------------------


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[loopcontrols, _Generation],
            finalize=functions.as_text,
            cache_size=0,
        )
        for name in ("cycler", "joiner", "lipsum"):
            del self.globals[name]
        self.globals.update(
            namespace=functions.SilentNamespace,
            raise_exception=functions.raise_exception,
            strftime_now=functions.strftime_now,
        )
        self.filters = {name: _limited(FILTERS[name]) for name in _FILTERS}
        own: dict[str, Callable[..., Any]] = {
            "e": html.escape,
            "escape": html.escape,
            "format": functions.modulo,
            "indent": functions.indent,
            "join": functions.join,
            "replace": functions.replace,
            "round": functions.rounded,
            "safe": str,
            "tojson": functions.tojson,
            _PACED: functions.paced,
            _CHECKED: checked,
            _CONCAT: functions.concat,
        }
        self.filters.update({name: _limited(function) for name, function in own.items()})

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Instrument().visit(super()._parse(source, name, filename))
        return tree

    def concat(self, pieces: Iterable[str]) -> str:
        """Joins what a macro or a block wrote."""
        pieces = list(pieces)
        current.get().check(sum(map(len, pieces)))
        return "".join(pieces)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str):
            return attr in _STRING_METHODS
        if isinstance(obj, list | tuple | dict):
            return attr in _CONTAINER_METHODS
        if isinstance(obj, int | float | bytes | GeneratorType):
            return False
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        if super().wrap_str_format(value) is None:
            return None
        raise SecurityError("str.format is not offered to templates")

    def call(self, context: Context, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
        if isinstance(owner, str) and name in _MEASURED_METHODS:
            return checked(_MEASURED_METHODS[name](owner, *args, **kwargs))
        return checked(super().call(context, function, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        match operator:
            case "+":
                current.get().measure(left, right)
            case "*":
                functions.check_product(left, right)
            case "**":
                return checked(functions.power(left, right))
            case "%" if isinstance(left, str):
                return checked(functions.modulo(left, right))
        return checked(super().call_binop(context, operator, left, right))


_PACED, _CHECKED, _CONCAT = "__paced", "__checked", "__concat"


class _Instrument(NodeTransformer):
    """Puts the limits' checks into a template's tree, where Jinja offers no hook."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 (the visitor finds it by this name)
        if node.recursive:
            raise jinja2.TemplateSyntaxError("recursive loops are not offered", node.lineno)
        self.generic_visit(node)
        node.iter = _filtered(_PACED, node.iter)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 (as above)
        self.generic_visit(node)
        return _filtered(_CONCAT, nodes.List(node.nodes, lineno=node.lineno))

    def visit_List(self, node: nodes.List | nodes.Dict) -> nodes.Node:  # noqa: N802 (as above)
        self.generic_visit(node)
        return _filtered(_CHECKED, node)

    visit_Dict = visit_List  # noqa: N815 (as above)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802 (as above)
        self.generic_visit(node)
        return _filtered(_CHECKED, node) if node.ctx == "load" else node


def _filtered(name: str, node: nodes.Node) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


class _Generation(Extension):
    """`{% generation %}`, which marks what a model learns from when it is trained: here its body and no more."""

    tags = {"generation"}  # noqa: RUF012 (Jinja declares it so)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _limited(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter whose result is checked. Taking the context keeps Jinja from running it when it compiles."""
    wanted = getattr(getattr(function, "jinja_pass_arg", None), "name", "")

    def limited(context: Context, *args: Any, **kwargs: Any) -> Any:
        before: dict[str, Any] = {
            "context": context,
            "eval_context": context.eval_ctx,
            "environment": context.environment,
        }
        return checked(function(*([before[wanted]] if wanted else []), *args, **kwargs))

    return jinja2.pass_context(limited)
