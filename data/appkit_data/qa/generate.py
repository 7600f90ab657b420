"""Write the data set: `python generate.py` beside this file (seed 7).

A valley that there is not, its places drawn from word lists: each place is a document of five facts out of its kind's
eight. A question asks for one of them; its row shows the document beside two others, one of them of the same kind. The
places of the test side are others, and are asked for in words that no training question has.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from random import Random

import yaml

HERE = Path(__file__).parent
WORDS: dict[str, list[str]] = yaml.safe_load((HERE / "words.yaml").read_text(encoding="utf-8"))
NAMES = {
    "pass": "{n} Pass",
    "inn": "the {n} Inn",
    "museum": "the Museum of {n}",
    "ferry": "the {n} ferry",
}


@dataclass(frozen=True)
class Fact:
    """What a document can say: a line of facts.jsonl.

    value: what kind of thing {v} is. statement: of the place {n}. asked: training questions; other: of the test side.
    """

    kind: str
    value: str
    statement: str
    asked: tuple[str, str]
    other: str


def facts() -> dict[str, list[Fact]]:
    """By the kind of place."""
    lines = (HERE / "facts.jsonl").read_text(encoding="utf-8").splitlines()
    found: dict[str, list[Fact]] = {kind: [] for kind in NAMES}
    for one in map(json.loads, lines):
        found[one["kind"]].append(Fact(**one))
    return found


def value(kind: str, names: list[str], draw: Random) -> str:
    match kind:
        case "height":
            return f"{draw.randrange(820, 2790)} metres"
        case "minutes":
            return f"{draw.randrange(6, 95)} minutes"
        case "year":
            return str(draw.randrange(1683, 2019))
        case "count":
            return str(draw.randrange(3, 480))
        case "toll":
            return f"{draw.randrange(2, 90)} crowns"
        case "person":
            return f"{draw.choice(WORDS['first'])} {draw.choice(WORDS['last'])}"
        case "village":
            return names.pop()
        case _:
            return draw.choice(WORDS[kind])


@dataclass(frozen=True)
class Document:
    kind: str
    name: str
    text: str
    facts: tuple[tuple[Fact, str], ...]
    left: tuple[Fact, ...]


def documents(count: int, names: list[str], draw: Random) -> list[Document]:
    made, known = [], facts()
    for number in range(count):
        kind = list(NAMES)[number % len(NAMES)]
        name = NAMES[kind].format(n=names.pop())
        chosen = draw.sample(known[kind], 5)
        said = tuple((fact, value(fact.value, names, draw)) for fact in chosen)
        sentences = [fact.statement.format(n=name, v=one) for fact, one in said]
        opening = (
            f"{name[0].upper()}{name[1:]} is one of the {kind}{'e' * (kind == 'pass')}s of the Lower Selva."
        )
        text = " ".join([opening.replace("ferrys", "ferries"), *sentences])
        made.append(
            Document(kind, name, text, said, tuple(fact for fact in known[kind] if fact not in chosen))
        )
    return made


def rows(those: list[Document], side: str, of_each: int, draw: Random) -> list[dict[str, object]]:
    made = []
    for document in those:
        same = [one for one in those if one.kind == document.kind and one is not document]
        others = [one for one in those if one.kind != document.kind]
        for fact, answer in draw.sample(document.facts, of_each):
            made.append(
                row(document, fact, [answer], [document, draw.choice(same), draw.choice(others)], side, draw)
            )
        fact = draw.choice(document.left)  # a question that its document leaves open
        if draw.random() < 0.5:
            made.append(
                row(document, fact, [], [document, draw.choice(same), draw.choice(others)], side, draw)
            )
    draw.shuffle(made)
    return [{"id": f"qa-{side}-{number:04}", **one} for number, one in enumerate(made, 1)]


def row(
    document: Document, fact: Fact, answers: list[str], shown: list[Document], side: str, draw: Random
) -> dict[str, object]:
    pattern = fact.other if side == "test" else draw.choice(fact.asked)
    draw.shuffle(shown)
    return {
        "question": pattern.format(n=document.name),
        "passages": [one.text for one in shown],
        "answers": answers or ["not in the documents"],
        "supports": [shown.index(document) + 1] if answers else [],
    }


def main() -> None:
    draw = Random(7)
    names = [opening + ending for opening in WORDS["openings"] for ending in WORDS["endings"]]
    draw.shuffle(names)
    train, test = documents(120, names, draw), documents(40, names, draw)
    for side, those, of_each in (("train", train, 4), ("test", test, 4)):
        lines = [json.dumps(one, ensure_ascii=False) for one in rows(those, side, of_each, draw)]
        file = HERE / f"{side}.jsonl"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(
            f'  {file.name}: {{rows: {len(lines)}, sha256: "{hashlib.sha256(file.read_bytes()).hexdigest()}"}}'
        )
    handbook = [f"## {one.name[0].upper()}{one.name[1:]}\n\n{one.text}\n" for one in test]
    (HERE / "handbook.md").write_text(
        "# Handbook of the Lower Selva\n\n" + "\n".join(handbook), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
