"""Model directories: whole, or one clear line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xcore.contract import MissingError, UsageError
from xcore.pretrained import hub
from xcore.pretrained.hub import TORCH_WEIGHTS, directory_digest, has_torch_weights, model_directory, quiet


def whole(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_a_whole_directory(tmp_path):
    folder = whole(tmp_path / "m")
    assert model_directory(str(folder)) == folder


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_that_is_not_there_is_named(tmp_path, name):
    folder = whole(tmp_path / "m")
    (folder / name).unlink()
    with pytest.raises(MissingError, match=f"lacks {name}"):
        model_directory(str(folder))


def test_shards(tmp_path):
    folder = whole(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    files = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    with pytest.raises(MissingError, match="lacks model-00002"):
        model_directory(str(folder))
    (folder / "model-00002-of-00002.safetensors").write_bytes(b"")
    assert model_directory(str(folder)) == folder


@pytest.mark.parametrize("argument", ["/nowhere/at/all", "./nowhere", "a/b/c"])
def test_no_such_folder(argument):
    with pytest.raises(MissingError, match="no model directory"):
        model_directory(argument)


def test_the_hub_out_of_reach_is_one_line_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingError, match="'someone/no-such-model' is not in the local cache and cannot be fetched"):
        model_directory("someone/no-such-model")
    with pytest.raises(UsageError, match="is no hub id"):
        model_directory("someone/--bad--name..")


def test_the_digest_sees_names_and_contents_of_what_is_read(tmp_path):
    folder = whole(tmp_path / "m")
    first = directory_digest(folder)
    (folder / "README.md").write_text("not read")
    assert directory_digest(folder) == first
    (folder / "config.json").write_text('{"a": 1}')
    assert directory_digest(folder) != first


def test_settings_of_libraries_are_restored():
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with quiet("transformers"):
        assert not logging.is_progress_bar_enabled()
    with pytest.raises(ZeroDivisionError), quiet("transformers"):
        1 / 0  # noqa: B018
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_weights_in_torchs_own_format_where_a_loader_asks_for_them(tmp_path):
    folder = whole(tmp_path / "m")
    before = directory_digest(folder)
    (folder / "pytorch_model.bin").write_bytes(b"pickled weights")
    assert not has_torch_weights(folder)  # safetensors are read where they are there
    assert directory_digest(folder) == before
    (folder / "model.safetensors").unlink()
    assert has_torch_weights(folder)
    assert directory_digest(folder) != before
    with pytest.raises(MissingError, match=r"lacks model\.safetensors"):
        model_directory(str(folder))
    assert model_directory(str(folder), lacking=lambda found: "") == folder


def test_other_weights_are_fetched_only_where_the_model_lacks_something(tmp_path, monkeypatch):
    asked = []

    def from_hub(argument, patterns, missing, form, instead):
        asked.append(list(patterns))
        if TORCH_WEIGHTS in patterns:
            (tmp_path / "pytorch_model.bin").write_bytes(b"")
        return tmp_path

    monkeypatch.setattr(hub, "from_hub", from_hub)

    def lacking(found):
        return "" if (found / "model.safetensors").is_file() or has_torch_weights(found) else "model.safetensors"

    assert model_directory("org/model", lacking=lacking, other_weights=[TORCH_WEIGHTS]) == tmp_path
    assert [TORCH_WEIGHTS in patterns for patterns in asked] == [False, True]
    asked.clear()
    (tmp_path / "model.safetensors").write_bytes(b"")
    model_directory("org/model", lacking=lacking, other_weights=[TORCH_WEIGHTS])
    assert len(asked) == 1
