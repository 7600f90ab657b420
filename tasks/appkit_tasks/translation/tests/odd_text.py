"""Odd text, Markdown and parallel files, with the segments that a translator sees in them."""

from __future__ import annotations

import codecs

from appkit_tasks.translation.tests.builders import odd

PARALLEL = [
    odd(
        "parallel, mixed ends, blank lines, CR within",
        "corpus.en",
        b"One\r\n\n  Two \nThr\ree\n\n",
        "One",
        "  Two ",
        "Thr\ree",
    ),
    odd("parallel, CR alone", "corpus.en", b"One\rTwo\r", "One", "Two"),
    odd(
        "parallel, UTF-16, region",
        "corpus.en_US",
        codecs.BOM_UTF16_LE + "One\nTwö".encode("utf-16-le"),
        "One",
        "Twö",
    ),
]

PROSE = (
    "This is a paragraph that was wrapped at sixty columns, as\n"
    "most letters and licenses are, so that its lines belong to\n"
    "each other.\n"
)

TEXT = [
    odd(
        "lists of strings and indented lines",
        "a.txt",
        "Save\nOpen…\n\n   Close  \n---\n\t2. Quit\n",
        "Save",
        "Open…",
        "Close",
        "2. Quit",
        left_out={"no words": 1},
    ),
    odd(
        "wrapped prose",
        "a.txt",
        f"Title\n\n{PROSE}\n  {PROSE}".replace("\n", "\r\n"),
        "Title",
        PROSE.replace("\n", " ").strip(),
        PROSE.replace("\n", " ").strip(),
    ),
    odd(
        "a sentence on each line",
        "a.txt",
        "Every single line of this file holds a whole sentence.\n"
        "None of its lines goes on in the following one, though.\n",
        "Every single line of this file holds a whole sentence.",
        "None of its lines goes on in the following one, though.",
    ),
    odd(
        "CR, no end, byte order mark",
        "a.txt",
        codecs.BOM_UTF8 + "Eins\rZwei\r\rDréi".encode(),
        "Eins",
        "Zwei",
        "Dréi",
    ),
    odd(
        "Japanese prose",
        "a.txt",
        "これは四十桁以上の幅で折り返された段落であり、行は\n互いにつながっています。空白は\n入りません。\n",
        "これは四十桁以上の幅で折り返された段落であり、行は",
        "互いにつながっています。空白は",
        "入りません。",
        languages=("ja", "fr"),
    ),
    odd("nothing but white space", "a.txt", " \n\r\n\t"),
    odd("UTF-16", "a.txt", codecs.BOM_UTF16_LE + "Ünïcode\r\n\r\n".encode("utf-16-le"), "Ünïcode"),
]

MARKDOWN = [
    odd(
        "front matter, heading forms",
        "a.md",
        "---\ntitle: A\n---\n# One #\n\nTwo\n===\n\nThree\n---\n\n### Four {#four}\n#\n",
        "One",
        "Two",
        "Three",
        "Four",
    ),
    odd("TOML front matter, CRLF", "a.md", "+++\na = 1\n+++\r\nText\r\n", "Text"),
    odd("rule, not front matter", "a.md", "---\nText\n", "Text"),
    odd(
        "code of every kind",
        "a.md",
        "A `x` b\n\n```py\nno()\n\n~~~\n```\n~~~~\n```\n~~~~\n\n    indented\n\n> ```\n> quoted\n>"
        " ```\n\n- item\n\n      in item\n\n"
        "  more\n\n$$\nx^2\n$$\n\n```\nopen",
        "A `x` b",
        "item",
        "more",
    ),
    odd(
        "lists",
        "a.md",
        "- a\n  b\n* c\n  1. d\n     - [x] e\n+ f\n10) g\n\n   h\n- - i\n-\n",
        "a b",
        "c",
        "d",
        "e",
        "f",
        "g",
        "h",
        "i",
    ),
    odd("quotes", "a.md", "> a\n> b\nlazy\n>\n> - c\n>> d\n", "a b lazy", "c", "d"),
    odd(
        "tables",
        "a.md",
        "| A | `x|y` B |\n|:--|--:|\n| 1 | two \\| 3 |\n|  | c\nd | e\n\nnot | a table\n",
        "A",
        "`x|y` B",
        "two \\| 3",
        "c",
        "d",
        "e",
        "not | a table",
        left_out={"no words": 1},
    ),
    odd(
        "HTML blocks, comments, inline HTML",
        "a.md",
        "<div>\nno\n</div>\n\n<!-- no\n\nno --> no\n\nA <b>b</b><br>\n<script>\n\nno\n</script>\n"
        "<https://a.example> c\n\n<custom>\n"
        "no\n\n</p>\n",
        "A <b>b</b><br>",
        "<https://a.example> c",
    ),
    odd(
        "links, images, definitions, footnotes",
        "a.md",
        '[a](b.md "t") ![c](d.png)\n\n[r]: http://x.example "T"\n[^1]: note\n\n![](only.png)\n',
        '[a](b.md "t") ![c](d.png)',
        "note",
        left_out={"no words": 1},
    ),
    odd("hard breaks", "a.md", "a  \nb\\\nc\nd\n", "a", "b", "c d"),
    odd("admonitions and rules", "a.md", '!!! note "T"\n\n:::tip\nText\n:::\n* * *\n___\n', "Text"),
    odd("UTF-16, CR", "a.markdown", codecs.BOM_UTF16_BE + "# Ü\r\r- b\r".encode("utf-16-be"), "Ü", "b"),
]
