"""Defines the settings (`serve.<key>=`) that a gateway is started with and keeps until it ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appkit.errors import ConfigError
from appkit.plugins import did_you_mean

__all__ = ["Settings", "settings"]


class Settings(BaseModel):
    """Holds the limits of a gateway. No limit can be turned off: 0 is out of range."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: Literal["auto", "vllm", "transformers"] = Field(
        "auto", description="auto: vLLM if it is installed"
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="what engines compute in; auto: what each bundle was computed in"
    )
    certified: bool = Field(True, description="serve only bundles with a certificate for the engine")
    max_rank: int | None = Field(
        None,
        ge=1,
        le=512,
        description="largest rank of an adapter; none: twice the largest of those at the start",
    )
    max_labels: int | None = Field(
        None,
        ge=2,
        le=10_000,
        description="most labels of a sequence head; none: 256, or as many as those at the start have",
    )
    max_window: int = Field(
        1024,
        ge=16,
        description="tokens that an engine with unmasked attention reads at once, and has memory for",
    )
    classify: Literal["engine", "folded"] = Field(
        "engine",
        description="where causal sequence heads are answered: by an engine of their own, or in the "
        "generating one, which needs a rank as large as their number of labels",
    )
    max_slots: int = Field(8, ge=1, le=256, description="adapters in one batch of an engine")
    max_bundles: int = Field(64, ge=1, le=10_000, description="bundles of an engine, kept in memory")
    max_engines: int = Field(
        4, ge=1, description="engines: one for each base, dtype and kind of answer (words, labels, states)"
    )
    max_running: int = Field(64, ge=1, description="requests in one batch of an engine")
    max_queue: int = Field(
        256, ge=1, description="requests that an engine has accepted, running or waiting; then 429"
    )
    max_batch: int = Field(64, ge=1, description="rows, prompts or choices in one request")
    max_tokens: int = Field(1024, ge=1, description="tokens of an answer")
    max_context: int = Field(
        4096,
        ge=16,
        description="tokens of a prompt and its answer: the time that they take grows with the square",
    )
    max_work: int = Field(
        32_768,
        ge=16,
        description="tokens that one request reads and may write, all rows and answers together",
    )
    max_body: int = Field(1_000_000, ge=1000, description="bytes of a request")
    max_upload: int = Field(20_000_000, ge=1000, description="bytes of a file to train on")
    max_unpacked: int = Field(200_000_000, ge=1000, description="bytes of such a file, unpacked")
    max_rows: int = Field(500_000, ge=1, description="rows of such a file, or its lines if it is text")
    check_gib: int = Field(4, ge=1, description="GiB of memory of the process that checks such files")
    timeout_s: float = Field(120.0, gt=0, description="seconds for a request, waiting included; then 504")
    drain_s: float = Field(
        30.0, ge=0, description="seconds that running requests get when the gateway is stopped"
    )
    cache_gib: int = Field(1, ge=1, description="GiB of keys and values of an engine, on CPU")
    log_prompts: bool = Field(False, description="write prompts and answers to the log")


def settings(words: Sequence[str] = (), **options: Any) -> Settings:
    """Makes settings from words `serve.key=value` and keywords (None: the default).

    Raises ConfigError for an unknown key or a value out of its range.
    """
    values = {key: value for key, value in options.items() if value is not None}
    for word in words:
        key, _, value = word.removeprefix("serve.").partition("=")
        values[key] = value
    if unknown := sorted(values.keys() - Settings.model_fields.keys()):
        raise ConfigError(
            f"no setting serve.{unknown[0]}; {did_you_mean(unknown[0], list(Settings.model_fields))}"
        )
    try:
        return Settings(**values)
    except ValidationError as error:
        fault = error.errors()[0]
        raise ConfigError(f"serve.{fault['loc'][0]}: {fault['msg']}, got {fault['input']!r}") from None
