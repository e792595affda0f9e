"""Any encoding in a decoder of Hugging Face transformers: `posenc.hf.use(model, encoding)`.

For models that ask transformers' AttentionInterface and turn queries and keys by a rotary module, or add a table `wpe`
to their embeddings: those of the shape of Llama, Qwen and GPT-2. The model's own positions are switched off: the rotary
module turns by nothing, wpe adds zeros. Its cache then holds keys that are not turned, and attention turns queries and
keys where they stand, adds biases, and takes the model's own mask, its scale, soft cap, sinks and dropout. The
encoding's weights are part of the model, and `model.save_pretrained` writes them; `load` is the way back.

No attention weights are given back. A cache knows no positions: tokens that it holds are taken to stand one place after
another, the last of them before the first new token. An encoding that reads the token before reads no padding, and none
of another sequence: a new one begins where position ids do not grow.
https://huggingface.co/docs/transformers/attention_interface
"""

from posenc.hf.described import NAME, describe, described
from posenc.hf.forward import attend
from posenc.hf.model import load, use

__all__ = ["NAME", "attend", "describe", "described", "load", "use"]
