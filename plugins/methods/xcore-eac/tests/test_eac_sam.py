"""Segment Anything, as a small random model that was saved and is loaded as a real one."""

import subprocess
import sys

import pytest
import torch
from xcore_eac.eac import Eac
from xcore_eac.options import EacOptions, SamOptions
from xcore_eac.sam import Sam, fingerprint, segmenter
from xcore_eac.testing import save_sam

from xcore.contract import MissingError, UsageError
from xcore.testing import ExplainerTests

ANY = SamOptions(points_per_side=4, pred_iou_thresh=-100, stability_score_thresh=-1)
"""A random model is sure of nothing."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sam")
    save_sam(folder)
    return folder


@pytest.fixture(scope="module")
def sam(directory):
    return Sam(str(directory), ANY)


@pytest.mark.parametrize("size", [(64, 64), (40, 96), (300, 200)])
def test_masks_of_any_size(sam, size):
    masks = sam.segment(torch.rand(3, *size, generator=torch.Generator().manual_seed(1)))
    assert masks.dtype == torch.bool
    assert masks.shape[1:] == size
    assert len(masks) > 0


def test_the_same_image_gives_the_same_masks(sam):
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(1))
    state = torch.get_rng_state()
    assert torch.equal(sam.segment(image), sam.segment(image))
    assert torch.equal(state, torch.get_rng_state())


def test_thresholds_as_released_drop_what_a_random_model_draws(directory):
    masks = segmenter(SamOptions(points_per_side=2), str(directory)).segment(torch.rand(3, 32, 48))
    assert masks.shape == (0, 32, 48)


def test_the_defaults_are_those_of_the_released_generator():
    got = SamOptions()
    assert (got.points_per_side, got.points_per_batch, got.crop_n_layers) == (32, 64, 0)
    assert (got.pred_iou_thresh, got.stability_score_thresh, got.stability_score_offset) == (0.88, 0.95, 1.0)
    assert (got.box_nms_thresh, got.crop_overlap_ratio) == (0.7, 512 / 1500)


@pytest.mark.parametrize("part", ["config.json", "model.safetensors", "processor_config.json"])
def test_a_missing_part_is_one_line(directory, tmp_path, part):
    for file in directory.iterdir():
        if file.name != part:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(MissingError, match=r"model directory .* lacks \w+") as error:
        Sam(str(tmp_path))
    assert error.value.exit_code == 3
    assert "\n" not in str(error.value)
    with pytest.raises(MissingError):
        fingerprint(SamOptions(), str(tmp_path))


def test_the_hub_out_of_reach_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MissingError, match="'facebook/sam-vit-huge' is not in the local cache") as error:
        segmenter(None)
    assert "\n" not in str(error.value)


def test_a_model_of_another_family_is_refused(directory, tmp_path):
    for file in directory.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UsageError, match="type 'bert', not one that makes masks"):
        Sam(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UsageError, match="is not JSON"):
        Sam(str(tmp_path))


def test_the_fingerprint_sees_weights_and_options(directory, tmp_path):
    one = fingerprint(SamOptions(), str(directory))
    assert one == fingerprint(SamOptions(points_per_batch=8, device="cpu"), str(directory))
    assert one != fingerprint(SamOptions(points_per_side=8), str(directory))
    for file in directory.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert one == fingerprint(SamOptions(), str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"other")
    assert one != fingerprint(SamOptions(), str(tmp_path))


def test_the_fingerprint_imports_no_torch(directory):
    code = (
        "import sys; from types import SimpleNamespace as S\n"
        "from xcore_eac.sam import fingerprint\n"
        f"fingerprint(S(model_dump=lambda **_: {{}}), {str(directory)!r})\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def sam_hq():
    from transformers import (
        SamHQConfig,
        SamHQMaskDecoderConfig,
        SamHQModel,
        SamHQPromptEncoderConfig,
        SamHQVisionConfig,
        SamImageProcessor,
    )

    small = {"num_hidden_layers": 4, "num_attention_heads": 2, "image_size": 64, "patch_size": 8}
    vision = SamHQVisionConfig(
        hidden_size=16, output_channels=16, window_size=4, global_attn_indexes=[1, 3], num_pos_feats=8, **small
    )
    prompt = SamHQPromptEncoderConfig(hidden_size=16, image_size=64, patch_size=8, mask_input_channels=4)
    decoder = SamHQMaskDecoderConfig(hidden_size=16, mlp_dim=32, num_attention_heads=2, vit_dim=16)
    config = SamHQConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    longest, mask = {"longest_edge": 64}, {"longest_edge": 16}
    pads = {"pad_size": {"height": 64, "width": 64}, "mask_pad_size": {"height": 16, "width": 16}}
    return SamHQModel(config), SamImageProcessor(size=longest, mask_size=mask, **pads)


def sam2():
    from transformers import Sam2Config, Sam2HieraDetConfig, Sam2ImageProcessor, Sam2Model, Sam2VisionConfig

    backbone = Sam2HieraDetConfig(
        hidden_size=8,
        num_attention_heads=1,
        blocks_per_stage=[1, 2, 2, 2],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 1, 1],
        global_attention_blocks=[4],
    )
    config = Sam2Config(
        vision_config=Sam2VisionConfig(
            backbone_config=backbone, backbone_channel_list=[64, 32, 16, 8], fpn_hidden_size=32
        ),
        prompt_encoder_config={"hidden_size": 32, "mask_input_channels": 4},
        mask_decoder_config={"hidden_size": 32, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16},
    )
    return Sam2Model(config), Sam2ImageProcessor()


@pytest.mark.parametrize("make", [sam_hq, sam2])
def test_other_members_of_the_family(make, tmp_path):
    torch.manual_seed(0)
    for part in make():
        part.save_pretrained(tmp_path)
    options = SamOptions(points_per_side=2, pred_iou_thresh=-100, stability_score_thresh=-1)
    masks = Sam(str(tmp_path), options).segment(torch.rand(3, 40, 56, generator=torch.Generator().manual_seed(0)))
    assert masks.shape[1:] == (40, 56)
    assert len(masks) > 0


class TestEacWithSam(ExplainerTests):
    @pytest.fixture
    def models(self, sam):
        return {"segmenter": sam}

    @pytest.fixture
    def explainer(self):
        return Eac(EacOptions(coalitions=32, exemplars=4))
