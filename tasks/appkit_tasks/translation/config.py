"""Defines the options of the pack."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from appkit_tasks.translation.clean import KINDS
from appkit_tasks.translation.codes import normalize

__all__ = ["TranslationConfig"]

Language = Annotated[str, AfterValidator(normalize)]


class TranslationConfig(BaseModel):
    """Options of the pack, set by `task.<key>=` for task=translation."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    name: Literal["translation"] = "translation"
    source_language: Language = Field(
        "en", description="BCP 47 code of rows that name none, such as en or pt-BR"
    )
    target_language: Language | None = Field(
        None, description="BCP 47 code of rows that name none; none: each row names its own"
    )
    glossary: str | None = Field(
        None,
        min_length=1,
        description="CSV, TSV, JSONL or TBX file of terms, or `shipped`; the terms of a text go into its prompt",
    )
    terms_share: float = Field(
        0.7, ge=0, le=1, description="share of the training rows with terms that show them"
    )
    distractors: int = Field(
        2, ge=0, le=20, description="entries of no use beside a training row's terms, at most"
    )
    examples: int = Field(
        0, ge=0, le=10, description="similar training pairs in each prompt; never of the same document"
    )
    domain: bool = Field(False, description="name the row's domain in the prompt")
    drop: tuple[str, ...] = Field(
        (), description=f"checks whose rows are left out, of {', '.join(KINDS)}; the others are reported"
    )
    language_detector: Literal["py3langid", "lingua"] = Field(
        "py3langid",
        description="of the check language; lingua is a second opinion, and needs pip install 'appkit[lingua]'",
    )
    deviations: float = Field(
        5.0, gt=0, description="check ratio: standard deviations of a length from what is usual of such pairs"
    )

    @field_validator("drop")
    @classmethod
    def _check_drop(cls, drop: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [kind for kind in drop if kind not in KINDS]:
            raise ValueError(f"knows no check {unknown[0]!r}; choose of {', '.join(KINDS)}")
        return drop
