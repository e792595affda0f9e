"""Encodings in models of transformers: against the models' own positions, posenc's own encoder, and with the cache."""

import copy
import inspect
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GptOssConfig,
    GptOssForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from posenc import hf
from posenc.checks import ConfigError
from posenc.encodings.alibi import CausalALiBi, SymmetricALiBi
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.by_heads import ByHeads
from posenc.encodings.by_layers import ByLayers
from posenc.encodings.cope import ContextualPositionalEncoding
from posenc.encodings.deberta import DisentangledPositionalEncoding
from posenc.encodings.fire import FIREPositionalBias
from posenc.encodings.forgetting import ForgettingPositionalBias
from posenc.encodings.lape import LayerAdaptivePositionalEncoding
from posenc.encodings.learned_absolute import LearnedAbsolutePositionalEncoding
from posenc.encodings.pope import PolarPositionalEncoding
from posenc.encodings.rope import RotaryPositionalEncoding
from posenc.encodings.rope_scaling import DynamicNTKRotaryPositionalEncoding
from posenc.encodings.shaw import ShawRelativePositionalEncoding
from posenc.encodings.sinusoidal import SinusoidalPositionalEncoding
from posenc.encodings.sums import Sum
from posenc.encodings.t5 import T5RelativePositionalBias
from posenc.model.encoder import Encoder
from tests.test_released_models import OURS, SIZE, D, H, N, V, loud, rope, take

ENCODINGS: dict[str, Callable[[], PositionalEncoding]] = {
    "rope": rope,
    "pope": lambda: PolarPositionalEncoding(D, H),
    "alibi_causal": lambda: CausalALiBi(H, True),
    "t5": lambda: T5RelativePositionalBias(H, True),
    "fire": lambda: FIREPositionalBias(H, threshold=4.0),
    "shaw": lambda: ShawRelativePositionalEncoding(D, H, max_distance=3),
    "deberta": lambda: DisentangledPositionalEncoding(D, H, max_distance=8),
    "cope": lambda: ContextualPositionalEncoding(D, H, True),
    "sinusoidal": lambda: SinusoidalPositionalEncoding(D),
    "lape": lambda: LayerAdaptivePositionalEncoding(D, 64),
    "rope-t5": lambda: ByLayers({"a": rope(), "b": T5RelativePositionalBias(H, True)}, ["a", "b"]),
    "alibi:rope": lambda: ByHeads({"a": SymmetricALiBi(2), "b": RotaryPositionalEncoding(D // 2, 2)}, H, ["a", "b"]),
    "learned+alibi": lambda: Sum({"a": LearnedAbsolutePositionalEncoding(D, 64), "b": CausalALiBi(H, True)}),
}


def llama(**changed: Any) -> Any:
    return made(LlamaForCausalLM(LlamaConfig(num_hidden_layers=2, **SIZE | changed)))


def qwen() -> Any:
    return made(Qwen3ForCausalLM(Qwen3Config(num_hidden_layers=2, head_dim=D // H, **SIZE)))


def mistral() -> Any:
    return made(MistralForCausalLM(MistralConfig(num_hidden_layers=2, sliding_window=4, **SIZE)))


def gemma2() -> Any:
    """Soft caps, windows in every other layer, and a scale that is not 1/√d."""
    config = Gemma2Config(
        num_hidden_layers=2, head_dim=D // H, query_pre_attn_scalar=13, sliding_window=4,
        attn_logit_softcapping=0.5, **SIZE,
    )  # fmt: skip
    return made(Gemma2ForCausalLM(config))


def gpt_oss() -> Any:
    """Sinks."""
    turns = {"rope_type": "default", "rope_theta": 10_000.0}
    config = GptOssConfig(
        num_hidden_layers=2, head_dim=D // H, num_local_experts=2, num_experts_per_tok=1, sliding_window=4,
        attention_bias=False, rope_parameters=turns, **SIZE,
    )  # fmt: skip
    return made(GptOssForCausalLM(config))


def gpt2(**changed: Any) -> Any:
    size: dict[str, Any] = {
        "n_embd": D,
        "n_head": H,
        "n_layer": 2,
        "vocab_size": V,
        "n_positions": 32,
        "bos_token_id": 1,
    }
    return made(GPT2LMHeadModel(GPT2Config(**size | {"eos_token_id": None, "pad_token_id": 0} | changed)))


def made(model: Any) -> Any:
    loud(model)
    return model.eval()


def random(name: str) -> PositionalEncoding:
    encoding = ENCODINGS[name]()
    for parameter in encoding.parameters():
        nn.init.normal_(parameter, std=0.5)
    return encoding


def generated(model: Any, tokens: Tensor, **options: Any) -> Any:
    return model.generate(tokens, max_new_tokens=8, do_sample=False, eos_token_id=None, **options)


@pytest.mark.parametrize("make", [llama, qwen, mistral, gemma2, gpt_oss])
@torch.no_grad()
def test_rope_is_the_models_own_and_so_is_greedy_generation(make: Callable[[], Any]) -> None:
    """Prompts of a batch are padded on the left."""
    theirs, tokens = make(), torch.randint(1, V, (3, N))
    ours = hf.use(copy.deepcopy(theirs), rope())
    torch.testing.assert_close(ours(tokens).logits, theirs(tokens).logits, atol=1e-5, rtol=1e-5)
    seen = torch.ones_like(tokens)
    seen[0, :4], seen[1, :1] = 0, 0
    expected, found = (generated(model, tokens, attention_mask=seen) for model in (theirs, ours))
    assert torch.equal(found, expected)


@torch.no_grad()
def test_a_learned_table_is_gpt2s_own() -> None:
    theirs, tokens = gpt2(), torch.randint(1, V, (2, N))
    encoding = LearnedAbsolutePositionalEncoding(D, 32)
    encoding.table.copy_(theirs.transformer.wpe.weight)
    ours = hf.use(copy.deepcopy(theirs), encoding)
    torch.testing.assert_close(ours(tokens).logits, theirs(tokens).logits, atol=1e-5, rtol=1e-5)
    assert torch.equal(generated(ours, tokens), generated(theirs, tokens))
    none = hf.use(gpt2(n_positions=4), PositionalEncoding())
    assert none(tokens).logits.isfinite().all()  # longer than the table that is switched off


@pytest.mark.parametrize("name", ENCODINGS)
@torch.no_grad()
def test_logits_are_those_of_posencs_encoder_with_the_same_weights(name: str) -> None:
    theirs, encoding, tokens = llama(), random(name), torch.randint(1, V, (2, N))
    ours = Encoder(copy.deepcopy(encoding), V, V, num_layers=2, **OURS)
    take(ours, theirs)
    hf.use(theirs, encoding)
    own = theirs.model.get_submodule("posenc")
    own.load_state_dict(ours.encodings.state_dict())
    torch.testing.assert_close(theirs(tokens).logits, ours(tokens), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ENCODINGS)
@torch.no_grad()
def test_the_cache_changes_nothing(name: str) -> None:
    model, tokens = hf.use(llama(), random(name)), torch.randint(1, V, (2, N))
    seen = torch.ones_like(tokens)
    seen[0, :4] = 0
    options = {"attention_mask": seen, "output_logits": True, "return_dict_in_generate": True}
    with_cache, without = (generated(model, tokens, use_cache=use, **options) for use in (True, False))
    assert torch.equal(with_cache.sequences, without.sequences)
    for one, other in zip(with_cache.logits, without.logits, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    alone = generated(model, tokens[:1, 4:], return_dict_in_generate=True, output_logits=True)
    for one, other in zip(with_cache.logits, alone.logits, strict=True):
        torch.testing.assert_close(one[:1], other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ENCODINGS)
@torch.no_grad()
def test_it_is_saved_and_loaded(name: str, tmp_path: Path) -> None:
    model, tokens = hf.use(llama(), random(name)), torch.randint(1, V, (2, N))
    for parameter in model.parameters():  # also those of copies for each layer
        parameter += 0.01 * torch.randn_like(parameter)
    model.save_pretrained(tmp_path)
    again = hf.load(tmp_path)
    assert torch.equal(again(tokens).logits, model(tokens).logits)
    assert repr(again.model.get_submodule("posenc")) == repr(model.model.get_submodule("posenc"))


@pytest.mark.parametrize("make", [llama, qwen, gpt2])
def test_a_step_trains_the_encoding_and_the_model(make: Callable[[], Any]) -> None:
    """With GPT-2's dropout of the weights too."""
    model, tokens = hf.use(make(), random("t5")).train(), torch.randint(1, V, (2, N))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(tokens, labels=tokens).loss.backward()
    assert all(p.grad is not None and p.grad.any() for n, p in model.named_parameters() if "wpe" not in n)
    optimizer.step()


@pytest.mark.skipif(find_spec("accelerate") is None, reason="Trainer needs accelerate")
def test_trainer_runs(tmp_path: Path) -> None:
    from transformers import Trainer, TrainingArguments

    model = hf.use(llama(), random("t5"))
    data: Any = [{"input_ids": row, "labels": row} for row in torch.randint(1, V, (4, N))]
    before = model.model.get_submodule("posenc")[0].table.clone()
    asked = TrainingArguments(str(tmp_path), max_steps=1, report_to=[], dataloader_pin_memory=False, use_cpu=True)
    Trainer(model, asked, train_dataset=data).train()
    assert not torch.equal(model.model.get_submodule("posenc")[0].table, before)
    again = hf.load(tmp_path / "checkpoint-1")
    assert torch.equal(again(data[0]["input_ids"][None]).logits, model.eval()(data[0]["input_ids"][None]).logits)


@torch.no_grad()
def test_packed_sequences_do_not_see_each_other() -> None:
    model, tokens = hf.use(llama(), random("t5")), torch.randint(1, V, (1, 9))
    places = torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2, 3]])
    found = model(tokens, position_ids=places, use_cache=False).logits
    alone = torch.cat([model(part, use_cache=False).logits for part in tokens.split((5, 4), 1)], 1)
    torch.testing.assert_close(found, alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_positions_are_found_where_a_model_hands_them_to_nobody() -> None:
    """As GPT-2 did in transformers 5.0."""
    for model in (llama(), gpt2()):
        tokens, places = torch.randint(1, V, (2, N)), torch.arange(3, 3 + N).expand(2, -1)
        expected = hf.use(model, random("learned+alibi"))(tokens, position_ids=places).logits
        for block in model.base_model.modules():
            if "posenc" in block.__dict__:
                block.register_forward_pre_hook(without_ids, with_kwargs=True, prepend=True)
        found = model(tokens, position_ids=places).logits
        torch.testing.assert_close(found, expected, atol=0, rtol=0)


def without_ids(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    return args, kwargs if "RotaryEmbedding" in type(module).__name__ else {
        name: value for name, value in kwargs.items() if name != "position_ids"
    }


def test_a_cache_goes_on_without_gaps() -> None:
    model, tokens = hf.use(llama(), rope()), torch.ones(1, 3, dtype=torch.long)
    name = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
    held = {name: transformers.DynamicCache()}
    model(tokens, **held)
    with pytest.raises(ConfigError, match="must have consecutive positions"):
        model(tokens, **held, position_ids=torch.tensor([[3, 5, 6]]))
    x = torch.ones(1, 4, 3, 8)
    with pytest.raises(ConfigError, match="one position for each token"):
        hf.attend(model.model.layers[0].self_attn, x, x, x, None, position_ids=torch.ones(3))


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        (lambda: ForgettingPositionalBias(D, H, True), "the layers' inputs are not in transformers' cache"),
        (lambda: DynamicNTKRotaryPositionalEncoding(D, H, 8), "cannot decode token by token: each new token rotates"),
        (lambda: RotaryPositionalEncoding(2 * D, H), "was built for dim=64; build it with dim=32"),
        (lambda: T5RelativePositionalBias(8, True), "was built for num_heads=8; build it with num_heads=4"),
        (lambda: T5RelativePositionalBias(H, False), "was built for causal=False; build it with causal=True"),
    ],
)
def test_what_does_not_fit_is_refused(encoding: Callable[[], PositionalEncoding], message: str) -> None:
    model = llama()
    with pytest.raises(ConfigError, match=message):
        hf.use(model, encoding())
    assert model(torch.ones(1, 3, dtype=torch.long)).logits.isfinite().all()
    hf.use(model, rope())
    with pytest.raises(ConfigError, match="has an encoding of posenc"):
        hf.use(model, rope())


def test_models_and_folders_of_another_kind_are_refused(tmp_path: Path) -> None:
    bloom = transformers.BloomForCausalLM(transformers.BloomConfig(hidden_size=D, n_head=H, n_layer=1, vocab_size=V))
    with pytest.raises(ConfigError, match="no rotary module and no table wpe"):
        hf.use(bloom, rope())
    model = hf.use(llama(), rope())
    with pytest.raises(ConfigError, match="a static cache is longer than its content"):
        generated(model, torch.ones(1, 3, dtype=torch.long), cache_implementation="static")
    llama().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="the config names no encoding of posenc"):
        hf.load(tmp_path)
    with pytest.raises(ConfigError, match=r"no encoding Mine; pass it as load\(folder, encoding=...\)"):
        hf.described({"class": "Mine"})
