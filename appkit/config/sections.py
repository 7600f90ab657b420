"""Sections are the parts of a run's configuration: frozen models; each field says its unit and range."""

from __future__ import annotations

import codecs
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from appkit.config.words import read_words
from appkit.task import Decoding

__all__ = [
    "DataConfig",
    "EvalConfig",
    "HeadConfig",
    "MixSource",
    "ModelConfig",
    "QuantConfig",
    "RagConfig",
    "RunConfig",
    "StageConfig",
    "TrainConfig",
    "index_of_word",
]


def _refuse_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty (a shell variable that is not set?); fill it in, or leave the key out")
    return text


Filled = Annotated[str, AfterValidator(_refuse_blank)]
"""a text that is not blank: an empty path or name would silently mean the default"""


class Section(BaseModel):
    """Base of every section: frozen; an unknown key is an error; a text field takes numbers, such as 2024."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    @model_validator(mode="before")
    @classmethod
    def _read_python(cls, values: Any) -> Any:
        """Read what Python code gives to a section itself: a path is text, a truth value no number."""
        if not isinstance(values, Mapping):
            return values
        texts = {
            key: os.fspath(value) if isinstance(value, os.PathLike) else value
            for key, value in values.items()
        }
        return read_words(cls, texts)


class ModelConfig(Section):
    """A base model: one source, one fingerprint, no fallback to another source."""

    name: Filled = Field(description="preset name, hub id or directory, as the user gave it")
    source: Literal["registry", "hub", "directory"] = Field(description="where the weights come from")
    id: Filled = Field(description="package name, hub id (org/name) or directory")
    revision: Filled | None = Field(None, description="package version or hub commit/tag")
    file: Filled | None = Field(None, description="the GGUF file inside the registry package")
    sha256: Filled | None = Field(None, description="of the registry package's wheel")
    fingerprint: Filled | None = Field(None, description="recorded fingerprint; a different one is refused")
    gated: bool = Field(False, description="the hub asks for a login and an accepted licence")
    licence: Filled | None = Field(None, description="SPDX id or the licence's own name")
    dtype: Literal["auto", "bfloat16", "float32"] = Field(
        "auto", description="compute dtype; auto is bfloat16 where the hardware multiplies it, else float32"
    )

    @property
    def public_id(self) -> str:
        """The id for others: of a directory its last part, so that no payload tells, or depends on, where it lies."""
        return Path(self.id).name if self.source == "directory" else self.id


class QuantConfig(Section):
    """How the frozen base is quantized."""

    name: Literal["nf4", "int8", "none"] = Field("nf4", description="quantizer; NF4 is 4-bit NormalFloat")
    double_quant: bool = Field(True, description="quantize the NF4 scales too")
    dequantize: Literal["auto", "always", "never"] = Field(
        "auto", description="turn NF4 back into plain linears once, before any forward; auto does so on CPU"
    )


class HeadConfig(Section):
    """The head of a label task (kinds sequence and token). Defaults are those of LS-LLaMA (arXiv 2310.01208)."""

    attention: Literal["causal", "unmasked"] = Field(
        "causal", description="unmasked: every token sees the whole text (LS-unLLaMA)"
    )
    pooling: Literal["auto", "last", "mean", "max"] = Field(
        "auto", description="of a sequence's states; auto is last with causal attention, mean with unmasked"
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] | Literal["auto"] = Field(
        "auto",
        description="share of what the head sees that is set to 0; auto is 0.1 for tokens, 0 for sequences",
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: rows of rare labels count more, n / (classes x rows of the class)"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread over all labels")
    overlap: int = Field(64, ge=0, description="tokens shared by two windows of a long document; token heads")


def _read_switch(value: object) -> object:
    """Turn true and false, as which YAML reads a bare `on` or `off`, back into words."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


class TrainConfig(Section):
    """The optimization. Lengths are tokens, sizes are rows, steps are optimizer steps."""

    name: Filled = Field("quick", description="the preset these values started from")
    epochs: float = Field(1.0, gt=0, le=1000, description="passes over the training rows")
    max_rows: int | None = Field(None, ge=1, description="use at most this many training rows (hash order)")
    max_tokens: int | None = Field(
        None, ge=16, description="use as many training rows as have this many tokens (hash order)"
    )
    loss_on: Literal["answer", "all"] = Field(
        "answer", description="tokens that are learned: the answer's, or the prompt's too"
    )
    batch_tokens: int = Field(1024, ge=16, description="tokens laid end to end in one micro-batch, at most")
    batch_rows: int = Field(8, ge=1, description="rows per optimizer step")
    optimizer: Literal["auto", "adamw", "adamw_8bit", "paged_adamw_8bit"] = Field(
        "auto", description="auto is paged 8-bit AdamW on a GPU, AdamW on a CPU"
    )
    learning_rate: float = Field(1e-3, gt=0, le=1, description="peak")
    beta2: float = Field(
        0.95,
        gt=0,
        lt=1,
        description="AdamW's memory of squared gradients; 0.999 remembers the first steps of a short run to its end",
    )
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="after the warm-up")
    warmup: int = Field(5, ge=0, description="optimizer steps")
    weight_decay: float = Field(0.0, ge=0, le=1)
    max_grad_norm: float = Field(1.0, gt=0, description="gradients above it are scaled down")
    gradient_checkpointing: Annotated[Literal["auto", "on", "off"], BeforeValidator(_read_switch)] = Field(
        "auto", description="auto is on on a GPU"
    )
    eval_steps: int | None = Field(None, ge=1, description="measure the dev rows this often; none: never")
    eval_rows: int = Field(64, ge=1, description="dev rows measured during training, at most")
    save_steps: int | None = Field(
        None, ge=1, description="checkpoint this often; none: with each evaluation"
    )
    keep_checkpoints: int = Field(2, ge=1, description="the best one is kept besides")
    patience: int | None = Field(None, ge=1, description="stop after this many evaluations without gain")
    select: Literal["best", "last"] = Field("best", description="which checkpoint becomes the bundle")
    trackers: tuple[str, ...] = Field(
        ("tensorboard",), description="where the curves go besides metrics.jsonl"
    )


class MixSource(Section):
    """One source of a mix."""

    path: Filled = Field(description="as data.train")
    weight: float | None = Field(
        None,
        gt=0,
        le=1e9,
        description="how much of it is drawn, relative to the others; none: its number of rows",
    )
    domain: Filled | None = Field(
        None, max_length=100, description="what its rows are about; none: the file's name"
    )
    dev: Filled | None = Field(
        None, description="as data.dev, of this domain; none: carved from `path` by hash"
    )
    test: Filled | None = Field(
        None, description="as data.test, of this domain; none: carved from `path` by hash"
    )


class DataConfig(Section):
    """Where rows come from and what happens to bad ones."""

    train: Filled | None = Field(
        None, description="JSONL, CSV or Parquet file, or hub:org/name; none: shipped"
    )
    mix: tuple[MixSource, ...] = Field(
        (), description="several sources in the place of train: [{path: a.jsonl, weight: 2, domain: law}, …]"
    )
    temperature: float = Field(
        1.0,
        gt=0,
        le=100,
        description="of a mix: a source is drawn in proportion to weight ** (1 / temperature); 1: as the weights say, "
        "large: all sources alike",
    )
    document: Filled | None = Field(
        None,
        description="column that names the document of a row: a document is never split, and intervals are over "
        "documents; none: the task's own field, if it has one",
    )
    domain: Filled | None = Field(
        None, description="column that names the domain of a row, by which scores are also given"
    )
    dev: Filled | None = Field(None, description="rows for early stopping; none: carved from train by hash")
    test: Filled | None = Field(None, description="rows for the final figures; none: shipped, or carved")
    columns: dict[str, Filled] = Field(
        default_factory=dict,
        description="field of the task -> column of the file; of CoNLL files its number, from 1",
    )
    feedback: Filled | None = Field(
        None, description="store of `appkit demo`: accepted corrections join the training rows"
    )
    examples_by: Literal["bm25", "embedding"] = Field(
        "bm25",
        description="how the training rows for a prompt are ranked, where the task shows examples: by words, or by "
        "sentence embeddings (MiniLM)",
    )
    dev_share: float = Field(0.05, gt=0, lt=0.5, description="share of train carved out when dev is none")
    test_share: float = Field(0.1, gt=0, lt=0.5, description="share of train carved out when test is none")
    encoding: str | None = Field(
        None, description="of your text files, such as cp1252 (Windows) or utf-16; none: UTF-8"
    )
    delimiter: str | None = Field(
        None, description="between the cells of your .csv and .tsv files, such as ; or tab; none: , and tab"
    )
    on_error: Literal["refuse", "drop"] = Field("refuse", description="rows that do not fit the schema")
    on_long: Literal["refuse", "drop", "cut"] = Field(
        "refuse",
        description="rows longer than max_length; cut keeps the first tokens, of sequence tasks only",
    )
    max_length: int = Field(512, ge=8, description="tokens of prompt and answer together")
    near: float | None = Field(
        0.8,
        ge=0.5,
        le=1,
        description="rows whose inputs share this much of their character sequences (Jaccard) are reported as "
        "near-duplicates, and stay; none: not looked for",
    )

    @model_validator(mode="after")
    def _check_mix(self) -> DataConfig:
        if self.mix and self.train:
            raise ValueError("mix and train both name the training rows; put train's file into mix")
        if self.temperature != 1 and not self.mix:
            raise ValueError("temperature has no effect without a mix; name the sources: mix")
        return self

    @field_validator("encoding")
    @classmethod
    def _check_encoding(cls, encoding: str | None) -> str | None:
        try:
            # base64 and rot13 are codecs too, but decode no bytes to text
            known = encoding is None or codecs.lookup(encoding)._is_text_encoding
        except (LookupError, ValueError):
            known = False
        if not known:
            raise ValueError("must be a text encoding that Python knows, such as utf-8, cp1252 or utf-16")
        return encoding

    @field_validator("delimiter")
    @classmethod
    def _check_delimiter(cls, delimiter: str | None) -> str | None:
        delimiter = "\t" if delimiter in ("tab", "\\t") else delimiter
        if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n\0'):
            raise ValueError("must be one sign, such as ; or | (in quotes for the shell), or tab")
        return delimiter


class EvalConfig(Section):
    """The final measurement."""

    rows: int | None = Field(None, ge=1, description="test rows, at most (hash order); none: all")
    seen: Literal["report", "exclude", "refuse"] = Field(
        "report",
        description="test rows that a bundle was trained on or selected by, in appkit eval: say so, leave them out, or "
        "measure nothing",
    )
    batch_rows: int = Field(128, ge=1, description="rows decoded side by side, at most")
    general: Filled | None = Field(
        None,
        description="rows of another kind, as data.test: measured before and after training, to see what is forgotten",
    )
    few_shot: int = Field(4, ge=0, description="examples in the base's prompt")
    quant_rows: int = Field(
        64, ge=0, description="rows on which the cost of quantization is measured; 0: off"
    )
    resamples: int = Field(2000, ge=100, description="of the bootstrap")
    baseline: bool = Field(True, description="measure the base as well; of label tasks, the `baselines`")
    baselines: Literal["quick", "all"] = Field(
        "quick",
        description="what label tasks are measured against: quick is majority and TF-IDF (of tokens, known "
        "names and word features) with logistic regression; all adds MiniLM embeddings and the same base trained to "
        "write the label",
    )


class RagConfig(Section):
    """Retrieval: which index, and which passages come from it."""

    index: Filled | None = Field(
        None,
        description="directory that `appkit rag index` made; none: rows bring their own passages",
    )
    k: int = Field(5, ge=1, le=50, description="passages of a row")
    by: Literal["dense", "bm25", "hybrid"] = Field("hybrid", description="how they are ranked")
    judge: bool = Field(False, description="QIM puts the best 20 in order")


def index_of_word(value: Any) -> Any:
    """Read the word of `rag=INDEX` as the index's directory."""
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return {"index": value if isinstance(value, str) else str(value)}
    if isinstance(value, Mapping) and "name" in value:  # beside `rag.k=3`
        return {**{key: item for key, item in value.items() if key != "name"}, "index": value["name"]}
    return value


class StageConfig(Section):
    """One stage of a run: the adapter goes through all of them, each with its own rows and schedule."""

    train: TrainConfig = TrainConfig()
    data: DataConfig = DataConfig()


class RunConfig(Section):
    """Everything that decides a run."""

    task: Any = Field(description="the pack and its options")
    model: ModelConfig
    method: Any = Field(description="the adapter method and its options")
    quant: QuantConfig = QuantConfig()
    head: HeadConfig = HeadConfig()
    train: TrainConfig = TrainConfig()
    data: DataConfig = DataConfig()
    rag: Annotated[RagConfig, BeforeValidator(index_of_word)] = RagConfig()
    stages: dict[str, StageConfig] = Field(
        default_factory=dict,
        description="name -> train and data of a stage, in order; what a stage does not say is as for the run. The "
        "report measures the last one",
    )
    eval: EvalConfig = EvalConfig()
    decoding: Decoding = Decoding()
    seed: int = Field(0, ge=0, lt=2**31, description="of initialization, batches and dropout")
    threads: int | None = Field(None, ge=1, description="CPU threads; none: one per core")
    run_dir: Filled | None = Field(None, description="none: runs/<task>/<time>")
    name: Filled | None = Field(None, description="of the bundle; none: the task's name")
