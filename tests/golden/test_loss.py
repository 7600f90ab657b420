"""A tiny model, fixed rows, recorded losses: a change here is a change of the numbers users get."""

import random

import torch
from tiny import VOCABULARY, tiny

from appkit.adapters.lora.build import lora_model
from appkit.adapters.lora.config import LoraOptions
from appkit.config import TrainConfig
from appkit.heads.lm import loss as lm_loss
from appkit.models import attention
from appkit.models.batch import Example, collate
from appkit.training.optimizer import schedule
from appkit.training.plan import plan

GOLDEN = [5.6834, 5.5394, 5.27, 4.9463, 4.7484, 4.4471, 3.9753, 4.0198, 3.9617, 3.492, 3.7107, 3.7131]


def losses() -> list[float]:
    draw = random.Random(0)
    pattern = [draw.randrange(3, VOCABULARY) for _ in range(12)]
    rows = [
        Example(tuple([draw.randrange(3, VOCABULARY) for _ in range(draw.randint(2, 6))] + pattern), 4)
        for _ in range(24)
    ]
    model = tiny("llama")
    attention.use(model)
    torch.manual_seed(0)
    adapter = lora_model(model, LoraOptions(rank=4, alpha=8))
    steps = plan([len(row.tokens) for row in rows], batch_rows=4, batch_tokens=40, epochs=2, seed=0)
    trained = [parameter for parameter in adapter.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.02, weight_decay=0)
    shape = schedule(TrainConfig(warmup=2), len(steps))
    found = []
    for number, step in enumerate(steps):
        optimizer.param_groups[0]["lr"] = 0.02 * shape(number)
        units = sum(rows[row].targets for batch in step.batches for row in batch)
        total = 0.0
        for batch in step.batches:
            loss = lm_loss.loss(adapter, collate([rows[row] for row in batch])) / units
            loss.backward()
            total += loss.item()
        optimizer.step()
        optimizer.zero_grad()
        found.append(round(total, 4))
    return found


def test_losses_are_the_recorded_ones():
    torch.testing.assert_close(torch.tensor(losses()), torch.tensor(GOLDEN), atol=2e-3, rtol=0)
    assert GOLDEN[-1] < 0.7 * GOLDEN[0]
