"""Finds functions and their doc comments in source files, by tree-sitter's grammars."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

__all__ = ["LANGUAGES", "Function", "comment_text", "find_functions", "rewrite_comment"]

GRAMMARS = {
    "python": ("tree_sitter_python", "language"),
    "java": ("tree_sitter_java", "language"),
    "javascript": ("tree_sitter_javascript", "language"),
    "typescript": ("tree_sitter_typescript", "language_tsx"),
    "go": ("tree_sitter_go", "language"),
    "rust": ("tree_sitter_rust", "language"),
    "c": ("tree_sitter_c", "language"),
    "cpp": ("tree_sitter_cpp", "language"),
}
LANGUAGES = tuple(GRAMMARS)
"""languages whose functions are found"""

FUNCTIONS = frozenset(
    {
        *("function_definition", "function_declaration", "method_declaration", "constructor_declaration"),
        *("method_definition", "function_item", "generator_function_declaration", "function_signature_item"),
    }
)
CONTAINERS = frozenset(
    {
        *(
            "class_definition",
            "class_declaration",
            "class_specifier",
            "interface_declaration",
            "enum_declaration",
        ),
        *(
            "struct_specifier",
            "impl_item",
            "trait_item",
            "mod_item",
            "namespace_definition",
            "record_declaration",
        ),
    }
)
COMMENTS = frozenset({"comment", "line_comment", "block_comment"})
WRAPPERS = frozenset({"decorated_definition", "export_statement", "template_declaration", "attribute_item"})
"""nodes around a function, above which its comment stands"""

LARGEST = 1_000_000
"""bytes of a source file that is read"""
DEEPEST = 200
"""nodes above a function"""


@dataclass(frozen=True)
class Function:
    """A function of a source file."""

    name: str
    """with the classes around it, such as Shelf.weigh; twice the same name is numbered: weigh#2"""
    start: int
    """first byte, its comment included"""
    end: int
    """one past the last byte"""
    code: str
    """its text without the doc comment"""
    comment: str
    """raw text of the doc comment, with marks; "" for none"""
    comment_start: int
    comment_end: int
    """bytes of the comment, one past the last"""
    lines: tuple[int, int]
    """first and last line, from 1, comment included"""


@cache
def _parser(language: str) -> Any:
    from tree_sitter import Language, Parser

    module, function = GRAMMARS[language]
    return Parser(Language(getattr(import_module(module), function)()))


def find_functions(source: bytes, language: str) -> list[Function]:
    """Lists the functions of a file in their order, those of a broken part left out; none for other languages."""
    if language not in GRAMMARS or len(source) > LARGEST:
        return []
    found: list[Function] = []
    seen: dict[str, int] = {}
    for node, scope in _walk(_parser(language).parse(source).root_node):
        name = _name_of(node)
        if not name:
            continue
        full = ".".join([*scope, name])
        seen[full] = seen.get(full, 0) + 1
        if seen[full] > 1:
            full = f"{full}#{seen[full]}"
        found.append(_read(node, full, source, language))
    return found


def _walk(root: Any) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Yields functions with the names around them, in the order of the file, without recursion."""
    waiting: list[tuple[Any, tuple[str, ...]]] = [(root, ())]
    while waiting:
        node, scope = waiting.pop()
        if node.type in FUNCTIONS:
            yield node, scope
        inside = scope
        if node.type in CONTAINERS or node.type in FUNCTIONS:
            name = _name_of(node)
            inside = (*scope, name) if name and len(scope) < DEEPEST else scope
        waiting.extend((child, inside) for child in reversed(node.named_children))


def _name_of(node: Any) -> str:
    name, declarator = node.child_by_field_name("name"), node.child_by_field_name("declarator")
    if name is None and declarator is None:
        name = node.child_by_field_name("type")  # of an impl
    while name is None and declarator is not None:  # C: the name is inside pointers and parameters
        inner = declarator.child_by_field_name("declarator")
        name, declarator = (declarator, None) if inner is None else (None, inner)
    return name.text.decode("utf-8", "replace") if name is not None else ""


def _read(node: Any, name: str, source: bytes, language: str) -> Function:
    """Reads a function's text and doc comment."""
    outer = node
    while outer.parent is not None and outer.parent.type in WRAPPERS:
        outer = outer.parent
    start, end = outer.start_byte, outer.end_byte
    span = _find_docstring(node) if language == "python" else _find_comment(outer, source)
    if span is None:
        span = (start, start)
        code = source[start:end]
    elif span[0] >= start:  # inside: a docstring
        code = source[start : span[0]] + source[span[1] : end]
    else:
        code, start = source[start:end], span[0]
    lines = source.count(b"\n", 0, start) + 1, source.count(b"\n", 0, end) + 1
    text = source[span[0] : span[1]].decode("utf-8", "replace")
    return Function(name, start, end, code.decode("utf-8", "replace"), text, span[0], span[1], lines)


def _find_docstring(node: Any) -> tuple[int, int] | None:
    body = node.child_by_field_name("body")
    first = body.named_children[0] if body is not None and body.named_children else None
    if first is not None and first.type == "expression_statement" and first.named_children:
        first = first.named_children[0]
    if first is None or first.type != "string" or first.text[:1] in b"fFbB":
        return None
    return first.start_byte, first.end_byte


def _find_comment(node: Any, source: bytes) -> tuple[int, int] | None:
    """Finds the comments right above a node, attributes between them and the node passed over."""
    above, nearest = node.prev_sibling, node
    while above is not None and above.type in ("attribute_item", "annotation"):
        nearest, above = above, above.prev_sibling
    first = last = None
    while above is not None and above.type in COMMENTS and _touches(above, nearest, source):
        if source[: above.start_byte].rpartition(b"\n")[2].strip():
            break  # it stands behind code of another line
        first, last = above, last or above
        if above.type == "block_comment" or above.text.startswith(b"/*"):
            break
        nearest, above = above, above.prev_sibling
    if first is None or last is None:
        return None
    return first.start_byte, first.start_byte + len(source[first.start_byte : last.end_byte].rstrip())


def _touches(above: Any, below: Any, source: bytes) -> bool:
    between = source[above.end_byte : below.start_byte]
    return not between.strip() and between.count(b"\n") <= 1


MARKS = re.compile(r"^[ \t]*(?:/\*\*?|\*/|\*(?!/)|///?!?|//!|#+)[ \t]?", re.MULTILINE)
QUOTES = re.compile(r'^[rRuU]*("""|\'\'\'|"|\')')


def comment_text(raw: str) -> str:
    """Returns a comment's text without its marks, line by line; tags such as @param stay."""
    raw = raw.strip()
    if match := QUOTES.match(raw):
        inner = raw[match.end() :].removesuffix(match[1])
    else:
        inner = MARKS.sub("", raw.removesuffix("*/").rstrip())
    return "\n".join(line.strip() for line in inner.strip().split("\n")).strip()


def rewrite_comment(raw: str, text: str, indent: str) -> str:
    """Writes a new text in the form of a comment: its marks, quotes and indentation.

    Raises ValueError for a text that would end the comment.
    """
    stripped, lines = raw.strip(), text.strip().split("\n")
    newline = "\r\n" if "\r\n" in raw else "\n"
    if match := QUOTES.match(stripped):
        opening, quote = match[0], match[1]
        if quote in text or text.endswith("\\") or (len(quote) == 1 and len(lines) > 1):
            raise ValueError(f"the new comment holds {quote}, which would end it")
        if len(lines) == 1 and "\n" not in stripped:
            return f"{opening}{lines[0]}{quote}"
        body = newline.join([lines[0], *(f"{indent}{line}".rstrip() for line in lines[1:])])
        return f"{opening}{body}{newline}{indent}{quote}" if len(lines) > 1 else f"{opening}{body}{quote}"
    if stripped.startswith("/*"):
        if "*/" in text:
            raise ValueError("the new comment holds */, which would end it")
        opening = "/**" if stripped.startswith("/**") else "/*"
        if len(lines) == 1 and "\n" not in stripped:
            return f"{opening} {lines[0]} */"
        return newline.join([opening, *(f"{indent} * {line}".rstrip() for line in lines), f"{indent} */"])
    mark = re.match(r"(///?!?|//!|#+)", stripped)
    sign = mark[0] if mark else "//"
    return f"{newline}{indent}".join(f"{sign} {line}".rstrip() for line in lines)
