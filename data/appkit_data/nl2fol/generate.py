"""Write the synthetic training rows: sentences built from `lexicon` words together with their formulas.

`python generate.py --rows 2000 --seed 7 > generated.jsonl`

Sentence and formula grow together. A noun phrase knows how it binds a variable, a predicate phrase what it says of
one, and a template puts them into a frame; so the formula follows CONVENTIONS.md whatever was combined.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
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
    """`op` is atom, =, not, and, or, xor, implies, iff, all or some; `name` the predicate or the bound variable."""

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

    def modal(self, word: str) -> str:
        """`must be tall`, `should not sleep`."""
        if self.aux not in ("be", "do"):
            raise Stuck("no bare form")
        return f"{word} {'not ' if self.negative else ''}{'be ' if self.aux == 'be' else ''}{self.bare}"

    def negated(self) -> Phrase:
        if self.aux == "past":
            raise Stuck("did not: the conventions leave its name open")
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


def clause(subject: NounPhrase, phrase: Phrase) -> tuple[str, Formula]:
    return f"{subject.text} {phrase.text(subject.plural)}", subject.bind(phrase.holds)


def linked(link: Link, object_: NounPhrase) -> Phrase:
    forms = (f"{form} {object_.text}" for form in (link.singular, link.plural, link.bare))
    return Phrase(
        link.aux, *forms, lambda x: object_.bind(lambda y: atom(link.predicate, x, y)), heavy=object_.heavy
    )


def they(pronoun: str) -> bool:
    """Whether the pronoun takes a plural verb."""
    return pronoun == "they"


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
        """Index of an unused predicate among `names`, the domain's own three times as likely as a common one."""
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

    def nominal(self, sort: str, depth: int = 0, adjective: float = 0.25, relative: float = 0.35) -> Nominal:
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
            return self.relative(plain, depth - 1)
        return plain

    def pronoun(self, noun: Noun) -> str:
        if noun.sort != "P":
            return "it"
        if noun.singular in lexicon.FEMALE_NOUNS:
            return "she"
        return "he" if noun.singular in lexicon.MALE_NOUNS else self.one("she", "he", "they")

    def relative(self, head: Nominal, depth: int, phrase: Phrase | None = None) -> Nominal:
        """The head with "who …" / "that …", or with "that Maria owns"."""
        who = "who" if head.sort == "P" else "that"
        if phrase is None and self.chance(0.25):
            return self.object_relative(head)
        if phrase is None:
            phrase = self.joined(head.sort, "and") if self.chance(0.12) else self.phrase(head.sort, depth)
            if not phrase.heavy and self.chance(0.12):
                phrase = self.phrase(head.sort, depth, under_not=True).negated()
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
            subject = self.quantified(self.weighted({"some": 2, "every": 3, "at least one": 1, "no": 1}), nominal)
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
        """How each determiner quantifies; "any" and "a" are existential here, see `universal` for the rest."""
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
            return replace(phrase, text=text)
        return self.quantified(determiner, nominal)

    def existential(self, nominal: Nominal) -> NounPhrase:
        return self.quantified(self.one("some", "some", "some of", "at least one"), nominal)

    def negative(self, nominal: Nominal) -> NounPhrase:
        return self.quantified(self.one("no", "no", "no plural", "none of"), nominal)

    def doubtful(self, nominal: Nominal) -> NounPhrase:
        return self.quantified(self.one("not every", "not all"), nominal)

    def person(self, kind: str, phrase: Phrase | None = None) -> NounPhrase:
        """`everyone`, `someone who sleeps`, `nobody`: the predicate is Person."""
        words = {"every": ("everyone", "everybody"), "some": ("someone", "somebody"), "no": ("no one", "nobody")}
        self.used.add("Person")
        head = Nominal("person", "people", lambda x: atom("Person", x), "they", "P")
        nominal = head if phrase is None else self.relative(head, 0, phrase)
        word = self.one(*words[kind])
        text = word if phrase is None else f"{word} who {phrase.text()}"
        return NounPhrase(text, False, self.binder(kind, nominal.holds), "they", phrase is not None)

    def object(self, sort: str, depth: int = 0, under_not: bool = False, plain: bool = False) -> NounPhrase:
        """An object: a name or a quantified nominal. After a negation "some" would be ambiguous, so "a" or "any"."""
        weights: dict[str, float]
        if under_not:
            weights = {"a": 3, "any": 3, "every": 2, "name": 3}
        elif plain:
            weights = {"a": 4, "some": 1, "every": 2, "name": 3}
        else:
            weights = {"a": 8, "some": 2, "at least one": 1, "every": 6, "all": 1, "no": 2, "name": 5}
            weights |= {"exactly one": 0.6, "at most one": 0.5, "at least two": 0.6}
        determiner = self.weighted(weights)
        if determiner == "name" and any(constant.sort == sort for constant in self.domain.constants):
            return self.named(sort)
        if determiner == "name":
            determiner = "a"
        return self.quantified(determiner, self.nominal(sort, depth))

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
            if verb.subject != "M" and self.chance(0.12) and verb.base not in ("have", "own", "like", "know"):
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
            many = f"{lexicon.plural_of(relation.noun)} of".replace("bys of", "bies of").replace("rys of", "ries of")
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

    def phrase(self, sort: str, depth: int = 0, under_not: bool = False, kind: str = "any") -> Phrase:
        """A phrase for a subject of this sort; kind is any, simple (no object) or linked (with one)."""
        weights: dict[str, float] = {"quality": 3.2, "noun": 0.8, "intransitive": 2, "ability": 0.6}
        linked_weights: dict[str, float] = {"link": 6, "ditransitive": 0.7}
        weights = {"any": weights | linked_weights, "simple": weights, "linked": linked_weights}[kind]
        for _ in range(6):
            try:
                return getattr(self, f"{self.weighted(weights)}_phrase")(sort, depth, under_not)
            except Stuck:
                continue
        raise Stuck(f"no phrase for sort {sort}")

    def simple(self, sort: str) -> Phrase:
        return self.phrase(sort, kind="simple")

    def light(self, sort: str, under_not: bool = False) -> Phrase:
        """A phrase that ends in at most a plain object, so another can be joined on."""
        return self.simple(sort) if self.chance(0.5) else self.phrase(sort, 0, under_not)

    def quality_phrase(self, sort: str, depth: int, under_not: bool) -> Phrase:
        text, predicate = self.quality(sort)
        return Phrase("be", text, text, text, lambda x: atom(predicate, x))

    def noun_phrase(self, sort: str, depth: int, under_not: bool) -> Phrase:
        kinds = [noun for noun in self.domain.kinds if noun.sort == sort]
        kind = kinds[self.take([noun.predicate for noun in kinds])]
        one = with_article(kind.singular)
        return Phrase("be", one, kind.plural, one, lambda x: atom(kind.predicate, x))

    def intransitive_phrase(self, sort: str, depth: int, under_not: bool) -> Phrase:
        verbs = [verb for verb in self.domain.intransitive if verb.subject == sort]
        verb = verbs[self.take([verb.predicate for verb in verbs])]
        tail = f" {verb.tail}" if verb.tail else ""
        base = verb.base + tail
        return Phrase("do", verb.third + tail, base, base, lambda x: atom(verb.predicate, x))

    def ability_phrase(self, sort: str, depth: int, under_not: bool) -> Phrase:
        verbs = [verb for verb in self.domain.abilities if verb.subject == sort]
        bases = [f"{verb.base} {verb.tail}".strip() for verb in verbs]
        names = ["Can" + lexicon.predicate_name(base) for base in bases]
        index = self.take(names)
        return Phrase("can", "", "", bases[index], lambda x: atom(names[index], x))

    def link_phrase(self, sort: str, depth: int, under_not: bool) -> Phrase:
        link = self.link(sort)
        under_not = under_not or link.aux == "past"
        return linked(link, self.object(link.object, depth, under_not))

    def ditransitive_phrase(self, sort: str, depth: int, under_not: bool) -> Phrase:
        options = [option for option in self.domain.ditransitive if option.verb.subject == sort]
        option = options[self.take([option.verb.predicate for option in options])]
        return self.giving(option, self.object(option.verb.object, plain=True), self.object(option.other, plain=True))

    def giving(self, option: lexicon.Ditransitive, object_: NounPhrase, other: NounPhrase) -> Phrase:
        """`gives a pill to Maria` or, where English allows it, `gives Maria a pill`; quantified in that order."""
        verb = option.verb
        dative = option.preposition == "to" and verb.base in lexicon.DATIVE and option.other == "P"
        if dative and self.chance(0.35):
            tail = f"{other.text} {object_.text}"

            def says(x: str) -> Formula:
                return other.bind(lambda z: object_.bind(lambda y: atom(verb.predicate, x, y, z)))
        else:
            tail = f"{object_.text} {option.preposition} {other.text}"

            def says(x: str) -> Formula:
                return object_.bind(lambda y: other.bind(lambda z: atom(verb.predicate, x, y, z)))

        return Phrase("do", *(f"{form} {tail}" for form in (verb.third, verb.base, verb.base)), says)

    def ditransitive(self) -> lexicon.Ditransitive:
        options = self.domain.ditransitive
        return options[self.take([option.verb.predicate for option in options])]

    def joined(self, sort: str, how: str, under_not: bool = False) -> Phrase:
        """Two phrases as one: and, but (second one negated), or, xor, neither."""
        first = self.light(sort, under_not)
        second = self.light(sort, under_not or how == "but")
        if first.negative or second.negative or first.heavy or "past" in (first.aux, second.aux):
            raise Stuck("cannot be joined")
        if how in ("xor", "or", "neither") and first.aux != second.aux:
            raise Stuck("reads badly")
        second = second.negated() if how == "but" else second
        a, b = first, second
        words = {"and": ("", "and"), "but": ("", "but"), "or": ("", "or"), "xor": ("either ", "or")}
        before, between = words.get(how, ("neither ", "nor"))

        def form(which: str) -> str:
            left, right = getattr(a, which), getattr(b, which)
            if a.aux != "be" or b.aux != "be":
                left, right = (left, right) if which == "bare" else (a.text(which == "plural"), b.text(which == "plural"))
                left, right = (left, right.removeprefix("can ")) if a.aux == b.aux == "can" else (left, right)
                return f"{before}{left} {between} {right}"
            return f"{before}{left} {between} {'not ' if b.negative else ''}{right}"

        def says(x: str) -> Formula:
            parts = (a.holds(x), b.holds(x))
            if how == "neither":
                return both(no(parts[0]), no(parts[1]))
            return chain({"but": "and"}.get(how, how), *parts)

        aux = "be" if a.aux == b.aux == "be" else "mixed"
        return Phrase(aux, form("singular"), form("plural"), form("bare"), says, heavy=True)


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
