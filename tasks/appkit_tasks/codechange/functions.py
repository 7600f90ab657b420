"""Finds functions and their doc comments in source files, by tree-sitter's grammars."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

__all__ = [
    "DIRECTIVE",
    "LANGUAGES",
    "LARGEST",
    "Function",
    "comment_text",
    "find_functions",
    "pair_functions",
    "rewrite_comment",
]

GRAMMARS = {
    "python": ("tree_sitter_python", "language"),
    "java": ("tree_sitter_java", "language"),
    "javascript": ("tree_sitter_javascript", "language"),
    "typescript": ("tree_sitter_typescript", "language_typescript"),
    "tsx": ("tree_sitter_typescript", "language_tsx"),
    "go": ("tree_sitter_go", "language"),
    "rust": ("tree_sitter_rust", "language"),
    "c": ("tree_sitter_c", "language"),
    "cpp": ("tree_sitter_cpp", "language"),
}
SECOND = {"typescript": "tsx"}
"""grammar that is tried where the first finds faults: a .ts file may hold <T>x, a .tsx file tags"""
LANGUAGES = tuple(name for name in GRAMMARS if name not in SECOND.values())
"""languages whose functions are found"""

FUNCTIONS = frozenset(
    {
        *("function_definition", "function_declaration", "method_declaration", "constructor_declaration"),
        *("method_definition", "function_item", "generator_function_declaration", "function_signature_item"),
        *("compact_constructor_declaration", "function_signature", "method_signature"),
        "abstract_method_signature",
    }
)
ASSIGNED = frozenset({"variable_declarator", "field_definition", "public_field_definition"})
"""functions where their value is one: const weigh = (jar) => jar.weight"""
VALUES = frozenset({"arrow_function", "function_expression", "generator_function"})
CONTAINERS = frozenset(
    {
        *("class_definition", "class_declaration", "class_specifier", "interface_declaration"),
        *("enum_declaration", "struct_specifier", "impl_item", "trait_item", "mod_item"),
        *("namespace_definition", "record_declaration", "abstract_class_declaration", "internal_module"),
        *("module", "union_specifier"),
    }
)
COMMENTS = frozenset({"comment", "line_comment", "block_comment"})
WRAPPERS = frozenset({"decorated_definition", "export_statement", "template_declaration"})
"""nodes around a function, above which its comment stands"""
DECLARATIONS = frozenset({"lexical_declaration", "variable_declaration"})
"""wrappers, where they declare one name alone"""
ATTRIBUTES = frozenset({"attribute_item", "annotation", "decorator"})
DIRECTIVE = re.compile(
    rb"//(?:go:|export |line |nolint|\+build)|"
    rb"/[/*]\s*(?:eslint|@ts-|prettier-|istanbul |c8 |tslint:|NOLINT|clang-format |noinspection )"
)
"""comments for tools, which stand between a doc comment and its function"""
HOLDERS = FUNCTIONS | ASSIGNED | CONTAINERS | WRAPPERS | DECLARATIONS
BODIES = ("body", "block", "list", "declarations")
"""how the nodes are called that hold functions, or what holds some"""
INNER = (b"//!", b"/*!")
"""doc comments of what is around them, in Rust"""

NUMBERED = re.compile(r"#\d+$")
"""how functions that share a name are told apart"""
LARGEST = 1_000_000
"""bytes of a source file that is read"""
DEEPEST = 200
"""nodes above a function"""
BEFORE = 200
"""bytes before a comment that are looked at for code on its line"""


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


class _Place(NamedTuple):
    """Where a node is, or the wrapper around it."""

    siblings: Sequence[Any]
    at: int
    """its number among them"""

    @property
    def node(self) -> Any:
        return self.siblings[self.at]


@cache
def _parser(grammar: str) -> Any:
    from tree_sitter import Language, Parser

    module, function = GRAMMARS[grammar]
    return Parser(Language(getattr(import_module(module), function)()))


def find_functions(source: bytes, language: str) -> list[Function]:
    """Lists the functions of a file in their order, those of a broken part left out; none for other languages."""
    if language not in LANGUAGES or len(source) > LARGEST:
        return []
    found: list[Function] = []
    seen: dict[str, int] = {}
    for node, scope, place in _walk(_parse(source, language)):
        name = _name_of(node)
        if not name:
            continue
        full = ".".join([*scope, *_receiver_of(node), name])
        seen[full] = seen.get(full, 0) + 1
        if seen[full] > 1:
            full = f"{full}#{seen[full]}"
        found.append(_read(node, place, full, source, language))
    return found


def pair_functions(old: Sequence[Function], new: Sequence[Function]) -> Iterator[tuple[Function, Function]]:
    """Yields the functions of one name in two versions of a file.

    Of functions that share a name, such as overloads, none is paired where their number differs: which is which then?
    """
    before, after = _group_functions(old), _group_functions(new)
    for name, later in after.items():
        earlier = before.get(name, [])
        if len(earlier) == len(later):
            yield from zip(earlier, later, strict=True)


def _group_functions(functions: Sequence[Function]) -> dict[str, list[Function]]:
    groups: dict[str, list[Function]] = {}
    for function in functions:
        groups.setdefault(NUMBERED.sub("", function.name), []).append(function)
    return groups


def _parse(source: bytes, language: str) -> Any:
    root = _parser(language).parse(source).root_node
    if language in SECOND and root.has_error:
        other = _parser(SECOND[language]).parse(source).root_node
        return root if other.has_error else other
    return root


def _walk(root: Any) -> Iterator[tuple[Any, tuple[str, ...], _Place]]:
    """Yields functions with the names around them and their place, in the order of the file, without recursion."""
    # tree-sitter finds a parent or a neighbour by walking from the root; so each node's place is kept on the way
    waiting: list[tuple[Any, tuple[str, ...], _Place]] = [(root, (), _Place([root], 0))]
    while waiting:
        node, scope, place = waiting.pop()
        is_function = node.type in FUNCTIONS or _is_assigned(node)
        if is_function:
            yield node, scope, place
        inside = scope
        if (is_function or node.type in CONTAINERS) and len(scope) < DEEPEST and (name := _name_of(node)):
            inside = (*scope, name)
        children = node.named_children
        wraps = node.type in WRAPPERS or (node.type in DECLARATIONS and len(children) == 1)
        for at in range(len(children) - 1, -1, -1):
            if not _is_line(children[at]):
                waiting.append((children[at], inside, place if wraps else _Place(children, at)))


def _is_line(node: Any) -> bool:
    """Tells whether a node is one line of code: what is in it has no comment above, and is not looked at."""
    if node.start_point.row != node.end_point.row:
        return False
    return node.type not in HOLDERS and not node.type.endswith(BODIES)


def _is_assigned(node: Any) -> bool:
    if node.type not in ASSIGNED:
        return False
    value = node.child_by_field_name("value")
    return value is not None and value.type in VALUES


def _name_of(node: Any) -> str:
    """Returns the name of a function or of what holds some; "" where there is none."""
    name, declarator = node.child_by_field_name("name"), node.child_by_field_name("declarator")
    if node.type == "impl_item":
        name = node.child_by_field_name("type")
    elif node.type == "field_definition":
        name = node.child_by_field_name("property")
    if declarator is not None and declarator.type == "operator_cast":
        name, declarator = declarator.child_by_field_name("type"), None
    while name is None and declarator is not None:  # C: the name is inside pointers and parameters
        inner = declarator.child_by_field_name("declarator")
        if inner is None and declarator.type in ("reference_declarator", "parenthesized_declarator"):
            inner = declarator.named_children[0] if declarator.named_children else None
        name, declarator = (declarator, None) if inner is None else (None, inner)
    return " ".join(name.text.decode("utf-8", "replace").split()) if name is not None else ""


def _receiver_of(node: Any) -> list[str]:
    """Names the type of a method of Go, which stands outside the type."""
    receiver = node.child_by_field_name("receiver") if node.type == "method_declaration" else None
    match = (
        re.search(rb"(\w+)\s*(?:\[[^\]]*\]\s*)?,?\s*\)\Z", receiver.text) if receiver is not None else None
    )
    return [match[1].decode("utf-8", "replace")] if match else []


def _read(node: Any, place: _Place, name: str, source: bytes, language: str) -> Function:
    """Reads a function's text and doc comment."""
    outer = place.node
    end, row = outer.end_byte, outer.end_point.row
    if language == "python":
        begin, comments = outer, _find_docstring(node)
    else:
        begin, comments = _find_comment(place, source, language)
    start = begin.start_byte
    first_row, comment_start, comment_end, code = begin.start_point.row, start, start, source[start:end]
    if comments:
        comment_start, comment_end = comments[0].start_byte, _end_of(comments[-1], source)
        if comment_start > start:  # a docstring
            code = source[start:comment_start] + source[comment_end:end]
        else:
            start, first_row = comment_start, comments[0].start_point.row
    text = source[comment_start:comment_end].decode("utf-8", "replace")
    lines = first_row + 1, row + 1
    return Function(
        name, start, end, code.decode("utf-8", "replace"), text, comment_start, comment_end, lines
    )


def _find_docstring(node: Any) -> list[Any]:
    body = node.child_by_field_name("body")
    statements = body.named_children if body is not None else ()
    first = next((child for child in statements if child.type not in COMMENTS), None)
    if first is not None and first.type == "expression_statement" and first.named_children:
        first = first.named_children[0]
    if first is None or first.type != "string" or not QUOTES.match(first.text[:5].decode("ascii", "replace")):
        return []
    return [first]


def _find_comment(place: _Place, source: bytes, language: str) -> tuple[Any, list[Any]]:
    """Finds where a function begins, its attributes included, and the comments right above: a block, or lines."""
    begin = nearest = place.node
    comments: list[Any] = []
    for at in range(place.at - 1, -1, -1):
        above = place.siblings[at]
        if not _touches(above, nearest, source):
            break
        if not comments and (above.type in ATTRIBUTES or _is_directive(above)):
            begin = nearest = above
            continue
        is_block = above.text.startswith(b"/*")
        if above.type not in COMMENTS or (comments and is_block) or _is_behind_code(above, source):
            break
        if language == "rust" and above.text.startswith(INNER):
            break
        comments.insert(0, above)
        nearest = above
        if is_block:
            break
    return begin, comments


def _is_directive(node: Any) -> bool:
    return node.type in COMMENTS and DIRECTIVE.match(node.text) is not None


def _is_behind_code(comment: Any, source: bytes) -> bool:
    before = source[max(0, comment.start_byte - BEFORE) : comment.start_byte]
    return bool(before.rpartition(b"\n")[2].strip())


def _touches(above: Any, below: Any, source: bytes) -> bool:
    between = source[_end_of(above, source) : below.start_byte]
    return not between.strip() and between.count(b"\n") <= 1


def _end_of(node: Any, source: bytes) -> int:
    """Returns one past a node's last byte; to Rust's grammar, the line end belongs to a doc comment."""
    end: int = node.end_byte
    while end > node.start_byte and source[end - 1 : end].isspace():
        end -= 1
    return end


QUOTES = re.compile(r'[rRuU]?("""|\'\'\'|"|\')')
OPENING = re.compile(r"/\*+!?(?!/)")
STAR = re.compile(r"[ \t]*\*[ \t]?")
SLASHES = re.compile(r"/{2,}!?")
MARK = re.compile(rf"^[ \t]*{SLASHES.pattern}[ \t]?", re.MULTILINE)


def comment_text(raw: str) -> str:
    """Returns a comment's text without its marks, line by line; tags such as @param stay."""
    raw = raw.strip()
    if match := QUOTES.match(raw):
        inner = raw[match.end() :].removesuffix(match[1])
    elif match := OPENING.match(raw):
        opening, *others = raw[match.end() :].removesuffix("*/").rstrip("*").split("\n")
        if all(STAR.match(line) for line in others if line.strip()):  # else a star is an item's of a list
            others = [STAR.sub("", line, count=1) for line in others]
        inner = "\n".join([opening, *others])
    else:
        inner = MARK.sub("", raw)
    return "\n".join(line.strip() for line in inner.strip().split("\n")).strip()


def rewrite_comment(raw: str, text: str, indent: str) -> str:
    """Writes a new text in the form of a comment: its marks, quotes and indentation.

    Raises ValueError for a text that would end the comment, or that a compiler would not take there.
    """
    raw, lines = raw.strip(), text.strip().splitlines() or [""]
    newline = "\r\n" if "\r\n" in raw else "\n"
    if match := QUOTES.match(raw):
        return _rewrite_docstring(match[0], match[1], lines, newline, indent)
    if "\\u" in text:
        raise ValueError("the new comment holds \\u, which Java reads even in comments")
    if match := OPENING.match(raw):
        if "*/" in text:
            raise ValueError("the new comment holds */, which would end it")
        if len(lines) == 1 and "\n" not in raw:
            return f"{match[0]} {lines[0]} */"
        body = [f"{indent} * {line}".rstrip() for line in lines]
        return newline.join([match[0], *body, f"{indent} */"])
    if any(line.rstrip().endswith("\\") for line in lines):
        raise ValueError("a line of the new comment ends with a backslash, which in C takes the next one in")
    mark = SLASHES.match(raw)
    sign = mark[0] if mark else "//"
    return f"{newline}{indent}".join(f"{sign} {line}".rstrip() for line in lines)


def _rewrite_docstring(opening: str, quote: str, lines: Sequence[str], newline: str, indent: str) -> str:
    if len(quote) == 1 and len(lines) > 1:
        opening, quote = opening + 2 * quote, 3 * quote
    if any(quote in line for line in lines):
        raise ValueError(f"the new comment holds {quote}, which would end it")
    body = newline.join([lines[0], *(f"{indent}{line}".rstrip() for line in lines[1:])])
    # a quote right before the quotes would be taken for one of them
    several = len(lines) > 1 or (len(quote) == 3 and body.endswith(quote[0]))
    written = f"{opening}{body}{newline}{indent}{quote}" if several else f"{opening}{body}{quote}"
    try:
        with warnings.catch_warnings(action="ignore"):
            ast.literal_eval(written)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"the new comment is no text of Python: {error}") from None
    return written
