"""Adapters: the same content has one digest, files give back what was saved, and peft is not needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from xcore.contract import Adapter, MissingError
from xcore.pretrained.adapters import adapter, load_adapter, save_adapter, scaled


@pytest.fixture
def value() -> Adapter:
    generator = torch.Generator().manual_seed(0)
    state = {f"unet.to_{k}.lora_A.weight": torch.randn(2, 3, generator=generator) for k in "qv"}
    return adapter(state, {"lora_steps": torch.tensor(3), "exp_avg.x": torch.randn(2, generator=generator)})


def test_a_file_gives_back_what_was_saved(tmp_path: Path, value: Adapter) -> None:
    path = tmp_path / "adapter.safetensors"
    save_adapter(value, path)
    back = load_adapter(path)
    assert back.digest == value.digest
    for one, two in ((value.state, back.state), (value.optimiser, back.optimiser)):
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_other_loaders_find_the_weights_by_their_names(tmp_path: Path, value: Adapter) -> None:
    save_adapter(value, tmp_path / "a.safetensors")
    names = load_file(tmp_path / "a.safetensors").keys()
    assert {name for name in names if not name.startswith("optimiser.")} == value.state.keys()
    assert "optimiser.lora_steps" in names


def test_the_digest_is_of_names_types_shapes_and_values(value: Adapter) -> None:
    weights = torch.arange(4.0)
    variants = [
        adapter({"a": weights}, {}),
        adapter({"b": weights}, {}),
        adapter({"a": weights.double()}, {}),
        adapter({"a": weights.reshape(2, 2)}, {}),
        adapter({"a": weights + 1}, {}),
        adapter({}, {"a": weights}),
    ]
    assert len({v.digest for v in variants}) == len(variants)
    assert adapter({"a": weights, "b": weights}, {}).digest == adapter({"b": weights, "a": weights}, {}).digest


def test_scaling_multiplies_the_change_that_an_adapter_makes() -> None:
    a, b = torch.randn(2, 3), torch.randn(4, 2)
    lora = adapter({"unet.q.lora_A.weight": a, "unet.q.lora_B.weight": b}, {"lora_steps": torch.tensor(3)})
    twice = scaled(lora, -2)
    change = twice.state["unet.q.lora_B.weight"] @ twice.state["unet.q.lora_A.weight"]
    assert torch.allclose(change, -2 * (b @ a))
    assert not twice.optimiser
    assert twice.digest != lora.digest
    assert torch.equal(scaled(adapter({"red": torch.ones(3)}, {}), 0.5).state["red"], torch.full((3,), 0.5))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no adapter file '.*x\.safetensors'"):
        load_adapter(tmp_path / "x.safetensors")


def test_peft_is_not_needed(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['peft'] = None\n"  # any import of it fails
        "import torch\n"
        "from pathlib import Path\n"
        "from xcore.pretrained.adapters import adapter, load_adapter, save_adapter\n"
        "made, path = adapter({'a': torch.ones(2)}, {}), Path(sys.argv[1])\n"
        "save_adapter(made, path)\n"
        "print(load_adapter(path).digest == made.digest)"
    )
    call = [sys.executable, "-c", code, str(tmp_path / "a.safetensors")]
    assert subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip() == "True"


def test_lora_offers_the_same_functions() -> None:
    pytest.importorskip("peft")
    from xcore.pretrained import lora

    assert (lora.adapter, lora.load_adapter, lora.save_adapter) == (adapter, load_adapter, save_adapter)
