"""Any encoding in a decoder of Hugging Face transformers: `posenc.hf.use(model, encoding)`.

It works for models that use transformers' AttentionInterface, and a rotary module or a table `wpe` of positions, such
as Llama, Qwen and GPT-2. The model's own positions are switched off: the rotary module rotates by the angle 0, and wpe
adds zeros. So the cache contains keys without rotation. Attention rotates queries and keys by their positions, adds
biases, and uses the model's mask, scale, soft cap, sinks and dropout. `model.save_pretrained` writes the encoding's
weights with the model's; `load` reads both.

Attention weights are not returned. A cache stores no positions: its tokens count as consecutive, and the last is next
to the first new token. Where position ids do not grow, a new sequence begins. An encoding that reads the token before a
key reads neither padding nor another sequence. https://huggingface.co/docs/transformers/attention_interface
"""

from posenc.hf.described import NAME, describe, described
from posenc.hf.forward import attend
from posenc.hf.model import load, use

__all__ = ["NAME", "attend", "describe", "described", "load", "use"]
