"""Specialist loads a bundle to predict: base, adapter, and the pack's prompt and parser."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from appkit.arguments import list_inputs
from appkit.bundles.manifest import ROUTERS, Manifest, find, read_manifest
from appkit.errors import BundleError, ConfigError, DataError, shortened
from appkit.heads.head import Wishes
from appkit.plugins import load_method

if TYPE_CHECKING:
    from appkit.config import RunConfig
    from appkit.heads.head import Head
    from appkit.models.chat import Chat
    from appkit.stats.confidence import Calibration
    from appkit.task import Prediction, Task

__all__ = ["Specialist", "eval_config", "fill_rows", "input_row", "input_rows", "load"]


MEASURED_WITH = ("data", "rag", "eval", "decoding", "threads", "task.name")
WITHOUT_EFFECT = ("data.max_length", "data.on_long", "data.near", "eval.quant_rows")


def eval_config(manifest: Manifest, values: Mapping[str, Any]) -> RunConfig:
    """Merge nested values over the bundle's own configuration, to measure the bundle with.

    Raises ConfigError for a key that has no effect, since a bundle is measured as it was trained.
    """
    from appkit.config import build_run_config, merge_over

    own = manifest["config"]
    if values.get("task") == own["task"]["name"]:  # a bare word would replace the bundle's own options
        values = {key: value for key, value in values.items() if key != "task"}
    config = build_run_config(merge_over(own, values))
    for key, value in _flatten(values):
        if not f"{key}.".startswith(tuple(f"{group}." for group in MEASURED_WITH)) or key in WITHOUT_EFFECT:
            raise ConfigError(
                f"{key} has no effect on a bundle, which is measured as it was trained, got {value!r}; "
                f"leave it out (what counts: {', '.join(MEASURED_WITH[:-1])})"
            )
    return config


def _flatten(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


@dataclass
class Specialist:
    """A loaded bundle, ready to predict."""

    path: Path
    """the bundle's directory"""
    manifest: Manifest
    task: Task
    config: RunConfig
    """of the run that trained it"""
    model: Any
    """base with adapter, in evaluation mode"""
    head: Head

    @property
    def chat(self) -> Chat:
        """The base's tokenizer and chat template."""
        return self.head.chat

    @property
    def cap(self) -> int:
        """Tokens of an answer, at most."""
        return int(self.manifest["decoding"]["cap"])

    @property
    def calibration(self) -> Calibration | None:
        """The calibration that `confidence` uses; None if the bundle has none."""
        from appkit.stats.confidence import of_manifest

        return of_manifest(self.manifest)

    def confidence(self, prediction: Prediction) -> float | None:
        """Compute the probability that an answer of `predict` is right by the primary metric; None if unknown."""
        from appkit.stats.confidence import confidence

        calibration = self.calibration
        if calibration is None:
            return prediction.confidence
        return confidence(calibration, prediction.log_probabilities, prediction.whole)

    def predict(
        self,
        inputs: str | Mapping[str, Any] | Iterable[str | Mapping[str, Any] | Any],
        *,
        batch_rows: int = 64,
        constrain: bool = False,
        show: bool = True,
    ) -> list[Prediction]:
        """Answer the inputs, in order: bare texts, dicts with the schema's input fields, or rows.

        One text, dict or row is a list of one. Any iterable of them will do: a generator, an array of texts, a data
        set of `datasets`. Other keys of a dict are not read, as the other columns of a file are not. constrain: keep
        the answers to the pack's grammar. show: a progress bar.

        Raises DataError for what is neither, and for an input that does not fit the pack's schema; ConfigError for
        `constrain` of a pack without a grammar, and without xgrammar.
        """
        if constrain and (refusal := self.head.refusal(Wishes(constrain=True), str(self.path))):
            raise ConfigError(refusal)
        head = self.head.answering(
            batch_rows=batch_rows, confidence=self.calibration is not None, constrain=constrain
        )
        return head.answer(self.model, input_rows(self.task, inputs), show=show)


def input_rows(task: Task, inputs: Any) -> list[Any]:
    """Make the rows to be answered of one input or an iterable of inputs; raises DataError as `input_row` does."""
    values = list_inputs(inputs, task.row)
    rows = []
    for number, value in enumerate(values, 1):
        try:
            rows.append(input_row(task, value))
        except DataError as error:
            raise (DataError(f"input {number}: {error}") if len(values) > 1 else error) from None
    return rows


def input_row(task: Task, value: Any) -> Any:
    """Call `task.input_row`. Raises DataError, in one line, for an input that does not fit the schema."""
    if not isinstance(value, (str, Mapping, task.row)):
        remedy = "; decode it: text.decode()" if isinstance(value, (bytes, bytearray)) else ""
        raise DataError(
            f"an input is a text, or a dict with {task.input!r}, got {type(value).__name__} {shortened(value)}{remedy}"
        )
    try:
        return task.input_row(value)
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(map(str, fault["loc"])) or task.input
        shown = repr(fault["input"])
        raise DataError(
            f"{field}: {fault['msg']}, got {shown[:80]}{'…' if len(shown) > 80 else ''}"
        ) from None


def fill_rows(
    manifest: Manifest, rows: Sequence[Any], values: Mapping[str, Any]
) -> tuple[list[Any], list[str]]:
    """Let the pack fill rows from what its options name, as it filled training rows; returns them, and notes.

    values: nested, over the bundle's own options: `{"task": {"glossary": "terms.csv"}}`. They fill rows and change no
    prompt.

    Raises ConfigError for a pack that fills no rows and for a wrong option, DataError for what cannot be read.
    """
    from appkit.config import build_run_config, merge_over
    from appkit.data.rows import Record
    from appkit.plugins import load_task
    from appkit.rag.rows import complete_rows, describe_filled

    task = load_task(manifest["task"]["name"])
    keys = ", ".join(key for key, _ in _flatten(values))
    if task.complete is None:
        raise ConfigError(f"task {task.name!r} fills no rows, so {keys} has no effect; leave it out")
    config = build_run_config(merge_over(manifest["config"], values))
    if config.task.name != task.name:
        raise ConfigError(
            f"the bundle is of task {task.name!r}, got task.name={config.task.name}; leave it out"
        )
    task = task.under(config.task)
    records = [Record(row, "input", number, "") for number, row in enumerate(rows, 1)]
    filled = complete_rows(task, config, {"train": [], "dev": [], "test": records})["test"]
    notes = describe_filled(task, {"inputs": records}, {"inputs": filled})
    if filled == records:
        notes = [f"{keys} changed no row"]
    return [record.value for record in filled], notes


def load(path: str | Path, *, device: str | None = None) -> Specialist:
    """Load a bundle, or the bundle of a run directory, ready to predict.

    The base is the one the bundle was trained on, quantized and computed the same way.

    Raises BundleError when a file was changed, the schema version differs, or the base on this machine is not
    the one it was trained on; ModelError when the base cannot be fetched.
    """
    from appkit.config import ModelConfig, build_run_config
    from appkit.plugins import load_task

    path = find(path)
    manifest = read_manifest(path)
    config = build_run_config(manifest["config"])
    task = load_task(config.task.name)

    from appkit.heads.choose import head_of_bundle
    from appkit.models import attention
    from appkit.models.chat import Chat
    from appkit.models.load import load_base

    if config.threads:
        import torch

        torch.set_num_threads(config.threads)
    # the recorded dtype, not this machine's "auto": the same numbers as in training
    trained_on = ModelConfig.model_validate(config.model.model_dump() | {"dtype": manifest["base"]["dtype"]})
    base = load_base(trained_on, config.quant, device=device)
    if base.fingerprint.base != manifest["base"]["fingerprint"]:
        raise BundleError(
            f"{path} was trained on {manifest['base']['id']} with fingerprint "
            f"{manifest['base']['fingerprint'][:19]}…, this machine's {config.model.name} has "
            f"{base.fingerprint.base[:19]}…; pull the base the bundle names, or train it anew"
        )
    chat = Chat.of(base)
    head = head_of_bundle(manifest, config, task, chat)
    model = _restore(path, manifest, config, head.attach(base.model))
    attention.use(base.model)
    model.eval()
    if chat.fingerprint() != manifest["template"]:
        raise BundleError(
            f"{path} was trained with another chat template than the one of {base.path}; "
            "the answers would differ; pull the base again"
        )
    return Specialist(path, manifest, head.task, config, model, head)


def _restore(path: Path, manifest: Manifest, config: RunConfig, base: Any) -> Any:
    """Restore the trained model from the bundle's form: lora, full, prefix or routed."""
    from safetensors.torch import load_file

    kind = (manifest.get("exported") or {}).get("kind", "lora")
    if kind == "lora":
        from peft import PeftModel

        from appkit.adapters.low_rank import install

        model = PeftModel.from_pretrained(base, str(path))
        install(model)
        return model
    tensors = load_file(path / "adapter_model.safetensors")
    if kind == "full":
        from appkit.adapters.whole import Whole

        return Whole(base, tensors)
    if kind == "prefix":
        from appkit.adapters import virtual_tokens

        return virtual_tokens.restore(base, tensors)
    restore = load_method(config.method.name).restore
    if kind != "routed" or restore is None:
        raise BundleError(
            f"{path} was exported as {kind!r}, which method {config.method.name} cannot load; "
            "install the appkit that wrote it"
        )
    return restore(base, config.method, tensors | load_file(path / ROUTERS))
