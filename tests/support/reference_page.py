"""``docs/reference.md`` from the signatures and docstrings of the public names."""

import ast
import inspect
import re
import sys
from dataclasses import is_dataclass
from itertools import pairwise
from textwrap import dedent

from pydantic import BaseModel

import rescrnet
from rescrnet import config, errors

HEAD = """# Reference

`make docs` writes this page from the docstrings; a test holds it to the code. Everything here is imported from
`rescrnet`. Images are YX or YXC arrays, probabilities (classes, Y, X); a file is a path or its text.
"""
WIDTH = 100  # longer signatures get a line for each parameter


def text():
    """The page."""
    public = {name: getattr(rescrnet, name) for name in rescrnet.__all__}
    mentioned = mentioned_by(public)
    parts = [HEAD, "\n".join([*map(contents, public, public.values()), ""])]
    parts += [entry(name, f"rescrnet.{name}", value) for name, value in public.items()]
    if mentioned:
        parts.append("# What these take, return and raise\n")
        parts += [entry(name, f"{value.__module__}.{name}", value) for name, value in sorted(mentioned.items())]
    return "\n".join(parts)


def contents(name, value):
    return f"- [`{name}`](#{name.lower()}): {plain(inspect.getdoc(value).split(chr(10) * 2)[0])}"


def mentioned_by(public):
    """The classes of this package that signatures and docstrings of public names mention and that are not public."""
    found = {}
    for value in public.values():
        if value is config.Config:
            continue  # its sections have a page of their own
        names = {**vars(errors), **vars(sys.modules[value.__module__])}
        for name in re.findall(r"\w+", f"{signature_of(value)} {inspect.getdoc(value)}"):
            kind = names.get(name)
            if inspect.isclass(kind) and kind.__module__.startswith("rescrnet.") and kind not in public.values():
                found[name] = kind
    return found


# Entries


def entry(name, path, value):
    """A heading, the signature, the docstring, and the methods of a class."""
    lines = [f"## {name}", "", *python(call(path, value)), docstring(value), ""]
    if inspect.isclass(value):
        lines += attributes(value)
        for member, function in public_members(value):
            lines += [*python(call(f"{name}.{member}", function)), docstring(function), ""]
    return "\n".join(lines)


def python(code):
    return ["```python", code, "```", ""]


def attributes(value):
    """The annotated attributes of a class that its docstring does not list, with the strings that follow them."""
    if value.__module__ == config.__name__:
        return ["Its keys are in [configuration.md](configuration.md).", ""]
    if "Attributes:" in (value.__doc__ or "") or not (is_dataclass(value) or issubclass(value, BaseModel)):
        return []
    body = ast.parse(dedent(inspect.getsource(value))).body[0].body
    lines = []
    for node, following in pairwise([*body, None]):
        if isinstance(node, ast.AnnAssign) and not node.target.id.startswith("_"):
            described = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            meaning = f": {plain(following.value.value)}" if described else ""
            lines.append(f"- `{node.target.id}`{meaning}")
    return ["Attributes:", "", *lines, ""] if lines else []


def public_members(value):
    """The documented methods, and properties, that a class itself defines."""
    for name, member in vars(value).items():
        method = inspect.isfunction(member) or isinstance(member, classmethod | staticmethod)
        if not name.startswith("_") and (method or isinstance(member, property)) and member.__doc__:
            yield name, member if isinstance(member, property) else getattr(value, name)


def signature_of(value):
    """How it is called; none of what is not called: properties, protocols, models."""
    kind = inspect.isclass(value) and (issubclass(value, BaseModel) or getattr(value, "_is_protocol", False))
    return None if kind or isinstance(value, property) else inspect.signature(value)


def call(path, value):
    """How a function or a class is called, on one line or a line for each parameter."""
    signature = signature_of(value)
    if signature is None:
        return path
    shown, keywords = [], False
    for p in signature.parameters.values():
        if p.name == "self" or p.name.startswith("_"):
            continue
        if p.kind is p.KEYWORD_ONLY and not keywords:
            shown.append("*")
        keywords = keywords or p.kind in (p.KEYWORD_ONLY, p.VAR_POSITIONAL)
        shown.append(parameter(p))
    result = signature.return_annotation
    arrow = "" if inspect.isclass(value) or result is signature.empty else f" -> {annotation(result)}"
    short = f"{path}({', '.join(shown)}){arrow}"
    return short if len(short) <= WIDTH else "\n".join([f"{path}(", *(f"    {one}," for one in shown), f"){arrow}"])


def parameter(p):
    prefix = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
    described = f"{prefix}{p.name}" + ("" if p.annotation is p.empty else f": {annotation(p.annotation)}")
    return described if p.default is p.empty else f"{described} = {default(p.default)}"


def annotation(value):
    shown = value if isinstance(value, str) else inspect.formatannotation(value)
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", shown.strip("'"))


def default(value):
    """A default as it is written in a call, or dots where it can only be described."""
    if value is None or isinstance(value, str | int | float | bool | tuple):
        return repr(value).replace("'", '"')
    if is_dataclass(value) or isinstance(value, BaseModel):
        return f"{type(value).__name__}()"
    return "..."


# Docstrings


def docstring(value):
    """A docstring as Markdown; arguments, attributes and errors become lists."""
    parts = []
    for block in re.split(r"\n(?=(?:Args|Attributes|Returns|Raises|Yields):\n)", inspect.getdoc(value) or ""):
        title, _, body = block.partition(":\n")
        if title in ("Args", "Attributes", "Raises"):
            parts += [f"{'Arguments' if title == 'Args' else title}:", items(body)]
        elif title in ("Returns", "Yields"):
            parts.append(f"{title}: {plain(body)}")
        else:
            parts += [plain(paragraph) for paragraph in block.strip().split("\n\n")]
    return "\n\n".join(parts)


def items(body):
    """``name: what it is`` with lines that go on indented → a list."""
    found = re.split(r"\n(?=\S)", inspect.cleandoc(body))
    pairs = (item.partition(": ") for item in found)
    return "\n".join(f"- `{name}`: {plain(meaning)}" for name, _, meaning in pairs)


def plain(paragraph):
    """One line of Markdown from reStructuredText."""
    line = " ".join(paragraph.split())
    line = re.sub(r":\w+:`~?([^`]*)`", lambda role: f"`{role[1].removeprefix('rescrnet.')}`", line)
    return line.replace("``", "`")
