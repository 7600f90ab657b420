"""Label heads against transformers' own classes and PEFT: causal as they are, unmasked with an explicit mask."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tiny import CONFIGS, VOCABULARY, tiny
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from appkit.adapters.carrier import export
from appkit.adapters.lora.build import lora_model
from appkit.adapters.lora.config import LoraOptions
from appkit.errors import ModelError
from appkit.heads.label import loss as label_loss
from appkit.models import attention, forward
from appkit.models.batch import Labelled, collate_labelled

LENGTHS = (7, 3, 12, 1, 9)


def rows(places: str) -> list[Labelled]:
    """Texts of unlike lengths, the last token labelled or every second."""
    torch.manual_seed(1)
    texts = [tuple(torch.randint(3, VOCABULARY, (length,)).tolist()) for length in LENGTHS]
    return [
        Labelled(text, (len(text) - 1,) if places == "last" else tuple(range(0, len(text), 2)))
        for text in texts
    ]


def ours(architecture: str, kind: str, outputs: int = 5):
    """A base with head and adapter, whose factors and head are large enough to matter."""
    model = label_loss.attach(tiny(architecture), kind, outputs)
    attention.use(getattr(model, model.base_model_prefix))
    torch.manual_seed(2)
    peft = lora_model(model, LoraOptions(rank=4))
    for parameter in peft.parameters():
        if parameter.requires_grad:
            parameter.data = torch.randn_like(parameter) * 0.1
    return peft.eval()


def theirs(architecture: str, kind: str, bundle: Path, outputs: int = 5, attn: str = "eager"):
    """Plain transformers and PEFT, from the files that ours wrote."""
    auto = AutoModelForSequenceClassification if kind == "sequence" else AutoModelForTokenClassification
    config = CONFIGS[architecture]()
    config.num_labels = outputs
    plain = auto.from_config(config, attn_implementation=attn).float().eval()
    prefix = plain.base_model_prefix
    getattr(plain, prefix).load_state_dict(getattr(tiny(architecture), prefix).state_dict())
    return PeftModel.from_pretrained(plain, str(bundle)).eval()


def written(model, folder: Path) -> Path:
    import json

    from safetensors.torch import save_file

    exported = export(model, LoraOptions(rank=4))
    folder.mkdir(exist_ok=True)
    config = exported.config | {"base_model_name_or_path": "tiny"}
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    (folder / "adapter_config.json").write_text(
        json.dumps(plain, default=lambda value: getattr(value, "value", str(value)))
    )
    save_file(dict(exported.tensors), folder / "adapter_model.safetensors")
    return folder


@pytest.mark.parametrize("architecture", CONFIGS)
@pytest.mark.parametrize("kind", ["sequence", "token"])
def test_causal_logits_are_those_of_peft_on_transformers(
    architecture: str, kind: str, tmp_path: Path
) -> None:
    if (architecture, kind) == ("gemma3", "token"):
        with pytest.raises(ModelError, match="transformers has no token head for Gemma3ForCausalLM"):
            ours(architecture, kind)
        return
    model = ours(architecture, kind)
    plain = theirs(architecture, kind, written(model, tmp_path / "bundle"))
    examples = rows("last" if kind == "sequence" else "words")
    with torch.no_grad():
        found = label_loss.logits(
            model, collate_labelled(examples), "last" if kind == "sequence" else "none"
        ).split([len(one.places) for one in examples])
        for one, logits in zip(examples, found, strict=True):
            expected = plain(input_ids=torch.tensor([one.tokens])).logits[0]
            expected = expected[None] if kind == "sequence" else expected[list(one.places)]
            torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", ["llama", "llama_untied", "qwen2", "mistral"])
@pytest.mark.parametrize(
    ("kind", "pooling"), [("sequence", "last"), ("sequence", "mean"), ("sequence", "max"), ("token", "last")]
)
def test_unmasked_is_an_explicit_bidirectional_mask(
    architecture: str, kind: str, pooling: str, tmp_path: Path
) -> None:
    """One text alone, under a mask of our making: every token sees all others (mistral: those within its window)."""
    model = ours(architecture, kind)
    plain = theirs(architecture, kind, written(model, tmp_path / "bundle"))
    decoder = forward.decoder(plain)
    window = getattr(CONFIGS[architecture](), "sliding_window", None) if architecture == "mistral" else None
    examples = rows("last" if kind == "sequence" else "words")
    batch = collate_labelled(examples, causal=False)
    with torch.no_grad():
        found = label_loss.logits(model, batch, pooling if kind == "sequence" else "none").split(
            [len(one.places) for one in examples]
        )
        for one, logits in zip(examples, found, strict=True):
            length = len(one.tokens)
            apart = (torch.arange(length)[:, None] - torch.arange(length)).abs()
            seen = apart < window if window else torch.ones(length, length, dtype=torch.bool)
            mask = torch.zeros(1, 1, length, length).masked_fill(~seen, torch.finfo(torch.float32).min)
            states = decoder(
                input_ids=torch.tensor([one.tokens]), attention_mask=mask, use_cache=False
            ).last_hidden_state[0]
            pooled = {
                "last": states[-1:],
                "mean": states.mean(0, keepdim=True),
                "max": states.amax(0, keepdim=True),
            }[pooling]
            expected = label_loss.apply(plain, pooled if kind == "sequence" else states[list(one.places)])
            torch.testing.assert_close(logits, expected, atol=2e-5, rtol=1e-4)


def test_unmasked_differs_from_causal_but_for_one_token() -> None:
    """Else the tests above would hold for a mask that is never used."""
    model = ours("llama", "sequence")
    with torch.no_grad():
        causal = label_loss.logits(model, collate_labelled(rows("last")), "last")
        unmasked = label_loss.logits(model, collate_labelled(rows("last"), causal=False), "last")
    apart = (causal - unmasked).abs().amax(1)
    assert all((one > 1e-2) == (length > 1) for one, length in zip(apart, LENGTHS, strict=True))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
@pytest.mark.parametrize("length", [20, 300])
def test_a_text_is_read_alike_alone_and_among_others(causal: bool, pooling: str, length: int) -> None:
    """Padding-free equals padded equals alone; beyond 160 tokens another kernel attends."""
    model = ours("llama", "sequence")
    torch.manual_seed(3)
    long = tuple(torch.randint(3, VOCABULARY, (length,)).tolist())
    examples = [*rows("last"), Labelled(long, (length - 1,))]
    with torch.no_grad():
        together = label_loss.logits(model, collate_labelled(examples, causal=causal), pooling)
        for one, logits in zip(examples, together, strict=True):
            alone = label_loss.logits(model, collate_labelled([one], causal=causal), pooling)[0]
            torch.testing.assert_close(logits, alone, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("causal", [True, False])
def test_gradients_of_a_batch_are_the_sum_of_its_rows(causal: bool) -> None:
    model = ours("llama", "sequence")
    examples = [Labelled(one.tokens, one.places, (number % 5,)) for number, one in enumerate(rows("last"))]
    loss = label_loss.LabelLoss("single", "mean")

    def gradients(groups: list[list[Labelled]]) -> dict[str, torch.Tensor]:
        model.zero_grad()
        for group in groups:
            loss(model, collate_labelled(group, causal=causal)).backward()
        return {
            name: parameter.grad.clone()
            for name, parameter in model.named_parameters()
            if parameter.grad is not None
        }

    together, alone = gradients([examples]), gradients([[one] for one in examples])
    assert together.keys() == alone.keys()
    assert any("score" in name for name in together)
    for name, value in together.items():
        torch.testing.assert_close(value, alone[name], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("problem", ["single", "multi", "regression"])
def test_losses_are_those_of_transformers(problem: str) -> None:
    from transformers.loss.loss_utils import ForSequenceClassificationLoss

    torch.manual_seed(4)
    logits = torch.randn(6, 1 if problem == "regression" else 5)
    labels = {
        "single": torch.randint(0, 5, (6,)),
        "multi": torch.randint(0, 2, (6, 5)).float(),
        "regression": torch.randn(6),
    }[problem]
    names = {
        "single": "single_label_classification",
        "multi": "multi_label_classification",
        "regression": "regression",
    }

    class Config:
        num_labels = logits.shape[1]
        problem_type = names[problem]

    expected = ForSequenceClassificationLoss(labels, logits, Config())
    found = label_loss.LabelLoss(problem, "last").of_logits(logits, labels).sum() / len(labels)
    torch.testing.assert_close(found, expected)


def test_what_peft_trains_is_what_ours_trains() -> None:
    """The same modules get factors, and the head is saved whole."""
    model = ours("llama", "token")
    base = AutoModelForTokenClassification.from_config(CONFIGS["llama"]())
    config = LoraConfig(
        task_type="TOKEN_CLS",
        r=4,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    )
    reference = get_peft_model(base, config)
    mine = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert mine == {name for name, parameter in reference.named_parameters() if parameter.requires_grad}
