"""Encodings in models of transformers: scales, documents, caches, masks and models that are unlike Llama."""

import copy
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import DynamicCache

from posenc import hf
from posenc.checks import ConfigError
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.by_layers import ByLayers
from posenc.encodings.cope import ContextualPositionalEncoding
from posenc.encodings.rope import RotaryPositionalEncoding
from posenc.encodings.rope_far import RectifiedRotaryPositionalEncoding
from posenc.encodings.rope_key_offset import KeyOffsetRotaryPositionalEncoding
from posenc.encodings.shaw import ShawRelativePositionalEncoding
from posenc.positions.positions import Positions
from tests.test_hf import gemma2, gpt2, llama, made, mistral, random
from tests.test_released_models import SIZE, D, H, N, V, rope


def of(kind: str, **changed: Any) -> Any:
    """A model of transformers of two layers; its config is KINDConfig."""
    config = getattr(transformers, f"{kind}Config")(num_hidden_layers=2, **SIZE | changed)
    return made(getattr(transformers, f"{kind.removesuffix('Text')}ForCausalLM")(config))


class Kept(PositionalEncoding):
    """No position; it keeps the last layer's queries."""

    q: Tensor

    def rotate(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> tuple[Tensor, Tensor]:
        self.q = q
        return q, k


def offset() -> PositionalEncoding:
    return KeyOffsetRotaryPositionalEncoding(D, H)


def tokens(batch: int = 2) -> Tensor:
    return torch.randint(1, V, (batch, N))


@pytest.mark.parametrize(
    "encoding",
    [
        lambda: RectifiedRotaryPositionalEncoding(D, H, True, window=2, slowed=2.0),
        lambda: ShawRelativePositionalEncoding(D, H, max_distance=3),
        lambda: ContextualPositionalEncoding(D, H, True),
    ],
)
@torch.no_grad()
def test_the_models_scale_is_that_of_its_queries(encoding: Callable[[], PositionalEncoding]) -> None:
    made_once = encoding()
    for parameter in made_once.parameters():
        nn.init.normal_(parameter)
    scaled, plain = (of("Granite", attention_multiplier=m) for m in (1.0, (D // H) ** -0.5))
    plain.load_state_dict(scaled.state_dict())
    for layer in plain.model.layers:
        layer.self_attn.q_proj.weight *= (D // H) ** 0.5
    x = tokens()
    found, expected = (hf.use(model, copy.deepcopy(made_once))(x).logits for model in (scaled, plain))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("told", [True, False])
@torch.no_grad()
def test_the_token_before_is_no_padding(padding: str, told: bool) -> None:
    """With and without position ids that begin behind the padding, at once and token by token."""
    model, x, n = hf.use(llama(), offset()), tokens(), 4
    seen = torch.ones_like(x)
    seen[0, (slice(n) if padding == "left" else slice(N - n, N))] = 0
    real = slice(n, N) if padding == "left" else slice(N - n)
    expected = model(x[:1, real]).logits[0]
    places = {"position_ids": (seen.cumsum(-1) - 1).clamp(min=0)} if told else {}
    for mask in (seen, (seen[:, None, None, :] == 1) & torch.ones(N, N, dtype=torch.bool).tril()):
        found = model(x, attention_mask=mask, **places).logits[0, real]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    cache, steps = DynamicCache(), []
    for at in range(N):
        here = {name: value[:, at : at + 1] for name, value in places.items()}
        out = model(x[:, at : at + 1], attention_mask=seen[:, : at + 1], **here, **{cache_name(model): cache})
        steps.append(out.logits)
    torch.testing.assert_close(torch.cat(steps, 1)[0, real], expected, atol=1e-5, rtol=1e-5)


def cache_name(model: Any) -> str:
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


@torch.no_grad()
def test_the_token_before_is_of_the_same_sequence() -> None:
    model, x = hf.use(llama(), offset()), tokens(1)[:, :9]
    for sizes in ((5, 4), (1, 1, 7)):
        places = torch.cat([torch.arange(size) for size in sizes])[None]
        found = model(x, position_ids=places, use_cache=False).logits
        alone = torch.cat([model(part, use_cache=False).logits for part in x.split(sizes, 1)], 1)
        torch.testing.assert_close(found, alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_cache_that_drops_the_token_before_is_refused() -> None:
    model, x = hf.use(mistral(), offset()), tokens()
    options: dict[str, Any] = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
    with pytest.raises(ConfigError, match=r"KeyOffset.* reads the token before .* a sliding cache drops; pass"):
        model.generate(x, **options)
    options |= {"output_logits": True, "return_dict_in_generate": True}
    whole, kept = (
        model.generate(x, **options, **how) for how in ({"use_cache": False}, {cache_name(model): DynamicCache()})
    )
    torch.testing.assert_close(torch.stack(kept.logits), torch.stack(whole.logits), atol=1e-5, rtol=1e-5)
    mixed = hf.use(gemma2(), ByLayers({"a": rope(), "b": offset()}, ["a", "b"]))  # its first layer alone has a window
    cached, whole = (mixed.generate(x, **options, use_cache=use) for use in (True, False))
    torch.testing.assert_close(torch.stack(cached.logits), torch.stack(whole.logits), atol=1e-5, rtol=1e-5)


WHOLE = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 1.0}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 8}
MOE = {
    "intermediate_size_mlp": 8,
    "head_dim": D // H,
    "no_rope_layers": [1, 1],
    "use_qk_norm": False,
    "num_local_experts": 2,
}
MLA = {
    "num_key_value_heads": H, "n_routed_experts": 2, "num_experts_per_tok": 1, "n_group": 1, "topk_group": 1,
    "q_lora_rank": 8, "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8,
    "first_k_dense_replace": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("make", "base", "layout"),
    [
        (lambda: of("GPTNeoX", rope_parameters=WHOLE), 1e4, "half_split"),
        (lambda: of("GPTJ", rotary_dim=D // H), 1e4, "interleaved"),
        (lambda: of("Llama4Text", **MOE), 5e5, "interleaved"),
        (lambda: llama(rope_parameters=YARN), None, ""),
    ],
)
@torch.no_grad()
def test_rotary_modules_of_other_forms_are_switched_off(
    make: Callable[[], Any], base: float | None, layout: str
) -> None:
    """With RoPE in the place of theirs they are as before; with nothing, and all keys seen, tokens have no order."""
    theirs, x = make(), tokens()
    if base is not None:
        ours = hf.use(copy.deepcopy(theirs), RotaryPositionalEncoding(D, H, base, layout))
        torch.testing.assert_close(ours(x).logits, theirs(x).logits, atol=1e-5, rtol=1e-5)
    none, projected = hf.use(theirs, Kept()), []
    shuffled, all_seen = torch.cat((x[:, :-1].flip(1), x[:, -1:]), 1), torch.ones(1, 1, N, N, dtype=torch.bool)
    found, expected = (none(each, attention_mask=all_seen).logits[:, -1] for each in (shuffled, x))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    for module in (module for name, module in none.named_modules() if name.endswith(("q_proj", "query_key_value"))):
        module.register_forward_hook(lambda module, args, out: projected.append(out))
    none(x)
    q = projected[-1].unflatten(-1, (H, -1)).transpose(1, 2)[..., : D // H]
    assert torch.equal(none.base_model.get_submodule("posenc")[0].q, q)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: of("Falcon"), r"Falcon.*: it computes attention without AttentionInterface; take"),
        (lambda: of("MiniMax", num_local_experts=2), "MiniMaxForCausalLM has no ModuleList of layers"),
        (lambda: of("DeepseekV3", **MLA), "do not share one width head_dim"),
    ],
)
@torch.no_grad()
def test_a_model_that_is_refused_is_as_it_was(make: Callable[[], Any], message: str) -> None:
    model, x = make(), tokens()
    before, modules, hooks = model(x).logits, dict(model.named_modules()), counted(model)
    with pytest.raises(ConfigError, match=message):
        hf.use(model, rope())
    assert dict(model.named_modules()) == modules
    assert counted(model) == hooks
    assert not hasattr(model.config, "posenc")
    assert torch.equal(model(x).logits, before)


def counted(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@torch.no_grad()
def test_attention_that_does_not_ask_the_encoding_is_noticed() -> None:
    for model in (hf.use(llama(), rope()), hf.use(gpt2(), random("t5"))):
        x = tokens()
        before = model(x).logits
        model.set_attn_implementation("sdpa")
        with pytest.raises(ConfigError, match=r'without its encoding; call model.set_attn_implementation\("posenc"\)'):
            model(x)
        model.set_attn_implementation("posenc")
        assert torch.equal(model(x).logits, before)


@torch.no_grad()
def test_positions_that_change_in_place_are_looked_at_again() -> None:
    model, x, places = hf.use(llama(), random("learned+alibi")), tokens(), torch.arange(N)[None].clone()
    model(x, position_ids=places)
    places += 3
    expected = copy.deepcopy(model)(x, position_ids=places.clone()).logits
    assert torch.equal(model(x, position_ids=places).logits, expected)
    places.copy_(torch.tensor([0, 1, 2, 0, 1, 2] + [0] * (N - 6)))
    expected = copy.deepcopy(model)(x, position_ids=places.clone()).logits
    assert torch.equal(model(x, position_ids=places).logits, expected)
    with torch.inference_mode():  # whose tensors have no version
        places = torch.arange(N)[None]
        model(x, position_ids=places)
        places += 3
        assert torch.equal(model(x, position_ids=places).logits, model(x, position_ids=places.clone()).logits)


@torch.no_grad()
def test_arguments_that_do_not_fit_are_refused() -> None:
    wrong: Any = "rope"
    with pytest.raises(ConfigError, match="LlamaForCausalLM: encoding must be a PositionalEncoding, got 'rope'"):
        hf.use(llama(), wrong)
    model, x = hf.use(llama(), rope()), tokens()
    mask = torch.zeros(N, N).masked_fill(~torch.ones(N, N, dtype=torch.bool).tril(), -torch.inf)[None, None]
    with pytest.raises(ConfigError, match=r"torch.float32 of shape .*; pass one of \(batch, length\), .* mask == 0"):
        model(x, attention_mask=mask)
    torch.testing.assert_close(model(x, attention_mask=mask == 0).logits, model(x).logits, atol=1e-5, rtol=1e-5)
