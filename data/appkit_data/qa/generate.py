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

HERE = Path(__file__).parent
OPENINGS = "Ald Bir Cor Dal Es Fen Gar Hol Is Jor Kel Lun Mar Nor Os Per Quil Ras Sel Tor Ul Vin Wes Yar Zel".split()
ENDINGS = "berg by dale eck fell garth heim ing kirk low mere ness ock ridge stad thorpe um vik wick".split()
FIRST = "Ada Bela Carl Dora Emil Frida Gus Hanna Ivo Jonas Kaja Leo Mina Nils Olga Paul Rita Sven Tilda Uwe".split()
LAST = "Amsel Brandt Corvin Dorn Egger Falk Gruber Holm Imhof Jost Kern Lund Moser Noll Oster Pohl Quast Rieder".split()
THINGS = {
    "stone": ["granite", "slate", "sandstone", "limestone", "basalt"],
    "colour": ["dark red", "pale green", "ochre", "white", "sky blue", "black"],
    "dish": ["barley soup", "plum dumplings", "smoked trout", "rye pancakes", "chestnut stew", "cheese pie"],
    "month": "January February March April May June July August September October November December".split(),
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(),
    "tree": ["a lime tree", "an old oak", "a tall birch", "a walnut tree", "a poplar"],
    "bird": ["storks", "swifts", "jackdaws", "barn owls", "herons", "choughs"],
    "craft": ["bell founding", "glass blowing", "basket weaving", "bookbinding", "clock making", "felt making"],
}


@dataclass(frozen=True)
class Fact:
    """statement: with {n}, the place, and {v}. asked: training questions; other: the question of the test side."""

    value: str
    statement: str
    asked: tuple[str, str]
    other: str


KINDS: dict[str, tuple[str, tuple[Fact, ...]]] = {
    "pass": (
        "{n} Pass",
        (
            Fact("height", "The road over {n} climbs to {v}.", ("How high is {n}?", "To what height does the road over {n} climb?"), "What altitude does {n} reach?"),
            Fact("month", "Snow closes {n} from {v} on.", ("From which month on is {n} closed?", "When does snow close {n}?"), "In which month does the closure of {n} begin?"),
            Fact("year", "The road was finished in {v}.", ("When was the road over {n} finished?", "In which year was the road over {n} done?"), "Which year saw the completion of the road over {n}?"),
            Fact("person", "It was planned by {v}.", ("Who planned the road over {n}?", "By whom was the road over {n} planned?"), "Whose plan was the road over {n}?"),
            Fact("count", "It has {v} hairpin bends.", ("How many hairpin bends does {n} have?", "How many bends are there on {n}?"), "What is the number of hairpin bends on {n}?"),
            Fact("toll", "A car pays {v} for the crossing.", ("What does a car pay at {n}?", "How much is the toll at {n}?"), "What is the price of crossing {n} by car?"),
            Fact("village", "The last village before it is {v}.", ("What is the last village before {n}?", "Which village comes last before {n}?"), "After which village does the climb to {n} start?"),
            Fact("bird", "Near the top nest {v}.", ("Which birds nest near the top of {n}?", "What nests near the top of {n}?"), "What birds can be seen nesting on {n}?"),
        ),
    ),
    "inn": (
        "the {n} Inn",
        (
            Fact("count", "It has {v} rooms.", ("How many rooms does {n} have?", "How many rooms are there in {n}?"), "What is the number of rooms at {n}?"),
            Fact("person", "It is kept by {v}.", ("Who keeps {n}?", "Who is the innkeeper of {n}?"), "Who runs {n}?"),
            Fact("year", "The house was built in {v}.", ("When was {n} built?", "In which year was {n} built?"), "How old is {n}, by the year of its building?"),
            Fact("dish", "It is known for its {v}.", ("What is {n} known for?", "Which dish is {n} known for?"), "What should one eat at {n}?"),
            Fact("day", "The kitchen is closed on {v}.", ("On which day is the kitchen of {n} closed?", "When is the kitchen of {n} closed?"), "Which day of the week can one not eat at {n}?"),
            Fact("colour", "Its shutters are painted {v}.", ("What colour are the shutters of {n}?", "How are the shutters of {n} painted?"), "In which colour does one find the shutters of {n}?"),
            Fact("tree", "In the yard stands {v}.", ("What stands in the yard of {n}?", "Which tree is in the yard of {n}?"), "What grows in the yard of {n}?"),
            Fact("toll", "A night there is {v}.", ("What is the price of a night at {n}?", "How much is a night at {n}?"), "What does one pay to sleep at {n}?"),
        ),
    ),
    "museum": (
        "the Museum of {n}",
        (
            Fact("craft", "It shows the history of {v}.", ("What does {n} show the history of?", "Which craft is {n} about?"), "To which craft is {n} devoted?"),
            Fact("year", "It was opened in {v}.", ("When was {n} opened?", "In which year did {n} open?"), "Since which year has {n} been open?"),
            Fact("person", "Its director is {v}.", ("Who is the director of {n}?", "Who directs {n}?"), "Who is in charge of {n}?"),
            Fact("count", "It holds {v} pieces.", ("How many pieces does {n} hold?", "How many pieces are there in {n}?"), "How large is the collection of {n}, in pieces?"),
            Fact("day", "Entry is free on {v}.", ("On which day is entry to {n} free?", "When is entry to {n} free?"), "Which day costs nothing at {n}?"),
            Fact("stone", "The building is of {v}.", ("What is the building of {n} made of?", "Of which stone is {n} built?"), "What stone was used for {n}?"),
            Fact("toll", "A ticket is {v}.", ("How much is a ticket for {n}?", "What does a ticket for {n} cost?"), "What is the price of entry to {n}?"),
            Fact("village", "A branch of it is in {v}.", ("Where does {n} have a branch?", "In which village is the branch of {n}?"), "Which place hosts a branch of {n}?"),
        ),
    ),
    "ferry": (
        "the {n} ferry",
        (
            Fact("minutes", "The crossing takes {v}.", ("How long does the crossing by {n} take?", "How long is one on {n}?"), "What time does a ride on {n} need?"),
            Fact("person", "Its captain is {v}.", ("Who is the captain of {n}?", "Who steers {n}?"), "Under whose command is {n}?"),
            Fact("count", "It carries {v} passengers.", ("How many passengers does {n} carry?", "For how many people is there room on {n}?"), "What is the capacity of {n} in passengers?"),
            Fact("colour", "Its hull is {v}.", ("What colour is the hull of {n}?", "How is the hull of {n} painted?"), "By which colour of hull does one know {n}?"),
            Fact("month", "It rests in {v} for repairs.", ("In which month does {n} rest?", "When is {n} repaired?"), "During which month is {n} out of service?"),
            Fact("year", "It has sailed since {v}.", ("Since when has {n} sailed?", "Since which year has {n} been sailing?"), "What was the first year of {n}?"),
            Fact("village", "It lands at {v}.", ("Where does {n} land?", "At which village does {n} land?"), "What is the destination of {n}?"),
            Fact("toll", "A passage is {v}.", ("How much is a passage on {n}?", "What does a passage on {n} cost?"), "What fare is asked on {n}?"),
        ),
    ),
}  # fmt: skip


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
            return f"{draw.choice(FIRST)} {draw.choice(LAST)}"
        case "village":
            return names.pop()
        case _:
            return draw.choice(THINGS[kind])


@dataclass(frozen=True)
class Document:
    kind: str
    name: str
    text: str
    facts: tuple[tuple[Fact, str], ...]
    left: tuple[Fact, ...]


def documents(count: int, names: list[str], draw: Random) -> list[Document]:
    made = []
    for number in range(count):
        kind = list(KINDS)[number % len(KINDS)]
        pattern, facts = KINDS[kind]
        name = pattern.format(n=names.pop())
        chosen = draw.sample(facts, 5)
        said = tuple((fact, value(fact.value, names, draw)) for fact in chosen)
        sentences = [fact.statement.format(n=name, v=one) for fact, one in said]
        opening = f"{name[0].upper()}{name[1:]} is one of the {kind}{'e' * (kind == 'pass')}s of the Lower Selva."
        text = " ".join([opening.replace("ferrys", "ferries"), *sentences])
        made.append(Document(kind, name, text, said, tuple(fact for fact in facts if fact not in chosen)))
    return made


def rows(those: list[Document], side: str, of_each: int, draw: Random) -> list[dict[str, object]]:
    made = []
    for document in those:
        same = [one for one in those if one.kind == document.kind and one is not document]
        others = [one for one in those if one.kind != document.kind]
        for fact, answer in draw.sample(document.facts, of_each):
            made.append(row(document, fact, [answer], [document, draw.choice(same), draw.choice(others)], side, draw))
        fact = draw.choice(document.left)  # a question that its document leaves open
        if draw.random() < 0.5:
            made.append(row(document, fact, [], [document, draw.choice(same), draw.choice(others)], side, draw))
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
    names = [opening + ending for opening in OPENINGS for ending in ENDINGS]
    draw.shuffle(names)
    train, test = documents(120, names, draw), documents(40, names, draw)
    for side, those, of_each in (("train", train, 4), ("test", test, 4)):
        lines = [json.dumps(one, ensure_ascii=False) for one in rows(those, side, of_each, draw)]
        file = HERE / f"{side}.jsonl"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"  {file.name}: {{rows: {len(lines)}, sha256: \"{hashlib.sha256(file.read_bytes()).hexdigest()}\"}}")
    handbook = [f"## {one.name[0].upper()}{one.name[1:]}\n\n{one.text}\n" for one in test]
    (HERE / "handbook.md").write_text("# Handbook of the Lower Selva\n\n" + "\n".join(handbook), encoding="utf-8")


if __name__ == "__main__":
    main()
