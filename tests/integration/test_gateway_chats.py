"""What OpenAI's routes give: the pack's reading of an answer, bytes and places of tokens, parameters in their range."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
import torch
from fakes import BASE, CHAT, Served, deployment, gateway, in_loop, sha

from appkit.config import build_run_config
from appkit.heads.choose import head_of_bundle
from appkit.heads.lm.detokenize import token_bytes
from appkit.heads.roles import Job
from appkit.models.generate import _make_sampler
from appkit.plugins import load_task, modules
from appkit.serving.engines import vllm_wire
from appkit.task import TextHead

SIGNS = "∀x (P(x) ↔ ¬Q(x)) 👩‍🚀 ∃ ∧"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


async def choice_of(one: Served, text: str = "Every dog barks.", **more: Any) -> dict[str, Any]:
    answer = await one.ask(text, **more)
    assert answer.status_code == 200, answer.text
    choice: dict[str, Any] = answer.json()["choices"][0]
    return choice


# --- the answer of a chat ---------------------------------------------------------------------------------

WRITTEN = {  # task -> what a model writes, and the content of the chat
    "nl2fol": (" all x: dog(x) => bark(x)", None),
    "translation": (" Fermer", None),
    "codechange": (" Count the lids too", None),
    "qa": (" 1912 [2]", '{"answer": "1912", "cites": [2]}'),
}


def test_every_pack_with_words_is_tried() -> None:
    ours = {name for name in modules("appkit.tasks") if isinstance(load_task(name).head, TextHead)}
    assert ours - {"fixture"} == WRITTEN.keys()


@pytest.mark.parametrize("name", WRITTEN)
@in_loop
async def test_the_content_of_a_chat_is_the_packs_reading(root: Path, name: str) -> None:
    written, expected = WRITTEN[name]
    async with gateway(root) as one:
        options = {"target_language": "fr"} if name == "translation" else {}
        task, config = load_task(name), build_run_config({"task": {"name": name, **options}})
        bundle = deployment("other", "other")
        head = head_of_bundle(bundle.manifest, config, task, CHAT)
        one.place("B", replace(bundle, config=config, head=head))
        await one.one.registry.add(one.one.root / "B")
        one.engine.answers[sha("other")] = written
        asked_of = "@@ -1 +1 @@\n-jars\n+jars + lids" if name == "codechange" else "What is it?"
        answer = await one.http.post("/v1/tasks/other", json={"rows": [asked_of]})
        parsed = answer.json()["results"][0]["parsed"]
        content = (await choice_of(one, asked_of, model="other"))["message"]["content"]
        assert content == (parsed if isinstance(parsed, str) else json.dumps(parsed, ensure_ascii=False))
        assert content == (expected or content)
        assert content != written
        raw = await choice_of(one, asked_of, model="other", raw=True)
        assert (raw["message"]["content"], "warning" in raw) == (written, False)
        client = openai.AsyncOpenAI(base_url=f"{one.url}/v1", api_key="-", max_retries=0)
        asked: Any = {"model": "other", "messages": [{"role": "user", "content": asked_of}]}
        assert (await client.chat.completions.create(**asked)).choices[0].message.content == content
        stream = await client.chat.completions.create(**asked, stream=True)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == written
        text = await client.completions.create(model="other", prompt="What is it?")
        assert text.choices[0].text == written


@in_loop
async def test_an_answer_that_cannot_be_read_comes_as_it_is_with_a_warning(root: Path) -> None:
    async with gateway(root) as one:
        one.engine.answers[sha("one")] = " I do not know."
        choice = await choice_of(one)
        assert choice["message"]["content"] == " I do not know."
        assert "cannot be read" in choice["warning"]
        assert choice["finish_reason"] == "stop"
        assert "warning" not in await choice_of(one, raw=True)


@in_loop
async def test_a_chat_of_several_turns_and_the_base_are_not_read(root: Path) -> None:
    async with gateway(root) as one:
        one.engine.answers[sha("one")] = one.engine.answers["null"] = " all x: dog(x) => bark(x)"
        turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Every dog barks."}]
        for more in ({"messages": turns}, {"model": BASE}):
            choice = await choice_of(one, **more)
            assert choice["message"]["content"] == " all x: dog(x) => bark(x)"
            assert "warning" not in choice


# --- tokens -----------------------------------------------------------------------------------------------


@in_loop
async def test_bytes_of_tokens_are_the_bytes_of_the_text(root: Path) -> None:
    async with gateway(root) as one:
        one.engine.answers[sha("one")] = SIGNS
        choice = await choice_of(one, logprobs=True, raw=True)
        tokens = choice["logprobs"]["content"]
        assert bytes(byte for token in tokens for byte in token["bytes"]).decode() == SIGNS
        assert [token["token"] for token in tokens[:4]] == ["\\xe2", "\\x88", "\\x80", "x"]


@in_loop
async def test_offsets_are_places_of_characters_streamed_or_not(root: Path) -> None:
    async with gateway(root) as one:
        one.engine.answers[sha("one")] = SIGNS
        client = openai.AsyncOpenAI(base_url=f"{one.url}/v1", api_key="-", max_retries=0)
        asked: Any = {"model": "nl2fol", "prompt": ["Hi", "Ho"], "logprobs": 0}
        places = [place for place, sign in enumerate(SIGNS) for _ in sign.encode()]
        whole = await client.completions.create(**asked)
        streamed: list[list[int]] = [[], []]
        async for chunk in await client.completions.create(**asked, stream=True):
            if likely := chunk.choices[0].logprobs:
                streamed[chunk.choices[0].index] += likely.text_offset or []
        assert streamed == [places, places]
        for choice in whole.choices:
            assert choice.logprobs
            assert choice.logprobs.text_offset == places
            assert (
                len(choice.logprobs.tokens or []) == len(choice.logprobs.token_logprobs or []) == len(places)
            )
            assert (choice.logprobs.tokens or [])[0] == "bytes:\\xe2"


def test_the_bytes_of_every_token_are_found() -> None:
    ids = CHAT.ids("".join(map(chr, range(0x100))) + SIGNS)
    assert b"".join(token_bytes(CHAT, token) for token in ids).decode().endswith(SIGNS)


# --- parameters in their range ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [2**45, 2**62, 2**63 - 65, -(2**63), -1, 0])
def test_every_seed_draws_and_draws_again_the_same(seed: int) -> None:
    logits = torch.zeros(2, 50)

    def draw(seed: int) -> list[int]:
        sample = _make_sampler(1.0, 1.0, 0, seed, torch.device("cpu"))
        return torch.cat([sample(logits, [0, 1]) for _ in range(8)]).tolist()

    assert draw(seed) == draw(seed) != draw(seed + 1)
    sent = vllm_wire.body(Job("a", (1,), 5, seed=seed))["seed"]
    assert sent != -1  # which vLLM takes for none
    assert -(2**63) <= sent < 2**63


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"seed": 2**45}, {"seed": 2**45}),
        ({"seed": 2**63 - 65}, {"seed": 2**63 - 65}),
        ({"temperature": 1e-38}, {"temperature": 0.0}),
        ({"temperature": 5e-324}, {"temperature": 0.0}),
        ({"temperature": 0.01}, {"temperature": 0.01}),
        ({"top_p": 1e-300}, {"top_p": 1e-9}),
        ({"top_p": 1e-38, "temperature": 1}, {"top_p": 1e-9, "temperature": 1}),
        ({"top_k": -1}, {"top_k": 0}),
        ({"top_k": 0}, {"top_k": 0}),
        ({"logit_bias": {}, "tools": [], "functions": [], "tool_choice": "auto"}, {}),
        ({"repetition_penalty": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0, "min_p": 0.0}, {}),
        ({"tools": None, "response_format": {"type": "text"}, "modalities": ["text"]}, {}),
    ],
)
@in_loop
async def test_what_is_accepted_reaches_the_engine_in_its_range(
    root: Path, more: dict[str, Any], expected: dict[str, Any]
) -> None:
    async with gateway(root) as one:
        await choice_of(one)
        plain = one.engine.asked.pop()
        await choice_of(one, **more)
        assert one.engine.asked.pop() == replace(plain, **expected)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"temperature": 0.001}, "temperature: it is 0 (greedy), or 0.01 to 2, got 0.001"),
        ({"seed": 2**63}, "seed: "),
        ({"top_p": 0}, "top_p: "),
        ({"top_k": 3}, "'top_k' is not supported"),
        ({"repetition_penalty": 1.1}, "'repetition_penalty' is not supported; leave it out (or send 1)"),
        ({"logit_bias": {"5": 1}}, "'logit_bias' is not supported"),
        ({"tools": [{"type": "function"}]}, "'tools' is not supported"),
        ({"tool_choice": "required"}, "'tool_choice' is not supported"),
    ],
)
@in_loop
async def test_a_parameter_out_of_its_range_names_the_range(
    root: Path, more: dict[str, Any], message: str
) -> None:
    async with gateway(root) as one:
        answer = await one.ask(**more)
        assert answer.status_code == 400
        assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]},
            "messages.0.content: part 0 is no text but 'image_url'; pictures, sound and files are not read here",
        ),
        ({"role": "user", "content": [{"type": "input_audio"}]}, "part 0 is no text but 'input_audio'"),
        ({"role": "user", "content": [{"type": "text"}]}, "part 0 has no text"),
        ({"role": "user", "content": ["Hi"]}, "part 0 is no text but 'Hi'"),
        ({"role": "user", "content": None}, "messages.0.content: it is null; send a text"),
        ({"role": "user", "content": 5}, "it is a text or a list of parts, got 5"),
        ({"role": "tool", "content": "x", "tool_call_id": "1"}, "messages.0.role: turns of tools are not"),
        ({"role": "function", "content": "x", "name": "f"}, "turns of tools are not supported"),
        (
            {"role": "assistant", "content": "x", "tool_calls": [{"id": "1"}]},
            "messages.0.tool_calls: calls of tools are not supported",
        ),
    ],
)
@in_loop
async def test_turns_that_are_not_read_are_named(root: Path, turn: dict[str, Any], message: str) -> None:
    async with gateway(root) as one:
        answer = await one.ask(messages=[turn])
        assert answer.status_code == 400
        assert message in answer.json()["error"]["message"]
        empty = {"tool_calls": [], "function_call": None, "refusal": None, "name": "Ada"}
        turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "x"} | empty]
        assert (await one.ask(messages=turns)).status_code == 200
