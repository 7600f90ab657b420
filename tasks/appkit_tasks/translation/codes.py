"""Reads language codes: BCP 47 as written in practice becomes its canonical form, with names for prompts.

Source of names, default scripts and replaced codes: CLDR 47 (through Babel 2.19).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from appkit.errors import shortened

__all__ = ["base_of", "is_right_to_left", "is_spaceless", "name_of", "normalize", "script_of"]

TABLE = """
Latn: aa/aar Afar, ace Acehnese, af/afr Afrikaans, ak/aka Akan, an/arg Aragonese, arn Mapuche, ast Asturian, ay/aym
  Aymara, az/aze Azerbaijani, ban Balinese, bar Bavarian, bem Bemba, bi/bis Bislama, bjn Banjar, bm/bam Bambara,
  br/bre Breton, bs/bos Bosnian, bug Buginese, ca/cat Catalan, ceb Cebuano, ch/cha Chamorro, co/cos Corsican, crh
  Crimean Tatar, cs/ces Czech, cy/cym Welsh, da/dan Danish, de/deu German, din Dinka, dsb Lower Sorbian, dyu Dyula,
  ee/ewe Ewe, efi Efik, en/eng English, eo/epo Esperanto, es/spa Spanish, et/est Estonian, eu/eus Basque, ff/ful
  Fula, fi/fin Finnish, fil Filipino, fj/fij Fijian, fo/fao Faroese, fon Fon, fr/fra French, fur Friulian, fy/fry
  Western Frisian, ga/gle Irish, gd/gla Scottish Gaelic, gl/glg Galician, gn/grn Guarani, gsw Swiss German, gv/glv
  Manx, ha/hau Hausa, haw Hawaiian, hil Hiligaynon, hmn Hmong, hr/hrv Croatian, hsb Upper Sorbian, ht/hat Haitian
  Creole, hu/hun Hungarian, ia/ina Interlingua, iba Iban, id/ind Indonesian, ig/ibo Igbo, ik/ipk Inupiaq, ilo Iloko,
  is/isl Icelandic, it/ita Italian, jv/jav Javanese, kab Kabyle, kac Kachin, kam Kamba, kea Kabuverdianu, kg/kon
  Kongo, kha Khasi, ki/kik Kikuyu, kl/kal Kalaallisut, kmb Kimbundu, kr/kau Kanuri, ku/kur Kurdish, kw/cor Cornish,
  la/lat Latin, lb/ltz Luxembourgish, lg/lug Ganda, li/lim Limburgish, lij Ligurian, lmo Lombard, ln/lin Lingala,
  lt/lit Lithuanian, ltg Latgalian, lu/lub Luba-Katanga, lua Luba-Lulua, luo Luo, lus Mizo, lv/lav Latvian, mad
  Madurese, mg/mlg Malagasy, mh/mah Marshallese, mi/mri Māori, min Minangkabau, mos Mossi, ms/msa Malay, mt/mlt
  Maltese, nap Neapolitan, nb/nob Norwegian Bokmål, nd/nde North Ndebele, nds Low German, ng/ndo Ndonga, nl/nld
  Dutch, nn/nno Norwegian Nynorsk, no/nor Norwegian, nr/nbl South Ndebele, nso Northern Sotho, nus Nuer, nv/nav
  Navajo, ny/nya Nyanja, oc/oci Occitan, om/orm Oromo, pag Pangasinan, pam Pampanga, pap Papiamento, pcm Nigerian
  Pidgin, pl/pol Polish, pt/por Portuguese, qu/que Quechua, quc Kʼicheʼ, rm/roh Romansh, rn/run Rundi, ro/ron
  Romanian, rom Romany, rw/kin Kinyarwanda, sc/srd Sardinian, scn Sicilian, se/sme Northern Sami, sg/sag Sango,
  sk/slk Slovak, sl/slv Slovenian, sm/smo Samoan, smn Inari Sami, sn/sna Shona, so/som Somali, sq/sqi Albanian,
  ss/ssw Swati, st/sot Southern Sotho, su/sun Sundanese, sv/swe Swedish, sw/swa Swahili, szl Silesian, tet Tetum,
  tk/tuk Turkmen, tmh Tamashek, tn/tsn Tswana, to/ton Tongan, tpi Tok Pisin, tr/tur Turkish, ts/tso Tsonga, tum
  Tumbuka, ty/tah Tahitian, tzm Central Atlas Tamazight, umb Umbundu, uz/uzb Uzbek, ve/ven Venda, vec Venetian,
  vi/vie Vietnamese, vmw Makhuwa, vo/vol Volapük, vro Võro, wa/wln Walloon, war Waray, wo/wol Wolof, xh/xho Xhosa,
  yo/yor Yoruba, za/zha Zhuang, zu/zul Zulu, zza Zaza
Cyrl: ab/abk Abkhazian, av/ava Avaric, ba/bak Bashkir, be/bel Belarusian, bg/bul Bulgarian, ce/che Chechen, cu/chu
  Church Slavic, cv/chv Chuvash, kk/kaz Kazakh, krc Karachay-Balkar, kv/kom Komi, ky/kir Kyrgyz, lez Lezghian,
  mk/mkd Macedonian, mn/mon Mongolian, mrj Western Mari, myv Erzya, os/oss Ossetic, ru/rus Russian, sah Yakut,
  sr/srp Serbian, tg/tgk Tajik, tt/tat Tatar, tyv Tuvinian, udm Udmurt, uk/ukr Ukrainian, xal Kalmyk
Arab: aeb Tunisian Arabic, ar/ara Arabic, ars Najdi Arabic, ary Moroccan Arabic, arz Egyptian Arabic, bal Baluchi,
  ckb Central Kurdish, fa/fas Persian, glk Gilaki, ks/kas Kashmiri, lrc Northern Luri, mzn Mazanderani, ps/pus
  Pashto, sd/snd Sindhi, sdh Southern Kurdish, ug/uig Uyghur, ur/urd Urdu
Deva: awa Awadhi, bho Bhojpuri, brx Bodo, doi Dogri, hi/hin Hindi, hif Fiji Hindi, kok Konkani, mag Magahi, mai
  Maithili, mr/mar Marathi, ne/nep Nepali, new Newari, sa/san Sanskrit
Ethi: am/amh Amharic, ti/tir Tigrinya, wal Wolaytta
Beng: as/asm Assamese, bn/ben Bengali, mni Manipuri
Cans: cr/cre Cree, iu/iku Inuktitut, oj/oji Ojibwa
Hebr: he/heb Hebrew, lad Ladino, yi/yid Yiddish
Hans: nan Min Nan Chinese, wuu Wu Chinese, zh/zho Chinese
Tibt: bo/bod Tibetan, dz/dzo Dzongkha
Grek: el/ell Greek, grc Ancient Greek
Mymr: my/mya Burmese, shn Shan
Tfng: shi Tachelhit, zgh Standard Moroccan Tamazight
Cher: chr Cherokee
Thaa: dv/div Divehi
Gujr: gu/guj Gujarati
Armn: hy/hye Armenian
Jpan: ja/jpn Japanese
Geor: ka/kat Georgian
Khmr: km/khm Khmer
Knda: kn/kan Kannada
Kore: ko/kor Korean
Laoo: lo/lao Lao
Mlym: ml/mal Malayalam
Orya: or/ori Odia
Guru: pa/pan Punjabi
Olck: sat Santali
Sinh: si/sin Sinhala
Syrc: syr Syriac
Taml: ta/tam Tamil
Telu: te/tel Telugu
Thai: th/tha Thai
Hant: yue Cantonese
"""
"""script in which they are written if the code names none: code/ISO 639-2 code and English name of each language"""

REPLACEMENTS = """
iw:he in:id ji:yi jw:jv mo:ro mol:ro tl:fil tgl:fil tw:ak twi:ak bh:bho
alb:sq arm:hy baq:eu bur:my chi:zh cze:cs dut:nl fre:fr geo:ka ger:de gre:el ice:is mac:mk mao:mi may:ms per:fa rum:ro
slo:sk tib:bo wel:cy
als:sq arb:ar ayr:ay azj:az cmn:zh ekk:et fuv:ff gaz:om gom:kok gug:gn ike:iu kmr:ku knc:kr lvs:lv khk:mn npi:ne ory:or
pbt:ps pbu:ps pes:fa plt:mg quy:qu quz:qu src:sc swh:sw uzn:uz ydd:yi zsm:ms
"""
"""withdrawn codes, the bibliographic ones of ISO 639-2, and members of a macrolanguage that stand for it (FLORES)"""

NAMES = {
    "de-AT": "Austrian German",
    "de-CH": "Swiss High German",
    "en-AU": "Australian English",
    "en-CA": "Canadian English",
    "en-GB": "British English",
    "en-US": "American English",
    "es-419": "Latin American Spanish",
    "es-ES": "European Spanish",
    "es-MX": "Mexican Spanish",
    "fa-AF": "Dari",
    "fr-CA": "Canadian French",
    "fr-CH": "Swiss French",
    "nl-BE": "Flemish",
    "pt-BR": "Brazilian Portuguese",
    "pt-PT": "European Portuguese",
    "zh-CN": "Simplified Chinese",
    "zh-SG": "Simplified Chinese (SG)",
    "zh-Hans": "Simplified Chinese",
    "zh-Hant": "Traditional Chinese",
    "zh-TW": "Traditional Chinese",
    "zh-HK": "Traditional Chinese (HK)",
    "zh-MO": "Traditional Chinese (MO)",
}
"""names that are not put together from those of the parts"""

HOME = {
    "ar-EG", "be-BY", "bn-BD", "bs-BA", "ca-ES", "cs-CZ", "da-DK", "el-GR", "et-EE", "eu-ES", "fa-IR", "fil-PH",
    "ga-IE", "gl-ES", "gu-IN", "he-IL", "hi-IN", "hy-AM", "ja-JP", "ka-GE", "kk-KZ", "km-KH", "kn-IN", "ko-KR",
    "lo-LA", "ml-IN", "mr-IN", "ms-MY", "my-MM", "nb-NO", "ne-NP", "nn-NO", "no-NO", "pa-IN", "sl-SI", "sq-AL",
    "sr-RS", "sv-SE", "sw-TZ", "ta-IN", "te-IN", "uk-UA", "ur-PK", "vi-VN",
}  # fmt: skip
"""languages with the region that is meant anyway, where it is not spelled as the language is (fr-FR)"""

SCRIPTS = {"Latn": "Latin", "Cyrl": "Cyrillic", "Arab": "Arabic", "Deva": "Devanagari", "Hebr": "Hebrew"}

RIGHT_TO_LEFT = frozenset({"Arab", "Hebr", "Syrc", "Thaa", "Nkoo", "Adlm"})
SPACELESS = frozenset({"zh", "ja", "th", "lo", "km", "my", "yue", "wuu", "nan"})

CODE = re.compile(
    r"(?P<language>[a-z]{2,3})(?:-(?P<extended>[a-z]{3}))?(?:-(?P<script>[a-z]{4}))?(?:-(?P<region>[a-z]{2}|\d{3}))?"
    r"(?P<variants>(?:-(?:[a-z\d]{5,8}|\d[a-z\d]{3}))*)"
    r"(?P<rest>(?:-[a-wyz\d](?:-[a-z\d]{2,8})+)*(?:-x(?:-[a-z\d]{1,8})+)?)"
)
MODIFIERS = {"latin": "Latn", "cyrillic": "Cyrl", "devanagari": "Deva", "arabic": "Arab"}
"""of POSIX: `sr_RS@latin`"""

NO_LANGUAGE = frozenset({"und", "mul", "zxx", "mis", "qaa"})


class Language(NamedTuple):
    """A row of TABLE."""

    name: str
    script: str


@lru_cache(maxsize=1)
def _table() -> tuple[dict[str, Language], dict[str, str]]:
    """Returns the languages by code, and the codes that stand for others."""
    languages, codes = {}, dict(pair.split(":") for pair in REPLACEMENTS.split())
    for line in re.sub(r"\n  ", " ", TABLE).strip().splitlines():
        script, _, items = line.partition(": ")
        for item in items.split(", "):
            written, _, name = item.partition(" ")
            code, _, three = written.partition("/")
            languages[code] = Language(name, script)
            if three:
                codes[three] = code
    return languages, codes


@lru_cache(maxsize=4096)
def normalize(code: str) -> str:
    """Returns the canonical BCP 47 code: `fr` for `FR`, `fr_XX` or `fra`, `pt-BR` for `pt_br.UTF-8`, `zh-Hant`.

    A three-letter code that is not in the table is taken as it is: ISO 639-3 has thousands. Raises ValueError for
    anything else.
    """
    written, _, modifier = code.strip().partition("@")
    match = CODE.fullmatch(written.partition(".")[0].replace("_", "-").lower())
    languages, codes = _table()
    language = match["language"] if match else ""
    language = codes.get(language, language)
    if match and match["extended"]:
        language = codes.get(match["extended"], match["extended"])
    if match is None or language in NO_LANGUAGE or (len(language) == 2 and language not in languages):
        raise ValueError(
            f"must be a language code of BCP 47 such as fr or pt-BR, got {shortened(code)}{_hint(code)}"
        )
    script = (match["script"] or MODIFIERS.get(modifier.lower(), "")).title()
    if language in languages and script == languages[language].script and language != "zh":
        script = ""
    region = (match["region"] or "").upper().replace("UK", "GB")
    variants = match["variants"].strip("-") or ("valencia" if modifier.lower() == "valencia" else "")
    parts = [language, script, "" if region in {"XX", "ZZ"} else region, variants, match["rest"].strip("-")]
    return "-".join(part for part in parts if part)


def _hint(code: str) -> str:
    wanted = code.strip().casefold()
    for language, (name, _) in _table()[0].items():
        if wanted == name.casefold():
            return f"; write {language}"
    return ""


def base_of(code: str) -> str:
    """Returns the language alone of a normalized code: `pt` of `pt-BR`."""
    return code.partition("-")[0]


@lru_cache(maxsize=4096)
def script_of(code: str) -> str:
    """Returns the script (ISO 15924) in which a normalized code is written: `Latn`, `Hant`; empty if not known.

    `zh` alone is `Hani`, either of `Hans` and `Hant`.
    """
    parts = code.split("-")[1:]
    if parts and len(parts[0]) == 4 and parts[0].isalpha():
        return parts[0]
    if base_of(code) == "zh":
        return "Hant" if {"TW", "HK", "MO"} & {*parts} else "Hans" if parts else "Hani"
    language = _table()[0].get(base_of(code))
    return language.script if language else ""


def name_of(code: str) -> str:
    """Returns the English name of a normalized code for prompts: `French`, `Brazilian Portuguese`.

    Where CLDR has no name for a language in a region, the region stays a code: `Arabic (MA)`. A language that the
    table lacks is its code.
    """
    if code in NAMES:
        return NAMES[code]
    language = _table()[0].get(base_of(code))
    name = language.name if language else base_of(code)
    details = []
    for part in code.split("-")[1:]:
        if len(part) == 1:
            break  # an extension: sorting, numbers
        if len(part) == 4 and part.isalpha():
            details.append(SCRIPTS.get(part, part))
        else:
            details.append(part)
    if code in HOME or code == f"{base_of(code)}-{base_of(code).upper()}":
        return name
    shorter = code.rpartition("-")[0]
    if shorter in NAMES and details:
        return f"{NAMES[shorter]} ({details[-1]})"
    return f"{name} ({', '.join(details)})" if details else name


def is_spaceless(code: str) -> bool:
    """Tells whether a normalized code's language is written without space between words."""
    return base_of(code) in SPACELESS


def is_right_to_left(code: str) -> bool:
    """Tells whether a normalized code's language is written from right to left."""
    return script_of(code) in RIGHT_TO_LEFT
