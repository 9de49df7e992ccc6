"""Suites and flags: what wins over what, and how options find their component."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from xcore.api import request
from xcore.cards import Card
from xcore.cli.flags import parse_seeds, parse_settings, references
from xcore.contract import Options, Ref, UsageError
from xcore.registry import Registry, load_registry
from xcore.run.plan import SUITES, Suite, load_suite, make_plan
from xcore.run.plan_record import plan_from_record


@pytest.fixture
def registry():
    reg = Registry()
    reg.load_file(Path(__file__).parents[1] / "plugins" / "toy_plugin.py")
    return reg


class ToyOptions(Options):
    k: int = 1


def suite(**keys):
    return Suite(**{"data": "toy", "methods": ["toy"], "classes": ["red"], **keys})


def test_cells_are_the_grid(registry):
    plan = make_plan(suite(methods=["toy", "crash"], classes=["red", "blue"], seeds=[0, 1, 2]), registry)
    assert len(plan.cells) == 12
    assert len({(c.label, c.cls, c.seed) for c in plan.cells}) == 12


def test_samples_are_drawn_with_the_seed_of_the_cell_unless_it_is_held_fixed(registry):
    drawn = [(c.seed, c.data_seed) for c in make_plan(suite(seeds=[0, 3]), registry).cells]
    assert drawn == [(0, 0), (3, 3)]
    held = [(c.seed, c.data_seed) for c in make_plan(suite(seeds=[0, 3], data_seed=0), registry).cells]
    assert held == [(0, 0), (3, 0)]


def test_all_methods_are_given_the_samples_of_a_seed_before_others_are_drawn(registry):
    cells = make_plan(suite(methods=["toy", "crash"], seeds=[0, 1]), registry).cells
    assert [c.data_seed for c in cells] == [0, 0, 1, 1]


def test_classes_can_be_left_out_for_one_classifier(registry):
    both, left = ["toy-net", "toy"], {"toy-net": ["red"]}
    registry._cards["classifier", "toy"] = [replace(registry._cards["classifier", "toy-net"][0], name="toy")]
    plan = make_plan(suite(classifiers=both, classes=["red", "blue"], leave_out=left), registry)
    assert [(c.classifier.text, c.cls) for c in plan.cells] == [("toy-net", "blue"), ("toy", "red"), ("toy", "blue")]
    with pytest.raises(UsageError, match="no class to explain"):
        make_plan(suite(leave_out=left), registry)
    for wrong in ({"toy-net": ["rod"]}, {"toy-nut": ["red"]}):
        with pytest.raises(UsageError, match="did you mean"):
            make_plan(suite(leave_out=wrong), registry)


@pytest.mark.parametrize("asked", ["toy-net", "toy-suite/toy-net"])
@pytest.mark.parametrize("named", ["toy-net", "toy-suite/toy-net"])
def test_classes_are_left_out_however_the_classifier_is_written(registry, asked, named):
    registry._cards["classifier", "toy-net"] = [
        replace(registry._cards["classifier", "toy-net"][0], distribution="toy-suite")
    ]
    plan = make_plan(suite(classifiers=[asked], classes=["red", "blue"], leave_out={named: ["red"]}), registry)
    assert ([c.cls for c in plan.cells], plan.notes) == (["blue"], ())


def test_a_classifier_whose_argument_differs_keeps_its_classes_and_a_note_says_so(registry):
    card = replace(registry._cards["classifier", "toy-net"][0], argument="[RATE]")
    registry._cards["classifier", "toy-net"] = [card]
    left = {"toy-net:1.0": ["red"]}
    plan = make_plan(suite(classifiers=["toy-net:1"], classes=["red", "blue"], leave_out=left), registry)
    assert [c.cls for c in plan.cells] == ["red", "blue"]
    assert any("no class is left out for toy-net:1: [leave_out] names toy-net:1.0" in note for note in plan.notes)
    registry._cards["classifier", "toy"] = [replace(card, name="toy")]
    assert make_plan(suite(classifiers=["toy"], leave_out=left), registry).notes == (), "another classifier"


def test_the_whole_table_takes_the_explanations_of_the_long_run():
    table, long = (make_plan(load_suite(name), load_registry()).cells
                   for name in ("minizoo", "minizoo-full"))  # fmt: skip
    for label in ("rlpo", "rlpo-ranking", "craft"):
        made = [
            [
                (c.method, c.classifier, c.cls, c.seed, c.data_seed, c.generator, c.budget)
                for c in cells
                if c.label == label
            ]
            for cells in (table, long)
        ]
        assert made[0] == made[1] != []
    assert {c.cls for c in table if c.classifier.text == "minizoo/vit"} >= {"tiger", "cow"}
    assert not {c.cls for c in table if c.classifier.text == "minizoo/clean"} & {"tiger", "cow"}


def test_a_class_that_is_asked_for_is_not_left_out(tmp_path):
    file = tmp_path / "some.toml"
    file.write_text('data = "minizoo"\nclasses = ["zebra", "cow"]\n[leave_out]\n"minizoo/clean" = ["cow"]\n')
    assert request([], str(file), {}).leave_out == {"minizoo/clean": ["cow"]}
    assert request([], str(file), {"classes": ["cow"]}).leave_out == {}


def test_all_classes_and_defaults_come_from_the_data_set(registry):
    plan = make_plan(suite(classes=["all"]), registry)
    assert [c.cls for c in plan.cells] == ["red", "green", "blue"]
    assert plan.cells[0].classifier.text == "toy-net"


def test_arms_are_one_method_under_two_labels(registry):
    arms = [{"label": "a", "method": "toy"}, {"label": "b", "method": "toy"}]
    plan = make_plan(suite(methods=[], arms=arms), registry)
    assert [(c.label, c.method.text) for c in plan.cells] == [("a", "toy"), ("b", "toy")]


def test_a_control_that_is_also_a_method_is_there_once(registry):
    plan = make_plan(suite(methods=["toy", "crash"], controls=["crash"]), registry)
    assert [c.label for c in plan.cells] == ["toy", "crash"]


def test_options_as_the_command_line_writes_them_are_told_apart(registry):
    with pytest.raises(UsageError, match=r"gives 'craft\.k' the value 4 instead of a mapping") as error:
        request(["craft"], "", {"set": {"craft.k": 4}}, registry)
    assert 'set={"craft": {"k": 4}}' in str(error.value.hint)


def test_settings_are_typed():
    assert parse_settings(["craft.crop=null"]) == {"craft": {"crop": None}}
    assert parse_settings(["craft.k=10", "craft.crop=0.5", "rlpo.search=random", "minizoo/clean.x=true"]) == {
        "craft": {"k": 10, "crop": 0.5},
        "rlpo": {"search": "random"},
        "minizoo/clean": {"x": True},
    }
    for wrong in ("craft.k", "k=1", "=1"):
        with pytest.raises(UsageError, match=r"NAME\.OPTION=VALUE"):
            parse_settings([wrong])


def test_seeds():
    assert parse_seeds("3") == [0, 1, 2]
    assert parse_seeds("0,1,5") == [0, 1, 5]
    assert parse_seeds("5,") == [5]
    for wrong in ("x", "", "-1", "0.5", "0", "123456"):
        with pytest.raises(UsageError, match="--seeds"):
            parse_seeds(wrong)
    with pytest.raises(UsageError, match=r"--seeds 0 asks for no seed at all .*for the one seed 0 write --seeds 0,"):
        parse_seeds("0")
    with pytest.raises(UsageError, match=r"-2 is no seed"):
        parse_seeds("0,-2")


def test_a_reference_keeps_its_named_parts_in_a_list() -> None:
    assert references("minizoo/clean, timm:resnet18") == ["minizoo/clean", "timm:resnet18"]
    planted = "minizoo/planted:class=cow,factor=object=apple,rho=0.5"
    assert references(f"{planted},file:a=b.pth,minizoo/vit") == [planted, "file:a=b.pth", "minizoo/vit"]


def test_names_of_classes_may_hold_commas(registry):
    assert [c.cls for c in make_plan(suite(classes=["red, blue"]), registry).cells] == ["red", "blue"]
    facts = make_plan(suite(), registry).facts
    known = {name: {**about, "classes": ["red, blue", "red"]} for name, about in facts.items()}
    plan = make_plan(suite(classes=["red, blue"]), registry, known)
    assert [c.cls for c in plan.cells] == ["red, blue"]


@pytest.mark.parametrize("name", ["crash", "toy_plugin/crash"])
def test_options_reach_a_component_by_either_of_its_names(registry, name):
    registry._cards["explainer", "crash"] = [replace(registry.find("explainer", "crash")[0], options=ToyOptions)]
    plan = make_plan(suite(methods=[name], set={"crash": {"k": 3}}), registry)
    assert [c.method.options for c in plan.cells] == [{"k": 3}]
    plan = make_plan(suite(methods=[name], set={"crash": {"k": 3}, "toy_plugin/crash": {"k": 4}}), registry)
    assert [c.method.options["k"] for c in plan.cells] == [4]


def test_a_run_forgets_the_defaults_of_a_data_set_whose_code_changed(registry, monkeypatch):
    (name, about), *_ = make_plan(suite(), registry).facts.items()
    known = {name: {**about, "defaults": {"classifier": "an-older-net"}}}
    with pytest.raises(UsageError, match="an-older-net"):
        make_plan(suite(), registry, known)
    monkeypatch.setattr("xcore.store.identity.code_digest", lambda card: "changed")
    assert make_plan(suite(), registry, known).cells[0].classifier.text == "toy-net"


def test_flags_win_over_the_suite(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text(
        'data = "toy"\nmethods = ["toy"]\nseeds = [4]\n[set.toy]\nk = 1\nj = 2\n[budget]\nsamples = 5\nheldout = 6\n'
        '[[arms]]\nlabel = "arm"\nmethod = "toy"\n'
    )
    merged = request(["toy", "arm"], str(path), {"seeds": [1], "set": {"toy": {"k": 3}}, "budget": {"samples": 9}})
    assert merged.seeds == [1]
    assert merged.set == {"toy": {"k": 3, "j": 2}}
    assert (merged.budget.samples, merged.budget.heldout) == (9, 6)
    assert (merged.methods, [a.label for a in merged.arms]) == (["toy"], ["arm"])


def test_controls_can_be_none():
    assert request(["craft"], "default", {"controls": []}).controls == []
    assert request(["craft"], "default", {"controls": None}).controls == load_suite("default").controls


def test_a_shipped_suite_sets_nothing_for_what_is_not_installed(registry, tmp_path):
    assert {"rlpo", "minizoo/diffusion"} <= request(["craft"], "default", {}).set.keys()
    assert request(["toy"], "default", {}, registry).set == {}
    asked = {"set": {"rlop": {"steps": 3}}}
    assert request(["toy"], "default", asked, registry).set == asked["set"], "what a flag sets is checked later"
    own = tmp_path / "own.toml"
    own.write_text('data = "toy"\n[set.rlop]\nsteps = 3\n')
    assert request(["toy"], str(own), {}, registry).set == asked["set"]


def test_old_names_of_keys_are_answered_by_the_new_ones(tmp_path):
    with pytest.raises(UsageError, match="the key 'baselines' is now called 'controls'"):
        request(["craft"], "default", {"baselines": ["noise"]})
    (tmp_path / "old.toml").write_text('data = "toy"\nbaselines = ["noise"]\n')
    with pytest.raises(UsageError, match=r"old.toml: the key 'baselines' is now called 'controls'"):
        load_suite(str(tmp_path / "old.toml"))


def test_a_plan_is_read_back_from_its_record(registry):
    given = suite(models={}, seeds=[0, 1], engine="backwards", budget={"samples": 5}, metrics=["brightness", "spread"])
    plan = make_plan(given, registry)
    plain = plan.as_plain()
    assert plan_from_record(json.loads(json.dumps(plain))) == plan
    plain["suite"]["baselines"] = plain["suite"].pop("controls")  # as runs of an older version have it
    assert plan_from_record(plain) == plan


def test_own_data_brings_nothing_of_the_default_suite_but_its_columns():
    merged = request(["toy"], "", {"data": "toy"})
    assert merged.metrics == load_suite("default").metrics
    assert not merged.classes
    assert not merged.set
    assert merged.seeds == [0]


@pytest.mark.parametrize("path", sorted(SUITES.glob("*.toml")), ids=lambda p: p.stem)
def test_every_suite_of_the_project_is_valid(path):
    assert load_suite(str(path)).metrics


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"data": ""}, "no data set"),
        ({"methods": []}, "no method"),
        ({"classes": []}, "no class to explain"),
        ({"classes": ["rad"]}, "did you mean 'red'"),
        ({"models": {"image-texts": "x"}}, "unknown role 'image-texts'"),
        ({"seeds": [1, 1]}, "seed '1' is named twice"),
        ({"metrics": ["brightness", "brightness"]}, "metric 'brightness' is named twice"),
        ({"classifiers": ["toy-net", "toy-net"]}, "classifier 'toy-net' is named twice"),
    ],
)
def test_one_line_for_what_is_wrong(registry, keys, said):
    with pytest.raises(UsageError, match=said):
        make_plan(suite(**keys), registry)


def test_a_helper_model_must_play_its_role(registry):
    for name, role in (("eye", "image-text"), ("asker", "vqa")):
        registry._cards["model", name] = [Card("model", name, "toy_plugin:x", "", "toy", "1", role=role)]
    assert make_plan(suite(models={"vqa": "asker"}), registry).cells[0].models == {"vqa": Ref("asker")}
    with pytest.raises(UsageError, match="'asker' plays the role 'vqa', not 'image-text'"):
        make_plan(suite(models={"image-text": "asker"}), registry)


def test_a_default_model_is_used_where_a_method_asks_for_its_role_and_nobody_names_one(registry):
    cut = Card("model", "cut", "toy_plugin:x", "", "toy", "1", role="segmenter", default=True)
    registry._cards["model", "cut"] = [cut]
    registry._cards["model", "other"] = [replace(cut, name="other", default=False)]
    assert make_plan(suite(), registry).cells[0].models == {}  # no method of this suite asks for it
    toy = registry._cards["explainer", "toy"][0]
    registry._cards["explainer", "toy"] = [replace(toy, uses=("segmenter",))]
    assert make_plan(suite(), registry).cells[0].models == {"segmenter": Ref("cut")}
    assert make_plan(suite(models={"segmenter": "other"}), registry).cells[0].models == {"segmenter": Ref("other")}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("seeds = [-1]", "seeds.0"),
        ("seeds = []", "at least 1"),
        ("seeds = [4294967296]", "less than 4294967296"),
        ("threads = 100000", "threads"),
        ("data = 3", "valid string"),
        ("[budget]\nsample = 1", "unknown key of suite .* 'budget.sample' .*did you mean 'budget.samples'"),
        ('[[arms]]\nlabel = ""\nmethod = "toy"', "arms.0.label"),
        ("data", "suite "),
    ],
)
def test_a_wrong_suite_file_is_one_line(tmp_path, line, said):
    path = tmp_path / "s.toml"
    path.write_text(line)
    with pytest.raises(UsageError, match=said) as error:
        load_suite(str(path))
    assert "\n" not in str(error.value)


def test_a_folder_is_no_suite_file(tmp_path):
    (tmp_path / "s.toml").mkdir()
    with pytest.raises(UsageError, match=r"cannot read suite .*s\.toml"):
        load_suite(str(tmp_path / "s.toml"))


def shared_names(registry: Registry) -> Registry:
    """Components of one name and of several kinds, which take one option in common and one of their own."""
    options = f"{__name__}:"
    for kind, name in (
        ("classifier", "ClassifierOptions"),
        ("generator", "GeneratorOptions"),
        ("model", "HelperOptions"),
    ):
        role = "looker" if kind == "model" else None
        card = Card(kind, "many", lambda options: options, "", "toy", "1", options=options + name, role=role)
        registry._cards[kind, "many"] = [card]
    return registry


class ClassifierOptions(Options):
    device: str = ""
    weights: str = ""


class GeneratorOptions(Options):
    device: str = ""
    steps: int = 1


class HelperOptions(Options):
    weights: str = ""


def test_options_of_a_name_go_to_the_components_that_take_them(registry):
    several = {"classifiers": ["many"], "generator": "many", "models": {"looker": "many"}}
    settings = {"many": {"device": "meta", "weights": "mine", "steps": 3}}
    cell = make_plan(suite(**several, set=settings), shared_names(registry)).cells[0]
    assert cell.classifier.options == {"device": "meta", "weights": "mine"}
    assert cell.generator.options == {"device": "meta", "steps": 3}
    assert cell.models["looker"].options == {}  # a classifier's weights are not those of a model that judges it
    cell = make_plan(suite(**several, set={"looker": {"weights": "theirs"}}), registry).cells[0]
    assert cell.models["looker"].options == {"weights": "theirs"}
    assert cell.classifier.options == {}
    cell = make_plan(suite(models={"looker": "many"}, set={"many": {"weights": "theirs"}}), registry).cells[0]
    assert cell.models["looker"].options == {"weights": "theirs"}


def test_an_option_that_nobody_takes_is_refused(registry):
    shared_names(registry)
    with pytest.raises(UsageError, match=r"--set many.steps: no component of this run .* takes this option"):
        make_plan(suite(classifiers=["many"], set={"many": {"steps": 3}}), registry)
    with pytest.raises(UsageError, match=r"unknown key of classifier .many.: .stepps."):
        make_plan(suite(classifiers=["many"], set={"many": {"stepps": 3}}), registry)
    with pytest.raises(UsageError, match=r"unknown component in --set 'loker' \(did you mean 'looker'"):
        make_plan(suite(models={"looker": "many"}, set={"loker": {"weights": "w"}}), registry)


def test_a_model_made_for_other_data_is_told_of(registry):
    made_for = {"own_data": True, "role": "looker"}
    registry._cards["model", "own"] = [Card("model", "own", lambda _: None, "", "toy_plugin", "1", **made_for)]
    registry._cards["model", "foreign"] = [Card("model", "foreign", lambda _: None, "", "elsewhere", "1", **made_for)]
    looks = Card("metric", "looks", lambda _: None, "", "toy_plugin", "1", uses=("looker",))
    registry._cards["metric", "looks"] = [looks]
    assert make_plan(suite(metrics=["looks"], models={"looker": "own"}), registry).notes == ()
    assert make_plan(suite(models={"looker": "foreign"}), registry).notes == ()  # nobody uses it
    plan = make_plan(suite(metrics=["looks"], models={"looker": "foreign"}), registry)
    assert len(plan.notes) == 1
    assert plan.notes[0].startswith(
        "looks: not to be trusted here, since foreign was made for the data sets of elsewhere"
    )
    assert plan_from_record(plan.as_plain()).notes == plan.notes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = " + "[" * 20_000, "is nested too deeply"),
        ("a = " + "{a=" * 20_000, "is nested too deeply"),
        ("seeds = [" + "9" * 5000 + "]", "4300 digits"),
    ],
)
def test_a_suite_that_cannot_be_read_is_one_line(tmp_path, text, said):
    file = tmp_path / "odd.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=said):
        load_suite(str(file))


def test_a_method_without_a_name_is_refused():
    with pytest.raises(UsageError, match="the name of a method is empty"):
        make_plan(Suite(data="minizoo", classes=["zebra"], methods=[""]), load_registry())
