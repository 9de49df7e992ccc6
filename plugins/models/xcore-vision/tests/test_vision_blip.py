"""BLIP as captioner and for questions, on small random models saved as real ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from xcore_vision.blip import Answerer, Captioner, Nucleus, answerer, captioner, load
from xcore_vision.options import BlipOptions, CaptionOptions
from xcore_vision.processor import Processor

from xcore.contract import MissingError, Ref, Samples, UsageError, seeded
from xcore.registry import Registry

Images = Callable[..., Samples]
SIDE = 32
QUESTIONS = ["what is the color of it ?", "what is the shape ?"]
WORDS = dict.fromkeys(["[PAD]", "[DEC]", "[UNK]", "[SEP]", *" ".join(QUESTIONS).split(), "red", "green", "a"])


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[DEC] $A [SEP]", special_tokens=[("[DEC]", 1), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", bos_token="[DEC]", unk_token="[UNK]", eos_token="[SEP]",
        sep_token="[SEP]", model_max_length=24,
    )  # fmt: skip


def save(folder: Path, kind: str) -> Path:
    text = {
        "vocab_size": len(WORDS), "hidden_size": 16, "encoder_hidden_size": 16, "intermediate_size": 32,
        "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 24, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": 3, "sep_token_id": 3, "initializer_range": 0.6,
    }  # fmt: skip
    vision = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": SIDE, "patch_size": 8, "initializer_range": 0.5,
    }  # fmt: skip
    config = transformers.BlipConfig(
        text_config=text, vision_config=vision, projection_dim=8, image_text_hidden_size=16
    )
    with seeded(3):
        getattr(transformers, kind)(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    transformers.BlipImageProcessor(size=size, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4]).save_pretrained(
        folder
    )
    return folder


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("vqa"), "BlipForQuestionAnswering")


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("captioner"), "BlipForConditionalGeneration")


def normalised(x: Samples) -> torch.Tensor:
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.4, 0.5, 0.6], [0.2, 0.3, 0.4]))
    return (x.images - mean) / std


def test_questions_are_asked_as_transformers_asks_them(asked: Path, images: Images) -> None:
    model = transformers.BlipForQuestionAnswering.from_pretrained(asked).eval()
    tokens, seen = tokenizer(), images(4)
    found = answerer(BlipOptions(), str(asked)).answer(seen, [QUESTIONS[0]] * 4)
    for i in range(4):
        ids = model.generate(
            input_ids=tokens(QUESTIONS[0], return_tensors="pt")["input_ids"],
            pixel_values=normalised(seen.take([i])),
            max_length=21,
        )
        assert found[i] == tokens.decode(ids[0], skip_special_tokens=True, clean_up_tokenization_spaces=True).strip()
    assert len(set(found)) > 1, "answers depend on the image"


def test_answers_depend_on_image_and_question_alone(asked: Path, images: Images) -> None:
    seen = images(5, 20, 44)
    pairs, questions = seen.take([0, 0, 1, 1, 2, 3, 4]), [*QUESTIONS, *QUESTIONS, QUESTIONS[1], *QUESTIONS]
    before = torch.get_rng_state()
    vqa = answerer(BlipOptions(batch_size=2), str(asked))
    found = vqa.answer(pairs, questions)
    assert torch.equal(before, torch.get_rng_state())
    one = answerer(BlipOptions(), str(asked))
    assert found == [one.answer(pairs.take([i]), [q])[0] for i, q in enumerate(questions)]
    assert one.answer(seen.take([]), []) == []
    assert all(len(a.split()) <= 2 for a in answerer(BlipOptions(max_tokens=2), str(asked)).answer(pairs, questions))
    with pytest.raises(UsageError, match="2 questions about 5 images"):
        one.answer(seen, QUESTIONS)


def test_an_image_is_encoded_once(asked: Path, monkeypatch: pytest.MonkeyPatch, images: Images) -> None:
    vqa, encoded = answerer(BlipOptions(), str(asked)), []
    seen, inner = images(2), vqa._model.vision_model.forward

    def encode(pixel_values: torch.Tensor) -> Any:
        encoded.append(len(pixel_values))
        return inner(pixel_values)

    monkeypatch.setattr(vqa._model.vision_model, "forward", encode)
    vqa.answer(seen.take([0, 0, 1, 1]), QUESTIONS * 2)
    assert encoded == [2]


def test_captions_are_greedy_at_zero_as_those_of_transformers(telling: Path, images: Images) -> None:
    model = transformers.BlipForConditionalGeneration.from_pretrained(telling).eval()
    tokens, seen = tokenizer(), images(4)
    for prompt in ("", "a red"):
        found = captioner(CaptionOptions(top_p=0.0, prompt=prompt, batch_size=3), str(telling))
        ids = tokens([prompt] * 4, return_tensors="pt")["input_ids"]
        wanted = model.generate(pixel_values=normalised(seen), input_ids=ids, max_length=24)
        captions = found.caption(seen, [0] * 4)
        texts = tokens.batch_decode(wanted, skip_special_tokens=True, clean_up_tokenization_spaces=True)
        assert captions == [t.strip() for t in texts]
        assert all(text.startswith(prompt) for text in captions)


def test_captions_depend_on_image_and_seed_alone(telling: Path, images: Images) -> None:
    found, seen = captioner(CaptionOptions(batch_size=2), str(telling)), images(3)
    before = torch.get_rng_state()
    captions = found.caption(seen, [5, 6, 7])
    assert torch.equal(before, torch.get_rng_state())
    assert found.caption(seen.take([2, 0]), [7, 5]) == [captions[2], captions[0]]
    assert len({found.caption(seen.take([0]), [s])[0] for s in range(6)}) > 1
    with pytest.raises(UsageError, match="1 seeds for 3 images"):
        found.caption(seen, [1])


def test_the_nucleus_is_drawn_from_in_proportion() -> None:
    probs, n = torch.tensor([[0.15, 0.5, 0.05, 0.3]]), 4000
    ids = torch.zeros(n, 1, dtype=torch.long)
    share = torch.bincount(Nucleus(range(n), 0.7, 9)(ids, probs.log().expand(n, -1)).argmax(1), minlength=4) / n
    assert share[0] == share[2] == 0
    assert float(share[1]) == pytest.approx(0.5 / 0.8, abs=0.03)
    whole = torch.bincount(Nucleus(range(n), 1.0, 9)(ids, probs.log().expand(n, -1)).argmax(1), minlength=4) / n
    torch.testing.assert_close(whole, probs[0], atol=0.03, rtol=0)


def test_a_model_in_training_is_asked_where_it_is(telling: Path, images: Images) -> None:
    model, tokens = load(telling, "BlipForConditionalGeneration")
    model.requires_grad_(True)
    options, seen = CaptionOptions(), images(3)
    made = Captioner("mine", model, tokens, Processor.of(telling, SIDE, 2), options)
    assert made.caption(seen, [5, 6, 7]) == captioner(options, str(telling)).caption(seen, [5, 6, 7])
    assert made.name == "mine"
    assert all(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize("resample", [2, 3])
def test_pictures_are_resized_with_the_processors_filter(resample: int, tmp_path: Path, images: Images) -> None:
    own = transformers.BlipImageProcessor(
        size={"height": SIDE, "width": SIDE}, image_mean=[0.5] * 3, image_std=[0.5] * 3, resample=resample
    )
    own.save_pretrained(tmp_path)
    seen = images(2, 11, 50).images
    wanted = own(images=list(seen), do_rescale=False, return_tensors="pt")["pixel_values"]
    (found,) = Processor.of(tmp_path, SIDE, 2).batches(seen, torch.device("cpu"))
    torch.testing.assert_close(found, wanted.clamp(-1, 1), atol=1e-5, rtol=0)


def test_the_file_of_a_whole_processor_is_read_too(tmp_path: Path, images: Images) -> None:
    own = transformers.BlipImageProcessor(image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4], resample=2)
    seen = images(2, SIDE, SIDE).images
    for folder in (tmp_path / "own", tmp_path / "whole"):
        folder.mkdir()
    own.save_pretrained(tmp_path / "own")
    transformers.BlipProcessor(own, tokenizer()).save_pretrained(tmp_path / "whole")
    assert {f.name for f in (tmp_path / "whole").glob("*processor*")} == {"processor_config.json"}
    one, two = (
        next(iter(Processor.of(tmp_path / name, SIDE, 2).batches(seen, torch.device("cpu"))))
        for name in ("own", "whole")
    )
    torch.testing.assert_close(one, two)
    with pytest.raises(MissingError, match=r"lacks preprocessor_config\.json"):
        Processor.of(tmp_path, SIDE, 2)


def test_a_filter_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(
        '{"image_mean": [0, 0, 0], "image_std": [1, 1, 1], "resample": 1}'
    )
    with pytest.raises(UsageError, match="resample = 1"):
        Processor.of(tmp_path, SIDE, 2)


def test_they_are_offered_for_their_roles(asked: Path, telling: Path, registry: Registry) -> None:
    for ref, kind, role in (
        (Ref(f"blip-vqa:{asked}", {"batch_size": 4}), Answerer, "vqa"),
        (Ref(f"blip:{telling}", {"top_p": 0.5}), Captioner, "captioner"),
    ):
        assert isinstance(registry.create("model", ref), kind)
        assert registry.find("model", ref)[0].role == role


def test_bad_directories(tmp_path: Path, asked: Path, telling: Path) -> None:
    with pytest.raises(MissingError, match="no model directory"):
        answerer(BlipOptions(), str(tmp_path / "none"))
    with pytest.raises(
        UsageError, match=r"holds no BlipForQuestionAnswering: its file lacks \d+ tensors, first 'text_enc"
    ):
        answerer(BlipOptions(), str(telling))
    for name in ("preprocessor_config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_bytes((asked / name).read_bytes())
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(UsageError, match="'clip', not blip"):
        answerer(BlipOptions(), str(tmp_path))
    (tmp_path / "config.json").write_bytes((asked / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"x" * 30)
    with pytest.raises(UsageError, match="holds no BlipForQuestionAnswering"):
        answerer(BlipOptions(), str(tmp_path))
