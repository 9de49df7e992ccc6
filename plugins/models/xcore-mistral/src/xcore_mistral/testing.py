"""A small `MistralForCausalLM` for tests, with random weights or trained for some seconds on given synonyms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from xcore_mistral.ask import Asker
from xcore_mistral.load import quiet
from xcore_mistral.options import Options

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% else %}{{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
"""A chat template like that of Mistral."""


def tiny_tokenizer(texts: Iterable[str], *, chat: bool, size: int = 400) -> Any:
    """A byte-level BPE tokenizer trained on texts, with or without a chat template."""
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    specials = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    if chat:
        made.chat_template = TEMPLATE
    return made


def save_tiny_model(
    directory: Path,
    synonyms: Mapping[str, Sequence[str]],
    *,
    chat: bool,
    steps: int = 0,
    options: Options | None = None,
    layers: int = 2,
    width: int = 64,
    seed: int = 0,
) -> Path:
    """Save a Mistral of some 100,000 parameters and its tokenizer; returns the directory.

    Parameters
    ----------
    directory
        Where it is saved.
    synonyms
        Word -> its synonyms. The tokenizer knows them, and the model learns to answer with them.
    chat
        Whether the tokenizer has a chat template.
    steps
        Training steps; each step sees every question once, with its synonyms in random order.
    options
        The question and the examples that it is trained on.
    layers, width
        Number and width of the layers.
    seed
        Seed of weights and orders; the global random state is left as it was.
    """
    o = options or Options()
    texts = [o.question.replace("{word}", w) + "\n" + ", ".join(s) + "\n" for w, s in synonyms.items()]
    tokenizer = tiny_tokenizer([*texts, *(a + "\n" for _, a in o.examples)] * 3, chat=chat)
    config = transformers.MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
    )
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(seed)
        model = transformers.MistralForCausalLM(config)
        _train(model, Asker(tokenizer, [2], o), synonyms, steps)
        model.save_pretrained(str(directory))
        tokenizer.save_pretrained(str(directory))
    return Path(directory)


def _train(model: Any, asker: Asker, synonyms: Mapping[str, Sequence[str]], steps: int) -> None:
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    prompts = {word: asker.prompt(word) for word in synonyms}
    for _ in range(steps):
        rows = []
        for word, all_of_them in synonyms.items():
            order = torch.randperm(len(all_of_them)).tolist()
            rows.append((prompts[word], asker.completion(word, ", ".join(all_of_them[i] for i in order))))
        length = max(len(p) + len(c) for p, c in rows)
        ids = torch.tensor([[*p, *c, *[2] * (length - len(p) - len(c))] for p, c in rows])
        labels = torch.tensor([[*[-100] * len(p), *c, *[-100] * (length - len(p) - len(c))] for p, c in rows])
        optimiser.zero_grad()
        torch.autograd.backward(model(input_ids=ids, labels=labels).loss)
        optimiser.step()


def save_gguf(directory: Path, file: Path) -> Path:
    """Write a model that `save_tiny_model` saved as a GGUF file of float32 tensors, in the layout of llama.cpp."""
    import gguf

    with quiet():
        model = transformers.AutoModelForCausalLM.from_pretrained(str(directory))
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(directory))
    c = model.config
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_block_count(c.num_hidden_layers)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_head_count(c.num_attention_heads)
    writer.add_head_count_kv(c.num_key_value_heads)
    writer.add_rope_dimension_count(c.hidden_size // c.num_attention_heads)
    writer.add_rope_freq_base(c.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    _describe(writer, tokenizer)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, c.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        heads = {"q_proj": c.num_attention_heads, "k_proj": c.num_key_value_heads}.get(name.split(".")[-2])
        if heads:  # llama.cpp rotates neighbours, transformers rotates halves
            tensor = tensor.view(heads, 2, -1, tensor.shape[1]).transpose(1, 2).reshape(tensor.shape)
        writer.add_tensor(str(names.get_name(name, (".weight",))), tensor.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _describe(writer: Any, tokenizer: Any) -> None:
    """Write a byte-level BPE tokenizer."""
    import json

    import gguf

    content = json.loads(tokenizer.backend_tokenizer.to_str())
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    special = {t["content"] for t in content["added_tokens"] if t["special"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL for t in tokens])
    writer.add_token_merges([" ".join(m) for m in content["model"]["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_unk_token_id(tokenizer.unk_token_id)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)
