"""The sparse autoencoders on rows of which we know the dictionary, and on numbers that can be worked out."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize
from xcore_lens import sae_files, training
from xcore_lens.options import SaeOptions
from xcore_lens.sae_source import codes_of
from xcore_lens.saes import FreeAtoms, MixedAtoms, Sae, Settings, Spread, jump_relu, step, top_of_batch
from xcore_lens.training import CHECKPOINT, figures, train, untrained

from xcore.contract import MissingError, UsageError

KINDS = ["topk", "batch-topk", "jumprelu", "archetypal"]


def quiet(step, total, note=""):
    pass


ATOMS, CHANNELS, ACTIVE = 20, 16, 2


def planted(n=5000, channels=CHANNELS, atoms=ATOMS, active=ACTIVE, seed=0):
    """Rows of few incoherent atoms each, as they are, and centred and with a variance of 1; and these atoms."""
    g = torch.Generator().manual_seed(seed)
    d = normalize(torch.randn(atoms, channels, generator=torch.Generator().manual_seed(100)), dim=1)
    which = torch.rand(n, atoms, generator=g).topk(active, 1).indices
    codes = torch.zeros(n, atoms).scatter(1, which, 0.5 + torch.rand(n, active, generator=g))
    rows = codes @ d
    return rows, Spread.of(rows)(rows), d


def recovery(atoms, d):
    """The mean over planted atoms of the largest cosine of a learned one."""
    return float((atoms.detach() @ d.T).max(0).values.mean())


def options(**more):
    made = {"sae_atoms": ATOMS, "sae_active": ACTIVE, "sae_epochs": 12, "sae_batch": 128, "sae_lr": 1e-2}
    return SaeOptions(**{**made, **more})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Kind -> the trained autoencoder of the planted rows, and its figures."""
    x = planted()[1]
    return {kind: train(kind, x, options(), tmp_path_factory.mktemp(kind), quiet) for kind in KINDS}


def free(kind, channels=6, atoms=10, active=2, seed=0, **more):
    g = torch.Generator().manual_seed(seed)
    return Sae(Settings(kind, active, **more), FreeAtoms(torch.randn(atoms, channels, generator=g)))


@pytest.mark.parametrize("kind", KINDS[:3])
def test_the_planted_dictionary_is_found(trained, kind):
    sae, found = trained[kind]
    d, start = planted()[2], untrained(kind, planted()[1], options())
    assert recovery(sae.atoms(), d) > 0.9 > recovery(start.atoms(), d)
    assert found.r2 > 0.75
    assert found.dead <= 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_training_lowers_the_error_and_the_figures_are_those_of_the_rows(trained, kind):
    x = planted()[1]
    sae, found = trained[kind]
    codes, rebuilt = sae(x)[1:]
    assert found.r2 == pytest.approx(1 - float((x - rebuilt).square().sum() / (x - x.mean()).square().sum()), abs=1e-5)
    assert found.l0 == pytest.approx(float((codes > 0).sum(1).double().mean()), abs=1e-6)
    assert found.dead == pytest.approx(float((codes.max(0).values == 0).double().mean()))
    assert found.r2 > figures(untrained(kind, x, options()).eval(), x).r2
    assert (codes >= 0).all()


@pytest.mark.parametrize("kind", ["topk", "archetypal"])
def test_no_row_has_more_active_atoms_than_asked_for(trained, kind):
    codes = trained[kind][0](planted(seed=5)[1])[1]
    assert int((codes > 0).sum(1).max()) == ACTIVE


@pytest.mark.parametrize("kind", ["batch-topk", "jumprelu"])
def test_unseen_rows_have_as_many_active_atoms_as_asked_for_on_average(trained, kind):
    """The threshold of batch-topk and the penalty of jumprelu lead there; rows may differ."""
    counts = (trained[kind][0](planted(seed=5)[1])[1] > 0).sum(1).double()
    assert counts.mean() == pytest.approx(ACTIVE, rel=0.15)
    assert counts.std() > 0


def test_a_batch_keeps_at_most_k_codes_a_row_in_all():
    codes = torch.rand(7, 10, generator=torch.Generator().manual_seed(0))
    kept = top_of_batch(codes, 2)
    assert int((kept > 0).sum()) == 14
    assert kept[kept > 0].min() >= codes[kept == 0].max()
    sparse = torch.zeros(7, 10)
    sparse[0, :3] = 1
    assert torch.equal(top_of_batch(sparse, 2), sparse)


def test_topk_of_all_atoms_is_an_autoencoder_with_relu_alone():
    x = planted(n=50, channels=6)[1]
    one, two = free("topk", active=10, aux=0.0), free("relu")
    for a, b in zip(one(x), two(x), strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(one.loss(x, 0.0)[0], two.loss(x, 0.0)[0])


def test_jumprelu_with_thresholds_near_zero_is_relu():
    x = planted(n=50, channels=6)[1]
    one = free("jumprelu")
    with torch.no_grad():
        one.log_theta.fill_(-60)
    torch.testing.assert_close(one(x)[2], free("relu")(x)[2])


@pytest.mark.parametrize("parity", [False, True])
def test_gradients_of_thresholds_follow_the_formula(parity):
    """At three pre-codes: at the threshold, inside and outside of the rectangle around it."""
    bandwidth = 0.01
    pre = torch.tensor([[1.002, 0.504, 0.3]], dtype=torch.float64)
    theta = torch.tensor([1.002, 0.5, 0.25], dtype=torch.float64, requires_grad=True)
    more = 1 / bandwidth if parity else 1
    jump_relu(pre, theta, bandwidth, parity).sum().backward()
    inside = torch.tensor([1.0, 1, 0], dtype=torch.float64)
    torch.testing.assert_close(theta.grad, -theta.detach() / bandwidth * inside * more)
    assert theta.grad[0].item() == pytest.approx(-100.2 * more)
    theta.grad = None
    step(pre, theta, bandwidth, parity).sum().backward()
    torch.testing.assert_close(theta.grad, -inside / bandwidth * more)


def test_the_rectangle_has_an_area_of_one():
    """Averaged over pre-codes, the pseudo-gradient of the count is minus their density at the threshold."""
    pre = torch.linspace(0, 2, 200_001, dtype=torch.float64)[:, None]
    theta = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    step(pre, theta, 0.1, False).mean().backward()
    assert theta.grad.item() == pytest.approx(-0.5, rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_atoms_have_length_one(trained, kind):
    torch.testing.assert_close(trained[kind][0].atoms().norm(dim=1), torch.ones(ATOMS))


def test_archetypal_atoms_stay_near_mixtures_of_points(tmp_path):
    x = planted(n=2000)[1]
    sae, _ = train("archetypal", x, options(sae_delta=0.3, sae_epochs=4), tmp_path, quiet)
    mixed = sae.atoms
    assert isinstance(mixed, MixedAtoms)
    torch.testing.assert_close(mixed.weights.sum(1), torch.ones(ATOMS))
    assert (mixed.weights >= 0).all()
    away = (mixed.near_hull() - mixed.weights @ mixed.points).norm(dim=1)
    assert away.max() <= 0.3 + 1e-5
    assert away.max() > 0
    assert (mixed.weights > 0).sum(1).max() > 1


def test_dead_atoms_are_revived(tmp_path):
    """Atoms whose codes are negative everywhere get no gradient, so they can only be active if they are reset."""
    x = planted(n=2000)[1]

    def dead(revive):
        o = options(sae_revive=revive, sae_aux=0, sae_epochs=4)
        sae = training.untrained("topk", x, o)
        with torch.no_grad():
            sae.bias[:10] = -1e3
        made = training._Training(sae, x, o, tmp_path / str(revive))
        while made.epoch < 4:
            made.run_epoch(quiet)
        return figures(sae.eval(), x).dead

    assert dead(False) == 0.5
    assert dead(True) < 0.1


@pytest.mark.parametrize("kind", ["jumprelu", "archetypal"])
def test_a_training_that_was_killed_ends_with_the_same_bits(tmp_path, kind):
    x, o = planted(n=1500)[1], options(sae_epochs=3)
    whole = train(kind, x, o, tmp_path / "whole", quiet)[0]

    class Killed(Exception):
        pass

    def kill(at, total, note=""):
        if at > total / 2:
            raise Killed

    with pytest.raises(Killed):
        train(kind, x, o, tmp_path / "killed", kill)
    assert (tmp_path / "killed" / CHECKPOINT).is_file()
    told = []
    again = train(kind, x, o, tmp_path / "killed", lambda at, total, note="": told.append(at))[0]
    assert min(told) > 11  # not from the first of the three epochs of eleven steps
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_a_loss_that_is_no_number_is_refused(tmp_path):
    x = planted(n=500)[1]
    x[3, 3] = math.inf
    with pytest.raises(UsageError, match="the loss is"):
        train("topk", x, options(), tmp_path, quiet)


def test_too_few_rows_and_too_many_active_atoms_are_refused(tmp_path):
    x = planted(n=10)[1]
    with pytest.raises(UsageError, match="10 positions are too few for 20 atoms"):
        train("topk", x, options(), tmp_path, quiet)
    with pytest.raises(UsageError, match="40 of 20 atoms cannot be active"):
        train("topk", x, options(sae_active=40), tmp_path, quiet)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_autoencoders_give_the_same_codes_in_the_unit_of_the_activations(trained, kind, tmp_path):
    rows = planted()[0]
    spread, sae = Spread.of(rows), trained[kind][0]
    made = sae_files.weights_of(sae, spread, {"layer": "last"})
    sae_files.save(made, tmp_path)
    again = sae_files.load(tmp_path)
    assert (again.kind, again.active, again.about) == (kind, made.active, {"layer": "last"})
    assert (again.threshold is None) == (kind in ("topk", "archetypal"))
    for name, value in made.state.items():
        assert torch.equal(value, again.state[name]), name
    torch.testing.assert_close(again.atoms.norm(dim=1), torch.ones(ATOMS))
    rebuilt = codes_of(again, "last", (rows - again.centre)[:, None])[:, 0] @ again.atoms + again.centre
    expected = sae(spread(rows))[2] * spread.scale + spread.centre
    close = ((rebuilt - expected).norm(dim=1) < 1e-4).double().mean()
    assert close > 0.999  # where a code is at its threshold, rounding decides


def published(folder, config, **changed):
    """A published autoencoder with atoms of different lengths, and its tensors."""
    g = torch.Generator().manual_seed(1)
    made = {
        "W_enc": torch.randn(6, 10, generator=g),
        "b_enc": torch.randn(10, generator=g) / 10,
        "W_dec": torch.randn(10, 6, generator=g),
        "b_dec": torch.randn(6, generator=g),
        **changed,
    }
    made = {name: value for name, value in made.items() if value is not None}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(made, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(config))
    return made


@pytest.mark.parametrize("kind", ["standard", "jumprelu", "batchtopk"])
@pytest.mark.parametrize("on_input", [True, False])
def test_published_autoencoders_rebuild_what_their_formula_says(tmp_path, kind, on_input):
    theta = {} if kind == "standard" else {"threshold": torch.rand(10) if kind == "jumprelu" else torch.tensor(0.5)}
    t = published(tmp_path, {"architecture": kind, "apply_b_dec_to_input": on_input}, **theta)
    a = torch.randn(40, 6, generator=torch.Generator().manual_seed(2))
    codes = ((a - t["b_dec"] if on_input else a) @ t["W_enc"] + t["b_enc"]).relu()
    codes = codes * (codes >= theta.get("threshold", torch.zeros(())))
    got = sae_files.load(tmp_path)
    mine = codes_of(got, "last", (a - got.centre)[:, None])[:, 0]
    torch.testing.assert_close(mine @ got.atoms + got.centre, codes @ t["W_dec"] + t["b_dec"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(got.atoms.norm(dim=1), torch.ones(10))


@pytest.mark.parametrize(
    "config",
    [
        {"architecture": "topk", "k": 3},
        {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}},
    ],
)
def test_published_topk_keeps_the_largest_codes(tmp_path, config):
    t = published(tmp_path, config)
    a = torch.randn(40, 6, generator=torch.Generator().manual_seed(2))
    codes = ((a - t["b_dec"]) @ t["W_enc"] + t["b_enc"]).relu()
    least = codes.sort(1).values[:, -3:-2]
    codes = codes * (codes >= least)
    got = sae_files.load(tmp_path)
    torch.testing.assert_close(
        codes_of(got, "last", (a - got.centre)[:, None])[:, 0] @ got.atoms, codes @ t["W_dec"], atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("config", "changed", "message"),
    [
        ({}, {"W_dec": None}, r"lacks W_dec; it has W_enc, b_dec, b_enc"),
        ({}, {"W_enc": torch.zeros(10, 6)}, r"do not fit together: W_enc \(10, 6\).*W_dec \(10, 6\)"),
        ({"architecture": "jumprelu"}, {}, "lacks threshold"),
        ({"architecture": "topk"}, {}, "does not say k"),
        ({"architecture": "topk", "k": "many"}, {}, "k='many'; it must be a whole number"),
        ({"architecture": "gated"}, {}, "architecture 'gated'"),
        ({"normalize_activations": "layer_norm"}, {}, "normalize_activations='layer_norm'"),
        ({}, {"b_enc": torch.full((10,), math.nan)}, "b_enc of .* infinite or none"),
    ],
)
def test_faults_of_published_files_are_told_in_one_line(tmp_path, config, changed, message):
    published(tmp_path, config, **changed)
    with pytest.raises((UsageError, MissingError), match=message) as raised:
        sae_files.load(tmp_path)
    assert "\n" not in str(raised.value)


def test_folders_without_an_autoencoder_are_refused(tmp_path):
    with pytest.raises(MissingError, match=r"lacks config\.json or cfg\.json"):
        sae_files.load(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(MissingError, match=r"lacks sae\.safetensors"):
        sae_files.load(tmp_path)
    (tmp_path / "sae.safetensors").write_bytes(b"not a file of tensors")
    with pytest.raises(UsageError, match="is no safetensors file"):
        sae_files.load(tmp_path)


def test_nothing_but_tensors_and_text_is_written(trained, tmp_path):
    sae_files.save(sae_files.weights_of(trained["batch-topk"][0], Spread(torch.zeros(CHANNELS), 2.0), {}), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "sae.safetensors"]
    assert load_file(tmp_path / "sae.safetensors")["threshold"].min() > 0
