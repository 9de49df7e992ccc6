"""DPO on a LoRA: closed forms, trl as the oracle, a preference that is learnt, the base left bit for bit."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from xcore_mistral import dpo
from xcore_mistral.generator import MistralGenerator, from_model
from xcore_mistral.load import quiet
from xcore_mistral.options import Options

from xcore.contract import Samples, UsageError, XcoreError
from xcore.pretrained.lora import load_adapter, save_adapter

SYNONYMS = {
    "bland": ["dull", "flat", "boring", "lackluster"],
    "great": ["superb", "terrific", "wonderful", "excellent"],
}
OPTIONS = Options(batch_size=8)
PREFERRED = ("dull, flat", "flat", "flat, dull", "dull", "dull, flat", "flat, dull")
REJECTED = ("boring", "boring, lackluster", "lackluster", "lackluster, boring", "boring", "lackluster")


@pytest.fixture
def generator(directory: Path) -> MistralGenerator:
    return from_model(OPTIONS, str(directory))


def texts(said: tuple[str, ...], word: str = "bland") -> Samples:
    ids = tuple(f"{word}/{i}/{t}" for i, t in enumerate(said))
    return Samples("text", said, ids, meta={"prompt": (word,) * len(said)})


def weights(model: torch.nn.Module) -> str:
    """Digest of everything but the LoRA, under the names that it had before the LoRA was added."""
    h = hashlib.sha256()
    for name, tensor in sorted((n.replace(".base_layer", ""), t) for n, t in model.state_dict().items()):
        if ".lora_" not in name:
            h.update(name.encode() + tensor.numpy().tobytes())
    return h.hexdigest()


def scored(model: Any, prompt: list[int], completion: list[int]) -> Tensor:
    """Log-probability of a completion the plain way: one sequence, no cache, no filling up."""
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *completion]])).logits[0]
    steps = torch.log_softmax(logits.float(), -1)[len(prompt) - 1 : -1]
    return steps[torch.arange(len(completion)), completion].sum()


def test_log_probabilities_are_those_of_the_plain_sequence(generator: MistralGenerator) -> None:
    prompt = generator.asker.prompt("bland")
    completions = [generator.asker.completion("bland", t) for t in ("dull, flat, boring", "flat", "lackluster, dull")]
    with torch.no_grad():
        ours = dpo.log_probabilities(generator.model, prompt, completions)
    plain = torch.stack([scored(generator.model, prompt, c) for c in completions])
    assert torch.allclose(ours, plain, atol=1e-4)


def test_margins_closed_form() -> None:
    p, r = torch.tensor([-1.0, -5.0]), torch.tensor([-2.0, -4.0])
    margin = dpo.margins(p, r, torch.tensor([-1.5, -5.0]), torch.tensor([-2.0, -4.5]), 0.2)
    assert margin.tolist() == pytest.approx([0.1, -0.1])


def test_the_first_step_starts_at_log_two(generator: MistralGenerator) -> None:
    start, _ = generator.adapt(None, texts(PREFERRED), texts(REJECTED), seed=3, options={"steps": 0})
    assert all(not t.any() for n, t in start.state.items() if ".lora_B." in n)
    names = {n.rsplit(".", 3)[1] for n in start.state}
    assert names == {"q_proj", "k_proj", "v_proj", "o_proj"}
    _, figures = generator.adapt(None, texts(PREFERRED), texts(REJECTED), seed=3, options={"steps": 1})
    assert figures["loss"] == pytest.approx(math.log(2), abs=1e-7)
    assert (figures["margin"], figures["accuracy"]) == (0, 0.5)
    assert (figures["steps"], figures["total_steps"], figures["pairs"], figures["beta"]) == (1, 1, 6, 0.1)
    base = generator.generate(["bland"] * 3, range(3))
    assert generator.generate(["bland"] * 3, range(3), start).meta["answer"] == base.meta["answer"]


def test_a_preference_is_learnt_and_the_base_is_left(generator: MistralGenerator) -> None:
    """Held out: other lists of the same words, and a fresh sample of answers."""
    before, drawn = weights(generator.model), generator.generate(["bland"] * 40, range(40))
    adapter, figures = generator.adapt(
        None, texts(PREFERRED), texts(REJECTED), seed=0, options={"steps": 12, "lr": 5e-3}
    )
    assert figures["loss"] < math.log(2)
    fresh = texts(("flat, dull, flat", "dull, dull")), texts(("lackluster, boring, lackluster", "boring, boring"))
    _, held_out = generator.adapt(adapter, *fresh, seed=9, options={"steps": 1})  # figures are taken before the step
    assert held_out["margin"] > 0.1
    assert held_out["accuracy"] == 1
    _, swapped = generator.adapt(adapter, texts(fresh[1].texts), fresh[0], seed=9, options={"steps": 1})
    assert swapped["margin"] == pytest.approx(-held_out["margin"], rel=1e-3)

    def share(samples: Samples) -> float:
        """Of the preferred among the words that a preference was stated about."""
        words = [w for said in samples.meta["words"] for w in said if w in SYNONYMS["bland"]]
        return sum(w in ("dull", "flat") for w in words) / len(words)

    assert share(generator.generate(["bland"] * 40, range(40), adapter)) > share(drawn) + 0.1
    assert weights(generator.model) == before
    after = generator.generate(["bland"] * 40, range(40))
    assert (after.meta["answer"], after.ids) == (drawn.meta["answer"], drawn.ids)
    assert all(p.grad is None for p in generator.model.parameters())


@pytest.mark.parametrize("k", [None, 2])
def test_two_calls_of_one_step_are_one_call_of_two(directory: Path, tmp_path: Path, k: int | None) -> None:
    g = from_model(OPTIONS, str(directory))
    pairs = texts(PREFERRED), texts(REJECTED)
    whole, _ = g.adapt(None, *pairs, seed=7, options={"steps": 2, "pairs_per_step": k})
    half, _ = g.adapt(None, *pairs, seed=7, options={"steps": 1, "pairs_per_step": k})
    save_adapter(half, tmp_path / "half.safetensors")
    loaded = load_adapter(tmp_path / "half.safetensors")
    assert loaded.digest == half.digest
    other = from_model(OPTIONS, str(directory))  # knows nothing of the first step but what the file says
    rest, figures = other.adapt(loaded, *pairs, seed=7, options={"steps": 1, "pairs_per_step": k})
    assert figures["total_steps"] == 2
    assert rest.digest == whole.digest


def test_chunks_and_prompts_add_up_to_the_whole(directory: Path) -> None:
    """Pairs of two words, in chunks of several sizes: the first moments of AdamW are the gradient times 0.1."""
    words = ("bland", "great") * 3
    good = Samples("text", PREFERRED, PREFERRED, meta={"prompt": words})
    made = [
        from_model(Options(batch_size=size), str(directory)).adapt(None, good, texts(REJECTED), seed=0, options=options)
        for size in (1, 4, 20)
        for options in [{"steps": 1, "grad_clip": 1e9}]
    ]
    for adapter, _ in made[1:]:
        for name, moment in adapter.optimiser.items():
            assert torch.allclose(moment, made[0][0].optimiser[name], atol=1e-6)


def test_pairs_that_say_nothing_are_left_out(generator: MistralGenerator) -> None:
    good, bad = texts(("dull", "", "flat", "dull, flat")), texts(("boring", "boring", "", "dull, flat"))
    adapter, figures = generator.adapt(None, good, bad, seed=0, options={"steps": 2})
    assert figures["pairs"] == 1
    alone, _ = generator.adapt(None, texts(("dull",)), texts(("boring",)), seed=0, options={"steps": 2})
    assert adapter.digest == alone.digest
    same, figures = generator.adapt(adapter, texts(("", "dull")), texts(("flat", "dull")), seed=0, options={})
    assert same.digest == adapter.digest
    assert (figures["pairs"], figures["steps"]) == (0, 0)


def test_bad_requests_are_one_line(generator: MistralGenerator) -> None:
    good, bad = texts(PREFERRED), texts(REJECTED)
    with pytest.raises(UsageError, match=r"unknown key of adapt .*'bta' \(did you mean 'beta'\?\)"):
        generator.adapt(None, good, bad, seed=0, options={"bta": 1})
    with pytest.raises(UsageError, match="6 preferred and 5 rejected"):
        generator.adapt(None, good, bad.take(range(5)), seed=0, options={})
    with pytest.raises(UsageError, match="no prompts"):
        generator.adapt(None, Samples("text", good.texts, good.ids), bad, seed=0, options={})


def test_a_failed_update_harms_nothing(generator: MistralGenerator) -> None:
    good, _ = generator.adapt(None, texts(PREFERRED), texts(REJECTED), seed=0, options={"steps": 2})
    words = ["bland"] * 4
    before = [generator.generate(words, range(4), a).meta["answer"] for a in (None, good)]
    with pytest.raises(XcoreError, match="diverged"):
        generator.adapt(good, texts(PREFERRED), texts(REJECTED), seed=0, options={"steps": 40, "lr": 1e18})
    assert [generator.generate(words, range(4), a).meta["answer"] for a in (None, good)] == before


def test_loss_and_tokens_are_those_of_trl(directory: Path, tmp_path: Path) -> None:
    """trl's trainer reads the questions as a conversation or as plain text; the LoRA is merged into its model."""
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    import transformers

    g = from_model(OPTIONS, str(directory))
    adapter, _ = g.adapt(None, texts(PREFERRED), texts(REJECTED), seed=0, options={"steps": 3, "lr": 1e-2})
    _, ours = g.adapt(adapter, texts(PREFERRED), texts(REJECTED), seed=0, options={"steps": 1, "beta": 0.3})
    asker = g.asker
    if asker.chat:
        prompt: Any = asker._turns("bland")
        rows = [
            {"prompt": prompt, **{k: [{"role": "assistant", "content": t}] for k, t in pair.items()}}
            for pair in ({"chosen": c, "rejected": r} for c, r in zip(PREFERRED, REJECTED, strict=True))
        ]
    else:
        prompt = asker.tokenizer.decode(asker.prompt("bland"), skip_special_tokens=True)
        rows = [
            {"prompt": prompt, "chosen": c + "\n", "rejected": r + "\n"}
            for c, r in zip(PREFERRED, REJECTED, strict=True)
        ]
    with quiet(), torch.random.fork_rng():
        base, policy = (transformers.AutoModelForCausalLM.from_pretrained(str(directory)) for _ in range(2))
        with torch.no_grad():
            for name, a in adapter.state.items():
                if ".lora_A." in name:
                    layer = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
                    policy.get_submodule(layer).weight += adapter.state[name.replace("lora_A", "lora_B")] @ a
        asker.tokenizer.pad_token = "<unk>"
        settings = trl.DPOConfig(
            output_dir=str(tmp_path), beta=0.3, per_device_train_batch_size=6, use_cpu=True, bf16=False,
            report_to="none", disable_tqdm=True, remove_unused_columns=False, max_length=None,
        )  # fmt: skip
        trainer = trl.DPOTrainer(
            model=policy, ref_model=base, args=settings, processing_class=asker.tokenizer,
            train_dataset=datasets.Dataset.from_list(rows),
        )  # fmt: skip
        batch = trainer.data_collator([trainer.train_dataset[i] for i in range(6)])
        theirs = trainer.compute_loss(policy, batch)
    if asker.chat:
        for i, text in enumerate((*PREFERRED, *REJECTED)):
            real = batch["input_ids"][i][batch["attention_mask"][i].bool()].tolist()
            assert real == [*asker.prompt("bland"), *asker.completion("bland", text)]
        assert ours["loss"] == pytest.approx(float(theirs), abs=1e-5)
    # Without a template trl writes an end token behind the newline; the loss on its tokens is ours.
    with torch.no_grad():
        masks = [(b.bool(), c.bool()) for b, c in zip(batch["attention_mask"], batch["completion_mask"], strict=True)]
        sums = torch.stack(
            [
                torch.stack([scored(m, ids[a & ~c].tolist(), ids[a & c].tolist()) for m in (policy, base)])
                for ids, (a, c) in zip(batch["input_ids"], masks, strict=True)
            ]
        )
        margin = dpo.margins(sums[:6, 0], sums[6:, 0], sums[:6, 1], sums[6:, 1], 0.3)
    assert float(-F.logsigmoid(margin).mean()) == pytest.approx(float(theirs), abs=1e-5)


def test_peft_reads_the_tensors(generator: MistralGenerator, directory: Path, tmp_path: Path) -> None:
    import peft
    import transformers
    from safetensors.torch import load_file

    adapter, _ = generator.adapt(None, texts(PREFERRED), texts(REJECTED), seed=0, options={"steps": 2, "lr": 1e-2})
    save_adapter(adapter, tmp_path / "adapter.safetensors")
    tensors = {n: t for n, t in load_file(tmp_path / "adapter.safetensors").items() if not n.startswith("optimiser.")}
    prompt = generator.asker.prompt("bland")
    with quiet(), torch.random.fork_rng(), torch.no_grad():
        base = transformers.AutoModelForCausalLM.from_pretrained(str(directory))
        plain = base(torch.tensor([prompt])).logits
        targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
        theirs = peft.get_peft_model(base, peft.LoraConfig(r=8, lora_alpha=8, target_modules=targets)).eval()
        odd = peft.set_peft_model_state_dict(theirs, tensors)
        assert not odd.unexpected_keys
        generator._put(adapter)
        ours = generator.model(torch.tensor([prompt])).logits
        assert torch.allclose(ours, theirs(torch.tensor([prompt])).logits, atol=1e-5)
        assert not torch.allclose(ours, plain, atol=1e-3)
