"""Write the synthetic training rows: sentences built from `lexicon` words together with their formulas.

`python generate.py --rows 2000 --seed 7 > generated.jsonl`

Sentence and formula grow together. A noun phrase knows how it binds a variable, a predicate phrase what it
says of one, and a template puts them into a frame; so any combination of them follows CONVENTIONS.md.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random
from typing import TypeVar

import lexicon
from lexicon import Constant, Domain, Noun

VARIABLES = "xyzwuv"
WORDS = range(4, 31)
MAX_ATOMS = 11
SIMPLE_EVERY = 4  # each fourth row has one quantifier or none

# ---------------------------------------------------------------- formulas


@dataclass(frozen=True)
class Formula:
    """`op` is atom, =, not, and, or, xor, implies, iff, all or some; `name` a predicate or bound variable."""

    op: str
    name: str = ""
    terms: tuple[str, ...] = ()
    parts: tuple[Formula, ...] = ()


Scope = Callable[[str], Formula]
SIGNS = {"and": " ∧ ", "or": " ∨ ", "xor": " ⊕ ", "implies": " → ", "iff": " ↔ "}


def atom(name: str, *terms: str) -> Formula:
    return Formula("atom", name, terms)


def equal(left: str, right: str) -> Formula:
    return Formula("=", terms=(left, right))


def no(body: Formula) -> Formula:
    if body.op == "not":
        raise Stuck("double negation")
    return Formula("not", parts=(body,))


def differ(left: str, right: str) -> Formula:
    return no(equal(left, right))


def chain(op: str, *parts: Formula) -> Formula:
    flat = [inner for part in parts for inner in (part.parts if part.op == op else (part,))]
    return Formula(op, parts=tuple(flat))


def both(*parts: Formula) -> Formula:
    return chain("and", *parts)


def implies(left: Formula, right: Formula) -> Formula:
    return Formula("implies", parts=(left, right))


def iff(left: Formula, right: Formula) -> Formula:
    return Formula("iff", parts=(left, right))


def walk(formula: Formula) -> Iterator[Formula]:
    yield formula
    for part in formula.parts:
        yield from walk(part)


def to_text(formula: Formula) -> str:
    """The normal form, bound variables renamed to x y z w u v in order of appearance."""
    letters = iter(VARIABLES)

    def wrapped(part: Formula, names: dict[str, str], ops: tuple[str, ...]) -> str:
        text = show(part, names)
        return f"({text})" if part.op in ops else text

    def show(part: Formula, names: dict[str, str]) -> str:
        terms = [names.get(term, term) for term in part.terms]
        if part.op == "atom":
            return f"{part.name}({', '.join(terms)})"
        if part.op == "=":
            return " = ".join(terms)
        if part.op == "not" and part.parts[0].op == "=":
            return show(part.parts[0], names).replace(" = ", " ≠ ")
        if part.op == "not":
            return "¬" + wrapped(part.parts[0], names, tuple(SIGNS))
        if part.op in ("all", "some"):
            letter = next(letters, None)
            if letter is None:
                raise Stuck("more than six variables")
            body = wrapped(part.parts[0], {**names, part.name: letter}, tuple(SIGNS))
            return f"{'∀' if part.op == 'all' else '∃'}{letter} {body}"
        inside = ("implies", "iff") if part.op in ("implies", "iff") else tuple(SIGNS)
        return SIGNS[part.op].join([wrapped(inner, names, inside) for inner in part.parts])

    return show(formula, {})


# ---------------------------------------------------------------- phrases


class Stuck(Exception):
    """This draw cannot become a row (no word left, too long, …); the caller draws again."""


@dataclass(frozen=True)
class Phrase:
    """What is said of a subject. `aux` tells how it is negated: be, do, can or past."""

    aux: str
    singular: str
    plural: str
    bare: str
    says: Scope
    negative: bool = False
    heavy: bool = False  # ends in a relative clause or a conjunction: nothing may be joined on after it
    simple: bool = False  # an adjective, participle or noun without an object
    joint: bool = False  # two phrases joined, which "not" in front would make ambiguous

    def holds(self, term: str) -> Formula:
        return no(self.says(term)) if self.negative else self.says(term)

    def text(self, plural: bool = False) -> str:
        form = self.plural if plural else self.singular
        if self.aux == "be":
            return f"{'are' if plural else 'is'} {'not ' if self.negative else ''}{form}"
        if self.aux == "can":
            return f"{'cannot' if self.negative else 'can'} {self.bare}"
        if self.negative:
            return f"{'do' if plural else 'does'} not {self.bare}"
        return form

    def modal(self, word: str, plural: bool = False) -> str:
        """`must be tall`, `should not sleep`."""
        if self.aux not in ("be", "do"):
            raise Stuck("no bare form")
        form = f"be {self.plural if plural else self.singular}" if self.aux == "be" else self.bare
        return f"{word} {'not ' if self.negative else ''}{form}"

    def negated(self) -> Phrase:
        if self.aux == "past" or self.joint:
            raise Stuck("no clear negation")
        return replace(self, negative=not self.negative)


@dataclass(frozen=True)
class Nominal:
    """A noun with its modifiers, without determiner."""

    singular: str
    plural: str
    holds: Scope
    pronoun: str
    sort: str
    heavy: bool = False


@dataclass(frozen=True)
class NounPhrase:
    """A determined noun phrase; `bind` puts a scope under its quantifier."""

    text: str
    plural: bool
    bind: Callable[[Scope], Formula]
    pronoun: str
    heavy: bool = False
    generic: bool = False  # "a", "any" or a bare plural: universal with a present verb only


@dataclass(frozen=True)
class Link:
    """A two-place phrase without its object: `depends on`, `is taller than`, `is approved by`, `can open`."""

    aux: str
    singular: str
    plural: str
    bare: str
    predicate: str
    subject: str
    object: str


def with_article(words: str) -> str:
    """`a` or `an` before the words, by the sound of the first."""
    vowel = bool(re.match(r"[aeiou]", words.lower())) or words.startswith(("heir", "honest"))
    vowel = vowel and not re.match(r"(uni(?!m|n)|use|eu|one)", words.lower())
    return f"{'an' if vowel else 'a'} {words}"


def clause(subject: NounPhrase, phrase: Phrase, text: str = "") -> tuple[str, Formula]:
    """Subject and phrase; `text` replaces the phrase's own words ("must be tall")."""
    if subject.generic and phrase.aux == "past":
        raise Stuck("a past event is not generic")
    if subject.generic and phrase.aux == "be" and re.match(r"\w+ by ", phrase.singular) and not text:
        raise Stuck("nor is what someone does to it")
    if phrase.negative and subject.text.startswith(("all ", "any ", *(() if text else ("every ", "each ")))):
        raise Stuck("all … not: scope unclear")
    words = subject.text
    if subject.generic and phrase.simple and not (text or subject.heavy or subject.plural):
        # "a javelin is stolen" tells of one javelin; with a relative clause or a verb "a" is generic
        words = re.sub("^an? ", "every ", words)
    return f"{words} {text or phrase.text(subject.plural)}", subject.bind(phrase.holds)


def linked(link: Link, object_: NounPhrase) -> Phrase:
    forms = with_tail(link, object_.text)
    return Phrase(
        link.aux, *forms, lambda x: object_.bind(lambda y: atom(link.predicate, x, y)), heavy=object_.heavy
    )


def they(pronoun: str) -> bool:
    """Whether the pronoun takes a plural verb."""
    return pronoun == "they"


# How often an object gets each determiner. After a negation ("not") "some" would be ambiguous and "any" means
# "a"; "plain" is for places where counting or a second negation would be hard to read.
OBJECTS: dict[str, dict[str, float]] = {
    "free": {"a": 8, "some": 2, "at least one": 1, "every": 6, "all": 1, "no": 2, "name": 5}
    | {"exactly one": 0.6, "at most one": 0.5, "at least two": 0.6},
    "plain": {"a": 4, "some": 1, "every": 2, "name": 3},
    "not": {"a": 3, "any": 3, "every": 2, "name": 3},
}
STATIVE = {
    "have",
    "own",
    "like",
    "know",
    "envy",
    "trust",
    "admire",
    "respect",
    "come",
    "suffer",
    "contain",
    "need",
    "miss",
}
STATIVE |= {
    "require",
    "include",
    "lack",
    "belong",
    "fear",
    "love",
    "believe",
    "prefer",
    "tolerate",
    "smell",
    "taste",
}
STATIVE |= {"resemble", "inherit", "dread", "lose", "forget", "misplace", "hit", "treasure", "depend"}


def apart(pronoun: str) -> str:
    """Where two people were mentioned, "they" could mean both: one of the other pronouns."""
    return "she" if pronoun == "they" else pronoun


def with_tail(link: Link, tail: str) -> tuple[str, str, str]:
    """The three forms of the link with an object's words after them."""
    return f"{link.singular} {tail}", f"{link.plural} {tail}", f"{link.bare} {tail}"


Option = TypeVar("Option")
COMMON = lexicon.common_predicates()


class Scene:
    """Draws words of one domain, each predicate and constant at most once."""

    def __init__(self, rng: Random, domain: Domain) -> None:
        self.rng = rng
        self.domain = domain
        self.used: set[str] = set()
        self.variables = 0

    # -- draws

    def one(self, *options: Option) -> Option:
        return self.rng.choice(options)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def weighted(self, weights: dict[str, float]) -> str:
        return self.rng.choices(list(weights), list(weights.values()))[0]

    def fresh(self) -> str:
        self.variables += 1
        return f"?{self.variables}"

    def take(self, names: Sequence[str]) -> int:
        """Index of an unused predicate among `names`, more often the domain's own than a common one."""
        free = [index for index, name in enumerate(names) if name not in self.used]
        own = [index for index in free if names[index] not in COMMON]
        if not free:
            raise Stuck("no word left")
        index = self.rng.choice(own if own and self.chance(0.75) else free)
        self.used.add(names[index])
        return index

    def sort(self) -> str:
        sorts = sorted({noun.sort for noun in self.domain.nouns} - {"L"})
        return self.rng.choice(sorts)

    def noun(self, sort: str) -> Noun:
        nouns = [noun for noun in self.domain.nouns if noun.sort == sort]
        return nouns[self.take([noun.predicate for noun in nouns])]

    def quality(self, sort: str, attributive: bool = False) -> tuple[str, str]:
        pool = self.domain.adjectives + self.domain.participles
        # "a bailed out bank" and "a worn out tire" read badly before the noun
        pool = [q for q in pool if q.sort == sort and not (attributive and " " in q.text)]
        quality = pool[self.take([q.predicate for q in pool])]
        return quality.text, quality.predicate

    def constant(self, sort: str) -> Constant:
        pool = [constant for constant in self.domain.constants if constant.sort == sort]
        return pool[self.take([constant.name for constant in pool])]

    # -- quantifiers

    def all(self, body: Scope) -> Formula:
        variable = self.fresh()
        return Formula("all", variable, parts=(body(variable),))

    def some(self, body: Scope) -> Formula:
        variable = self.fresh()
        return Formula("some", variable, parts=(body(variable),))

    # -- noun phrases

    def named(self, sort: str) -> NounPhrase:
        constant = self.constant(sort)
        return NounPhrase(constant.text, False, lambda scope: scope(constant.name), constant.pronoun)

    def nominal(
        self, sort: str, depth: int = 0, adjective: float = 0.25, relative: float = 0.35, joint: float = 0.12
    ) -> Nominal:
        """A noun, perhaps with an adjective, perhaps (when `depth` allows) with a relative clause."""
        noun = self.noun(sort)
        pronoun = self.pronoun(noun)
        plain = Nominal(noun.singular, noun.plural, lambda x: atom(noun.predicate, x), pronoun, sort)
        if self.chance(adjective):
            text, predicate = self.quality(sort, attributive=True)
            plain = Nominal(
                f"{text} {noun.singular}",
                f"{text} {noun.plural}",
                lambda x: both(atom(predicate, x), atom(noun.predicate, x)),
                pronoun,
                sort,
            )
        if depth > 0 and self.chance(relative):
            return self.relative(plain, depth - 1, joint=joint)
        return plain

    def pronoun(self, noun: Noun) -> str:
        if noun.sort != "P":
            return "it"
        if noun.singular in lexicon.FEMALE_NOUNS:
            return "she"
        return "he" if noun.singular in lexicon.MALE_NOUNS else self.one("she", "she", "he", "he", "they")

    def relative(self, head: Nominal, depth: int, phrase: Phrase | None = None, joint: float = 0) -> Nominal:
        """The head with "who …" / "that …", or with "that Maria owns"."""
        who = "who" if head.sort == "P" else "that"
        if phrase is None and self.chance(0.25):
            return self.object_relative(head)
        if phrase is None:
            phrase = self.joined(head.sort, "and") if self.chance(joint) else self.phrase(head.sort, depth)
            if not phrase.heavy and self.chance(0.12):
                phrase = self.phrase(head.sort, depth, mode="not").negated()
        said = phrase
        return Nominal(
            f"{head.singular} {who} {said.text()}",
            f"{head.plural} {who} {said.text(plural=True)}",
            lambda x: both(head.holds(x), said.holds(x)),
            head.pronoun,
            head.sort,
            heavy=True,
        )

    def object_relative(self, head: Nominal) -> Nominal:
        """`contract that every lawyer reads`."""
        links = [link for link in self.links() if link.object == head.sort and link.aux in ("do", "past")]
        link = links[self.take([link.predicate for link in links])]
        subject = self.named("P") if link.subject == "P" and self.chance(0.5) else None
        if subject is None:
            nominal = self.nominal(link.subject, adjective=0.1)
            subject = self.quantified(
                self.weighted({"some": 2, "every": 3, "at least one": 1, "no": 1}), nominal
            )
        agent = subject
        that = self.one("whom", "that") if head.sort == "P" else "that"
        tail = f"{that} {agent.text} {link.singular}"
        return Nominal(
            f"{head.singular} {tail}",
            f"{head.plural} {tail}",
            lambda x: both(head.holds(x), agent.bind(lambda y: atom(link.predicate, y, x))),
            head.pronoun,
            head.sort,
            heavy=True,
        )

    def quantified(self, determiner: str, nominal: Nominal) -> NounPhrase:
        """The nominal under a determiner; plural determiners take the plural form."""
        singular, plural = nominal.singular, nominal.plural
        texts = {
            "a": with_article(singular),
            "bare": plural,
            "all": f"all {plural}",
            "not all": f"not all {plural}",
            "some of": f"some {plural}",
            "no plural": f"no {plural}",
            "none of": f"none of the {plural}",
            "at least two": f"at least two {plural}",
            "more than one": f"more than one {singular}",
        }
        many = determiner in ("bare", "all", "not all", "some of", "no plural", "at least two")
        text = texts.get(determiner, f"{determiner} {singular}")
        bind = self.binder(determiner, nominal.holds)
        pronoun = "they" if many else nominal.pronoun
        return NounPhrase(text, many, bind, pronoun, nominal.heavy)

    def binder(self, determiner: str, holds: Scope) -> Callable[[Scope], Formula]:
        """How each determiner quantifies; "any" and "a" are existential here, unlike in `universal`."""
        if determiner in ("every", "each", "all", "bare"):
            return lambda scope: self.all(lambda x: implies(holds(x), scope(x)))
        if determiner in ("no", "no plural", "none of"):
            return lambda scope: self.all(lambda x: implies(holds(x), no(scope(x))))
        if determiner in ("not every", "not all"):
            return lambda scope: no(self.all(lambda x: implies(holds(x), scope(x))))
        if determiner in ("exactly one", "only one"):
            return lambda scope: self.some(
                lambda x: both(
                    holds(x), scope(x), self.all(lambda y: implies(both(holds(y), scope(y)), equal(y, x)))
                )
            )
        if determiner in ("at most one", "no more than one"):
            return lambda scope: self.all(
                lambda x: self.all(
                    lambda y: implies(both(holds(x), holds(y), scope(x), scope(y)), equal(x, y))
                )
            )
        if determiner in ("at least two", "more than one"):
            return lambda scope: self.some(
                lambda x: self.some(lambda y: both(holds(x), holds(y), differ(x, y), scope(x), scope(y)))
            )
        return lambda scope: self.some(lambda x: both(holds(x), scope(x)))

    def universal(self, nominal: Nominal) -> NounPhrase:
        """A universal subject; generic "a" and "any" are universal only here."""
        determiner = self.weighted({"every": 4, "each": 2, "all": 3, "bare": 2, "any": 1, "a": 2})
        if determiner in ("any", "a"):
            phrase = self.quantified("every", nominal)
            text = with_article(nominal.singular) if determiner == "a" else f"any {nominal.singular}"
            return replace(phrase, text=text, generic=True)
        return replace(self.quantified(determiner, nominal), generic=determiner == "bare")

    def existential(self, nominal: Nominal) -> NounPhrase:
        return self.quantified(self.one("some", "some", "some of", "at least one"), nominal)

    def negative(self, nominal: Nominal) -> NounPhrase:
        return self.quantified(self.one("no", "no", "no plural", "none of"), nominal)

    def doubtful(self, nominal: Nominal) -> NounPhrase:
        return self.quantified(self.one("not every", "not all"), nominal)

    def person(self, kind: str, phrase: Phrase | None = None) -> NounPhrase:
        """`everyone`, `someone who sleeps`, `nobody`: the predicate is Person."""
        words = {
            "every": ("everyone", "everybody"),
            "some": ("someone", "somebody"),
            "no": ("no one", "nobody"),
        }
        self.used.add("Person")
        head = Nominal("person", "people", lambda x: atom("Person", x), "they", "P")
        nominal = head if phrase is None else self.relative(head, 0, phrase)
        word = self.one(*words[kind])
        text = word if phrase is None else f"{word} who {phrase.text()}"
        return NounPhrase(text, False, self.binder(kind, nominal.holds), "they", phrase is not None)

    def object(self, sort: str, depth: int = 0, mode: str = "free") -> NounPhrase:
        """An object, a name or a quantified nominal; `mode` names the determiners of `OBJECTS`."""
        determiner = self.weighted(OBJECTS[mode])
        if determiner == "name" and any(constant.sort == sort for constant in self.domain.constants):
            return self.named(sort)
        if determiner == "name":
            determiner = "a"
        # two phrases joined at the end of a relative clause could be joined to the main clause as well
        return self.quantified(determiner, self.nominal(sort, depth, joint=0))

    # -- predicate phrases

    def links(self) -> list[Link]:
        """All two-place phrases of the domain."""
        links = []
        for verb in self.domain.transitive:
            tail = f" {verb.tail}" if verb.tail else ""
            base, sorts = verb.base + tail, (verb.subject, verb.object)
            links.append(Link("do", verb.third + tail, base, base, verb.predicate, *sorts))
            if verb.past != verb.base and self.chance(0.15):
                past = verb.past + tail
                links.append(Link("past", past, past, base, lexicon.predicate_name(past), *sorts))
            if self.chance(0.12) and verb.base not in STATIVE:
                links.append(Link("can", "", "", base, "Can" + lexicon.predicate_name(base), *sorts))
            if verb.passive and self.chance(0.3):
                by = f"{verb.participle} by"
                links.append(Link("be", by, by, by, lexicon.predicate_name(by), verb.object, verb.subject))
        for relation in self.domain.comparatives + self.domain.prepositions:
            forms = (relation.text,) * 3
            links.append(Link("be", *forms, relation.predicate, relation.subject, relation.object))
        for relation in self.domain.relational:
            article = self.one("the ", "") if relation.object != "P" else ""
            one = f"{article or with_article(relation.noun).split()[0] + ' '}{relation.noun} of"
            many = f"{relation.nouns} of"
            links.append(Link("be", one, many, one, relation.predicate, relation.subject, relation.object))
        return links

    def link(self, subject: str | None = None, object_: str | None = None, aux: str | None = None) -> Link:
        """An unused two-place phrase between the given sorts."""
        links = [
            link
            for link in self.links()
            if subject in (None, link.subject)
            and object_ in (None, link.object)
            and aux in (None, link.aux)
            and (subject or link.subject != "L")
        ]
        return links[self.take([link.predicate for link in links])]

    def phrase(self, sort: str, depth: int = 0, mode: str = "free", kind: str = "any") -> Phrase:
        """A phrase for a subject of this sort; kind is any, simple (no object) or linked (with one)."""
        weights: dict[str, float] = {"quality": 3.2, "noun": 0.8, "intransitive": 2, "ability": 0.6}
        linked_weights: dict[str, float] = {"link": 6, "ditransitive": 0.7}
        weights = {"any": weights | linked_weights, "simple": weights, "linked": linked_weights}[kind]
        for _ in range(6):
            try:
                make: Callable[[str, int, str], Phrase] = getattr(self, f"{self.weighted(weights)}_phrase")
                return make(sort, depth, mode)
            except Stuck:
                continue
        raise Stuck(f"no phrase for sort {sort}")

    def simple(self, sort: str) -> Phrase:
        return self.phrase(sort, kind="simple")

    def light(self, sort: str, mode: str = "plain") -> Phrase:
        """A phrase that ends in at most a plain object, so another can be joined on."""
        return self.simple(sort) if self.chance(0.5) else self.phrase(sort, 0, mode)

    def quality_phrase(self, sort: str, depth: int, mode: str) -> Phrase:
        text, predicate = self.quality(sort)
        return Phrase("be", text, text, text, lambda x: atom(predicate, x), simple=True)

    def noun_phrase(self, sort: str, depth: int, mode: str) -> Phrase:
        kinds = [noun for noun in self.domain.kinds if noun.sort == sort]
        kind = kinds[self.take([noun.predicate for noun in kinds])]
        one = with_article(kind.singular)
        return Phrase("be", one, kind.plural, one, lambda x: atom(kind.predicate, x), simple=True)

    def intransitive_phrase(self, sort: str, depth: int, mode: str) -> Phrase:
        verbs = [verb for verb in self.domain.intransitive if verb.subject == sort]
        verb = verbs[self.take([verb.predicate for verb in verbs])]
        tail = f" {verb.tail}" if verb.tail else ""
        base = verb.base + tail
        return Phrase("do", verb.third + tail, base, base, lambda x: atom(verb.predicate, x))

    def ability_phrase(self, sort: str, depth: int, mode: str) -> Phrase:
        verbs = [verb for verb in self.domain.abilities if verb.subject == sort]
        bases = [f"{verb.base} {verb.tail}".strip() for verb in verbs]
        names = ["Can" + lexicon.predicate_name(base) for base in bases]
        index = self.take(names)
        return Phrase("can", "", "", bases[index], lambda x: atom(names[index], x))

    def link_phrase(self, sort: str, depth: int, mode: str) -> Phrase:
        link = self.link(sort)
        return linked(link, self.object(link.object, depth, mode))

    def ditransitive_phrase(self, sort: str, depth: int, mode: str) -> Phrase:
        options = [option for option in self.domain.ditransitive if option.verb.subject == sort]
        option = options[self.take([option.verb.predicate for option in options])]
        mode = "plain" if mode == "free" else mode
        return self.giving(
            option, self.object(option.verb.object, 0, mode), self.object(option.other, 0, mode)
        )

    def giving(self, option: lexicon.Ditransitive, object_: NounPhrase, other: NounPhrase) -> Phrase:
        """`gives a pill to Maria` or, where English allows it, `gives Maria a pill`; bound in that order."""
        verb = option.verb
        dative = option.preposition == "to" and verb.base in lexicon.DATIVE and option.other == "P"
        dative = dative and object_.text[0].islower()
        if dative and self.chance(0.35):
            tail = f"{other.text} {object_.text}"

            def says(x: str) -> Formula:
                return other.bind(lambda z: object_.bind(lambda y: atom(verb.predicate, x, y, z)))
        else:
            tail = f"{object_.text} {option.preposition} {other.text}"

            def says(x: str) -> Formula:
                return object_.bind(lambda y: other.bind(lambda z: atom(verb.predicate, x, y, z)))

        return Phrase("do", f"{verb.third} {tail}", f"{verb.base} {tail}", f"{verb.base} {tail}", says)

    def ditransitive(self) -> lexicon.Ditransitive:
        options = self.domain.ditransitive
        return options[self.take([option.verb.predicate for option in options])]

    def joined(self, sort: str, how: str) -> Phrase:
        """Two phrases as one: and, but (second one negated), or, xor, neither."""
        first = self.light(sort, "not" if how == "neither" else "plain")
        second = self.light(sort, "not" if how in ("neither", "but") else "plain")
        if first.negative or second.negative or first.heavy or "past" in (first.aux, second.aux):
            raise Stuck("cannot be joined")
        if how in ("xor", "or", "neither") and first.aux != second.aux:
            raise Stuck("reads badly")
        if not first.simple and first.aux == "be" and second.singular.startswith(("a ", "an ", "the ")):
            raise Stuck("the second noun would read as part of the first phrase's object")
        second = second.negated() if how == "but" else second
        a, b = first, second
        words = {"and": ("", "and"), "but": ("", "but"), "or": ("", "or"), "xor": ("either ", "or")}
        before, between = words.get(how, ("neither ", "nor"))

        def form(which: str) -> str:
            left, right = getattr(a, which), getattr(b, which)
            if a.aux == b.aux == "be":
                return f"{before}{left} {between} {'not ' if b.negative else ''}{right}"
            if a.aux == b.aux == "can" and not b.negative:
                return f"can {before}{a.bare} {between} {b.bare}"
            if which != "bare":
                left, right = a.text(which == "plural"), b.text(which == "plural")
            return f"{before}{left} {between} {right}"

        def says(x: str) -> Formula:
            parts = (a.holds(x), b.holds(x))
            if how == "neither":
                return both(no(parts[0]), no(parts[1]))
            return chain({"but": "and"}.get(how, how), *parts)

        aux = "be" if a.aux == b.aux == "be" else "mixed"
        return Phrase(aux, form("singular"), form("plural"), form("bare"), says, heavy=True, joint=True)


# ---------------------------------------------------------------- templates

Built = tuple[str, Formula]
Template = Callable[[Scene], Built]
SIMPLE: dict[str, Template] = {}
RICH: dict[str, Template] = {}


def simple(template: Template) -> Template:
    SIMPLE[template.__name__] = template
    return template


def rich(template: Template) -> Template:
    RICH[template.__name__] = template
    return template


# -- names only


@simple
def name_is(s: Scene) -> Built:
    sort = s.sort()
    subject, phrase = s.named(sort), s.joined(sort, s.one("and", "but", "or", "xor", "neither"))
    return clause(subject, phrase)


@simple
def name_adjective_noun(s: Scene) -> Built:
    sort = s.sort()
    subject, nominal = s.named(sort), s.nominal(sort, adjective=1)
    is_ = s.one("is", "is", "is not")
    wrap = no if is_ == "is not" else (lambda body: body)
    return f"{subject.text} {is_} {with_article(nominal.singular)}", subject.bind(
        lambda x: wrap(nominal.holds(x))
    )


def name_clause(s: Scene, negate: float = 0.25) -> Built:
    """`Maria trusts Tom`, `Room 12 is not locked`: at most one quantifier."""
    sort = s.one("P", s.sort())
    if s.chance(0.4):
        link = s.link(sort)
        subject = s.named(sort)
        phrase = linked(link, s.named(link.object))
    else:
        subject, phrase = s.named(sort), s.simple(sort)
    if phrase.aux != "past" and s.chance(negate):
        phrase = phrase.negated()
    return clause(subject, phrase)


@simple
def name_and(s: Scene) -> Built:
    (a, f), (b, g) = name_clause(s), name_clause(s)
    return s.one(f"{a} and {b}", f"{a}, and {b}", f"{a}, but {b}", f"{a}, while {b}"), both(f, g)


@simple
def name_or(s: Scene) -> Built:
    (a, f), (b, g) = name_clause(s), name_clause(s)
    if s.chance(0.4):
        return s.one(f"{a} or {b}", f"{a}, or {b}"), chain("or", f, g)
    return s.one(f"either {a} or {b}", f"{a} or {b}, but not both"), chain("xor", f, g)


@simple
def name_if(s: Scene) -> Built:
    (a, f), (b, g) = name_clause(s), name_clause(s)
    text = s.one(f"if {a}, then {b}", f"if {a}, {b}", f"{b} if {a}", f"{b} whenever {a}", f"{a} only if {b}")
    return text, implies(f, g)


@simple
def name_if_compound(s: Scene) -> Built:
    (a, f), (b, g), (c, h) = name_clause(s), name_clause(s), name_clause(s)
    how = s.one("and", "or")
    if s.chance(0.6):
        text = s.one(f"if {a} {how} {b}, then {c}", f"{c} if {a} {how} {b}")
        return text, implies(chain(how, f, g), h)
    return s.one(f"if {a}, then {b} {how} {c}", f"if {a}, {b} {how} {c}"), implies(f, chain(how, g, h))


@simple
def name_unless(s: Scene) -> Built:
    (a, f), (b, g) = name_clause(s), name_clause(s, negate=0)
    return s.one(f"{a} unless {b}", f"unless {b}, {a}"), implies(no(g), f)


@simple
def name_iff(s: Scene) -> Built:
    (a, f), (b, g) = name_clause(s), name_clause(s)
    return s.one(f"{a} if and only if {b}", f"{a} exactly when {b}"), iff(f, g)


@simple
def two_names(s: Scene) -> Built:
    sort = s.one("P", s.sort())
    first, second = s.named(sort), s.named(sort)
    phrase = s.simple(sort) if s.chance(0.5) else s.phrase(sort, mode="not", kind="linked")
    f, g = first.bind(phrase.holds), second.bind(phrase.holds)
    how = s.one("and", "or", "xor", "neither")
    if how == "neither":
        return f"neither {first.text} nor {second.text} {phrase.text()}", both(no(f), no(g))
    if how == "and":
        return f"{s.one('both ', '')}{first.text} and {second.text} {phrase.text(True)}", both(f, g)
    if how == "or":
        return f"{first.text} or {second.text} {phrase.text()}", chain("or", f, g)
    return f"either {first.text} or {second.text} {phrase.text()}", chain("xor", f, g)


@simple
def name_identity(s: Scene) -> Built:
    sort = s.one("P", "P", s.sort())
    first, second = s.constant(sort), s.constant(sort)
    if first.pronoun != second.pronoun:
        raise Stuck("not one person")
    thing = {"P": "person"}.get(sort, "thing")
    same = equal(first.name, second.name)
    b, g = clause(
        NounPhrase(first.text, False, lambda scope: scope(first.name), first.pronoun), s.simple(sort)
    )
    other, phrase = differ(first.name, second.name), s.light(sort)
    c, h = f"{second.text} {phrase.text()}", phrase.holds(second.name)
    return s.one(
        (f"{first.text} and {second.text} are the same {thing}, and {b}", both(same, g)),
        (f"{first.text} is {second.text}, and {b}", both(same, g)),
        (f"{first.text} is not {second.text}, although {b}", both(other, g)),
        (f"if {first.text} is {second.text}, then {b}", implies(same, g)),
        (f"if {b}, then {first.text} is not {second.text}", implies(g, other)),
        (f"if {b} and {first.text} is {second.text}, then {c}", implies(both(g, same), h)),
    )


@simple
def name_gives(s: Scene) -> Built:
    option = s.ditransitive()
    names = [s.named(option.verb.object), s.named(option.other)]
    if s.chance(0.5):
        names[0] = s.quantified("a", s.nominal(option.verb.object))
    phrase = s.giving(option, *names)
    return clause(s.named(option.verb.subject), phrase if s.chance(0.8) else phrase.negated())


@simple
def name_comparative(s: Scene) -> Built:
    sort = s.sort()
    first, second, third = s.named(sort), s.named(sort), s.named(sort)
    relations = [relation for relation in s.domain.comparatives if relation.subject == sort]
    index = s.take([relation.predicate for relation in relations])
    a = relations[index]
    b = relations[s.take([relation.predicate for relation in relations])]
    f = first.bind(lambda x: second.bind(lambda y: atom(a.predicate, x, y)))
    g = second.bind(lambda x: third.bind(lambda y: atom(a.predicate, x, y)))
    h = first.bind(lambda x: third.bind(lambda y: atom(b.predicate, x, y)))
    one, two, three = first.text, second.text, third.text
    return s.one(
        (f"{one} is {a.text} {two}, and {two} is {a.text} {three}", both(f, g)),
        (f"{one} is {a.text} {two} but not {b.text} {three}", both(f, no(h))),
        (f"if {one} is {a.text} {two}, then {one} is {b.text} {three}", implies(f, h)),
        (f"{two} is not {a.text} {three}, but {one} is {b.text} {three}", both(no(g), h)),
        (f"{one} is either {a.text} {two} or {b.text} {three}", chain("xor", f, h)),
    )


@simple
def name_not_both(s: Scene) -> Built:
    (a, f), (b, g) = name_clause(s, negate=0), name_clause(s, negate=0)
    text = s.one("it is not true that both", "it is not the case that both")
    return f"{text} {a} and {b}", no(both(f, g))


# -- one quantifier


@simple
def every_is(s: Scene) -> Built:
    nominal = s.nominal(s.sort(), adjective=0.4)
    return clause(s.universal(nominal), s.simple(nominal.sort))


@simple
def every_name(s: Scene) -> Built:
    """`Every nurse trusts Maria`."""
    link = s.link()
    phrase = linked(link, s.named(link.object))
    subject = s.nominal(link.subject, adjective=0.4)
    if link.aux != "past" and s.chance(0.2):
        return (
            clause(s.quantified(s.one("every", "all"), subject), phrase)
            if s.chance(0.5)
            else clause(s.universal(subject), phrase.negated())
        )
    return clause(s.universal(subject), phrase)


@simple
def every_joined(s: Scene) -> Built:
    nominal = s.nominal(s.sort(), adjective=0.2)
    a, b = s.simple(nominal.sort), s.simple(nominal.sort)
    if a.aux != b.aux or a.aux == "can":
        raise Stuck("reads badly")
    subject = s.universal(nominal)
    how = s.one("and", "but", "or", "xor", "neither", "not both")
    are = ("are " if subject.plural else "is ") if a.aux == "be" else ""
    left, right = (a.plural, b.plural) if subject.plural else (a.singular, b.singular)
    built: dict[str, tuple[str, Scope]] = {
        "and": (f"{are}{s.one('', 'both ')}{left} and {right}", lambda x: both(a.says(x), b.says(x))),
        "but": (
            f"{a.text(subject.plural)} but {b.negated().text(subject.plural)}",
            lambda x: both(a.says(x), no(b.says(x))),
        ),
        "or": (f"{are}{left} or {right}", lambda x: chain("or", a.says(x), b.says(x))),
        "xor": (f"{are}either {left} or {right}", lambda x: chain("xor", a.says(x), b.says(x))),
        "not both": (f"{are}{left} or {right} but not both", lambda x: chain("xor", a.says(x), b.says(x))),
        "neither": (f"{are}neither {left} nor {right}", lambda x: both(no(a.says(x)), no(b.says(x)))),
    }
    text, says = built[how]
    return f"{subject.text} {text}", subject.bind(says)


@simple
def some_is(s: Scene) -> Built:
    nominal = s.nominal(s.sort(), adjective=0.3)
    phrase = s.simple(nominal.sort)
    if s.chance(0.4):
        return clause(s.existential(nominal), phrase.negated() if s.chance(0.5) else phrase)
    return clause(s.existential(nominal), s.joined(nominal.sort, s.one("and", "but", "neither", "xor")))


@simple
def there_is(s: Scene) -> Built:
    sort = s.sort()
    nominal = s.nominal(sort, adjective=0.6)
    said = s.simple(sort) if s.chance(0.6) else linked(link := s.link(sort), s.named(link.object))
    said = said.negated() if said.aux != "past" and s.chance(0.25) else said
    if s.chance(0.35):
        text = f"{with_article(nominal.singular)}"
        where = [
            relation
            for relation in s.domain.prepositions
            if relation.subject == sort and relation.text in PLACED
        ]
        if where:
            relation = where[s.take([relation.predicate for relation in where])]
            place = s.named(relation.object)
            return s.one(
                (
                    f"there is {text} {relation.text} {place.text}",
                    s.some(
                        lambda x: both(nominal.holds(x), place.bind(lambda y: atom(relation.predicate, x, y)))
                    ),
                ),
                (
                    f"there is no {nominal.singular} {relation.text} {place.text}",
                    no(
                        s.some(
                            lambda x: both(
                                nominal.holds(x), place.bind(lambda y: atom(relation.predicate, x, y))
                            )
                        )
                    ),
                ),
            )
    whole = s.relative(nominal, 0, said)
    if s.chance(0.45):
        text = s.one(f"there is no {whole.singular}", f"there are no {whole.plural}")
        return text, no(s.some(whole.holds))
    text = s.one(f"there is {with_article(whole.singular)}", f"there is at least one {whole.singular}")
    return text, s.some(whole.holds)


# prepositions after "there is", and those that hold in both directions
PLACED = {"in", "near", "under", "behind", "next to", "on", "inside", "close to", "at", "above", "east of"}
SYMMETRIC = {
    "near",
    "next to",
    "close to",
    "adjacent to",
    "similar to",
    "related to",
    "married to",
    "parallel to",
}


@simple
def no_is(s: Scene) -> Built:
    nominal = s.nominal(s.sort(), adjective=0.4)
    phrase = s.simple(nominal.sort) if s.chance(0.6) else s.joined(nominal.sort, "or")
    return clause(s.negative(nominal), phrase)


@simple
def not_every_is(s: Scene) -> Built:
    nominal = s.nominal(s.sort(), adjective=0.4)
    phrase = (
        s.simple(nominal.sort)
        if s.chance(0.6)
        else linked(link := s.link(nominal.sort), s.named(link.object))
    )
    return clause(s.doubtful(nominal), phrase)


@simple
def only_is(s: Scene) -> Built:
    """`Only nurses are pregnant`."""
    nominal = s.nominal(s.sort(), adjective=0.4)
    phrase = (
        s.simple(nominal.sort)
        if s.chance(0.5)
        else linked(link := s.link(nominal.sort), s.named(link.object))
    )
    return f"only {nominal.plural} {phrase.text(True)}", s.all(
        lambda x: implies(phrase.holds(x), nominal.holds(x))
    )


@simple
def all_and_only(s: Scene) -> Built:
    nominal = s.nominal(s.sort(), adjective=0.3)
    phrase = s.simple(nominal.sort)
    formula = s.all(lambda x: iff(nominal.holds(x), phrase.holds(x)))
    return f"{s.one('all and only', 'all and only the')} {nominal.plural} {phrase.text(True)}", formula


@simple
def if_it(s: Scene) -> Built:
    """`If a nurse sleeps, then she is tired`."""
    nominal = s.nominal(s.sort(), adjective=0.2)
    a, b = maybe_not(s, s.simple(nominal.sort)), maybe_not(s, s.simple(nominal.sort))
    it = nominal.pronoun
    text = s.one(
        f"if {with_article(nominal.singular)} {a.text()}, then {it} {b.text(they(it))}",
        f"if {with_article(nominal.singular)} {a.text()}, {it} {b.text(they(it))}",
        f"{with_article(nominal.singular)} {b.text()} if {it} {a.text(they(it))}",
        f"whenever {with_article(nominal.singular)} {a.text()}, {it} {b.text(they(it))}",
        f"{with_article(nominal.singular)} {a.text()} only if {it} {b.text(they(it))}",
    )
    return text, s.all(lambda x: implies(both(nominal.holds(x), a.holds(x)), b.holds(x)))


def maybe_not(s: Scene, phrase: Phrase, probability: float = 0.2) -> Phrase:
    return phrase.negated() if phrase.aux != "past" and s.chance(probability) else phrase


@simple
def who_is(s: Scene) -> Built:
    """`Nurses who sleep are tired`, `Everyone who sleeps is tired`."""
    if s.chance(0.4):
        a = s.simple("P") if s.chance(0.6) else s.joined("P", s.one("and", "or", "neither"))
        b = maybe_not(s, s.simple("P"))
        everyone = s.person("every", a)
        texts = (everyone.text, f"anyone who {a.text()}", f"whoever {a.text()}")
        return f"{s.one(*texts)} {b.text()}", everyone.bind(b.holds)
    nominal = s.nominal(s.sort(), adjective=0.2)
    a = (
        s.joined(nominal.sort, s.one("and", "or", "neither", "but"))
        if s.chance(0.5)
        else s.simple(nominal.sort)
    )
    a = maybe_not(s, a) if not a.joint else a
    return clause(s.universal(s.relative(nominal, 0, a)), maybe_not(s, s.simple(nominal.sort)))


@simple
def unless_it(s: Scene) -> Built:
    nominal = s.nominal(s.sort(), adjective=0.3)
    a, b = maybe_not(s, s.simple(nominal.sort), 0.4), s.simple(nominal.sort)
    it = nominal.pronoun
    one = with_article(nominal.singular)
    texts = (
        f"{one} {a.text()} unless {it} {b.text(they(it))}",
        f"{one if a.negative else f'every {nominal.singular}'} {a.text()} unless {it} {b.text(they(it))}",
        f"{nominal.plural} {a.text(True)} unless they {b.text(True)}",
        f"unless {it} {b.text(they(it))}, {one} {a.text()}",
    )
    return s.one(*texts), s.all(lambda x: implies(nominal.holds(x), implies(no(b.holds(x)), a.holds(x))))


@simple
def iff_it(s: Scene) -> Built:
    nominal = s.nominal(s.sort(), adjective=0.3)
    a, b = s.simple(nominal.sort), maybe_not(s, s.simple(nominal.sort))
    it = nominal.pronoun
    one = with_article(nominal.singular)
    texts = (
        f"{one} {a.text()} if and only if {it} {b.text(they(it))}",
        f"{one} {a.text()} exactly when {it} {b.text(they(it))}",
        f"every {nominal.singular} {a.text()} if and only if {it} {b.text(they(it))}",
    )
    return s.one(*texts), s.all(lambda x: implies(nominal.holds(x), iff(a.holds(x), b.holds(x))))


@simple
def must(s: Scene) -> Built:
    nominal = s.nominal(s.sort(), adjective=0.3)
    link = s.link(nominal.sort)
    phrase = s.simple(nominal.sort) if s.chance(0.6) else linked(link, s.named(link.object))
    word = s.one("must", "should", "will", "must", "has to")
    subject = s.universal(nominal)
    if word == "has to":
        word = "have to" if subject.plural else word
    else:
        phrase = phrase if word == "will" else maybe_not(s, phrase, 0.3)
    return clause(subject, phrase, phrase.modal(word, subject.plural))


@simple
def two_nouns(s: Scene) -> Built:
    """`All nurses and dentists are tired`: each of both kinds."""
    sort = s.sort()
    a, b = s.nominal(sort, adjective=0), s.nominal(sort, adjective=0)
    phrase = s.simple(sort)
    either = s.all(lambda x: implies(chain("or", a.holds(x), b.holds(x)), phrase.holds(x)))
    return (
        s.one(
            (f"all {a.plural} and {b.plural} {phrase.text(True)}", either),
            (f"{a.plural} and {b.plural} {phrase.text(True)}", either),
            (f"every {a.singular} or {b.singular} {phrase.text()}", either),
            (f"whatever is {with_article(a.singular)} or {with_article(b.singular)} {phrase.text()}", either),
        )
        if sort != "P" or s.chance(0.7)
        else (f"{a.plural} and {b.plural} alike {phrase.text(True)}", either)
    )


@simple
def something(s: Scene) -> Built:
    """No noun at all: everything, something and nothing add no predicate."""
    sort = s.sort()
    if sort == "P":
        raise Stuck("people are not things")
    phrase = s.simple(sort)
    noun = s.nominal(sort, adjective=0)
    other = maybe_not(s, s.simple(sort))
    if phrase.aux != "be":
        raise Stuck("reads badly")
    one = with_article(noun.singular)
    universal = s.all(lambda x: implies(both(phrase.holds(x), noun.holds(x)), other.holds(x)))
    return s.one(
        (f"everything that {phrase.text()} and is {one} {other.text()}", universal),
        (f"if something {phrase.text()} and is {one}, then it {other.text()}", universal),
        (
            f"something {phrase.text()} but is not {one}",
            s.some(lambda x: both(phrase.holds(x), no(noun.holds(x)))),
        ),
        (
            f"nothing that {phrase.text()} is {one}",
            s.all(lambda x: implies(phrase.holds(x), no(noun.holds(x)))),
        ),
        (
            f"not everything that {phrase.text()} is {one}",
            no(s.all(lambda x: implies(phrase.holds(x), noun.holds(x)))),
        ),
        (
            f"there is something that {phrase.text()} and is {one}",
            s.some(lambda x: both(phrase.holds(x), noun.holds(x))),
        ),
    )


@simple
def not_the_case(s: Scene) -> Built:
    nominal = s.nominal(s.sort(), adjective=0.4)
    start = s.one("it is not true that", "it is not the case that", "it is false that")
    phrase = s.simple(nominal.sort)
    subject = s.quantified(s.one("some", "every", "all"), nominal)
    text, formula = clause(subject, phrase)
    return f"{start} {text}", no(formula)


@simple
def name_object(s: Scene) -> Built:
    """`Maria owns a red car`, `Maria is afraid of every dog`."""
    sort = s.one("P", s.sort())
    link = s.link(sort)
    subject = s.named(sort)
    negative = link.aux != "past" and s.chance(0.3)
    nominal = s.nominal(link.object, adjective=0.5)
    determiner = (
        s.one("a", "any", "every") if negative else s.one("a", "some", "every", "no", "at least one", "all")
    )
    phrase = linked(link, s.quantified(determiner, nominal))
    return clause(subject, phrase.negated() if negative else phrase)


@simple
def everyone_simple(s: Scene) -> Built:
    link = s.link("P")
    phrase = linked(link, s.named(link.object))
    kind = s.one("every", "some", "no")
    if kind != "no" and not phrase.heavy and s.chance(0.3):
        phrase = s.joined("P", s.one("and", "xor", "neither", "but"))
    return clause(s.person(kind), phrase)


# -- two quantifiers and more


def quantified_clause(s: Scene, positive: bool = False) -> Built:
    """A clause with a quantified subject, to be put under a connective."""
    nominal = s.nominal(s.sort())
    kind = s.weighted({"every": 4, "some": 4, "name": 1.5} | ({} if positive else {"no": 3, "not every": 1}))
    if kind == "name":
        return clause(s.named(nominal.sort), s.phrase(nominal.sort, mode="plain", kind="linked"))
    if kind == "no":
        return clause(s.negative(nominal), s.phrase(nominal.sort, mode="not"))
    phrase = s.phrase(nominal.sort, mode="plain" if positive or kind == "not every" else "free")
    if kind == "not every":
        return clause(s.doubtful(nominal), phrase)
    if kind == "some":
        return clause(s.existential(nominal), phrase)
    return clause(s.quantified(s.one("every", "each", "all"), nominal), phrase)


def under(s: Scene, nominal: Nominal, *kinds: str) -> Built:
    """A clause with the nominal under one of the given quantifiers and an object that reads well there."""
    kind = s.one(*kinds)
    if kind == "no":
        return clause(s.negative(nominal), s.phrase(nominal.sort, mode="not"))
    if kind == "not every":
        return clause(s.doubtful(nominal), s.phrase(nominal.sort, mode="plain"))
    return clause(s.universal(nominal) if kind == "every" else s.existential(nominal), s.phrase(nominal.sort))


@rich
def every_object(s: Scene) -> Built:
    nominal = s.nominal(s.sort(), 1)
    return clause(s.universal(nominal), s.phrase(nominal.sort, 1, kind="linked"))


@rich
def some_object(s: Scene) -> Built:
    nominal = s.nominal(s.sort(), 1)
    return clause(s.existential(nominal), s.phrase(nominal.sort, 1, kind="linked"))


@rich
def no_object(s: Scene) -> Built:
    nominal = s.nominal(s.sort(), 1)
    return clause(s.negative(nominal), s.phrase(nominal.sort, 1, mode="not", kind="linked"))


@rich
def not_every_object(s: Scene) -> Built:
    nominal = s.nominal(s.sort(), 1)
    return clause(s.doubtful(nominal), s.phrase(nominal.sort, 1, mode="plain", kind="linked"))


@rich
def every_not_object(s: Scene) -> Built:
    """`Some nurse does not trust any dentist`."""
    nominal = s.nominal(s.sort(), 1)
    phrase = s.phrase(nominal.sort, 1, mode="not", kind="linked").negated()
    return clause(s.one(s.universal, s.existential)(nominal), phrase)


def fixed(s: Scene, first: str, second: str) -> Built:
    """Subject and object with given determiners, the pure quantifier patterns."""
    link = s.link()
    subject, object_ = s.nominal(link.subject, adjective=0.2), s.nominal(link.object, adjective=0.2)
    determined = s.universal(subject) if first == "every" else s.existential(subject)
    return clause(determined, linked(link, s.quantified(second, object_)))


@rich
def forall_exists(s: Scene) -> Built:
    return fixed(s, "every", s.one("a", "some", "at least one"))


@rich
def exists_forall(s: Scene) -> Built:
    return fixed(s, "some", s.one("every", "all", "each"))


@rich
def forall_forall(s: Scene) -> Built:
    return fixed(s, "every", s.one("every", "all", "each"))


@rich
def exists_exists(s: Scene) -> Built:
    return fixed(s, "some", s.one("a", "some", "at least one"))


@rich
def forall_exists_forall(s: Scene) -> Built:
    """`Every nurse trusts a dentist who helps every patient`."""
    first = s.link()
    second = s.link(first.object)
    subject, middle = s.nominal(first.subject, adjective=0.1), s.nominal(first.object, adjective=0.1)
    last = s.quantified(s.one("every", "all", "no", "a"), s.nominal(second.object, adjective=0.15))
    object_ = s.quantified(s.one("a", "some", "every"), s.relative(middle, 0, linked(second, last)))
    determined = s.one(s.universal, s.universal, s.existential)(subject)
    return clause(determined, linked(first, object_))


@rich
def who_object(s: Scene) -> Built:
    """`Every nurse who trusts a dentist helps every patient`."""
    nominal = s.nominal(s.sort(), adjective=0.15)
    inner = s.phrase(nominal.sort, 1, kind="linked")
    return clause(s.universal(s.relative(nominal, 0, inner)), s.phrase(nominal.sort, 0))


@rich
def who_not_object(s: Scene) -> Built:
    nominal = s.nominal(s.sort(), adjective=0.15)
    inner = s.phrase(nominal.sort, 0, mode="not", kind="linked").negated()
    return under(s, s.relative(nominal, 0, inner), "every", "some", "not every")


@rich
def no_who(s: Scene) -> Built:
    nominal = s.nominal(s.sort(), adjective=0.15)
    inner = s.phrase(nominal.sort, 0, kind="linked")
    subject = s.negative(s.relative(nominal, 0, inner))
    return clause(subject, s.phrase(nominal.sort, 0, mode="not"))


@rich
def that_he_owns(s: Scene) -> Built:
    """Object relative: `Every contract that some lawyer reads is valid`."""
    sort = s.sort()
    return under(s, s.object_relative(s.nominal(sort, adjective=0.2)), "every", "some", "no")


@rich
def every_that_maria(s: Scene) -> Built:
    """`Maria reads every contract that Tom signs`."""
    link = s.link("P")
    head = s.object_relative(s.nominal(link.object, adjective=0.2))
    subject = s.one(
        s.named("P"), s.universal(s.nominal("P", adjective=0.2)), s.person("every"), s.person("some")
    )
    return clause(subject, linked(link, s.quantified(s.one("every", "a", "no", "some"), head)))


@rich
def only_object(s: Scene) -> Built:
    """`Only nurses who trust a dentist help every patient`."""
    nominal = s.nominal(s.sort(), 1, relative=0.4)
    phrase = s.phrase(nominal.sort, 0, kind="linked")
    return f"only {nominal.plural} {phrase.text(True)}", s.all(
        lambda x: implies(phrase.holds(x), nominal.holds(x))
    )


@rich
def there_is_who(s: Scene) -> Built:
    nominal = s.nominal(s.sort(), adjective=0.3)
    negative = s.chance(0.25)
    phrase = s.phrase(nominal.sort, 1, "not" if negative else "free", kind="linked")
    whole = s.relative(nominal, 0, phrase.negated() if negative else phrase)
    if s.chance(0.4):
        return s.one(f"there is no {whole.singular}", f"there are no {whole.plural}"), no(s.some(whole.holds))
    text = s.one(f"there is {with_article(whole.singular)}", f"there is at least one {whole.singular}")
    return text, s.some(whole.holds)


@rich
def passive_by(s: Scene) -> Built:
    """`Every contract is signed by a lawyer`, `… must be signed by …`."""
    passives = [
        link
        for link in s.links()
        if link.predicate.endswith("By") and link.aux == "be" and link.subject != "L"
    ]
    link = passives[s.take([link.predicate for link in passives])]
    subject = s.nominal(link.subject, 1, relative=0.2)
    if s.chance(0.15):
        return clause(s.negative(subject), linked(link, s.object(link.object, 1, mode="not")))
    if s.chance(0.1):
        return clause(s.doubtful(subject), linked(link, s.object(link.object, 1, mode="plain")))
    phrase = linked(link, s.object(link.object, 1))
    determined = s.one(s.universal, s.universal, s.existential)(subject)
    if s.chance(0.3) and determined.text.split()[0] not in ("some", "at"):
        return clause(determined, phrase, phrase.modal(s.one("must", "should", "will"), determined.plural))
    return clause(determined, phrase)


@rich
def gives(s: Scene) -> Built:
    """Three places, all quantified: `Every nurse gives a pill to some patient`."""
    option = s.ditransitive()
    subject = s.nominal(option.verb.subject, adjective=0.2)
    determine = s.one(s.universal, s.existential, s.universal, s.doubtful, s.negative)
    mode = "not" if determine == s.negative else "plain"
    object_, other = s.object(option.verb.object, mode=mode), s.object(option.other, mode=mode)
    return clause(determine(subject), s.giving(option, object_, other))


@rich
def name_gives_object(s: Scene) -> Built:
    option = s.ditransitive()
    phrase = s.giving(
        option, s.object(option.verb.object, mode="plain"), s.object(option.other, mode="plain")
    )
    second = s.light(option.verb.subject)
    text = f"{second.text()} and {phrase.text()}"
    name = s.named(option.verb.subject)
    return f"{name.text} {text}", both(name.bind(second.holds), name.bind(phrase.holds))


@rich
def who_gives(s: Scene) -> Built:
    option = s.ditransitive()
    phrase = s.giving(
        option, s.object(option.verb.object, mode="plain"), s.object(option.other, mode="plain")
    )
    nominal = s.relative(s.nominal(option.verb.subject, adjective=0.2), 0, phrase)
    return clause(s.one(s.universal, s.existential)(nominal), s.light(option.verb.subject))


@rich
def if_clause(s: Scene) -> Built:
    """`If every nurse sleeps, then some dentist works`."""
    (a, f), (b, g) = quantified_clause(s), quantified_clause(s)
    return s.one(
        f"if {a}, then {b}", f"if {a}, {b}", f"{b} if {a}", f"{b} provided that {a}", f"{a} only if {b}"
    ), implies(f, g)


@rich
def if_compound(s: Scene) -> Built:
    (a, f), (b, g) = quantified_clause(s), name_clause(s)
    c, h = s.one(quantified_clause, name_clause)(s)
    how = s.one("and", "or")
    if s.chance(0.6):
        return f"if {a} {how} {b}, then {c}", implies(chain(how, f, g), h)
    return s.one(f"if {b}, then {a} {how} {c}", f"if {b}, {a} {how} {c}"), implies(g, chain(how, f, h))


@rich
def iff_clause(s: Scene) -> Built:
    (a, f), (b, g) = quantified_clause(s), s.one(quantified_clause, name_clause)(s)
    return s.one(f"{a} if and only if {b}", f"{a} exactly when {b}"), iff(f, g)


@rich
def unless_clause(s: Scene) -> Built:
    a, f = quantified_clause(s)
    b, g = quantified_clause(s, positive=True) if s.chance(0.5) else name_clause(s, negate=0)
    return s.one(f"{a} unless {b}", f"unless {b}, {a}"), implies(no(g), f)


@rich
def and_clause(s: Scene) -> Built:
    (a, f), (b, g) = quantified_clause(s), quantified_clause(s)
    return s.one(f"{a}, and {b}", f"{a}, but {b}", f"{a}, while {b}", f"{a}, whereas {b}"), both(f, g)


@rich
def or_clause(s: Scene) -> Built:
    (a, f), (b, g) = quantified_clause(s), s.one(quantified_clause, name_clause)(s)
    if s.chance(0.5):
        return f"{a}, or {b}", chain("or", f, g)
    return s.one(f"either {a} or {b}", f"{a} or {b}, but not both"), chain("xor", f, g)


@rich
def not_the_case_object(s: Scene) -> Built:
    start = s.one("it is not true that", "it is not the case that", "it is false that")
    nominal = s.nominal(s.sort(), 1, relative=0.25)
    text, formula = clause(
        s.quantified(s.one("some", "every", "all"), nominal), s.phrase(nominal.sort, 0, kind="linked")
    )
    return f"{start} {text}", no(formula)


@rich
def if_it_object(s: Scene) -> Built:
    """`If a nurse trusts every dentist, then she helps a patient`."""
    nominal = s.nominal(s.sort(), adjective=0.2)
    a, b = s.phrase(nominal.sort, 0, kind="linked"), s.phrase(nominal.sort, 1)
    if a.aux == "past":
        raise Stuck("a past event is not generic")
    it, one = apart(nominal.pronoun), with_article(nominal.singular)
    texts = (
        f"if {one} {a.text()}, then {it} {b.text(they(it))}",
        f"if {one} {a.text()}, {it} {b.text(they(it))}",
        f"whenever {one} {a.text()}, {it} {b.text(they(it))}",
        f"{one} {a.text()} only if {it} {b.text(they(it))}",
    )
    return s.one(*texts), s.all(lambda x: implies(both(nominal.holds(x), a.holds(x)), b.holds(x)))


@rich
def if_it_compound(s: Scene) -> Built:
    nominal = s.nominal(s.sort(), adjective=0.1)
    a = s.joined(nominal.sort, s.one("and", "or", "xor", "neither", "but"))
    b, c = s.light(nominal.sort), s.simple(nominal.sort)
    it, one = apart(nominal.pronoun), with_article(nominal.singular)
    if s.chance(0.5):
        text = s.one(f"if {one} {a.text()}, then {it}", f"whenever {one} {a.text()}, {it}")
        return f"{text} {b.text(they(it))}", s.all(
            lambda x: implies(both(nominal.holds(x), a.holds(x)), b.holds(x))
        )
    text = s.one(f"if {one} {c.text()}, then {it}", f"whenever {one} {c.text()}, {it}")
    return f"{text} {a.text(they(it))}", s.all(
        lambda x: implies(both(nominal.holds(x), c.holds(x)), a.holds(x))
    )


@rich
def donkey(s: Scene) -> Built:
    """`If a farmer owns a donkey, then the farmer feeds the donkey`: both quantifiers are universal."""
    first = s.link()
    second = s.link(first.subject, first.object)
    subject, object_ = s.nominal(first.subject, adjective=0.2), s.nominal(first.object, adjective=0.2)
    if subject.singular.split()[-1] == object_.singular.split()[-1] or "past" in (first.aux, second.aux):
        raise Stuck("no clear reference")
    the = (f"the {subject.singular}", f"the {object_.singular}")
    back = linked(second, NounPhrase(the[1], False, lambda scope: scope("?o"), "it"))
    back = maybe_not(s, back, 0.3)
    fore = linked(first, NounPhrase(with_article(object_.singular), False, lambda scope: scope("?o"), "it"))

    def condition(x: str, y: str) -> Formula:
        return both(subject.holds(x), object_.holds(y), atom(first.predicate, x, y))

    def says(x: str, y: str) -> Formula:
        return no(atom(second.predicate, x, y)) if back.negative else atom(second.predicate, x, y)

    formula = s.all(lambda x: s.all(lambda y: implies(condition(x, y), says(x, y))))
    it = apart(subject.pronoun) if object_.pronoun == "it" and subject.pronoun != "it" else ""
    texts = [
        f"if {with_article(subject.singular)} {fore.text()}, then {the[0]} {back.text()}",
        f"whenever {with_article(subject.singular)} {fore.text()}, {the[0]} {back.text()}",
    ]
    if it:
        its = maybe_plural(back, second, they(it))
        texts.append(f"if {with_article(subject.singular)} {fore.text()}, then {it} {its}")
        texts.append(f"every {subject.singular} who {fore.text()} {maybe_plural(back, second, False)}")
    return s.one(*texts), formula


def maybe_plural(back: Phrase, link: Link, plural: bool) -> str:
    """The phrase with `it` for its object."""
    it = NounPhrase("it", False, lambda scope: scope("?o"), "it")
    return replace(linked(link, it), negative=back.negative).text(plural)


@rich
def donkey_object(s: Scene) -> Built:
    """`If a lawyer signs a contract, then the contract is valid`."""
    link = s.link()
    subject, object_ = s.nominal(link.subject, adjective=0.2), s.nominal(link.object, adjective=0.2)
    if link.subject == link.object:
        raise Stuck("no clear reference")
    phrase = maybe_not(s, s.simple(link.object))
    fore = linked(link, NounPhrase(with_article(object_.singular), False, lambda scope: scope("?o"), "it"))
    start = s.one("if", "whenever")
    text = f"{start} {with_article(subject.singular)} {fore.text()}, {'then ' if start == 'if' else ''}"
    text += f"the {object_.singular} {phrase.text()}"

    def condition(x: str, y: str) -> Formula:
        return both(subject.holds(x), object_.holds(y), atom(link.predicate, x, y))

    return text, s.all(lambda x: s.all(lambda y: implies(condition(x, y), phrase.holds(y))))


@rich
def iff_it_object(s: Scene) -> Built:
    nominal = s.nominal(s.sort(), adjective=0.2)
    a, b = s.simple(nominal.sort), s.phrase(nominal.sort, 1, kind="linked")
    it, one = apart(nominal.pronoun), with_article(nominal.singular)
    how = s.one("if and only if", "exactly when")
    text = s.one(
        f"{one} {a.text()}", f"every {nominal.singular} {a.text()}", f"each {nominal.singular} {a.text()}"
    )
    formula = s.all(lambda x: implies(nominal.holds(x), iff(a.holds(x), b.holds(x))))
    return f"{text} {how} {it} {b.text(they(it))}", formula


@rich
def unless_it_object(s: Scene) -> Built:
    nominal = s.nominal(s.sort(), adjective=0.2)
    a, b = s.phrase(nominal.sort, 0), s.phrase(nominal.sort, 0, mode="plain", kind="linked")
    if a.aux == "past":
        raise Stuck("a past event is not generic")
    it = apart(nominal.pronoun)
    if s.chance(0.4):
        a = s.phrase(nominal.sort, 0, mode="not")
        text = f"no {nominal.singular} {a.text()} unless {it} {b.text(they(it))}"
        a = a.negated()
    else:
        one = s.one(with_article(nominal.singular), f"every {nominal.singular}")
        text = f"{one} {a.text()} unless {it} {b.text(they(it))}"
    return text, s.all(lambda x: implies(nominal.holds(x), implies(no(b.holds(x)), a.holds(x))))


def counted(s: Scene) -> str:
    return s.one(
        "exactly one", "only one", "at most one", "no more than one", "at least two", "more than one"
    )


@rich
def counted_object(s: Scene) -> Built:
    link = s.link()
    subject, object_ = s.nominal(link.subject, adjective=0.15), s.nominal(link.object, adjective=0.2)
    phrase = linked(link, s.quantified(counted(s), object_))
    determined = s.one(s.universal, s.universal, s.existential)(subject)
    return clause(s.named(link.subject) if s.chance(0.3) else determined, phrase)


@rich
def counted_subject(s: Scene) -> Built:
    nominal = s.nominal(s.sort(), adjective=0.3)
    how = counted(s)
    phrase = s.simple(nominal.sort)
    if s.chance(0.55):
        link = s.link(nominal.sort)
        phrase = linked(link, s.object(link.object, mode="plain"))
    return clause(s.quantified(how, nominal), phrase)


@rich
def there_is_counted(s: Scene) -> Built:
    """`There is exactly one red car in Oslo`: no scope but the noun phrase itself."""
    nominal = s.nominal(s.sort(), adjective=0.5)
    if s.chance(0.7):
        link = s.link(nominal.sort)
        nominal = s.relative(nominal, 0, linked(link, s.object(link.object, mode="plain")))
    holds = nominal.holds
    how = s.one("exactly one", "only one", "at most one", "at least two")
    if how == "at least two":
        pair = s.some(lambda x: s.some(lambda y: both(holds(x), holds(y), differ(x, y))))
        return f"there are at least two {nominal.plural}", pair
    if how == "at most one":
        pair = s.all(lambda x: s.all(lambda y: implies(both(holds(x), holds(y)), equal(x, y))))
        return f"there is at most one {nominal.singular}", pair
    only = s.some(lambda x: both(holds(x), s.all(lambda y: implies(holds(y), equal(y, x)))))
    return f"there is {how} {nominal.singular}", only


@rich
def another(s: Scene) -> Built:
    """`Every nurse helps another nurse`."""
    links = [link for link in s.links() if link.subject == link.object != "L"]
    link = links[s.take([link.predicate for link in links])]
    nominal = s.nominal(link.subject, adjective=0.2)
    noun, holds = nominal.singular, nominal.holds
    every = s.one("every", "every", "no", "some")
    other = s.one("another", "another", "a different")
    if every == "no":
        other = s.one("another", "any other", "a different")
    if every != "no" and s.chance(0.35):
        text = s.one(f"every other {noun}", f"all other {nominal.plural}")

        def object_(x: str) -> Formula:
            return s.all(lambda y: implies(both(holds(y), differ(x, y)), atom(link.predicate, x, y)))
    else:
        text = f"{other} {noun}"

        def object_(x: str) -> Formula:
            return s.some(lambda y: both(holds(y), differ(x, y), atom(link.predicate, x, y)))

    if s.chance(0.3) and every != "no":
        inner = s.simple(nominal.sort)
        nominal = s.relative(nominal, 0, inner)
    subject = s.quantified(every, nominal) if every != "some" else s.existential(nominal)
    phrase = Phrase(link.aux, *with_tail(link, text), object_)
    return clause(subject, phrase)


@rich
def two_share(s: Scene) -> Built:
    """`No two nurses trust the same dentist`."""
    link = s.link(aux="do")
    if link.subject == link.object:
        raise Stuck("reads badly")
    a, b = s.nominal(link.subject, adjective=0.2), s.nominal(link.object, adjective=0.2)
    form = f"{link.plural} the same {b.singular}"

    def same(x: str, y: str) -> Formula:
        return s.some(lambda z: both(b.holds(z), atom(link.predicate, x, z), atom(link.predicate, y, z)))

    def two(x: str, y: str) -> Formula:
        return both(a.holds(x), a.holds(y), differ(x, y))

    texts = [
        (
            f"{s.one('no two', 'no two different')} {a.plural} {form}",
            s.all(lambda x: s.all(lambda y: implies(two(x, y), no(same(x, y))))),
        ),
        (
            f"{s.one('at least two', 'two different')} {a.plural} {form}",
            s.some(lambda x: s.some(lambda y: both(two(x, y), same(x, y)))),
        ),
        (
            f"any two different {a.plural} {form}",
            s.all(lambda x: s.all(lambda y: implies(two(x, y), same(x, y)))),
        ),
    ]
    return s.one(*texts)


@rich
def except_name(s: Scene) -> Built:
    """`Every nurse other than Maria trusts a dentist`."""
    link = s.link()
    subject, name = s.nominal(link.subject, adjective=0.2), s.constant(link.subject)
    phrase = linked(link, s.quantified(s.one("a", "every", "some"), s.nominal(link.object, adjective=0.2)))

    def rest(x: str) -> Formula:
        return both(subject.holds(x), differ(x, name.name))

    every = s.one("every", "every", "some", "no")
    if every == "no":
        phrase = linked(link, s.object(link.object, mode="not"))
    bind = s.binder(every, rest)
    than = s.one("other than", "other than", "different from")
    return f"{every} {subject.singular} {than} {name.text} {phrase.text()}", bind(phrase.holds)


@rich
def compared(s: Scene) -> Built:
    """`Some nurse is taller than every dentist who sleeps`."""
    relations = [relation for relation in s.domain.comparatives if relation.subject != "L"]
    relation = relations[s.take([relation.predicate for relation in relations])]
    link = Link("be", *(relation.text,) * 3, relation.predicate, relation.subject, relation.object)
    a = s.nominal(relation.subject, 1, relative=0.25)
    if s.chance(0.3):
        phrase = linked(link, s.object(relation.object, 0, mode="not"))
        return clause(s.negative(a), phrase)
    nominal = s.nominal(relation.object, 1, joint=0)
    phrase = linked(link, s.quantified(s.one("every", "any", "all", "some", "at least one"), nominal))
    if " any " in f" {phrase.singular}":
        every = s.quantified("every", nominal)
        phrase = replace(phrase, says=lambda x: every.bind(lambda y: atom(relation.predicate, x, y)))
    return clause(s.one(s.universal, s.existential)(a), phrase)


def relational_link(s: Scene) -> tuple[Link, lexicon.Relation]:
    relations = s.domain.relational
    relation = relations[s.take([relation.predicate for relation in relations])]
    one = f"the {relation.noun} of"
    return Link("be", one, one, one, relation.predicate, relation.subject, relation.object), relation


@rich
def owner_of(s: Scene) -> Built:
    """Relational noun as the subject: `Every owner of a car is insured`."""
    link, relation = relational_link(s)
    of = s.object(link.object, mode="plain")
    head = Nominal(
        f"{relation.noun} of {of.text}",
        f"{relation.nouns} of {of.text}",
        lambda x: of.bind(lambda y: atom(link.predicate, x, y)),
        "they",
        link.subject,
        heavy=True,
    )
    return under(s, head, "every", "some", "no", "not every")


@rich
def maria_s_parent(s: Scene) -> Built:
    """Kinship and the possessive: `If Maria is Tom's parent, then …`, `Everyone is somebody's child`."""
    link, relation = relational_link(s)
    if link.object != "P":
        raise Stuck("no person")
    first, second = s.constant("P"), s.constant("P")
    noun, name = relation.noun, link.predicate
    one = with_article(noun)
    subject = s.nominal("P", adjective=0.3)
    phrase = s.phrase("P", 0, mode="plain")
    fact = atom(name, first.name, second.name)
    own = f"{second.text}'{'' if second.text.endswith('s') else 's'} {noun}"
    used = s.all(lambda x: implies(atom(name, x, second.name), phrase.holds(x)))
    return s.one(
        (
            f"if {first.text} is {own}, then {first.text} {phrase.text()}",
            implies(fact, phrase.holds(first.name)),
        ),
        (f"every {noun} of {second.text} {phrase.text()}", used),
        (f"anyone who is {one} of {second.text} {phrase.text()}", person_wide(s, name, second.name, phrase)),
        (
            f"every {subject.singular} is {one} of someone who {phrase.text()}",
            s.all(
                lambda x: implies(
                    subject.holds(x),
                    s.some(lambda y: both(atom("Person", y), phrase.holds(y), atom(name, x, y))),
                )
            ),
        ),
        (
            f"everyone who is {one} of {with_article(subject.singular)} {phrase.text()}",
            s.all(
                lambda x: implies(
                    both(atom("Person", x), s.some(lambda y: both(subject.holds(y), atom(name, x, y)))),
                    phrase.holds(x),
                )
            ),
        ),
        (
            f"some {subject.singular} is {own} and {phrase.text()}",
            s.some(lambda x: both(subject.holds(x), atom(name, x, second.name), phrase.holds(x))),
        ),
    )


def person_wide(s: Scene, name: str, other: str, phrase: Phrase) -> Formula:
    return s.all(lambda x: implies(both(atom("Person", x), atom(name, x, other)), phrase.holds(x)))


@rich
def law_of_two(s: Scene) -> Built:
    """Rules with two or three things: symmetry, its opposite, transitivity, one relation from another."""
    links = [link for link in s.links() if link.subject == link.object != "L" and link.aux in ("do", "be")]
    link = links[s.take([link.predicate for link in links])]
    other = links[s.take([link.predicate for link in links])]
    nominal = s.nominal(link.subject, adjective=0) if link.subject != "P" or s.chance(0.6) else None
    noun = nominal.singular if nominal else "person"
    holds: Scope = nominal.holds if nominal else (lambda x: atom("Person", x))

    def say(chosen: Link, object_: str, negative: bool = False) -> str:
        target = NounPhrase(object_, False, lambda scope: scope("?o"), "it")
        return replace(linked(chosen, target), negative=negative).text()

    start = f"if one {noun} {say(link, f'another {noun}')}"

    def pair(x: str, y: str) -> Formula:
        return both(holds(x), holds(y), differ(x, y), atom(link.predicate, x, y))

    kinds = ["symmetric", "asymmetric", "implies"]
    if link.predicate.endswith("Than"):
        kinds = ["asymmetric", "transitive"]
    elif link.singular in SYMMETRIC:
        kinds = ["symmetric", "implies"]
    elif link.singular in PLACED:
        kinds = ["asymmetric", "implies"]
    kind = s.one(*kinds)
    if kind == "transitive":
        text = f"if one {noun} {say(link, f'a second {noun}')} and the second {noun}"
        text += f" {say(link, f'a third {noun}')}, then the first {noun} {say(link, f'the third {noun}')}"
        name = link.predicate
        return text, s.all(
            lambda x: s.all(
                lambda y: s.all(
                    lambda z: implies(
                        both(holds(x), holds(y), holds(z), atom(name, x, y), atom(name, y, z)),
                        atom(name, x, z),
                    )
                )
            )
        )
    back = link if kind != "implies" else other
    if link.subject != other.subject and kind == "implies":
        raise Stuck("sorts differ")
    order = s.one((0, 1), (1, 0)) if kind == "implies" else (1, 0)
    ranks = (f"the first {noun}", f"the second {noun}")
    ranks = ("the first", "the second") if s.chance(0.4) else ranks
    text = f"{start}, then {ranks[order[0]]} {say(back, ranks[order[1]], kind == 'asymmetric')}"

    def consequence(*pair_: str) -> Formula:
        result = atom(back.predicate, pair_[order[0]], pair_[order[1]])
        return no(result) if kind == "asymmetric" else result

    return text, s.all(lambda x: s.all(lambda y: implies(pair(x, y), consequence(x, y))))


@rich
def everyone_relation(s: Scene) -> Built:
    """`Everyone who owns a car trusts someone`, `Nobody trusts everyone`."""
    link = s.link("P", "P")
    target = s.one("every", "some")
    kind = s.one("every", "some", "no")
    if link.aux == "past" or (kind == "no" and target == "some"):
        target = "every" if kind == "no" else target
    object_ = s.person(target, s.light("P") if s.chance(0.4) else None)
    condition = s.phrase("P", 0, kind="linked") if s.chance(0.6) else None
    phrase = linked(link, object_)
    if condition is not None and s.chance(0.4) and kind == "every":
        everyone = s.person("every", condition)
        start = s.one("anyone who", "whoever", "every person who")
        return f"{start} {condition.text()} {phrase.text()}", everyone.bind(phrase.holds)
    return clause(s.person(kind, condition), phrase)


@rich
def nobody_object(s: Scene) -> Built:
    phrase = s.phrase("P", 1, mode="not", kind="linked")
    condition = s.light("P") if s.chance(0.5) else None
    nobody = s.person("no", condition)
    return clause(nobody, phrase)


@rich
def oneself(s: Scene) -> Built:
    """`No surgeon treats himself or herself`, `Every surgeon who trusts a nurse trusts himself`."""
    links = [link for link in s.links() if link.subject == link.object == "P" and link.aux == "do"]
    link = links[s.take([link.predicate for link in links])]
    nominal = s.nominal("P", 1, adjective=0.3, relative=0.8)
    self_ = {"she": "herself", "he": "himself"}.get(nominal.pronoun, "himself or herself")
    phrase = Phrase(
        "do",
        *with_tail(link, self_),
        lambda x: atom(link.predicate, x, x),
    )
    every = s.one("every", "each", "no", "some", "not every")
    phrase = maybe_not(s, phrase) if every in ("every", "some") else phrase
    return clause(s.quantified(every, nominal), phrase)


@rich
def object_joined(s: Scene) -> Built:
    """`Every nurse trusts a dentist and is tired`."""
    nominal = s.nominal(s.sort(), 1, relative=0.2)
    how = s.one("and", "but", "or", "xor", "neither")
    return clause(s.one(s.universal, s.universal, s.existential)(nominal), s.joined(nominal.sort, how))


@rich
def who_joined(s: Scene) -> Built:
    nominal = s.nominal(s.sort(), adjective=0.1)
    how = s.one("and", "but", "or", "neither")
    head = s.relative(nominal, 0, s.joined(nominal.sort, how))
    return clause(s.one(s.universal, s.universal, s.existential)(head), s.phrase(nominal.sort, 0))


@rich
def two_nouns_object(s: Scene) -> Built:
    """`Every nurse or dentist helps a patient`."""
    sort = s.sort()
    a, b = s.nominal(sort, adjective=0), s.nominal(sort, adjective=0)
    phrase = s.phrase(sort, 1, kind="linked")
    either = s.all(lambda x: implies(chain("or", a.holds(x), b.holds(x)), phrase.holds(x)))
    plural = s.one(
        f"all {a.plural} and {b.plural}", f"all {a.plural} and all {b.plural}", f"{a.plural} and {b.plural}"
    )
    if s.chance(0.5):
        return f"{plural} {phrase.text(True)}", either
    return f"{s.one('every', 'each', 'any')} {a.singular} or {b.singular} {phrase.text()}", either


@rich
def two_objects(s: Scene) -> Built:
    """`Every nurse trusts a dentist or a surgeon`."""
    link = s.link()
    subject = s.nominal(link.subject, adjective=0.2)
    a, b = s.nominal(link.object, adjective=0.2), s.nominal(link.object, adjective=0)
    how = s.one("or", "either", "and", "neither")
    found = [s.quantified("a", nominal) for nominal in (a, b)]
    words = {
        "or": f"{found[0].text} or {found[1].text}",
        "either": f"either {found[0].text} or {found[1].text}",
        "and": f"{s.one('both ', '')}{found[0].text} and {found[1].text}",
        "neither": f"neither {found[0].text} nor {found[1].text}",
    }

    def says(x: str) -> Formula:
        parts = [bind(lambda y: atom(link.predicate, x, y)) for bind in (found[0].bind, found[1].bind)]
        if how == "neither":
            return both(*(no(part) for part in parts))
        return chain({"or": "or", "either": "xor", "and": "and"}[how], *parts)

    phrase = Phrase(link.aux, *with_tail(link, words[how]), says)
    return clause(s.one(s.universal, s.universal, s.existential)(subject), phrase)


@rich
def must_object(s: Scene) -> Built:
    nominal = s.nominal(s.sort(), 1, relative=0.4)
    negative = s.chance(0.3)
    link = s.link(nominal.sort, aux=s.one("do", "be"))
    phrase = linked(link, s.object(link.object, 1, mode="not" if negative else "plain"))
    subject = s.universal(nominal)
    if negative:
        return clause(
            subject, phrase.negated(), phrase.negated().modal(s.one("must", "should"), subject.plural)
        )
    word = s.one("must", "should", "will", "have to" if subject.plural else "has to")
    return clause(subject, phrase, phrase.modal(word, subject.plural))


@rich
def can_object(s: Scene) -> Built:
    """`Every nurse can open a door`, `No nurse who sleeps can open every door`."""
    link = s.link(aux="can")
    subject = s.nominal(link.subject, 1, relative=0.4)
    kind = s.one("every", "some", "no", "not every")
    if kind == "no":
        return clause(s.negative(subject), linked(link, s.object(link.object, mode="not")))
    if kind == "not every":
        return clause(s.doubtful(subject), linked(link, s.object(link.object, mode="plain")))
    negative = s.chance(0.25)
    phrase = linked(link, s.object(link.object, mode="not" if negative else "free"))
    phrase = phrase.negated() if negative else phrase
    return clause(s.universal(subject) if kind == "every" else s.existential(subject), phrase)


@rich
def past_object(s: Scene) -> Built:
    """`Some lawyer signed every contract that Tom drafted`."""
    link = s.link(aux="past")
    subject = s.nominal(link.subject, 1, relative=0.3)
    phrase = linked(link, s.object(link.object, 1))
    kind = s.one("every", "some", "no", "name")
    if kind == "no":
        return clause(s.negative(subject), linked(link, s.object(link.object, 0, mode="not")))
    if kind == "name":
        return clause(s.named(link.subject), phrase)
    return clause(
        s.quantified(s.one("every", "each"), subject) if kind == "every" else s.existential(subject), phrase
    )


@rich
def no_unless_clause(s: Scene) -> Built:
    """`Unless every nurse sleeps, Maria trusts a dentist and Tom works`."""
    a, f = quantified_clause(s, positive=True)
    (b, g), (c, h) = name_clause(s), name_clause(s)
    how = s.one("and", "or")
    return f"unless {a}, {b} {how} {c}", implies(no(f), chain(how, g, h))


@rich
def all_and_only_object(s: Scene) -> Built:
    nominal = s.nominal(s.sort(), adjective=0.3)
    phrase = s.phrase(nominal.sort, 1, kind="linked")
    formula = s.all(lambda x: iff(nominal.holds(x), phrase.holds(x)))
    return f"all and only {nominal.plural} {phrase.text(True)}", formula


@rich
def something_object(s: Scene) -> Built:
    """`Everything that Maria owns is in a kitchen`, `Nothing that is broken amuses every guest`."""
    sort = s.sort()
    if sort == "P":
        raise Stuck("people are not things")
    link = s.link("P", sort)
    if link.aux == "be":
        raise Stuck("reads badly")
    agent = s.named("P") if s.chance(0.5) else s.quantified(s.one("some", "every"), s.nominal("P"))

    def owned(x: str) -> Formula:
        return agent.bind(lambda y: atom(link.predicate, y, x))

    verb = f"can {link.bare}" if link.aux == "can" else link.singular
    tail = f"that {agent.text} {verb}"
    kind = s.one("everything", "something", "nothing", "not everything")
    mode = {"nothing": "not", "not everything": "plain"}.get(kind, "free")
    phrase = s.phrase(sort, 1, mode, kind="linked")
    if kind == "something":
        formula = s.some(lambda x: both(owned(x), phrase.holds(x)))
    else:
        formula = s.all(
            lambda x: implies(owned(x), no(phrase.holds(x)) if kind == "nothing" else phrase.holds(x))
        )
    return f"{kind} {tail} {phrase.text()}", no(formula) if kind == "not everything" else formula


# ---------------------------------------------------------------- rows


def finished(text: str) -> str:
    """Capital first letter, one final period."""
    return f"{text[0].upper()}{text[1:]}."


def check(sentence: str, formula: Formula, is_simple: bool) -> None:
    """Raise `Stuck` for a row too long, too plain, repetitive or with one name at two arities."""
    words = len(sentence.split())
    if words not in WORDS:
        raise Stuck(f"{words} words")
    if " at at " in sentence:
        raise Stuck("at at least")
    quantifiers = sum(part.op in ("all", "some") for part in walk(formula))
    if (quantifiers <= 1) != is_simple:
        raise Stuck(f"{quantifiers} quantifiers")
    atoms = [part for part in walk(formula) if part.op == "atom"]
    if len(atoms) > MAX_ATOMS:
        raise Stuck(f"{len(atoms)} atoms")
    names = {part.name for part in atoms}
    stems = sorted(re.sub("^(Can|More)(?=[A-Z])", "", name) for name in names)
    if any(right.startswith(left[:5]) for left, right in pairwise(stems)):
        raise Stuck("words of one stem")
    arities = {(part.name, len(part.terms)) for part in atoms}
    if len(arities) != len(names):
        raise Stuck("one name, two arities")


def draw(rng: Random, domain: Domain, template: Template, is_simple: bool) -> tuple[str, str]:
    """One sentence with its formula, or `Stuck`."""
    text, formula = template(Scene(rng, domain))
    sentence = finished(text)
    check(sentence, formula, is_simple)
    return sentence, to_text(formula)


def generate(rows: int, seed: int) -> Iterator[dict[str, str]]:
    """`rows` different pairs; templates and domains take turns."""
    rng = Random(seed)
    domains = [lexicon.read_domain(name) for name in lexicon.DOMAINS]
    queues: dict[bool, list[str]] = {True: [], False: []}
    sentences: set[str] = set()
    formulas: set[str] = set()
    for index in range(rows):
        is_simple = index % SIMPLE_EVERY == 0
        table, queue = (SIMPLE, queues[True]) if is_simple else (RICH, queues[False])
        if not queue:
            queue += rng.sample(list(table), len(table))
        name = queue.pop()
        while True:
            domain = rng.choice(domains)
            try:
                sentence, formula = draw(rng, domain, table[name], is_simple)
            except Stuck:
                continue
            if sentence not in sentences and formula not in formulas:
                break
        sentences.add(sentence)
        formulas.add(formula)
        row = {"id": f"gen-{index + 1:04d}", "sentence": sentence, "formula": formula}
        yield row | {"field": domain.name, "template": name}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    for row in generate(arguments.rows, arguments.seed):
        sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
