"""The translator is affine, only it learns, and its training can be resumed; pairs come from files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from xcore_texplain.blip import BlipDecoder
from xcore_texplain.options import DecoderOptions, TranslatorOptions
from xcore_texplain.pairs import find_pairs
from xcore_texplain.testing import save_blip
from xcore_texplain.training import CHECKPOINT, PairFeatures, compute_features, train
from xcore_texplain.translator import Translator, load_translator

from xcore.contract import MissingError, UsageError, XcoreError
from xcore.run.live import LiveData
from xcore.testing import stripes

WORDS = ("red", "green", "blue", "thing")
MODES = ("tokenwise", "flatten_bottleneck")


def translator(mode: Any, positions: int = 4, features: int = 6, seed: int = 1) -> Translator:
    made = Translator(mode, positions, features, 3, 8, None, seed)
    rng = torch.Generator().manual_seed(seed)
    made.mean.copy_(torch.randn(features, generator=rng))
    made.scale.copy_(torch.rand(features, generator=rng) + 0.5)
    return made.requires_grad_(False)


@pytest.mark.parametrize("mode", MODES)
def test_the_map_is_affine_and_one_layer(mode: Any) -> None:
    made, (x, y) = translator(mode), torch.randn(2, 5, 4, 6, generator=torch.Generator().manual_seed(2))
    for alpha in (-0.7, 0.3, 2.0):
        mixed = made(alpha * x + (1 - alpha) * y)
        torch.testing.assert_close(mixed, alpha * made(x) + (1 - alpha) * made(y), atol=1e-4, rtol=1e-4)
    fused = made.fused()
    one = fused(x) if mode == "tokenwise" else fused(x.flatten(1)).unflatten(1, (3, 8))
    torch.testing.assert_close(one, made(x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_a_saved_translator_is_the_same(mode: Any, tmp_path: Path) -> None:
    made, x = translator(mode), torch.randn(2, 4, 6)
    made.save(tmp_path, {"layer": "a"})
    back, about = load_translator(tmp_path)
    assert torch.equal(back(x), made(x))
    assert about["layer"] == "a"
    with pytest.raises(
        UsageError, match="the layer gives 4 positions of width 5, but the translator takes 4 of width 6"
    ):
        back(torch.zeros(1, 4, 5))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="damaged"):
        load_translator(tmp_path)
    with pytest.raises(MissingError, match="there is no translator"):
        load_translator(tmp_path / "nothing")


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> BlipDecoder:
    folder = save_blip(tmp_path_factory.mktemp("blip"), WORDS, states=8, layers=1)
    return BlipDecoder(folder, DecoderOptions(max_words=4))


def pair_features(n: int = 30) -> PairFeatures:
    """Pairs with one feature for each colour, and noise."""
    rng = np.random.default_rng(0)
    colour = np.arange(n) % 3
    z = 0.1 * rng.standard_normal((n, 2, 6)).astype(np.float32)
    z[np.arange(n), :, colour] += 1
    return PairFeatures(z, tuple(f"{WORDS[c]} thing" for c in colour), ())


def options(**given: Any) -> TranslatorOptions:
    base = {"steps": 60, "every": 20, "batch": 16, "lr": 3e-3, "validation": 6}
    return TranslatorOptions(**{**base, **given})


def quiet(step: int, total: int, note: str = "") -> None: ...


@pytest.mark.parametrize("mode", MODES)
def test_loss_falls_on_few_pairs_and_the_decoder_stays(mode: Any, decoder: BlipDecoder, tmp_path: Path) -> None:
    before = {k: v.clone() for k, v in decoder.model.state_dict().items()}
    data = pair_features()
    z = torch.from_numpy(data.z)
    _, figures = train(data, decoder, options(mode=mode, steps=200, every=40, hidden=16), tmp_path, quiet)
    first = Translator(mode, 2, 6, decoder.tokens, 8, 16)
    start = float(decoder.loss(first(z), data.texts).mean().detach())
    assert figures["validation_loss"] < 0.8 * start
    assert [entry[0] for entry in figures["log"]] == [40, 80, 120, 160, 200]
    assert all(torch.equal(before[k], v) for k, v in decoder.model.state_dict().items())


def test_an_interrupted_training_ends_like_a_whole_one(decoder: BlipDecoder, tmp_path: Path) -> None:
    for name in ("whole", "halved"):
        (tmp_path / name).mkdir()
    whole, _ = train(pair_features(), decoder, options(), tmp_path / "whole", quiet)

    def stop(step: int, total: int, note: str = "") -> None:
        if step == 47:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(pair_features(), decoder, options(), tmp_path / "halved", stop)
    assert (tmp_path / "halved" / CHECKPOINT).is_file()
    steps: list[int] = []
    halved, figures = train(
        pair_features(), decoder, options(), tmp_path / "halved", lambda step, total, note="": steps.append(step)
    )
    assert steps[0] == 41  # from the checkpoint on
    assert figures["steps"] == 60
    for name, value in whole.state_dict().items():
        assert torch.equal(value, halved.state_dict()[name]), name


def test_training_stops_when_nothing_is_learned(decoder: BlipDecoder, tmp_path: Path) -> None:
    _, figures = train(pair_features(), decoder, options(lr=1e-12, steps=1000, every=5, patience=2), tmp_path, quiet)
    assert figures["steps"] < 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(4):
        Image.new("RGB", (20 + i, 16), (60 * i, 0, 0)).save(tmp_path / f"{i}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    return tmp_path


def data() -> Any:
    return LiveData(stripes(4, 0), "stripes", None, ())


def write(path: Path, rows: list[Any]) -> str:
    if path.suffix == ".csv":
        head = list(rows[0])
        path.write_text("\n".join([",".join(head), *(",".join(str(r[k]) for k in head) for r in rows)]) + "\n")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def pairs(n: int = 4) -> list[dict[str, str]]:
    return [{"image": f"{i}.png", "caption": f"shade {i}"} for i in range(n)]


class Mean:
    """A probe: the mean colour."""

    layout = "NC"

    def activations(self, x: Any) -> torch.Tensor:
        return x.images.mean((2, 3))


@pytest.mark.parametrize("name", ["captions.jsonl", "captions.csv"])
def test_pairs_of_a_file_or_its_folder(name: str, folder: Path) -> None:
    write(folder / name, pairs())
    found = find_pairs(options(pairs=str(folder)), data(), (8, 12))
    made = found.load()
    assert sorted(made.texts) == ["shade 0", "shade 1", "shade 2", "shade 3"]
    assert made.texts != tuple(sorted(made.texts))  # files are often sorted by class, and the order must not stay so
    images, kept = made.read([2, 0])
    assert kept == [2, 0]
    assert images.images.shape == (2, 3, 8, 12)
    shades = [int(made.texts[row].removeprefix("shade ")) * 60 / 255 for row in kept]
    np.testing.assert_allclose(images.images[:, 0].mean((1, 2)), shades, rtol=1e-5)
    assert find_pairs(options(pairs=str(folder / name)), data(), (8, 12)).identity == found.identity
    Image.new("RGB", (90, 90), (9, 8, 7)).save(folder / "1.png")
    assert find_pairs(options(pairs=str(folder)), data(), (8, 12)).identity != found.identity


def test_pictures_of_pairs_are_those_of_a_folder_of_images(folder: Path) -> None:
    """Transparent parts are white and 16-bit grey keeps its range, as the classifier sees them in `folder:`."""
    Image.new("RGBA", (9, 9), (0, 0, 0, 0)).save(folder / "0.png")
    Image.fromarray(np.full((9, 9), 13107, np.uint16)).save(folder / "1.png")
    made = find_pairs(options(pairs=write(folder / "captions.csv", pairs())), data(), (8, 12)).load()
    images, _ = made.read([made.texts.index("shade 0"), made.texts.index("shade 1")])
    torch.testing.assert_close(images.images[0], torch.ones(3, 8, 12))
    torch.testing.assert_close(images.images[1], torch.full((3, 8, 12), 0.2), atol=1e-4, rtol=0)


def test_the_seed_decides_which_pairs_of_a_long_file_are_taken(folder: Path) -> None:
    path = write(folder / "captions.csv", [{"image": "0.png", "caption": f"shade {i}"} for i in range(40)])
    few = {seed: options(pairs=path, train_pairs=6, validation=2, seed=seed) for seed in (0, 1)}
    taken = {seed: find_pairs(o, data(), (8, 8)).load().texts for seed, o in few.items()}
    assert all(len(set(texts)) == 8 for texts in taken.values())
    assert taken[0] != taken[1]
    assert find_pairs(few[0], data(), (8, 8)).load().texts == taken[0]
    assert find_pairs(few[0], data(), (8, 8)).identity != find_pairs(few[1], data(), (8, 8)).identity


def test_empty_captions_of_a_data_set_are_left_out() -> None:
    class Captioned:
        def samples(self, cls: Any, split: Any, n: int, seed: int) -> Any:
            return replace(stripes(4, 0), meta={"caption": ("a", None, " ", "b")})

    found = find_pairs(options(), Captioned(), (32, 32)).load()  # type: ignore[arg-type]
    assert found.texts == ("a", "b")
    assert found.notes == ("captions left out because they are empty: 2 of 4",)


def test_unusable_rows_of_a_file_are_left_out_and_counted(folder: Path, tmp_path_factory: Any) -> None:
    rows = [
        *pairs(),
        {"image": "none.png", "caption": "x"},
        {"image": "0.png", "caption": "  "},
        {"image": "broken.png", "caption": "y"},
    ]
    path = write(folder / "captions.jsonl", rows)
    found = compute_features(
        Mean(), find_pairs(options(pairs=path), data(), (8, 8)).load, tmp_path_factory.mktemp("work"), quiet
    )  # type: ignore[arg-type]
    assert sorted(found.texts) == ["shade 0", "shade 1", "shade 2", "shade 3"]
    assert found.notes == (
        "captions.jsonl: rows left out because their caption is empty: 1",
        "captions.jsonl: rows left out because their image does not exist: 1, first 'none.png'",
        "pairs left out because their image cannot be read: 1",
    )
    assert found.z.shape == (4, 1, 3)
    shades = [int(text.removeprefix("shade ")) for text in found.texts]
    np.testing.assert_allclose(found.z[:, 0, 0], np.array(shades) * 60 / 255, rtol=1e-5)


def test_features_that_are_not_finite_are_refused(folder: Path, tmp_path_factory: Any) -> None:
    class Broken(Mean):
        def activations(self, x: Any) -> torch.Tensor:
            return super().activations(x) / 0

    found = find_pairs(options(pairs=write(folder / "captions.csv", pairs())), data(), (8, 8))
    with pytest.raises(UsageError, match="some features are infinite or not a number"):
        compute_features(Broken(), found.load, tmp_path_factory.mktemp("work"), quiet)  # type: ignore[arg-type]


def test_features_that_were_computed_are_read_back(folder: Path, tmp_path_factory: Any) -> None:
    work = tmp_path_factory.mktemp("work")
    found = find_pairs(options(pairs=write(folder / "captions.csv", pairs())), data(), (8, 8))
    one = compute_features(Mean(), found.load, work, quiet)  # type: ignore[arg-type]

    def never() -> Any:
        raise AssertionError("read twice")

    two = compute_features(Mean(), never, work, quiet)  # type: ignore[arg-type]
    assert np.array_equal(one.z, two.z)
    assert one.texts == two.texts


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        (
            "a.csv",
            [{"file": "0.png", "caption": "x"}],
            r"line 1: the column 'image' is missing \(columns: file, caption\)",
        ),
        (
            "a.jsonl",
            [{"image": "0.png", "text": "x"}],
            r"line 1: the column 'caption' is missing \(columns: image, text\)",
        ),
        ("a.jsonl", [["0.png", "x"]], r"line 1: the column 'image' is missing"),
        ("a.jsonl", [{"image": "no.png", "caption": "x"}], r"has 0 usable pairs .*image does not exist: 1"),
        ("a.jsonl", [{"image": "0.png", "caption": ""}], r"has 0 usable pairs .*caption is empty: 1"),
        ("a.jsonl", [], r"has 0 usable pairs of images and captions .*at least two"),
        (
            "a.jsonl",
            [{"image": "z" * 5000, "caption": "x"}, {"image": "a\0b", "caption": "x"}],
            r"image does not exist: 2",
        ),
        ("a.jsonl", [{"image": "0.png", "caption": ["x"]}], r"line 1: caption is \['x'\], which is not text"),
    ],
)
def test_files_without_pairs_are_refused_in_one_line(folder: Path, name: str, rows: Any, message: str) -> None:
    path = write(folder / name, rows)
    with pytest.raises(UsageError, match=message) as error:
        find_pairs(options(pairs=path), data(), (8, 8)).load()
    assert "\n" not in str(error.value)


def test_other_ways_to_have_no_pairs(folder: Path) -> None:
    (folder / "bad.jsonl").write_text('{"image": "0.png", "caption": "x"}\n{no json\n')
    (folder / "latin.csv").write_bytes(b"image,caption\n0.png,caf\xe9\n")
    (folder / "commas.csv").write_text("image,caption\n0.png,a zebra, on grass\n")
    for given, message in (
        (str(folder / "bad.jsonl"), r"bad.jsonl', line 2: this is not JSON: Expecting"),
        (str(folder / "latin.csv"), "is not a file of pairs: 'utf-8' codec"),
        (str(folder / "commas.csv"), "line 2: more values than columns .*quotes"),
        (str(folder / "gone.csv"), "the file of pairs .* does not exist"),
        (str(folder), "has neither captions.jsonl nor captions.csv"),
        ("", "the data set has no captions: its samples have no 'long_caption' or 'caption'"),
    ):
        with pytest.raises(XcoreError, match=message):
            find_pairs(options(pairs=given), data(), (8, 8)).load()
