"""TBX of 2008 and 2019, and files that are none or mean harm."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from appkit_tasks.translation.glossary import load_glossary
from appkit_tasks.translation.tbx import TbxTerm, read_tbx

MARTIF = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE martif SYSTEM "TBXBasiccoreStructV02.dtd">
<martif type="TBX-Basic" xml:lang="en"><text><body>
 <termEntry id="c1"><descrip type="subjectField">IT</descrip>
  <langSet xml:lang="en"><tig><term>account</term><termNote type="partOfSpeech">noun</termNote></tig></langSet>
  <langSet xml:lang="fr">
   <tig><term>profil</term><termNote type="administrativeStatus">admittedTerm-admn-sts</termNote></tig>
   <tig><term>compte</term><termNote type="administrativeStatus">preferredTerm-admn-sts</termNote></tig>
   <tig><term>fiche</term><termNote type="administrativeStatus">deprecatedTerm-admn-sts</termNote></tig>
  </langSet>
 </termEntry>
 <termEntry id="c2">
  <langSet xml:lang="en-US"><ntig><termGrp><term>address <hi>book</hi><!-- no text --></term></termGrp></ntig></langSet>
  <langSet xml:lang="fr-FR"><ntig><termGrp><term>carnet
      d'adresses</term></termGrp></ntig></langSet>
 </termEntry>
 <termEntry id="c3"><langSet xml:lang="en"><tig><term>save</term></tig></langSet></termEntry>
 <termEntry id="c4"><langSet xml:lang="de"><tig><term>Konto</term></tig></langSet></termEntry>
 <termEntry id="c5">
  <langSet xml:lang="en"><tig><term>host</term></tig></langSet>
  <langSet xml:lang="fr"><tig><term>maître</term>
   <termNote type="administrativeStatus">supersededTerm-admn-sts</termNote></tig></langSet>
 </termEntry>
</body></text></martif>
"""

TBX_2019 = """<?xml version="1.0" encoding="{encoding}"?>
<tbx style="{style}" type="TBX-Basic" xml:lang="en" xmlns="urn:iso:std:iso:30042:ed-2"
  xmlns:min="http://www.tbxinfo.net/ns/min"><text><body>
 <conceptEntry id="c1">
  <langSec xml:lang="en">
   <termSec><term>account</term></termSec><termSec><term>user account</term></termSec>
  </langSec>
  <langSec xml:lang="fr">
   <termSec><term>profil</term></termSec><termSec><term>compte</term>{note}</termSec>
  </langSec>
 </conceptEntry>
</body></text></tbx>
"""
DCA = '<termNote type="administrativeStatus">preferredTerm-admn-sts</termNote>'
DCT = "<min:administrativeStatus>preferredTerm-admn-sts</min:administrativeStatus>"


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "terms.tbx"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_martif(tmp_path: Path) -> None:
    glossary = load_glossary(write(tmp_path, MARTIF), "en", "fr")
    assert [(entry.source, entry.targets, entry.noun) for entry in glossary.entries] == [
        ("account", ("compte", "profil"), True),
        ("address book", ("carnet d'adresses",), False),
    ]
    assert glossary.notes == (
        "terms.tbx: 1 entry left out: no translation (first: line 17)",
        "terms.tbx: 1 entry left out: of other languages (first: line 18)",
        "terms.tbx: 1 entry left out: only deprecated translations (first: line 19)",
        "terms.tbx: 1 term has several translations, the first is preferred and all count as right (first: 'account')",
    )
    with pytest.raises(ValueError, match="no entry from en to it"):
        load_glossary(tmp_path / "terms.tbx", "en", "it")


@pytest.mark.parametrize(("style", "note"), [("dca", DCA), ("dct", DCT)])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_tbx_of_2019_in_both_styles(tmp_path: Path, style: str, note: str, encoding: str) -> None:
    content = TBX_2019.format(style=style, note=note, encoding=encoding).encode(encoding)
    glossary = load_glossary(write(tmp_path, content), "en", "fr")
    assert [(entry.source, entry.targets) for entry in glossary.entries] == [
        ("account", ("compte", "profil")),
        ("user account", ("compte", "profil")),
    ]


def test_terms_keep_their_status() -> None:
    concept = next(iter(read_tbx(MARTIF.encode(), "a.tbx")))
    assert concept.place == "line 4"
    assert concept.terms["en"] == [TbxTerm("account", False, False, "noun")]
    assert concept.terms["fr"][1:] == [TbxTerm("compte", True, False), TbxTerm("fiche", False, True)]


def laughs(where: str) -> str:
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    return f'<!DOCTYPE martif [<!ENTITY l0 "lol">{entities}]><martif{where}</martif>'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (laughs("><text>&l11;</text>"), "entity|well-formed"),
        (laughs(' type="&l11;">'), "well-formed"),
        (
            '<!DOCTYPE martif [<!ENTITY e "x">]><martif/>',
            "declares the entity 'e', and entities are not read",
        ),
        (
            '<!DOCTYPE martif [<!ENTITY e SYSTEM "file:///etc/passwd">]><martif><term>&e;</term></martif>',
            "declares the entity 'e'",
        ),
        (
            '<!DOCTYPE martif [<!ENTITY % e SYSTEM "http://127.0.0.1:1/x"> %e;]><martif/>',
            "entity|well-formed",
        ),
        ("<a>" * 5000 + "</a>" * 5000, "well-formed"),
        ("", "well-formed"),
        ("<martif>", "well-formed"),
        ("not xml", "well-formed"),
        ("<tmx version='1.4'/>", "is no TBX: its root is 'tmx'"),
        ("<martif/>", "no entry from en to fr"),
    ],
)
def test_refused(tmp_path: Path, content: str, message: str) -> None:
    began = time.process_time()
    with pytest.raises(ValueError, match=message) as refusal:
        load_glossary(write(tmp_path, content), "en", "fr")
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400
    assert "root:" not in str(refusal.value)
    assert time.process_time() - began < 2
