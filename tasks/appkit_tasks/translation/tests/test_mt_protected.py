"""What a translation must keep: what is found, what is left alone, and what counts as kept."""

from __future__ import annotations

import json
import random
import re
import time
from pathlib import Path

import pytest
from appkit_tasks.translation.icu import Branch, parse_choice
from appkit_tasks.translation.protected import KINDS, compare, find, key_of, share
from appkit_tasks.translation.tests.odd_texts import ANY_TEXT, SPANS
from hypothesis import given
from hypothesis import strategies as st

SHARED = Path(__file__).parents[5] / "shared" / "data" / "translation"


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in SPANS.items() for text in texts])
def test_a_span_is_found_whole(kind: str, text: str) -> None:
    bare = text.strip()
    # `</b>` and `<h2>` need no partner; a heading and a code block begin a line
    for before, after in (("", ""), ("\n", " x."), ("Vor ", " nach.")):
        if before == "Vor " and (text.startswith("#") or text.startswith("```")):
            continue
        spans = find(f"{before}{text}{after}")
        assert [(span.kind, span.text) for span in spans] == [(kind, bare)]
        assert spans[0].start == len(before)
        assert spans[0].end == len(before) + len(bare)


def test_kinds_are_documented() -> None:
    assert KINDS.keys() - {"accelerator"} == SPANS.keys()


@pytest.mark.parametrize(
    "text",
    [
        "100 % sure",
        "50% done",
        "50 % des fichiers",
        "100%ige Sicherheit",
        "5 %, dann",
        "27%.A recent",
        "%-formatting",
        "10 %-15 % mehr",
        "un taux de 5 %d'intérêt",
        "an f-string-% b",
        '{"key": 1, "b": {"c": 2}}',
        "{ color: red; }",
        "{a, b}",
        "{note: this is prose}",
        r"\emph{words}",
        "@emph{words}",
        "a < b and c > d",
        "x <- y",
        "usage: cp <source> <target>",
        "<time> and <option>",
        "1 <2> 3",
        "< b>",
        "R&D and AT&T;",
        "a & b",
        "a&b;c d",
        "5 $US",
        "$5 and $1",
        "100 $",
        "US$ 7",
        "`this' and `that'",
        "``quoted'' words",
        "an `identifier' is--`mkid'",
        "it's 5 o'clock",
        "snake_case_name",
        "a * b * c",
        "2*3",
        "*********",
        "a:b",
        "12:30",
        "C:/temp",
        "http:",
        "://",
        "@home",
        "me @ home",
        "a|b|c",
        "| a | b |",
        "[1] a",
        "[x](",
    ],
)
def test_what_looks_like_a_span(text: str) -> None:
    assert find(text) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%dpx %sfoo %limin", "%d|%s|%li"),
        ("Python 3 %s, 5%%, 100 %(n)s", "%s|%%|%(n)s"),
        (
            "see https://example.com/a, or (https://example.com/b).",
            "https://example.com/a|https://example.com/b",
        ),
        ("参见https://example.com/a。然后", "https://example.com/a"),
        ("$PATH에서 ${A}를 {name}은 %s가", "$PATH|${A}|{name}|%s"),
        ("mail ada@example.com로", "ada@example.com"),
        ("[`foo`](x) and [**b {n}**](y)", "`foo`|](x)|**|{n}|**|](y)"),
        ("<file> in <b>x</b>", "<b>|</b>"),
        ("<link>x</link> <bold/> <x>", "<link>|</link>|<bold/>|<x>"),
        ("`%s` is `{name}`", "%s|{name}"),
        ("https://{host}/a/%s", "{host}|%s"),
        ("one\\nTwo C:\\new", "\\n|\\n"),
        ("use %Y-%m-%d", "%Y|%m|%d"),
        ("{a, plural, other {", ""),
        ("{a, plural, one {x}", "{x}"),
        (":ref:`a` `b`", ":ref:`a`|`b`"),
    ],
)
def test_find(text: str, expected: str) -> None:
    assert "|".join(span.text for span in find(text)) == expected


def test_accelerators_only_where_asked_for() -> None:
    text = "&File _Edit R&D snake_case a & b &amp; && &&x"
    assert [span.text for span in find(text)] == ["&amp;"]
    marks = [(span.kind, span.text, span.start) for span in find(text, accelerators=True)]
    assert marks == [("accelerator", "&", 0), ("accelerator", "_", 6), ("tag", "&amp;", text.index("&amp;"))]
    assert not compare("&File", "_Datei", accelerators=True)
    assert [span.text for span in compare("&File", "Datei", accelerators=True).missing] == ["&"]


def test_choices() -> None:
    text = "a {n, plural, offset:1 =0 {no {x}} other {# '{' b}} c"
    choice = parse_choice(text, 2)
    assert choice is not None
    assert (choice.variable, choice.type, choice.offset) == ("n", "plural", "1")
    messages = [(branch.keyword, text[branch.start : branch.end]) for branch in choice.branches]
    assert messages == [("=0", "no {x}"), ("other", "# '{' b")]
    assert text[2 : choice.end] == text[2:-2]
    assert isinstance(choice.branches[0], Branch)
    assert parse_choice("{n, plural, other " + "{" * 20 + "}" * 21, 0) is None


KEPT = [
    ("Copy %s to %s", "%s nach %s kopieren"),
    ("%s of %d", "%2$d, davon %1$s"),
    ("%1$s of %2$s", "%2$s hat %1$s"),
    ("%(a)s of %(b)s", "%(b)s hat %(a)s"),
    ("{a} and {b}", "{b} und {a}"),
    ("%Y-%m-%d", "%d.%m.%Y"),
    ("<b>a</b> <i>b</i>", "<i>b</i> <b>a</b>"),
    ("<br> a", "<br/> b"),
    ('<a href="x" title="to">a</a>', "<a title='nach' href='x'>b</a>"),
    ("&nbsp;a &amp; b", "\u202fa und b"),
    ("<b>a</b>", "<b>&eacute;</b>"),
    ("see https://example.com/", "siehe https://example.com"),
    (":ref:`words <target>`", ":ref:`Wörter <target>`"),
    (":ref:`target`", ":ref:`Wörter <target>`"),
    (":term:`iterator`", ":term:`itérateur <iterator>`"),
    (":func:`~os.path.join`", ":func:`join <os.path.join>`"),
    (":func:`html.escape`", ":func:`.html.escape()`"),
    ("`words <https://example.com>`_", "`Wörter <https://example.com>`_"),
    ("`words`_", "`Wörter`_"),
    ('[words](https://example.com "title")', '[Wörter](https://example.com "Titel")'),
    ("use -W", "``-W`` benutzen"),
    ("``x`` is ``x``", "``x`` ist ``x`` wie ``x``"),
    (
        "{n, plural, one {# file of {a}} other {# files of {a}}}",
        "{n, plural, few {# {a}} many {# x {a}} other {# y {a}}}",
    ),
    ("{n, plural, one {a file} other {# files}}", "{n,plural,one{# Datei}other{# Dateien}}"),
    (
        "{g, select, male {his <b>x</b>} other {their <b>x</b>}}",
        "{g, select, other {<b>x</b>} male {y <b>x</b>}}",
    ),
]


@pytest.mark.parametrize(("source", "target"), KEPT)
def test_freedom_of_translators(source: str, target: str) -> None:
    difference = compare(source, target)
    assert not difference
    assert str(difference) == ""


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("Copy %s to %s", "%s kopieren", "lost %s"),
        ("Copy %s", "%s nach %s kopieren", "added %s"),
        ("%s of %d", "%d von %s", "out of order %d, %s"),
        ("%s of %s", "%1$s von %1$s", "lost %s, %s; added %1$s, %1$s"),
        ("%s of %d", "%d", "lost %s"),
        ("%.2f", "%.1f", "lost %.2f; added %.1f"),
        ("%(name)s", "%(nom)s", "lost %(name)s; added %(nom)s"),
        ("{name}", "{Name}", "lost {name}; added {Name}"),
        ("{name}", "name", "lost {name}"),
        ("<b>a</b>", "<b>a", "lost </b>; without partner <b>"),
        ("<b>a</b>", "</b>a<b>", "without partner </b>, <b>"),
        ("<b>a</b>", "<B>a</B>", "lost <b>, </b>; added <B>, </B>"),
        ("<a><b>x</b></a>", "<b><a>x</a></b>", "out of order <b>, <a>"),
        ('<a href="x">a</a>', '<a href="y">a</a>', 'lost <a href="x">; added <a href="y">'),
        ("5&nbsp;GB", "5 GB", "lost &nbsp;"),
        ("5 GB", "5&nbsp;GB", "added &nbsp;"),
        ("e", "&eacute;", "added &eacute;"),
        ("{a}", "{ a }", "lost {a}"),
        ("&lt;b&gt;", "b", "lost &lt;, &gt;"),
        (
            "https://example.com/en/a",
            "https://example.com/de/a",
            "lost https://example.com/en/a; added https://example.com/de/a",
        ),
        ("a@example.com", "b@example.com", "lost a@example.com; added b@example.com"),
        ("**a**", "a", "lost **, **"),
        ("`x`", "»x«", "lost `x`"),
        ("``x``", "``y``", "lost ``x``; added ``y``"),
        (":class:`a`", ":class:`b`", "lost :class:`a`; added :class:`b`"),
        (r"a\nb", "a b", r"lost \n"),
        ("$HOME", "$HAUS", "lost $HOME; added $HAUS"),
        (
            "{n, plural, other {#}}",
            "{n, plural, andere {#}}",
            "lost {n, plural, other {#}}; added {n, plural, andere {#}}",
        ),
        (
            "{n, plural, other {#}}",
            "{m, plural, other {#}}",
            "lost {n, plural, other {#}}; added {m, plural, other {#}}",
        ),
        (
            "{n, plural, other {#}}",
            "{n, plural, other {viele}}",
            "lost {n, plural, other {#}}; added {n, plural, other {viele}}",
        ),
        (
            "{n, plural, =0 {a} other {b}}",
            "{n, plural, other {b}}",
            "lost {n, plural, =0 {a} other {b}}; added {n, plural, other {b}}",
        ),
        (
            "{g, select, male {a} other {b}}",
            "{g, select, männlich {a} other {b}}",
            "lost {g, select, male {a} other {b}}; added {g, select, männlich {a} other {b}}",
        ),
        (
            "{g, select, male {{x}} other {{x}}}",
            "{g, select, male {er} other {{x}}}",
            "lost {g, select, male {{x}} other {{x}}}; added {g, select, male {er} other {{x}}}",
        ),
        (
            "{n, plural, one {{x}} other {{x}}}",
            "{n, plural, one {{y}} other {{x}}}",
            "lost {n, plural, one {{x}} other {{x}}}; added {n, plural, one {{y}} other {{x}}}",
        ),
        (":func:`f()`", ":func:`g`", "lost :func:`f()`; added :func:`g`"),
        ("%d%d%d%d%d%d", "", "lost %d, %d, %d, %d, 2 more"),
        ("`a" + "b" * 60 + "`", "", "lost `a" + "b" * 37 + "…"),
        ("```\nx\n```", "", r"lost ```\nx\n```"),
    ],
)
def test_differences(source: str, target: str, reason: str) -> None:
    difference = compare(source, target)
    assert difference
    assert str(difference) == reason
    assert compare(source, source) == compare(target, target) == compare("", "")


def test_where_the_spans_of_a_difference_are() -> None:
    difference = compare("a %s {x}", "{y} b")
    assert [(span.kind, span.start, span.end) for span in difference.missing] == [
        ("printf", 2, 4),
        ("brace", 5, 8),
    ]
    assert [(span.kind, span.start, span.end) for span in difference.extra] == [("brace", 0, 3)]


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("no spans", "nothing", (0, 0)),
        ("no spans", "%s", (0, 1)),
        ("%s {a} {b}", "%s {a}", (2, 3)),
        ("%s {a}", "%s {a} {a}", (2, 3)),
        ("%s %d", "%d %s", (0, 2)),
        ("<b>a</b>", "<b>a", (0, 2)),
        ("<b>a</b>", "</b>a<b>", (0, 2)),
        ("{a} {b}", "{b} {a}", (2, 2)),
    ],
)
def test_share(source: str, target: str, expected: tuple[int, int]) -> None:
    assert share(source, target) == expected


@given(ANY_TEXT)
def test_spans_are_in_order_and_as_in_the_text(text: str) -> None:
    at = 0
    for span in find(text):
        assert at <= span.start < span.end <= len(text)
        assert text[span.start : span.end] == span.text
        assert span.kind in KINDS
        at = span.end


@given(ANY_TEXT)
def test_a_text_keeps_its_own_spans(text: str) -> None:
    assert not compare(text, text)
    kept, total = share(text, text)
    assert kept == total == len(find(text))


@given(ANY_TEXT, ANY_TEXT)
def test_shares_are_shares(source: str, target: str) -> None:
    kept, total = share(source, target)
    assert 0 <= kept <= total
    assert "\n" not in str(compare(source, target))


@given(
    st.lists(
        st.sampled_from([text for kind in ("printf", "brace", "url", "env") for text in SPANS[kind]]),
        min_size=1,
    ),
    st.data(),
)
def test_a_lost_span_is_missed(spans: list[str], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(spans) - 1))
    source, target = (" und ".join(part) for part in (spans, spans[:place] + spans[place + 1 :]))
    difference = compare(source, target)
    assert [key_of(span) for span in difference.missing] == [key_of(find(spans[place])[0])]
    assert not difference.extra


@pytest.mark.parametrize(
    "piece",
    [
        "`",
        "``",
        "{",
        "{{",
        "{a,plural,other{",
        "{a,plural,other{}",
        "<a ",
        "<a b=",
        "%",
        "%(",
        "&a",
        "[",
        "](",
        "](a",
        "*",
        "**",
        ":a:`",
        "|a",
        "\\",
        "$",
        "${a:",
        "@",
        "a@",
        "a.b@c.",
        "http://",
        "www.",
        "```\n",
        "#",
        "<b>",
        "{a",
        "a" * 10,
        "日",
        "``a ",
        "`a <",
    ],
)
def test_time_is_linear(piece: str) -> None:
    text = piece * (50_000 // len(piece))
    start = time.process_time()
    compare(text, text + " ")
    assert time.process_time() - start < 3


@pytest.mark.skipif(not SHARED.exists(), reason=f"{SHARED} is not on this machine")
@pytest.mark.parametrize(
    ("name", "most"), [("debian_desc_en_de", 8), ("tico19_en_fr", 2), ("tico19_en_hi", 2)]
)
def test_human_translations_keep_their_spans(name: str, most: int) -> None:
    rows = [
        json.loads(line) for line in (SHARED / name / "train.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    differences = [str(compare(row["src"], row["tgt"])) for row in rows]
    assert sum(map(bool, differences)) <= most


@pytest.mark.skipif(not SHARED.exists(), reason=f"{SHARED} is not on this machine")
def test_lost_marks_of_real_text_are_found() -> None:
    lines = (SHARED / "pydocs_en_fr" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    rng = random.Random(0)
    tried = 0
    for row in map(json.loads, lines[:1500]):
        source, target = row["src"], row["tgt"]
        spans = [span for span in find(target) if span.text.startswith("``")]
        if not spans or compare(source, target):
            continue
        span = rng.choice(spans)
        broken = target[: span.start] + re.sub("[`a-z]", "x", span.text) + target[span.end :]
        tried += 1
        # the translation may have it once more than the source
        assert compare(source, broken) or [s.text for s in find(target)].count(span.text) > source.count(
            span.text
        )
    assert tried > 300
