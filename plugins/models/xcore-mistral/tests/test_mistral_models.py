"""Where models come from: directories, the hub, GGUF files, other architectures; what holds no model is one line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from xcore_mistral.files import Source
from xcore_mistral.generator import attention_layers, from_gguf, from_model
from xcore_mistral.load import quiet
from xcore_mistral.options import Options
from xcore_mistral.plugin import gguf_fingerprint, model_fingerprint
from xcore_mistral.testing import save_gguf

from xcore.contract import MissingError, Ref, Samples, UsageError, XcoreError
from xcore.registry import load_registry
from xcore.store.identity import Identity

OPTIONS = Options(batch_size=4)
PROMPTS = ["bland", "great", "bland", "customer"]


def test_directories_that_hold_no_model(untrained: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no model directory '\./nowhere'"):
        from_model(None, "./nowhere")
    copy = Path(shutil.copytree(untrained, tmp_path / "copy"))
    (copy / "tokenizer_config.json").unlink()
    with pytest.raises(MissingError, match=r"lacks tokenizer_config\.json"):
        from_model(None, str(copy))
    copy = Path(shutil.copytree(untrained, tmp_path / "pickled"))
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(MissingError, match=r"lacks model\.safetensors"):
        from_model(None, str(copy))
    (copy / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(XcoreError, match="cannot load the language model") as caught:
        from_model(None, str(copy))
    assert "\n" not in str(caught.value)


def test_weights_that_lack_a_tensor_are_refused(untrained: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    copy = Path(shutil.copytree(untrained, tmp_path / "copy"))
    tensors = load_file(copy / "model.safetensors")
    dropped = sorted(tensors)[-1]
    save_file({k: v for k, v in tensors.items() if k != dropped}, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(XcoreError, match=f"lack 1 tensors, e.g. {dropped}"):
        from_model(None, str(copy))


def test_hub_out_of_reach_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def offline(*args: object, **kwargs: object) -> None:
        asked.append(args)
        raise OSError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", offline)
    for argument, name in (
        (None, "mistralai/Mistral-7B-Instruct-v0.2"),
        ("xcore-tests/no-such-model@main", "xcore-tests/no-such-model@main"),
    ):
        with pytest.raises(MissingError, match=rf"hub model '{name}' .* cannot be fetched: Name or service") as caught:
            from_model(None, argument)
        assert "\n" not in str(caught.value)
    assert len(asked) <= 2, "the hub is asked once for each"


def test_quantisation_needs_its_package(untrained: Path) -> None:
    for bits in ("4bit", "8bit"):
        with pytest.raises(MissingError, match=f"quantise={bits} needs the package bitsandbytes"):
            from_model(Options(quantise=bits), str(untrained))  # type: ignore[arg-type]


def test_a_gguf_file_answers_as_its_directory(untrained: Path, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    file = save_gguf(untrained, tmp_path / "model.gguf")
    before = file.read_bytes()
    ours, theirs = from_model(OPTIONS, str(untrained)), from_gguf(OPTIONS, str(file))
    for word in ("bland", "customer"):
        assert ours.asker.prompt(word) == theirs.asker.prompt(word)
    ids = torch.tensor([ours.asker.prompt("bland")])
    with torch.no_grad():
        assert torch.allclose(ours.model(ids).logits, theirs.model(ids).logits, atol=1e-5)
    a, b = (g.generate(PROMPTS, range(4)) for g in (ours, theirs))
    assert a.meta["answer"] == b.meta["answer"]
    pairs = a.take([0]), a.take([1])
    assert theirs.can == ours.can == {"adapt"}, "transformers dequantises the file, so its weights can get a LoRA"
    theirs.adapt(None, *pairs, seed=0, options={"steps": 1})
    assert file.read_bytes() == before
    assert theirs.fingerprint == gguf_fingerprint(OPTIONS, str(file)) != ours.fingerprint
    with pytest.raises(UsageError, match="is quantised already"):
        from_gguf(Options(quantise="4bit"), str(file))


def test_files_that_are_no_gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cut.gguf").write_bytes(b"GGUF" + bytes(20))
    with pytest.raises(UsageError, match=r"is a file, not a model directory .*gguf:FILE"):
        from_model(None, str(tmp_path / "cut.gguf"))
    with pytest.raises(XcoreError, match=r"cannot load the language model .*download incomplete"):
        from_gguf(None, str(tmp_path / "cut.gguf"))
    with pytest.raises(MissingError, match=r"there is no GGUF file 'nowhere\.gguf'"):
        from_gguf(None, "nowhere.gguf")
    file = tmp_path / "text.gguf"
    file.write_text("not a model")
    with pytest.raises(UsageError, match="is no GGUF file"):
        from_gguf(None, str(file))
    file.write_bytes(b"GGUF but cut")
    with pytest.raises(XcoreError, match="cannot load the language model") as caught:
        from_gguf(None, str(file))
    assert "\n" not in str(caught.value)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"needs the package gguf"):
        from_gguf(None, str(file))


@pytest.mark.parametrize("kind", ["GPT2", "Qwen2"])
def test_other_architectures(untrained: Path, tmp_path: Path, kind: str) -> None:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(str(untrained))
    sizes: dict[str, Any] = {"vocab_size": len(tokenizer), "num_hidden_layers": 2, "eos_token_id": 2, "bos_token_id": 1}
    config = getattr(transformers, f"{kind}Config")(
        hidden_size=32, num_attention_heads=2, num_key_value_heads=2, intermediate_size=32, **sizes
    )
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config)
        model.save_pretrained(str(tmp_path))
    tokenizer.save_pretrained(str(tmp_path))
    g = from_model(Options(max_new_tokens=6, batch_size=2), str(tmp_path))
    assert attention_layers(g.model)
    s = g.generate(["bland", "bland", "great"], [0, 1, 2])
    assert s.meta["answer"][1] == g.generate(["bland"], [1]).meta["answer"][0]
    pair = [Samples("text", (t,), (t,), meta={"prompt": ("bland",)}) for t in ("dull", "flat")]
    _, figures = g.adapt(None, *pair, seed=0, options={"steps": 2, "lr": 1e-2})
    assert figures["margin"] > 0


def test_half_precision(untrained: Path) -> None:
    g = from_model(Options(dtype="bfloat16", batch_size=2), str(untrained))
    assert g.model.dtype == torch.bfloat16
    s = g.generate(["bland", "great"], [0, 1])
    assert s.meta["answer"] == g.generate(["bland", "great"], [0, 1]).meta["answer"]


def test_identity_is_of_files_and_options(untrained: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(untrained, tmp_path / "copy"))

    def of(**options: Any) -> str:  # a new Identity each time, for one keeps what it has found
        return Identity(load_registry()).component("generator", Ref(f"mistral:{copy}", options))

    before = of()
    assert of(words=6) == before  # the default
    assert of(words=5) != before
    config = copy / "generation_config.json"
    config.write_text(config.read_text() + "\n")
    assert of() != before


def test_fingerprint_is_of_content_and_settings(untrained: Path, tmp_path: Path) -> None:
    g = from_model(OPTIONS, str(untrained))
    assert g.fingerprint == model_fingerprint(OPTIONS, str(untrained))
    assert model_fingerprint(Options(batch_size=4, words=5), str(untrained)) != g.fingerprint
    copy = Path(shutil.copytree(untrained, tmp_path / "copy"))
    assert model_fingerprint(OPTIONS, str(copy)) == g.fingerprint
    template = copy / "chat_template.jinja"
    template.write_text(template.read_text().replace("[INST] ", "[INST]"))
    assert model_fingerprint(OPTIONS, str(copy)) != g.fingerprint
    assert Source(copy).path == copy


def test_nothing_is_printed(untrained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from_model(OPTIONS, str(untrained)).generate(["bland"], [0])
    file = save_gguf(untrained, tmp_path / "model.gguf")
    capfd.readouterr()
    from_gguf(OPTIONS, str(file)).generate(["bland"], [0])
    assert capfd.readouterr() == ("", "")


def test_plugin_and_options_are_light() -> None:
    code = (
        "import sys, xcore_mistral.plugin; assert 'pydantic' not in sys.modules; import xcore_mistral.options;"
        "print([m for m in ('torch', 'numpy', 'pandas', 'transformers') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
