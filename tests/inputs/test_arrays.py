"""What a notebook has at hand becomes the same images, whatever form it has."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from xcore.contract import Samples, UsageError
from xcore.inputs.arrays import as_samples
from xcore.inputs.images import Framing

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 20, 28, 3), dtype=np.uint8)
WANTED = torch.from_numpy(PIXELS).permute(0, 3, 1, 2).float() / 255
SMALL = Framing((16, 16), 18)


@pytest.mark.parametrize(
    "given",
    [
        WANTED,
        WANTED.double(),
        WANTED.numpy(),
        PIXELS,
        PIXELS.transpose(0, 3, 1, 2),
        PIXELS.astype(np.int64),
        PIXELS.astype(np.float64) / 255,
        (PIXELS / 255).astype(">f4"),
        (PIXELS / 255).astype(np.longdouble),
        torch.from_numpy(PIXELS),
        list(WANTED),
        tuple(PIXELS),
        [Image.fromarray(one) for one in PIXELS],
    ],
    ids=[
        "tensor",
        "double",
        "array",
        "hwc",
        "chw",
        "int64",
        "float64",
        "big-endian",
        "long double",
        "bytes",
        "tensors",
        "arrays",
        "pil",
    ],
)
def test_every_form_gives_the_same_images(given: object) -> None:
    made = as_samples(given)  # type: ignore[arg-type]
    assert torch.allclose(made.images, WANTED, atol=1e-6)
    assert made.images.dtype == torch.float32
    assert made.ids == ("image/0", "image/1", "image/2")


def test_files_and_folders_are_read_and_named_by_their_paths(tmp_path) -> None:
    for i, one in enumerate(PIXELS):
        Image.fromarray(one).save(tmp_path / f"{i}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    files = sorted(tmp_path.glob("*.png"))
    for given in (tmp_path, str(tmp_path), files, [str(file) for file in files]):
        made = as_samples(given, "image")
        assert torch.equal(made.images, WANTED)
        assert made.ids == tuple(map(str, files))
    assert as_samples(files[1]).ids == (str(files[1]),)


def test_one_picture_is_one_sample_and_grey_and_alpha_become_colours() -> None:
    assert torch.equal(as_samples(WANTED[0]).images, WANTED[:1])
    assert torch.equal(as_samples(PIXELS[0, :, :, 0]).images, WANTED[:1, :1].expand(-1, 3, -1, -1))
    assert torch.equal(as_samples(WANTED[:, :1]).images, WANTED[:, :1].expand(-1, 3, -1, -1))
    clear = np.dstack([PIXELS[0], np.zeros((20, 28), dtype=np.uint8)])
    assert bool((as_samples(clear).images == 1).all())  # what is transparent is white
    solid = np.dstack([PIXELS[0], np.full((20, 28), 255, dtype=np.uint8)])
    assert torch.allclose(as_samples(solid).images, WANTED[:1])


def test_pictures_as_they_are_in_files_are_framed_and_tensors_are_taken_as_they_are(tmp_path) -> None:
    Image.fromarray(PIXELS[0]).save(tmp_path / "one.png")
    forms = [tmp_path / "one.png", Image.fromarray(PIXELS[0]), PIXELS[0]]
    framed = [as_samples(one, "image", SMALL).images for one in forms]
    assert framed[0].shape == (1, 3, 16, 16)
    assert all(torch.equal(framed[0], other) for other in framed)
    assert torch.equal(as_samples(WANTED, "image", SMALL).images, WANTED)
    assert torch.equal(as_samples(WANTED.numpy(), "image", SMALL).images, WANTED)


def test_samples_stay_and_strings_are_texts_unless_the_classifier_reads_images() -> None:
    samples = Samples("image", WANTED, ("a", "b", "c"))
    assert as_samples(samples) is samples
    assert as_samples(["good", "bad"]).texts == ("good", "bad")
    with pytest.raises(UsageError, match=r"nowhere\.png cannot be read as a picture: No such file"):
        as_samples(["nowhere.png"], "image")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.random.rand(3, 8, 3), r"image/0 of shape \(3, 8, 3\) may have its channels first or last"),
        (np.random.rand(2, 3, 8, 3), "may have its channels first or last"),
        (torch.rand(5, 8, 8), r"has no axis of 1 or 3 channels \(several grey pictures are images\[:, None\]\)"),
        (torch.rand(2, 5, 8, 8), "has no axis of 1 or 3 channels"),
        (torch.rand(2, 3, 8, 8, 1), r"has shape \(2, 3, 8, 8, 1\)"),
        (WANTED * 255, "divide them by 255"),
        (WANTED * 4 - 2, "any other preprocessing is up to the classifier"),
        (WANTED.clone().fill_(float("nan")), "image/0 holds NaN"),
        ([WANTED[0], WANTED[1, :, :10]], r"the pictures have 2 sizes: 20 x 28, 10 x 28"),
        ([3], "image/0 is a int, which is no image"),
        ({"a": 1}, "image/0 is a dict, which is no image"),
        (PIXELS.astype(np.uint16) * 257, "divide them by the largest value that they may have, which is 65535"),
        (PIXELS.astype(object), "image/0 is an array of object"),
        (np.array(["a.png", "b.png"]), "image/0 is an array of <U5"),
        (WANTED + 0j, "image/0 is a tensor of complex64"),
        (WANTED.to_sparse(), "image/0 is a tensor of float32, sparse_coo"),
        (WANTED.to("meta"), "image/0 is a tensor of float32, strided, on meta"),
        (PIXELS[:, :0], r"image/0 of shape \(3, 0, 28, 3\) has no pixels"),
        (Image.new("RGB", (0, 5)), "image/0 cannot be read as a picture: it has 0x5 pixels"),
    ],
)
def test_what_cannot_be_read_in_one_way_is_refused(given: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        as_samples(given)  # type: ignore[arg-type]


def test_an_empty_path_is_not_the_folder_that_one_is_in() -> None:
    with pytest.raises(UsageError, match="the path of the images is empty"):
        as_samples("", "image")


def test_a_folder_of_folders_says_what_to_name_instead(tmp_path) -> None:
    (tmp_path / "cats").mkdir()
    with pytest.raises(UsageError, match=r"it holds the folders cats; name one of them, or the data set"):
        as_samples(tmp_path)


def test_an_opened_picture_is_read_as_its_file_is(tmp_path) -> None:
    turned = Image.Exif()
    turned[0x112] = 6  # the camera was held upright
    Image.fromarray(PIXELS[0]).save(tmp_path / "turned.png", exif=turned)
    Image.fromarray(PIXELS[0, :, :, 0].astype(np.uint16) * 251).save(tmp_path / "deep.png")
    for name in ("turned.png", "deep.png"):
        with Image.open(tmp_path / name) as opened:
            assert torch.equal(as_samples(opened).images, as_samples(tmp_path / name, "image").images)
            assert opened.getpixel((0, 0)) is not None  # it is still open
    assert as_samples(tmp_path / "turned.png", "image").images.shape == (1, 3, 28, 20)


def test_an_opened_picture_that_cannot_be_read_is_refused(tmp_path) -> None:
    Image.fromarray(PIXELS[0]).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:500])
    with Image.open(tmp_path / "cut.png") as cut, pytest.raises(UsageError, match="image/0 cannot be read"):
        as_samples(cut)
    closed = Image.open(tmp_path / "cut.png")
    closed.close()
    with pytest.raises(UsageError, match="image/0 cannot be read as a picture: Operation on closed image"):
        as_samples(closed)
