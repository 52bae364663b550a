"""The door to Jinja2: texts of a phase become files, and what they must not do is refused.

Nothing that a template can reach has effects: it is rendered while a release is planned, from
parameters alone. Secrets are not known then; `secret('NAME')` writes a marker, which the head that
lays the file puts the value in place of.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from builders.fields import RecipeError, fail

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2 import Template

    from builders.fields import Node

FORMS = ("", "mysql", "word")
"""How the value of a secret is written: as it is, as a hash for MariaDB, as one plain word."""
GLOBALS = ("dict", "namespace", "range")
"""Of Jinja's own functions, those that a configuration can need."""
NOTHING = frozenset({"", "false", "no", "none", "0"})
"""What `when` says for no."""
LARGEST = 1 << 20
"""Bytes of a rendered text."""

_SECRET = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.+-]{0,63}\Z")
_OPENED = "@secret:"


class BadTemplateError(RecipeError):
    """A template of a phase that cannot be rendered."""

    slug = "bad-template"


@dataclass(slots=True)
class Markers:
    """The secrets that a text asks for while it is rendered, as they stand in their markers."""

    asked: list[str] = field(default_factory=list)

    def __call__(self, name: str, form: str = "") -> str:
        """Write a marker.

        Raises:
            ValueError: this is no name of a secret, or no form.
        """
        if not isinstance(name, str) or _SECRET.match(name) is None:
            raise ValueError(f"{name!r} is no name of a secret")
        if form not in FORMS:
            raise ValueError(f"{form!r} is no form of a secret: mysql, word, or none")
        self.asked.append(f"{name}:{form}" if form else name)
        return f"{_OPENED}{self.asked[-1]}@"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A text, and the markers in it, each once."""

    text: str
    markers: tuple[str, ...] = ()


def render(node: Node, context: Mapping[str, Any], what: str) -> Rendered:
    """Render the text of a node; `what` names it in messages.

    Raises:
        BadTemplateError: it is no template, asks for what is not there, or holds a marker that is
            not of `secret`.
    """
    markers = Markers()
    try:
        text = _template(node.text).render(**context, secret=markers)
    except TemplateSyntaxError as fault:
        reason = f"{what} is no template: {fault.message}"
        raise _fault(node, reason, line=fault.lineno) from fault
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as fault:
        raise _fault(node, f"{what} cannot be rendered: {fault}", line=_line(fault)) from fault
    if text.count(_OPENED) != len(markers.asked):
        hint = "write {{ secret('NAME') }}, once for each place"
        raise _fault(node, f"{what} holds {_OPENED!r}, which only secrets write", hint=hint)
    if len(text) > LARGEST:
        raise _fault(node, f"{what} is larger than {LARGEST} bytes")
    return Rendered(text, tuple(dict.fromkeys(markers.asked)))


def word(node: Node, context: Mapping[str, Any], what: str) -> str:
    """Render a short text that stands in a record, which is no place for secrets.

    Raises:
        BadTemplateError: see `render`; or it asks for a secret.
    """
    found = render(node, context, what)
    if found.markers:
        raise fail(node, f"{what} asks for a secret", hint="secrets stand in files alone")
    return found.text.strip()


def wanted(node: Node | None, context: Mapping[str, Any]) -> bool:
    """Tell what `when` says; without one, yes.

    Raises:
        BadTemplateError: see `render`.
    """
    return node is None or word(node, context, "`when`").casefold() not in NOTHING


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    made = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        # These are configuration files: what HTML would have to escape, stays.
        autoescape=False,
    )
    known = made.globals
    made.globals = {name: known[name] for name in GLOBALS}
    return made


@cache
def _template(text: str) -> Template:
    return _environment().from_string(text)


def _line(fault: BaseException) -> int | None:
    """Find the line of a template at which rendering it failed."""
    line, trace = None, fault.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _fault(
    node: Node, reason: str, *, line: int | None = None, hint: str | None = None
) -> BadTemplateError:
    got = None if line is None or "\n" not in node.text else f"line {line} of the text"
    return BadTemplateError(reason, where=node.where, got=got, hint=hint)
