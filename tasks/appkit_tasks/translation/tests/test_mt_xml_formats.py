"""XLIFF and TMX: the same text as lxml reads, elements put back where they belong, and places the schemas want."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

import pytest
from appkit_tasks.translation.formats import Document, Translation, open_document
from appkit_tasks.translation.formats.encoding import NOT_XML
from appkit_tasks.translation.tests.builders import UNIT, tmx, tu, xliff1, xliff2
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

# XML reads \r as \n, so that a file cannot hold it as it is
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=15).filter(
    lambda text: not NOT_XML.search(text)
)


def element(name: str, inside: str, number: int) -> str:
    return f'<{name} id="{number}">{inside}</{name}>' if inside else f'<{name} id="{number}"/>'


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


TEXT = WORDS.map(_escape)
CONTENT = st.recursive(
    TEXT | st.builds(element, st.sampled_from(["x", "bx", "ph", "it"]), TEXT, st.integers(0, 99)),
    lambda inner: (
        st.builds("".join, st.lists(inner, max_size=4))
        | st.builds(element, st.sampled_from(["g", "mrk"]), inner, st.integers(0, 99))
    ),
    max_leaves=8,
)


def inner(node: etree._Element) -> str:
    """The content of an element in canonical form."""
    text = etree.tostring(node, method="c14n", with_tail=False).decode()
    return re.sub(r"\A<[^>]*>|</[^>]*>\Z", "", text).replace(
        ' xmlns="urn:oasis:names:tc:xliff:document:1.2"', ""
    )


@settings(max_examples=80, deadline=None)
@given(contents=st.lists(CONTENT, min_size=1, max_size=3))
def test_a_target_like_its_source_is_the_same_xml(
    tmp_path_factory: pytest.TempPathFactory, contents: list[str]
) -> None:
    path = tmp_path_factory.mktemp("xliff") / "a.xlf"
    path.write_text(
        xliff1(
            "".join(
                f'<trans-unit id="{n}"><source>{content}</source></trans-unit>'
                for n, content in enumerate(contents)
            )
        ),
        newline="",
    )
    document = open_document(path, "en", "fr")
    written = document.write(
        path, {place: Translation(part.source) for place, part in enumerate(document.segments)}
    )
    tree = etree.parse(path)
    sources = {node.getparent().get("id"): inner(node) for node in tree.iter("{*}source")}
    targets = {node.getparent().get("id"): inner(node) for node in tree.iter("{*}target")}
    assert written.doubts == ()
    assert targets == {key: value for key, value in sources.items() if key in targets}
    assert len(targets) == len(document.segments)
    again = open_document(path, "en", "fr")
    assert [part.source for part in again.segments] == [part.source for part in document.segments]


@settings(max_examples=40, deadline=None)
@given(words=WORDS.filter(str.strip))
def test_text_is_read_as_lxml_reads_it(tmp_path_factory: pytest.TempPathFactory, words: str) -> None:
    path = tmp_path_factory.mktemp("tmx") / "a.tmx"
    path.write_text(tmx(tu(("en", _escape(words)))), newline="")
    (segment,) = open_document(path, "en", "fr").segments
    assert segment.source == etree.parse(path, etree.XMLParser(load_dtd=False)).find(".//seg").text == words


RICH = '<g id="1">bold <x id="2"/></g> and <bpt id="3">&lt;i></bpt>it<ept id="3">&lt;/i></ept>'
TAGS = ('<g id="1">', '<x id="2"/>', "</g>", '<bpt id="3">&lt;i&gt;</bpt>', '<ept id="3">&lt;/i&gt;</ept>')
G, X, END, BPT, EPT = TAGS


def target_of(path: Path, translation: str, content: str = RICH) -> tuple[str, Document]:
    path.write_text(xliff1(f'<trans-unit id="1"><source>{content}</source></trans-unit>'))
    document = open_document(path, "en", "fr")
    document.write(path, {0: Translation(translation)})
    match = re.search(r"(<target .*</target>)", path.read_text())
    assert match is not None
    return match[1], document


@pytest.mark.parametrize(
    ("translation", "target"),
    [
        (
            f"{BPT}it{EPT} & {G}{X} gras{END}",
            '<bpt id="3">&lt;i></bpt>it<ept id="3">&lt;/i></ept> &amp; <g id="1"><x id="2"/> gras</g>',
        ),
        (
            f"{X}{G}a{BPT}b{END}{EPT} < <b>",
            '<x id="2"/><g id="1">a<bpt id="3">&lt;i></bpt>b</g><ept id="3">&lt;/i></ept> &lt; &lt;b&gt;',
        ),
    ],
)
def test_elements_are_put_back_as_they_were_written(translation: str, target: str, tmp_path: Path) -> None:
    assert target_of(tmp_path / "a.xlf", translation)[0] == f'<target state="translated">{target}</target>'


@pytest.mark.parametrize(
    "translation",
    [
        f"{G}a{X}{END}{BPT}b",  # a code is missing
        f"{G}a{X}{END}{BPT}b{EPT}{X}",  # one too many
        f"{END}a{X}{G}{BPT}b{EPT}",  # closed before it is opened
        f"{G}a{X}{EPT}{BPT}b{END}",  # ended before it begins
        f'{G}a<x id="9"/>{END}{BPT}b{EPT}',  # another one
        "nothing",
    ],
)
def test_broken_elements_become_text_that_needs_review(translation: str, tmp_path: Path) -> None:
    path = tmp_path / "a.xlf"
    target, document = target_of(path, translation)
    assert target == f'<target state="needs-review-translation">{_escape(translation)}</target>'
    written = document.write(path, {0: Translation(translation, True, "low")})
    assert "inline elements" in written.doubts[0].reason
    (segment,) = open_document(path, "en", "fr").segments
    assert (segment.target, segment.state) == (translation, "doubtful")


def test_elements_that_cross_are_not_put_back(tmp_path: Path) -> None:
    content = '<g id="1">a</g><mrk id="2">b</mrk>'
    crossed = '<g id="1">a<mrk id="2">b</g></mrk>'
    assert 'state="needs-review-translation"' in target_of(tmp_path / "a.xlf", crossed, content)[0]
    nested = '<mrk id="2">b<g id="1">a</g></mrk>'
    assert nested in target_of(tmp_path / "a.xlf", nested, content)[0]


def test_text_that_looks_like_a_tag_stays_text(tmp_path: Path) -> None:
    target, _ = target_of(tmp_path / "a.xlf", '&lt; <g id="1">', '&amp;lt; &lt;g id="1"&gt;')
    assert target == '<target state="translated">&amp;lt; &lt;g id="1"&gt;</target>'
    # as text and as an element it cannot be told apart
    target, _ = target_of(tmp_path / "a.xlf", '<x id="1"/> <x id="1"/>', '&lt;x id="1"/&gt; <x id="1"/>')
    assert target == '<target state="needs-review-translation">&lt;x id="1"/&gt; &lt;x id="1"/&gt;</target>'


@pytest.mark.parametrize(
    ("before", "after", "doubtful"),
    [
        (
            "<source>A</source>",
            '<source>A</source><target state="translated">B</target>',
            '<source>A</source><target state="needs-review-translation">B</target>',
        ),
        (
            "\n\t<source>A</source>\n\t<note/>",
            '\n\t<source>A</source>\n\t<target state="{}">B</target>\n\t<note/>',
            None,
        ),
        (
            "<source>A</source><seg-source/><note/>",
            '<source>A</source><seg-source/><target state="{}">B</target><note/>',
            None,
        ),
        (
            "<source>A</source><target note=\" state='new'\"/>",
            '<source>A</source><target note=" state=\'new\'" state="{}">B</target>',
            None,
        ),
        ("<source>A</source><target/>", '<source>A</source><target state="{}">B</target>', None),
        (
            "<source>A</source><target  state = 'new' x='1'  />",
            "<source>A</source><target  state = \"{}\" x='1'>B</target>",
            None,
        ),
        (
            '<source>A</source><target state="new" state-qualifier="exact-match">C</target >',
            '<source>A</source><target state="{}" state-qualifier="mt-suggestion">B</target>',
            None,
        ),
        (
            '<source xml:lang="en" xml:space="preserve">A</source>',
            '<source xml:lang="en" xml:space="preserve">A</source>'
            '<target xml:lang="fr" xml:space="preserve" state="{}">B</target>',
            None,
        ),
        (
            "<source><!-- c -->A<?p i?></source><target>C<!-- d --></target>",
            '<source><!-- c -->A<?p i?></source><target state="{}">B</target>',
            None,
        ),
    ],
)
def test_targets_of_xliff_1(before: str, after: str, doubtful: str | None, tmp_path: Path) -> None:
    path = tmp_path / "a.xlf"
    for is_doubtful, state in ((False, "translated"), (True, "needs-review-translation")):
        path.write_text(xliff1(f'<trans-unit id="1">{before}</trans-unit>{UNIT}'))
        open_document(path, "en", "fr").write(path, {0: Translation("B", is_doubtful, "low")})
        wanted = doubtful if is_doubtful and doubtful else after.replace("{}", state)
        assert path.read_text() == xliff1(f'<trans-unit id="1">{wanted}</trans-unit>{UNIT}')


@pytest.mark.parametrize(
    ("before", "after", "doubtful"),
    [
        (
            "<segment>\n <source>A</source>\n</segment>",
            '<segment state="translated">\n <source>A</source>\n <target>B</target>\n</segment>',
            '<segment state="initial" subState="appkit:needs-review">\n <source>A</source>\n <target>'
            "B</target>\n</segment>",
        ),
        (
            '<segment state="initial" subState="x:y" id="s"><source>A</source><target>C</target></segment>',
            '<segment state="translated" id="s"><source>A</source><target>B</target></segment>',
            '<segment state="initial" id="s" subState="appkit:needs-review"><source>A</source>'
            "<target>B</target></segment>",
        ),
    ],
)
def test_targets_of_xliff_2(before: str, after: str, doubtful: str, tmp_path: Path) -> None:
    path = tmp_path / "a.xlf"
    for translation, wanted in ((Translation("B"), after), (Translation("B", True, "low"), doubtful)):
        path.write_text(xliff2(f'<unit id="1">{before}</unit>'))
        open_document(path, "en", "fr").write(path, {0: translation})
        assert path.read_text() == xliff2(f'<unit id="1">{wanted}</unit>')
        assert open_document(path, "en", "fr").segments[0].state == (
            "doubtful" if translation.doubtful else "translated"
        )


def test_a_file_without_target_language_gets_it_once(tmp_path: Path) -> None:
    path = tmp_path / "a.xlf"
    for before, after in (
        ('source-language="en"', 'source-language="en" datatype="plaintext" target-language="fr"'),
        (
            'source-language="en" target-language=""',
            'source-language="en" target-language="fr" datatype="plaintext"',
        ),
    ):
        path.write_text(xliff1(UNIT + UNIT, before))
        open_document(path, "en", "fr").write(path, {0: Translation("B"), 1: Translation("C")})
        assert re.findall("<file.*?>", path.read_text()) == [f'<file original="a.c" {after}>']
    path.write_text(xliff2('<unit id="1"><segment><source>A</source></segment></unit>', 'srcLang="en"'))
    open_document(path, "en", "fr-CA").write(path, {0: Translation("B")})
    assert 'version="2.0" srcLang="en" trgLang="fr-CA">' in path.read_text()


def test_the_encoding_is_kept_and_what_it_lacks_is_written_as_reference(tmp_path: Path) -> None:
    path = tmp_path / "a.xlf"
    content = xliff1(UNIT, start='<?xml version="1.0" encoding="ISO-8859-1"?>\r\n').encode()
    path.write_bytes(content)
    written = open_document(path, "en", "fr").write(path, {0: Translation("é œ\nא\r")})
    assert (written.translated, written.counts.left_out) == (1, {})
    assert path.read_bytes() == content.replace(
        b"</source>", b'</source><target state="translated">\xe9 &#339;\r\n&#1488;&#13;</target>'
    )
    assert open_document(path, "en", "fr").segments[0].target == "é œ\nא\r"


@pytest.mark.parametrize("text", ["a\x0bb", "\x1b[1m", "\ufffe"])
def test_what_xml_cannot_hold_is_counted(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.xlf"
    path.write_text(xliff1(UNIT))
    written = open_document(path, "en", "fr").write(path, {0: Translation(text)})
    assert (written.translated, written.counts.left_out) == (
        0,
        {"the translation holds a control character": 1},
    )
    assert path.read_text() == xliff1(UNIT)


SOURCE = '<tuv xml:lang="en"><seg>A</seg></tuv>'
MARK = '<prop type="x-appkit-state">needs-review</prop>'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (SOURCE, f'{SOURCE}<tuv xml:lang="fr">{{}}<seg>B</seg></tuv>'),
        (f"\n  {SOURCE}\n", f'\n  {SOURCE}\n  <tuv xml:lang="fr">{{}}<seg>B</seg></tuv>\n'),
        (
            f'{SOURCE}<tuv xml:lang="fr"><seg>C</seg></tuv>',
            f'{SOURCE}<tuv xml:lang="fr">{{}}<seg>B</seg></tuv>',
        ),
        (f'<tuv xml:lang="fr" x="1" />{SOURCE}', f'<tuv xml:lang="fr" x="1">{{}}<seg>B</seg></tuv>{SOURCE}'),
        (
            f'{SOURCE}<tuv xml:lang="fr"><note>n</note>{MARK}<seg/></tuv>',
            f'{SOURCE}<tuv xml:lang="fr"><note>n</note>{{}}<seg>B</seg></tuv>',
        ),
        (SOURCE.replace("xml:", ""), f'{SOURCE.replace("xml:", "")}<tuv lang="fr">{{}}<seg>B</seg></tuv>'),
    ],
)
def test_targets_of_tmx(before: str, after: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tmx"
    for translation, mark in ((Translation("B"), ""), (Translation("B", True, "low"), MARK)):
        path.write_text(tmx(f"<tu>{before}</tu>"))
        open_document(path, "en", "fr").write(path, {0: translation})
        assert path.read_text() == tmx(f"<tu>{after.replace('{}', mark)}</tu>")


def test_utf_16_stays_utf_16(tmp_path: Path) -> None:
    path = tmp_path / "a.tmx"
    content = tmx(f"<tu>{SOURCE}</tu>")
    path.write_bytes(codecs.BOM_UTF16_LE + content.encode("utf-16-le"))
    open_document(path, "en", "fr").write(path, {0: Translation("é😀")})
    wanted = content.replace("</tu>", '<tuv xml:lang="fr"><seg>é😀</seg></tuv></tu>')
    assert path.read_bytes() == codecs.BOM_UTF16_LE + wanted.encode("utf-16-le")
