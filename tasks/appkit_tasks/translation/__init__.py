"""Defines the translation pack: a text, with glossary, context and examples -> its translation."""

from __future__ import annotations

from appkit.task import Decoding, Metric, Similar, Task, TextHead
from appkit_tasks.translation import metrics
from appkit_tasks.translation.appendix import appendix
from appkit_tasks.translation.comet import COMET
from appkit_tasks.translation.config import TranslationConfig
from appkit_tasks.translation.grammar import pattern
from appkit_tasks.translation.load import TranslationRow, complete, inspect, load, put_examples, read_file
from appkit_tasks.translation.prompt import few_shot, prompt, target
from appkit_tasks.translation.rewriting import rewrite
from appkit_tasks.translation.tools import TOOLS

__all__ = ["TASK"]

TASK = Task(
    name="translation",
    summary="text -> its translation, with terms, placeholders and format kept",
    config=TranslationConfig,
    row=TranslationRow,
    load=load,
    prompt=prompt,
    target=target,
    metrics=(
        Metric(
            "chrF++",
            "n-grams of characters and words, 0 to 100 (sacreBLEU)",
            metrics.chrf,
            metrics.chrf_score,
            scale=100,
        ),
        Metric("BLEU", "n-grams of words, 0 to 100 (sacreBLEU)", metrics.bleu, metrics.bleu_score, scale=100),
        Metric(
            "TER",
            "edits for 100 words of the reference (sacreBLEU)",
            metrics.ter,
            metrics.ter_score,
            higher_is_better=False,
            scale=100,
        ),
        Metric(
            "terminology",
            "share of the glossary's terms in the text that are translated as listed",
            metrics.terminology,
            metrics.share,
        ),
        Metric(
            "BLEU without terms",
            "BLEU of the rows without terms of the glossary",
            metrics.bleu_without_terms,
            metrics.bleu_score,
            scale=100,
        ),
        Metric(
            "placeholders",
            "share of placeholders, tags, URLs and code that are kept",
            metrics.placeholders,
            metrics.share,
        ),
        Metric(
            "over-generation",
            "share of answers that do not end with the translation",
            metrics.over_generation,
            higher_is_better=False,
        ),
        Metric(
            "off-target", "share of answers in another language", metrics.off_target, higher_is_better=False
        ),
        Metric("exact", "share of answers equal to the reference", metrics.exact),
    ),
    primary="chrF++",
    input="source",
    output="target",
    examples=(
        {"source": "Save the file before you close the window.", "target_language": "fr"},
        {"source": "%d files were moved to <b>{folder}</b>.", "target_language": "fr"},
        {"source": "Your password has expired.", "target_language": "de"},
    ),
    beside=("source_language", "target_language", "context"),
    needed=("source", "target"),
    head=TextHead(
        decoding=Decoding(loop=32),
        few_shot=few_shot,
        row_grammar=lambda row, options: pattern(row.source),
    ),
    appendix=appendix,
    similar=Similar(
        count=lambda options: options.examples,
        field="examples",
        text=lambda row: row.source,
        put=put_examples,
        allowed=lambda row, pair: not row.document or row.document != pair.document,
        group=lambda row: (row.source_language, row.target_language),
    ),
    files=read_file,
    complete=complete,
    inspect=inspect,
    rewrite=rewrite,
    commands={"comet": COMET},
    left_out=lambda options: options.drop,
    variants={
        "without glossary": lambda row: row.model_copy(update={"shows_terms": False}) if row.terms else row,
        "without examples": lambda row: row.model_copy(update={"examples": ()}),
    },
    strata={"direction": lambda row: f"{row.source_language} → {row.target_language}"},
    tools=TOOLS,
    defaults={"data": {"max_length": 512}},
)
