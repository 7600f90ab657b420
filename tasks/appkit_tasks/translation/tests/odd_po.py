"""Odd PO files, with the segments that a translator sees in them."""

from __future__ import annotations

import codecs

from appkit_tasks.translation.tests.builders import odd, po

ONE = 'msgid "Save"\nmsgstr ""\n'
HEAD = {"the header": 1}

PO = [
    odd("no header", "a.po", ONE, "Save"),
    odd("an empty file", "a.po", ""),
    odd("only a header", "a.po", po(""), left_out=HEAD),
    odd(
        "no line end at the end",
        "a.po",
        po('msgid "Save"\nmsgstr "Enregistrer"'),
        "Save",
        targets=("Enregistrer",),
        left_out=HEAD,
    ),
    odd("CRLF", "a.po", po(ONE).replace("\n", "\r\n"), "Save", left_out=HEAD),
    odd("CR", "a.po", po(ONE).replace("\n", "\r"), "Save", left_out=HEAD),
    odd(
        "mixed line ends",
        "a.po",
        po('#: a.c:1\r\nmsgid ""\r"Save "\n"it"\r\nmsgstr ""\r\n'),
        "Save it",
        left_out=HEAD,
    ),
    odd("byte order mark", "a.po", codecs.BOM_UTF8 + po(ONE).encode(), "Save", left_out=HEAD),
    odd(
        "UTF-16",
        "a.po",
        codecs.BOM_UTF16_LE + po('msgid "Café"\nmsgstr ""\n').encode("utf-16-le"),
        "Café",
        left_out=HEAD,
    ),
    odd(
        "ISO-8859-2",
        "a.po",
        po('msgid "Łódź"\nmsgstr "Łódka"\n', "ISO-8859-2").encode("iso-8859-2"),
        "Łódź",
        targets=("Łódka",),
        left_out=HEAD,
    ),
    odd(
        "Shift_JIS",
        "a.po",
        po('msgid "表示"\nmsgstr ""\n', "Shift_JIS").encode("shift_jis"),
        "表示",
        left_out=HEAD,
        languages=("ja", "fr"),
    ),
    odd(
        "a template",
        "a.pot",
        po(ONE, "CHARSET", "nplurals=INTEGER; plural=EXPRESSION;").replace("Language: fr", "Language: "),
        "Save",
        left_out=HEAD,
    ),
    odd(
        "several strings on a line, tabs, no space",
        "a.po",
        'msgid\t"Sa" "ve"\n  "!"\nmsgstr"Enre"\t"gistrer"\n',
        "Save!",
        targets=("Enregistrer",),
    ),
    odd(
        "no blank lines between entries",
        "a.po",
        'msgid "A"\nmsgstr "B"\nmsgid "C"\nmsgstr "D"\n#: x\nmsgid "E"\nmsgstr ""',
        "A",
        "C",
        "E",
        targets=("B", "D", ""),
    ),
    odd(
        "blank lines within an entry",
        "a.po",
        '#, fuzzy\n\nmsgid "A"\n\n\nmsgstr "B"\n\n\n',
        "A",
        targets=("B",),
    ),
    odd(
        "escapes",
        "a.po",
        r'msgid "a \"b\" \\n \t c\n"' + '\nmsgstr "é \\"b\\" \\\\n \\t c\\n"\n',
        'a "b" \\n \t c\n',
        targets=('é "b" \\n \t c\n',),
    ),
    odd(
        "obsolete entries with all that belongs to them",
        "a.po",
        po(
            ONE + '\n#, fuzzy\n#~| msgid "old"\n#~ msgctxt "x"\n#~ msgid "gone"\n#~ msgstr ""\n#~ "parti"\n\n'
            '#~ msgid "one"\n#~ msgid_plural "many"\n#~ msgstr[0] "un"\n'
        ),
        "Save",
        left_out=HEAD | {"obsolete (#~)": 2},
    ),
    odd(
        "plural, partly translated",
        "a.po",
        po('msgid "%d file"\nmsgid_plural "%d files"\nmsgstr[0] "%d fichier"\nmsgstr[1] ""\n'),
        "%d file",
        "%d files",
        targets=("%d fichier", ""),
        left_out=HEAD,
    ),
    odd(
        "plural without its last form",
        "a.po",
        po('msgid "%d file"\nmsgid_plural "%d files"\nmsgstr[0] ""\n\nmsgid "A"\nmsgstr ""\n'),
        "%d file",
        "%d files",
        "A",
        left_out=HEAD,
    ),
    odd(
        "plural with forms too many",
        "a.po",
        po('msgid "f"\nmsgid_plural "ff"\nmsgstr[0] ""\nmsgstr[1] ""\nmsgstr[2] "x"\n'),
        "f",
        "ff",
        left_out=HEAD | {"plural forms beyond 2": 1},
    ),
    odd(
        "broken plural header",
        "a.po",
        po('msgid "f"\nmsgid_plural "ff"\nmsgstr[0] ""\nmsgstr[1] ""\n', plural="nplurals=2; plural=n >< 1"),
        "f",
        "ff",
        left_out=HEAD,
    ),
    odd(
        "context, previous, comments of every kind",
        "a.po",
        po(
            '# translator\n#. author\n#: a.c:1 b.c:2\n#, fuzzy, c-format\n#| msgctxt "m"\n'
            '#| msgid "Sav"\n#\nmsgctxt "menu"\n'
            'msgid "Save"\nmsgstr "Sauver"\n'
        ),
        "Save",
        targets=("Sauver",),
        left_out=HEAD,
    ),
    odd(
        "context with an empty msgid",
        "a.po",
        'msgctxt "c"\nmsgid ""\nmsgstr ""\n',
        left_out={"the source is empty": 1},
    ),
    odd(
        "right to left",
        "a.po",
        'msgid "Hi %s"\nmsgstr "\u202bשלום %s\u202c"\n',
        "Hi %s",
        targets=("\u202bשלום %s\u202c",),
        languages=("en", "he"),
    ),
    odd(
        "line separators that are no line ends",
        "a.po",
        'msgid "a\u2028b\x85c\x0cd"\nmsgstr ""\n',
        "a\u2028b\x85c\x0cd",
    ),
    odd("50 KB in one line", "a.po", f'msgid "{"word " * 10000}end"\nmsgstr ""\n', "word " * 10000 + "end"),
]
