"""Packed rows give what separate rows give under transformers' own attention, on every architecture."""

import copy
import random
from dataclasses import replace

import pytest
import torch
from tiny import CONFIGS, VOCABULARY, tiny

from appkit.heads.lm import loss as lm_loss
from appkit.models import attention
from appkit.models import generate as generating
from appkit.models.batch import Example, collate
from appkit.models.generate import generate, loops
from appkit.training.plan import plan


def examples(count: int, seed: int = 0, prefix: int = 0) -> list[Example]:
    draw = random.Random(seed)
    shared = [draw.randrange(3, VOCABULARY) for _ in range(prefix)]
    rows = []
    for _ in range(count):
        own = [draw.randrange(3, VOCABULARY) for _ in range(draw.randint(4, 17))]
        rows.append(Example(tuple(shared + own), prefix + draw.randint(1, len(own) - 1)))
    return rows


def separate_losses(model, rows: list[Example]) -> list[torch.Tensor]:
    """transformers' own forward and masks, one row at a time, no packing."""
    losses = []
    for row in rows:
        logits = model(torch.tensor([row.tokens]), use_cache=False).logits[0].float()
        targets = torch.tensor(row.tokens[row.supervised :])
        losses.append(
            torch.nn.functional.cross_entropy(logits[row.supervised - 1 : -1], targets, reduction="none")
        )
    return losses


@pytest.mark.parametrize("architecture", CONFIGS)
@pytest.mark.parametrize("prefix", [0, 6])
@pytest.mark.parametrize("share_prefix", [True, False])
def test_packed_equals_separate(architecture, prefix, share_prefix):
    reference = tiny(architecture)
    packed = copy.deepcopy(reference)
    attention.use(packed)
    rows = examples(7, seed=prefix, prefix=prefix)
    batch = collate(rows, share_prefix=share_prefix)
    assert batch.segments.prefix == (prefix if share_prefix else 0)
    expected = torch.cat(separate_losses(reference, rows))
    torch.testing.assert_close(lm_loss.token_losses(packed, batch), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(lm_loss.loss(packed, batch), expected.sum(), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("prefix", [0, 6])
def test_whole_rows_are_learned_from_their_second_token_on(prefix):
    reference = tiny()
    packed = copy.deepcopy(reference)
    attention.use(packed)
    rows = [replace(row, whole=True) for row in examples(5, seed=3, prefix=prefix)]
    batch = collate(rows)
    expected = torch.cat(separate_losses(reference, [Example(row.tokens, 1) for row in rows]))
    assert len(expected) == sum(row.targets for row in rows) == sum(len(row.tokens) - 1 for row in rows)
    torch.testing.assert_close(lm_loss.token_losses(packed, batch), expected, atol=1e-5, rtol=1e-5)
    assert all(row.answered == len(row.tokens) - row.supervised for row in rows)


def test_a_leak_between_rows_would_be_seen():
    model = tiny()
    attention.use(model)
    rows = examples(2)
    changed = [Example(rows[0].tokens[::-1], rows[0].supervised), rows[1]]
    own = rows[1].targets
    torch.testing.assert_close(
        lm_loss.token_losses(model, collate(rows, share_prefix=False))[-own:],
        lm_loss.token_losses(model, collate(changed, share_prefix=False))[-own:],
        atol=1e-5,
        rtol=1e-5,
    )


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_gradients_of_packed_equal_separate(architecture):
    reference = tiny(architecture)
    packed = copy.deepcopy(reference)
    attention.use(packed)
    rows = examples(5, seed=3, prefix=5)
    for model in (reference, packed):
        model.model.layers[0].mlp.up_proj.weight.requires_grad_(True)
    torch.cat(separate_losses(reference, rows)).sum().backward()
    lm_loss.loss(packed, collate(rows)).backward()
    expected = reference.model.layers[0].mlp.up_proj.weight.grad
    actual = packed.model.layers[0].mlp.up_proj.weight.grad
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("architecture", CONFIGS)
@pytest.mark.parametrize("prefix", [0, 9])
@pytest.mark.parametrize("ahead", [None, 7], ids=["short", "long"])
def test_decoding_equals_transformers_generate(architecture, prefix, ahead, monkeypatch):
    if ahead:  # prompts are long then: read before the others answer, in pieces, side by side and alone
        monkeypatch.setattr(generating, "BESIDE", 2)
        monkeypatch.setattr(generating, "AHEAD", ahead)
    reference = tiny(architecture)
    ours = copy.deepcopy(reference)
    attention.use(ours)
    prompts = [list(row.tokens) for row in examples(6, seed=11, prefix=prefix)]
    expected = [
        reference.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=5,
            pad_token_id=0,
        )[0, len(prompt) :].tolist()
        for prompt in prompts
    ]
    answers = generate(ours, prompts, max_new_tokens=12, stop=frozenset({5}), batch_rows=4)
    for answer, tokens in zip(answers, expected, strict=True):
        end = tokens.index(5) if 5 in tokens else len(tokens)
        assert list(answer.tokens) == tokens[:end]
        assert answer.truncated == (5 not in tokens)


@pytest.mark.parametrize(
    "sampling",
    [{}, {"loop": 8}, {"temperature": 1.5, "top_p": 0.9, "top_k": 20, "seed": 4}],
    ids=["greedy", "cut", "sampled"],
)
def test_log_probabilities_are_those_of_the_teacher_forced_pass(sampling):
    """Under the model itself: neither the temperature nor what sampling leaves out counts."""
    reference = tiny()
    ours = copy.deepcopy(reference)
    attention.use(ours)
    prompts = [list(row.tokens) for row in examples(9, seed=11, prefix=6)]
    options = {"max_new_tokens": 12, "batch_rows": 4, **sampling}
    end = generate(ours, prompts, stop=frozenset(), **options)[0].tokens[6]
    without = generate(ours, prompts, stop=frozenset({end}), **options)
    answers = generate(ours, prompts, stop=frozenset({end}), log_probabilities=True, **options)
    assert {answer.truncated for answer in answers} == {True, False}
    for prompt, answer, bare in zip(prompts, answers, without, strict=True):
        assert (answer.tokens, answer.truncated, ()) == (bare.tokens, bare.truncated, bare.log_probabilities)
        tokens = answer.tokens + (() if answer.truncated else (end,))
        row = Example((*prompt, *tokens), len(prompt))
        expected = -separate_losses(reference, [row])[0]
        torch.testing.assert_close(torch.tensor(answer.log_probabilities), expected, atol=1e-5, rtol=0)


def test_an_answer_that_loops_is_cut_and_nothing_else_changes():
    model = tiny()
    attention.use(model)
    prompts = [list(row.tokens) for row in examples(6, seed=11)]
    options = {"max_new_tokens": 40, "stop": frozenset({5})}
    whole = generate(model, prompts, **options)
    cut = generate(model, prompts, loop=8, **options)
    assert any(len(short.tokens) < len(long.tokens) for short, long in zip(cut, whole, strict=True))
    for short, long in zip(cut, whole, strict=True):
        assert short.tokens == long.tokens[: len(short.tokens)]
        if short != long:
            assert short.truncated
            assert loops(short.tokens, 8)
            assert not loops(short.tokens[:-1], 8)


@pytest.mark.parametrize(
    ("tokens", "loop"),
    [
        ((1, 2) * 4, True),
        ((9, 9, 9, *(1, 2, 3, 4) * 2), True),
        ((1,) * 8, True),
        ((1, 2, 3) * 3, True),  # the last eight are two phrases and two thirds
        ((1, 2) * 3, False),  # fewer than eight
        ((1, 2, 3, 4, 5, 1, 2, 3), False),  # not even twice
        ((1, 2, 1, 2, 1, 2, 1, 3), False),
    ],
)
def test_a_loop_is_a_phrase_at_least_twice(tokens, loop):
    assert loops(tokens, 8) is loop


def test_sampling_does_not_depend_on_the_batch():
    model = tiny()
    attention.use(model)
    prompts = [list(row.tokens) for row in examples(5, seed=2)]
    options = {
        "max_new_tokens": 8,
        "stop": frozenset({5}),
        "temperature": 1.0,
        "top_p": 0.9,
        "top_k": 20,
        "seed": 4,
    }
    together = generate(model, prompts, batch_rows=5, **options)
    apart = generate(model, prompts, batch_rows=2, **options)
    assert together == apart
    assert together != generate(model, prompts, batch_rows=5, **{**options, "seed": 5})


def test_plan_visits_each_row_once_an_epoch_and_is_pure():
    lengths = [random.Random(1).randint(5, 60) for _ in range(53)]
    steps = plan(lengths, batch_rows=8, batch_tokens=120, epochs=2, seed=7)
    assert steps == plan(lengths, batch_rows=8, batch_tokens=120, epochs=2, seed=7)
    assert steps != plan(lengths, batch_rows=8, batch_tokens=120, epochs=2, seed=8)
    assert len(steps) == 14
    for epoch in (steps[:7], steps[7:]):
        assert sorted(row for step in epoch for batch in step.batches for row in batch) == list(range(53))
    assert all(sum(lengths[row] for row in batch) <= 120 for step in steps for batch in step.batches)


def test_gradient_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointed in (False, True):
        model = tiny()
        attention.use(model)
        weight = model.model.layers[0].mlp.up_proj.weight.requires_grad_(True)
        model.train()
        if checkpointed:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        lm_loss.loss(model, collate(examples(5, seed=3, prefix=5))).backward()
        gradients.append(weight.grad)
    torch.testing.assert_close(*gradients)
