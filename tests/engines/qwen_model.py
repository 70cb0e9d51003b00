"""Run as a program by an engine's own Python: write a small Qwen2-shaped model with its tokenizer.

    python qwen_model.py OUT [SIZE [SEED]]

The weights are random, drawn from the seed, and the head is bent so that greedy decoding walks
through whole words, is mostly decided and never ends by itself. Whole words, because an engine that
names no token ids is judged by the ids that its text is cut into, and those must be its own.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

SIZES = {"tiny": (128, 2, 4, 256), "middle": (512, 8, 8, 1_536)}
"""Width, layers, heads and hidden width. vLLM makes tokens of a tiny one faster than its API server
sends them, so that all of an answer come at once."""
POSITIONS = 4_096
SEED = 14
VOCABULARY = 1_024
PULL = 2.0
"""How strongly each token asks for one fixed successor."""
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def write_tokenizer(out: Path) -> Any:
    """A byte-level BPE trained on made-up words."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    draw = random.Random(SEED)
    sounds = [a + b for a in "bcdfghklmnprstvw" for b in ("a", "e", "i", "o", "u", "an", "er")]
    words = ["".join(draw.choices(sounds, k=draw.randint(1, 3))) for _ in range(4_000)]
    lines = [" ".join(draw.choices(words, k=12)) for _ in range(4_000)]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(lines, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=SPECIAL[2], pad_token=SPECIAL[0]
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(out)
    return tokenizer


def write_model(out: Path, tokenizer: Any, size: str, seed: int) -> None:
    """The weights: random, with a head that follows one cycle through the whole words."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    width, layers, heads, hidden = SIZES[size]
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=VOCABULARY,
            hidden_size=width,
            intermediate_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=heads // 2,
            max_position_embeddings=POSITIONS,
            tie_word_embeddings=False,
            bos_token_id=0,
            eos_token_id=end,
            pad_token_id=0,
        )
    )
    texts = tokenizer.convert_ids_to_tokens(range(VOCABULARY))
    words = [at for at, text in enumerate(texts) if text[0] == "\u0120" and text[1:].isalpha()]
    plain = [at for at in words if tokenizer.encode(tokenizer.decode([at])) == [at]]
    with torch.no_grad():
        embedded = model.model.embed_tokens.weight.normal_(0, 1)
        head = model.lm_head.weight.normal_(0, 0.3)
        order = torch.tensor(plain)[torch.randperm(len(plain))]
        pull = PULL * embedded[order] / embedded[order].norm(dim=1, keepdim=True)
        head[order.roll(-1)] += pull
        others = torch.tensor(sorted(set(range(VOCABULARY)) - set(plain)))
        head[others] = 0  # never the best: no special token, no part of a word
    model.generation_config.do_sample = False
    model.save_pretrained(out)


def main() -> None:
    """Write both into the directory that is named."""
    folder, size, seed = (*sys.argv[1:], *("tiny", str(SEED))[len(sys.argv) - 2 :])
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    write_model(out, write_tokenizer(out), size, int(seed))
    sys.stdout.write(json.dumps({"files": sorted(path.name for path in out.iterdir())}) + "\n")


if __name__ == "__main__":
    main()
