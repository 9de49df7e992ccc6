"""Sentences and answers of the painted world, and the models that say them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from minizoo_training.asking import answers, patch
from minizoo_training.blip import LENGTH
from minizoo_training.captioner import IGNORED, PROMPT, described, named, scene_of, targets
from minizoo_training.clip import tokenizer
from minizoo_training.vqa import ASKED, extra_words, question
from xcore_minizoo.captions import caption, long_caption, phrases
from xcore_minizoo.collections import COLLECTIONS
from xcore_minizoo.data import factor_values
from xcore_minizoo.questions import NONE, NOTHING, QUESTIONS, answer_phrases
from xcore_minizoo.world import BACKGROUNDS, OBJECTS, SHAPES, Scene, draw

from xcore.contract import Ref
from xcore.registry import Registry


def test_a_long_caption_is_read_as_the_scene_that_it_describes() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        scene = named(scene_of(rng))
        assert factor_values(described(long_caption(scene, rng).text)) == factor_values(scene)


def test_a_short_caption_is_read_as_what_it_names() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        said = caption(named(scene_of(rng)), rng)
        assert factor_values(said.says) <= factor_values(described(said.text))


@pytest.mark.parametrize("name", [*COLLECTIONS, "planted"])
def test_the_shipped_decoder_knows_every_word_of_every_data_sets_captions(name: str, registry: Registry) -> None:
    data = registry.create("dataset", Ref(f"minizoo/{name}" if name == "planted" else name))
    decoder = registry.create("model", Ref("minizoo/decoder"))
    for split in ("train", "explain", "heldout"):
        meta = data.samples(None, split, 60, 0).meta
        assert decoder.remarks([*meta["caption"], *meta["long_caption"]], 65) == []
    assert decoder.remarks(["a landbird on grass"], 65) == [
        "25.0% of the words of the captions are unknown to minizoo/decoder: landbird"
    ]


def test_birds_are_spoken_of_as_birds_whatever_their_shape() -> None:
    for shape in ("landbird", "waterbird"):
        red, white = Scene(shape, "striped", ("red", "white"), "grass"), Scene(shape, "plain", ("white",), "grass")
        for i in range(200):
            one, two = (caption(scene, np.random.default_rng(i)) for scene in (red, named(red)))
            assert one.text == two.text
            assert one.true_of(red)
            assert not {shape, "swan"} & set(caption(white, np.random.default_rng(i)).text.replace(",", "").split())


def test_in_the_captioners_pictures_objects_and_backgrounds_are_independent_of_the_animal() -> None:
    rng = np.random.default_rng(2)
    scenes = [s for s in (scene_of(rng) for _ in range(12_000)) if s.shape]
    species = Counter(named(s).shape for s in scenes)
    assert set(species) == set(SHAPES)
    for shape, n in species.items():
        some = [s for s in scenes if named(s).shape == shape]
        for value, share in (("apple", 0.25), ("rock", 0.15)):
            found = np.mean([s.object == value for s in some])
            assert abs(found - share) < 4 * (share * (1 - share) / n) ** 0.5, (shape, value)
        for place in BACKGROUNDS:
            found = np.mean([s.background == place for s in some])
            assert abs(found - 1 / 7) < 4 * (6 / 49 / n) ** 0.5, (shape, place)


def test_the_loss_leaves_out_the_prompt_and_the_padding() -> None:
    tokens = tokenizer()
    ids, following = targets(
        tokens, [f"{PROMPT} a zebra", "here we can see a plain black cat that is standing on sand"]
    )
    spoken_of = following[0] != IGNORED
    assert tokens.decode(following[0][spoken_of]) == "a zebra <end>"
    assert (following[1] != IGNORED).all()
    assert torch.equal(ids[1, 1:], following[1])


def test_answers_to_a_whole_zebra(zebra: Scene) -> None:
    said = {k: a.text for k, a in answers(zebra, draw(zebra, 1)).items()}
    assert said == {
        "pattern": "striped texture",
        "colours": "white and black",
        "background colour": "green",
        "background": "grass",
        "primary texture": "grass",
        "secondary texture": "white and black striped texture",
        "shape": "a horse",
    }


def test_a_patch_without_the_animal_shows_the_background_only(zebra: Scene) -> None:
    drawing = draw(zebra, 1)
    empty = next(i for i in range(9) if drawing.animal[_window(i)].sum() == 0)
    said = answers(zebra, drawing, patch(empty))
    assert all(a.sure for a in said.values())
    assert [said[k].text for k in ("pattern", "shape", "secondary texture")] == [NONE] * 3
    assert [said[k].text for k in ("colours", "background", "primary texture")] == ["green", "grass", "grass"]


def test_a_texture_has_no_background_and_a_background_no_coat() -> None:
    spots = Scene(None, "spotted", ("yellow", "black"))
    said = answers(spots, draw(spots, 2))
    assert said["primary texture"].text == "yellow and black spotted texture"
    assert (said["background"].text, said["background colour"].text, said["shape"].text) == (NOTHING, NONE, NONE)
    said = answers(Scene(background="water"), draw(Scene(background="water"), 2))
    assert said["pattern"].text == NONE
    assert said["colours"].text == "blue"


def test_patches_are_cut_as_rlpo_cuts_them() -> None:
    assert [patch(i)[:2] for i in range(4)] == [(0, 0), (0, 21), (0, 42), (21, 0)]
    assert patch(8) == (42, 42, 63, 63)


def test_every_answer_is_known_to_name_factors() -> None:
    rng, known = np.random.default_rng(3), answer_phrases()
    for i in range(150):
        scene = scene_of(rng)
        for answer in answers(named(scene), draw(scene, (3, i)), patch(int(rng.integers(9)))).values():
            assert answer.text in {*known, NONE, NOTHING}
    assert all(factor_values(known[p]) == factor_values(says) for p, says in phrases().items() if p in known)


def test_no_word_of_a_question_or_an_answer_is_unknown() -> None:
    tokens, rng = tokenizer(extra_words()), np.random.default_rng(4)
    asked = [question(key, rng) for key in ASKED for _ in range(40)]
    for text in (*QUESTIONS.values(), *asked, *answer_phrases(), NONE, NOTHING):
        assert tokens.unk_token_id not in tokens(text)["input_ids"], text


def _window(index: int) -> tuple[slice, slice]:
    left, top, right, bottom = patch(index)
    return slice(top, bottom), slice(left, right)


def test_captions_depend_on_image_and_seed_alone(registry: Registry) -> None:
    x = registry.create("dataset", Ref("minizoo")).samples("zebra", "heldout", 4, 0)
    captioner = registry.create("model", Ref("minizoo/blip"))
    before = torch.get_rng_state()
    said = captioner.caption(x, [1, 2, 3, 4])
    assert torch.equal(before, torch.get_rng_state())
    assert captioner.caption(x.take([2, 0]), [3, 1]) == [said[2], said[0]]
    assert all(20 <= len(text.split()) <= 30 for text in said)
    short = registry.create("model", Ref("minizoo/blip", {"prompt": PROMPT, "top_p": 0.0})).caption(x, [0] * 4)
    assert all(text.startswith(PROMPT) and len(text.split()) < 20 for text in short)


def test_questions_are_answered_one_an_image(registry: Registry) -> None:
    data = registry.create("dataset", Ref("minizoo"))
    x = data.samples("zebra", "heldout", 3, 0)
    vqa = registry.create("model", Ref("minizoo/vqa"))
    both = x.take([0, 1, 2, 0, 1, 2])
    asked = [QUESTIONS["shape"]] * 3 + [QUESTIONS["pattern"]] * 3
    said = vqa.answer(both, asked)
    assert said == vqa.answer(x, asked[:3]) + vqa.answer(x, asked[3:])
    assert Counter(said).most_common(2) == [("a horse", 3), ("striped texture", 3)]


@pytest.mark.parametrize("name", ["blip", "vqa"])
def test_the_directories_open_as_any_blip_model(name: str, zebra: Scene) -> None:
    import transformers
    from xcore_minizoo.plugin import WEIGHTS

    folder = WEIGHTS / name
    kind = {"blip": "BlipForConditionalGeneration", "vqa": "BlipForQuestionAnswering"}[name]
    model = getattr(transformers, kind).from_pretrained(folder, local_files_only=True).float()
    processor = transformers.BlipProcessor.from_pretrained(folder, local_files_only=True)
    picture = draw(zebra, 5).image
    inputs = processor(images=picture, text=QUESTIONS["shape"] if name == "vqa" else PROMPT, return_tensors="pt")
    said = processor.decode(model.generate(**inputs, max_length=LENGTH)[0], skip_special_tokens=True)
    assert "horse" in said or "zebra" in said
    assert set(OBJECTS).isdisjoint(said.split())
