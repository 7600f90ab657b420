"""Tells what a file is from its name: its language, and whether a person wrote it."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

__all__ = ["DOCUMENTS", "LANGUAGES", "comment_marks", "is_generated", "is_test", "language_of"]

LANGUAGES = {
    "python": "py pyi pyx",
    "javascript": "js jsx mjs cjs",
    "typescript": "ts tsx mts cts",
    "java": "java",
    "kotlin": "kt kts",
    "scala": "scala",
    "groovy": "groovy gradle",
    "go": "go",
    "rust": "rs",
    "c": "c h",
    "cpp": "cc cpp cxx hpp hh hxx cu",
    "csharp": "cs",
    "swift": "swift",
    "objc": "m mm",
    "php": "php",
    "ruby": "rb rake",
    "perl": "pl pm",
    "lua": "lua",
    "r": "r",
    "julia": "jl",
    "haskell": "hs",
    "ocaml": "ml mli",
    "elixir": "ex exs",
    "erlang": "erl",
    "clojure": "clj cljs",
    "dart": "dart",
    "zig": "zig",
    "shell": "sh bash zsh fish",
    "powershell": "ps1",
    "sql": "sql",
    "html": "html htm vue svelte",
    "css": "css scss sass less",
    "xml": "xml xsd xsl pom",
    "yaml": "yaml yml",
    "json": "json jsonc",
    "toml": "toml",
    "ini": "ini cfg conf properties",
    "markdown": "md mdx",
    "rst": "rst",
    "text": "txt adoc tex",
    "make": "mk",
    "cmake": "cmake",
    "protobuf": "proto",
    "graphql": "graphql gql",
    "terraform": "tf",
    "docker": "dockerfile",
}
"""name -> endings of file names"""

BY_ENDING = {ending: name for name, endings in LANGUAGES.items() for ending in endings.split()}
BY_NAME = {"makefile": "make", "dockerfile": "docker", "cmakelists.txt": "cmake", "jenkinsfile": "groovy"}
DOCUMENTS = frozenset({"markdown", "rst", "text"})
"""languages whose lines are all prose"""

# "* ": a line of a block comment; without the blank it is a pointer
HASH, SLASHES, DASHES, ANGLES = ("#",), ("//", "/*", "*/", "* "), ("--",), ("<!--", "-->")
MARKED = {
    HASH: "python ruby perl r julia elixir shell powershell yaml toml make cmake terraform docker graphql",
    SLASHES: "javascript typescript java kotlin scala groovy go rust c cpp csharp swift objc dart zig css protobuf",
    DASHES: "sql lua haskell",
    ANGLES: "html xml",
    (*HASH, *SLASHES): "php",
    ("#", ";"): "ini",
    (";",): "clojure",
    ("%",): "erlang",
    ("(*", "*)"): "ocaml",
}
MARKS = {language: marks for marks, languages in MARKED.items() for language in languages.split()}
"""language -> what a line of comment begins with"""

LONGEST_PATH = 4096
"""characters of a path that are looked at, from its end"""

LOCKS = re.compile(
    r"(^|/)(package-lock\.json|npm-shrinkwrap\.json|yarn\.lock|pnpm-lock\.yaml|bun\.lockb?|poetry\.lock|uv\.lock|"
    r"pdm\.lock|pipfile\.lock|cargo\.lock|go\.sum|go\.work\.sum|composer\.lock|gemfile\.lock|podfile\.lock|"
    r"packages\.lock\.json|gradle\.lockfile|mix\.lock|pubspec\.lock|flake\.lock|[^/]+\.lock)$",
    re.IGNORECASE,
)
MACHINE_MADE = re.compile(
    r"(\.min\.(js|css)|\.(js|css)\.map|\.map|_pb2(_grpc)?\.pyi?|\.pb\.(go|cc|h)|\.g\.dart|\.freezed\.dart|"
    r"\.designer\.cs|\.generated\.\w+|_generated\.\w+|\.gen\.\w+|zz_generated[^/]*\.go|\.snap|\.ipynb|\.svg|\.po|"
    r"\.csv|\.tsv|\.jsonl|\.parquet)$",
    re.IGNORECASE,
)
VENDORED = re.compile(
    r"(^|/)(vendor|vendored|_vendor|third[_-]party|3rdparty|node_modules|bower_components|external|deps|dist|build|"
    r"generated|__snapshots__|testdata|fixtures)/",
    re.IGNORECASE,
)
TESTS = re.compile(
    r"(^|/)(tests?|__tests__|spec|specs|testing)/|(^|/)(test_[^/]+|[^/]+(_test|_spec|\.test|\.spec|Tests?))\.\w+$"
)


def language_of(path: str) -> str:
    """Names the language of a file by its name, such as python; "" for one that is not known."""
    name = PurePosixPath(path.lower()).name
    return BY_NAME.get(name) or BY_ENDING.get(name.rpartition(".")[2] if "." in name else "", "")


def comment_marks(language: str) -> tuple[str, ...]:
    """Lists what a line of comment begins with in a language; none for one that is not known."""
    return MARKS.get(language, ())


def is_generated(path: str) -> bool:
    """Tells whether a program wrote the file, or another project: lock files, minified, generated, vendored code."""
    return any(pattern.search(path[-LONGEST_PATH:]) for pattern in (LOCKS, MACHINE_MADE, VENDORED))


def is_test(path: str) -> bool:
    """Tells whether the file holds tests."""
    return bool(TESTS.search(path[-LONGEST_PATH:]))
