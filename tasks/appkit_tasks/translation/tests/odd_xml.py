"""Odd XLIFF and TMX files, with the segments that a translator sees in them."""

from __future__ import annotations

import codecs

from appkit_tasks.translation.tests.builders import UNIT, odd, tmx, tu, xliff1, xliff2

XLIFF = [
    odd("no declaration, no target language", "a.xlf", xliff1(UNIT, 'source-language="en"'), "Save"),
    odd("an empty target language", "a.xlf", xliff1(UNIT, 'source-language="en" target-language=""'), "Save"),
    odd(
        "region in the file",
        "a.xlf",
        xliff1(UNIT, "source-language='en-US'  target-language='fr-FR'"),
        "Save",
    ),
    odd(
        "CRLF, tabs and a comment",
        "a.xliff",
        xliff1(
            '\t<!-- <source>no</source> -->\r\n\t<trans-unit id="1">\r\n\t\t<source>Save\r\n'
            "it</source>\r\n\t</trans-unit>"
        )
        .replace("\n", "\r\n")
        .replace("\r\r", "\r"),
        "Save\nit",
    ),
    odd(
        "UTF-16 with declaration",
        "a.xlf",
        codecs.BOM_UTF16_BE
        + xliff1(UNIT.replace("Save", "Café"), start='<?xml version="1.0" encoding="UTF-16"?>\n').encode(
            "utf-16-be"
        ),
        "Café",
    ),
    odd(
        "UTF-8 that says UTF-16",
        "a.xlf",
        xliff1(UNIT.replace("Save", "Café"), start='<?xml version="1.0" encoding="utf-16"?>\n'),
        "Café",
    ),
    odd(
        "ISO-8859-1",
        "a.xlf",
        xliff1(UNIT.replace("Save", "Café"), start="<?xml version='1.0' encoding='ISO-8859-1'?>").encode(
            "latin-1"
        ),
        "Café",
    ),
    odd(
        "byte order mark",
        "a.xlf",
        codecs.BOM_UTF8 + xliff1(UNIT, start='<?xml version="1.0"?>').encode(),
        "Save",
    ),
    odd(
        "prefixed names",
        "a.xlf",
        '<x:xliff version="1.2" xmlns:x="urn:oasis:names:tc:xliff:document:1.2"><x:file original="o" datatype="c" '
        'source-language="en"><x:body><x:trans-unit id="1"><x:source>A</x:source></x:trans-unit>'
        "</x:body></x:file></x:xliff>",
        "A",
    ),
    odd(
        "inline elements",
        "a.xlf",
        xliff1(
            '<trans-unit id="1"><source>Press <g id="1" ctype=\'b\'>Save <x  id="2"/></g>'
            ' &amp; <bpt id="3">&lt;i></bpt>go<ept '
            'id="3">&lt;/i></ept><ph id="4">{0}</ph></source></trans-unit>'
        ),
        'Press <g id="1" ctype="b">Save <x id="2"/></g> & <bpt id="3">&lt;i&gt;</bpt>go<ept id="3">&lt;/i&gt;</ept>'
        '<ph id="4">{0}</ph>',
    ),
    odd(
        "text in a code",
        "a.xlf",
        xliff1(
            '<trans-unit id="1"><source>A <ph id="1">&lt;img alt="<sub>a cat</sub>"></ph></source></trans-unit>'
        ),
        'A <ph id="1">&lt;img alt="<sub>a cat</sub>"&gt;</ph>',
        left_out={"text inside a code (sub), which stays as it is": 1},
    ),
    odd(
        "CDATA and character references",
        "a.xlf",
        xliff1(
            '<trans-unit id="1"><source><![CDATA[a < b & ]]>&#233;&#xe9;</source><target>'
            "<![CDATA[c < d]]></target></trans-unit>"
        ),
        "a < b & éé",
        targets=("c < d",),
    ),
    odd(
        "groups, not for translation, approved, locked",
        "a.xlf",
        xliff1(
            '<group id="g" translate="no"><trans-unit id="1"><source>A</source></trans-unit>'
            '<trans-unit id="2" translate="yes">'
            '<source>B</source></trans-unit></group><trans-unit id="3" translate="no"><source>C</source></trans-unit>'
            '<trans-unit id="4" approved="yes"><source>D</source><target>D4</target></trans-unit><trans-unit id="5">'
            '<source>E</source><target state="final">E5</target></trans-unit><trans-unit id="6">'
            "<source>F</source><target/>"
            '<sdl:seg-defs xmlns:sdl="s"><sdl:seg id="1" locked="true"/></sdl:seg-defs></trans-unit>'
            '<trans-unit id="7" mq:locked="locked" xmlns:mq="m"><source>G</source></trans-unit>'
        ),
        "B",
        left_out={
            "not for translation (translate=no)": 2,
            "approved, so left alone": 1,
            "final, so left alone": 1,
            "locked, so left alone": 2,
        },
    ),
    odd(
        "matches of a memory beside the target",
        "a.xlf",
        xliff1(
            '<trans-unit id="1"><source>A</source><target>B</target><alt-trans><source>X</source>'
            "<target>Y</target></alt-trans>"
            "</trans-unit>"
        ),
        "A",
        targets=("B",),
    ),
    odd(
        "sentences that a tool has marked",
        "a.sdlxliff",
        xliff1(
            '<trans-unit id="1"><source>A. B.</source><seg-source><mrk mtype="seg" mid="1">A.</mrk>'
            ' <mrk mtype="seg" mid="2">B.'
            "</mrk></seg-source></trans-unit>"
        ),
        '<mrk mtype="seg" mid="1">A.</mrk> <mrk mtype="seg" mid="2">B.</mrk>',
    ),
    odd(
        "states",
        "a.xlf",
        xliff1(
            "".join(
                f'<trans-unit id="{state}"><source>A</source><target state="{state}">B</target></trans-unit>'
                for state in (
                    "new",
                    "needs-translation",
                    "needs-review-translation",
                    "translated",
                    "signed-off",
                )
            )
        ),
        "A",
        "A",
        "A",
        "A",
        targets=("B", "B", "B", "B"),
        left_out={"final, so left alone": 1},
    ),
    odd(
        "empty and blank units",
        "a.xlf",
        xliff1(
            '<trans-unit id="1"><source/></trans-unit><trans-unit id="2"><source> \n </source>'
            "<target> </target></trans-unit>"
            '<trans-unit id="3"><source> A </source><target/></trans-unit>'
        ),
        " A ",
        targets=("",),
        left_out={"the source is empty": 2},
    ),
    odd(
        "two files, one of another language",
        "a.xlf",
        xliff1(
            f'{UNIT}</body></file><file original="b" datatype="c" source-language="en" '
            f'target-language="de"><body>{UNIT}'
        ),
        "Save",
        left_out={"of a file with another target language than fr": 1},
    ),
    odd(
        "a harmless DOCTYPE",
        "a.xlf",
        xliff1(UNIT, start='<!DOCTYPE xliff PUBLIC "-//XLIFF//DTD XLIFF//EN" "x.dtd">\n'),
        "Save",
    ),
    odd(
        "XLIFF 2.0",
        "a.xlf",
        xliff2(
            '  <unit id="u1" name="menu"><notes><note>of  the\nmenu</note></notes>\n   <originalData>'
            '<data id="d1">&lt;br/></data>'
            '</originalData>\n   <segment id="s1" state="initial" subState="x:y">\n    <source>'
            'A <pc id="1">b <ph id="2" '
            'dataRef="d1"/></pc></source>\n   </segment>\n   <ignorable><source> </source>'
            "</ignorable>\n   <segment><source>C"
            "</source><target>D</target></segment>\n  </unit>"
        ),
        'A <pc id="1">b <ph id="2" dataRef="d1"/></pc>',
        "C",
        targets=("", "D"),
    ),
    odd(
        "XLIFF 2.1 without target language",
        "a.xlf",
        xliff2(
            '<unit id="u1"><segment><source>A <mrk id="m1" translate="no">appkit</mrk> <sc id="1"/>'
            'b<ec startRef="1"/></source>'
            "</segment></unit>",
            'srcLang="en"',
            "2.1",
        ),
        'A <mrk id="m1" translate="no">appkit</mrk> <sc id="1"/>b<ec startRef="1"/>',
    ),
    odd(
        "XLIFF 2.2 with states and modules",
        "a.xlf",
        xliff2(
            '<unit id="1" xmlns:mtc="m"><mtc:matches><mtc:match><source>X</source><target>Y</target>'
            "</mtc:match></mtc:matches>"
            '<segment state="final"><source>A</source><target>B</target></segment>'
            '<segment state="initial"><source>C</source>'
            '<target>D</target></segment></unit><unit id="2" translate="no"><segment><source>'
            "E</source></segment></unit>",
            version="2.2",
        ),
        "C",
        targets=("D",),
        left_out={"final, so left alone": 1, "not for translation (translate=no)": 1},
    ),
    odd(
        "right to left",
        "a.xlf",
        xliff1(
            '<trans-unit id="1"><source>Hi <x id="1"/></source><target>\u202bمرحبا <x id="1"/>'
            "\u202c</target></trans-unit>",
            'source-language="en" target-language="ar"',
        ),
        'Hi <x id="1"/>',
        targets=('\u202bمرحبا <x id="1"/>\u202c',),
        languages=("en", "ar"),
    ),
    odd(
        "50 KB",
        "a.xlf",
        xliff1(f'<trans-unit id="1"><source>{"word " * 10000}</source></trans-unit>'),
        "word " * 10000,
    ),
]


TMX = [
    odd(
        "one language missing, one unit empty",
        "a.tmx",
        tmx(tu(("en", "A"), ("de", "B")) + tu(("en", ""), ("fr", "C")) + tu(("de", "D"), ("fr", "E"))),
        "A",
        left_out={"the source is empty": 1, "no en": 1},
    ),
    odd(
        "several variants of a language",
        "a.tmx",
        tmx(tu(("en", "A"), ("fr-CA", "C"), ("fr", "B"), ("fr", "D"), ("en-GB", "A2"))),
        "A",
        targets=("B",),
        left_out={"further variants in fr": 2, "further variants in en": 1},
    ),
    odd("region variants", "a.tmx", tmx(tu(("EN-us", "A"), ("fr_FR", "B"))), "A", targets=("B",)),
    odd(
        "inline tags",
        "a.tmx",
        tmx(
            tu(
                (
                    "en",
                    'Press <bpt i="1" x="1">&lt;b></bpt>Save<ept i="1">&lt;/b></ept><it pos="begin">&lt;p></it> <hi>or '
                    "<ph>&lt;br/></ph></hi><ut>{}</ut>",
                ),
                ("fr", "B"),
            )
        ),
        'Press <bpt i="1" x="1">&lt;b&gt;</bpt>Save<ept i="1">&lt;/b&gt;</ept><it pos="begin">&lt;p&gt;</it> <hi>or '
        "<ph>&lt;br/&gt;</ph></hi><ut>{}</ut>",
        targets=("B",),
    ),
    odd(
        "srclang *all*, lang as in TMX 1.1, notes and props",
        "a.tmx",
        tmx(
            '<tu tuid="x"><note>N</note><prop type="p">P</prop>\n <tuv lang="fr"><note>M</note><seg/>'
            '</tuv>\n <tuv lang="en">'
            "<prop type='x'>1</prop><seg>A</seg></tuv>\n</tu>",
            'srclang="*all*"',
        ),
        "A",
        targets=("",),
    ),
    odd(
        "a variant without seg, and an empty one",
        "a.tmx",
        tmx(
            '<tu><tuv xml:lang="en"><seg>A</seg></tuv><tuv xml:lang="fr"/></tu><tu><tuv xml:lang="fr"></tuv>'
            '<tuv xml:lang="en"><seg>B</seg></tuv></tu>'
        ),
        "A",
        "B",
        targets=("", ""),
    ),
    odd("UTF-16, little endian without mark", "a.tmx", tmx(tu(("en", "Café"))).encode("utf-16-le"), "Café"),
    odd(
        "languages that are none",
        "a.tmx",
        tmx(tu(("en", "A"), ("", "x"), ("x-none", "y"), ("*all*", "z"))),
        "A",
    ),
    odd(
        "marked for review",
        "a.tmx",
        tmx(
            '<tu><tuv xml:lang="en"><seg>A</seg></tuv><tuv xml:lang="fr"><prop type="x-appkit-state">'
            "needs-review</prop>"
            "<seg>B</seg></tuv></tu>"
        ),
        "A",
        targets=("B",),
    ),
    odd(
        "right to left, CDATA",
        "a.tmx",
        tmx(tu(("en", "<![CDATA[1 < 2]]>"), ("he", "\u200fא &lt; ב"))),
        "1 < 2",
        targets=("\u200fא < ב",),
        languages=("en", "he"),
    ),
]
