"""Lists spans of each kind for tests, and draws texts that hold them, parts of them, or their signs."""

from __future__ import annotations

from hypothesis import strategies as st

SPANS = {
    "printf": [
        "%s",
        "%d",
        "%1$s",
        "%2$-5d",
        "%(name)s",
        "%(full name)r",
        "%-5.2f",
        "%.255s",
        "%*d",
        "%%",
        "%ld",
        "%lu",
        "%@",
        "%05x",
    ],
    "brace": [
        "{0}",
        "{name}",
        "{user.name}",
        "{items[0]}",
        "{name!r:>10}",
        "{:>{width}}",
        "{0:N2}",
        "{0,-10}",
        "{}",
        "{{ title }}",
        "%{count}",
        "%<n>d",
        "{% endif %}",
    ],
    "icu": [
        "{n, plural, one {# file} other {# files}}",
        "{n,plural,=0{none}other{{name} and #}}",
        "{when, date, short}",
        "{g, select, male {he} other {they}}",
    ],
    "tag": [
        "<b>",
        "</b>",
        "<br/>",
        "<br />",
        '<a href="https://example.com/?a=1&b=2" title="x">',
        "<x id='1'/>",
        "&nbsp;",
        "&#160;",
        "&#xA0;",
        '<g id="1">',
        "<input disabled>",
        "<h2>",
        '<xliff:g id="n">',
        r"<a href=\"x\">",
    ],
    "url": ["https://example.com/a_(b)?q=%20x#y", "ftp://example.com", "www.example.com/a"],
    "email": ["ada.l+x@mail.example.org"],
    "markdown": ["`code`", "**", "](https://example.com/a_(b))", "](#anchor)", "```py\nx = 1\n```", "## "],
    "rst": [
        "``code``",
        "``a `b` c``",
        ":ref:`words <target>`",
        ":py:func:`~a.b`",
        "`words <https://example.com>`_",
        "`words`_",
        "|release|",
        "[1]_",
        "[#note]_",
    ],
    "env": ["$HOME", "${HOME}", "${HOME:-/root}", "%PATH%", "$USER_NAME$"],
    "escape": [r"\n", r"\t", r"\u00e9", r"\x1b", r"\\"],
}


SIGNS = st.text(alphabet="ab1 \n%{}()<>/&;:`*[]|$\\@#_.,'\"=-é日한!snd")
PIECES = [*(text for texts in SPANS.values() for text in texts), "a", " ", "\n", "5 "]
ANY_TEXT = st.one_of(SIGNS, st.text(), st.lists(st.sampled_from(PIECES)).map("".join))
