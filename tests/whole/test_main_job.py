"""The main job on the embedded world, in small: `xcore bench --methods rlpo,craft` with nothing to download."""

from __future__ import annotations

import pytest

from xcore.api import bench

SMALL = {"budget": {"samples": 12, "heldout": 12}, "seeds": [0], "controls": ["noise"], "engine": "local"}
RLPO = {
    "actions": 3,
    "n": 3,
    "steps": 3,
    "negatives": 4,
    "rank_sets": 1,
    "shown": 4,
    "maps": 1,
    "trajectory_samples": 1,
    "vqa_images": 3,
}


def without_times(rows):
    kept = [{k: v for k, v in r.items() if k not in ("seconds", "shared_seconds", "cached")} for r in rows]
    for row in kept:
        row["overall"] = {k: v for k, v in row["overall"].items() if k != "cost"}
    return kept


@pytest.fixture(scope="module")
def craft(tmp_path_factory):
    out = tmp_path_factory.mktemp("craft") / "run"
    keys = {
        **SMALL,
        "budget": {"samples": 60, "heldout": 20},
        "metrics": ["TS", "CS", "RCS", "recovery"],
        "set": {"TS": {"null": 19}},
    }
    return bench(["craft"], out=out, **keys)


def test_craft_finds_what_the_zebra_classifier_uses(craft):
    first = craft.rows[0]
    assert (first["label"], first["rank"], first["status"]) == ("craft", 1, "ok")
    ts = first["scores"]["TS"]
    assert ts["value"] > ts["details"]["null_mean"]
    assert first["scores"]["recovery"]["value"] == 1.0  # the oracle reads a used factor in its crops


def test_noise_is_far_and_irrelevant(craft):
    by_label = {r["label"]: r for r in craft.rows if r["rank"] == 1}
    for metric in ("CS", "RCS"):
        assert by_label["noise"]["scores"][metric]["value"] < by_label["craft"]["scores"][metric]["value"]
    assert by_label["noise"]["overall"]["recovery"]["value"] == 0


def test_the_table_has_the_columns_of_the_paper(craft):
    text = (craft.path / "table.md").read_text()
    for column in ("TS", "CS", "RCS", "recovery"):
        assert column in text


def test_rlpo_draws_tunes_and_repeats_bit_for_bit(tmp_path, small_pools, monkeypatch):
    monkeypatch.setattr("xcore_rlpo.ranking.POOL", 240)  # pictures that the phrases are ranked on; 2,000 are painted
    monkeypatch.setattr("xcore_rlpo.ranking.CHOSEN", 80)
    settings = {
        "rlpo": {**RLPO, "update_rule": "always", "keep": "all"},  # whatever three steps of it are worth
        "minizoo/diffusion": {"steps": 2},
        "TS": {"n": 4, "negatives": 4, "null": 19},
    }
    keys = {**SMALL, "controls": [], "metrics": ["RCS"], "set": settings}
    one = bench(["rlpo"], out=tmp_path / "one", **keys)
    two = bench(["rlpo"], out=tmp_path / "two", **keys)
    assert [r["status"] for r in one.rows] == ["ok"] * 3
    assert without_times(one.rows) == without_times(two.rows)
    record = next((tmp_path / "one" / "explanations").iterdir())
    assert (record / "files" / "trajectory.png").is_file()
    assert list((record / "files").glob("adapter-*.safetensors"))
