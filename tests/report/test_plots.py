"""Plots of an explanation: what is drawn equals the fields, in the colours of the style, and is shown once."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from xcore.contract import Concept, NotApplicable, Samples, UsageError
from xcore.explained import Applied, Explained
from xcore.report.pictures import overlay


def grey(*levels):
    data = torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, 3, 8, 8)
    return Samples("image", data, tuple(map(str, levels)))


def concept(name="a", importance=1.0, heat=1.0, **more):
    maps = torch.zeros(4, 8, 8)
    maps[1, :4] = heat
    return Concept(name, importance, samples=grey(0.2, 0.8), maps=maps, **more)


def explained(*concepts, samples=True):
    kept = grey(0.0, 0.25, 0.5, 0.75) if samples else None
    return Explained("m", "zebra", "drop of the logit", concepts, samples=kept)


def drawn(figure):
    """Rows of what is in the axes of pictures: arrays, or None where there is none."""
    return [ax.images[0].get_array() if ax.images else None for ax in figure.axes]


def test_concepts_are_rows_of_their_samples():
    figure = explained(concept(), concept("$b$", 0.5), concept("c"), concept("d")).plot(samples=5)
    assert len(figure.axes) == 3 * 2
    first, second, *_ = drawn(figure)
    assert np.allclose(first, 0.2)
    assert np.allclose(second, 0.8)
    assert [ax.get_ylabel() for ax in figure.axes[::2]] == ["C1 a\n1.00", "C2 \\$b\\$\n0.50", "C3 c\n1.00"]
    assert "drop of the logit" in figure.get_suptitle()


FORMULA = r"from $\foo to $10"
"""What matplotlib would take for a formula that it cannot read."""


@pytest.mark.parametrize("what", ["concepts", "maps", "importances"])
def test_dollar_signs_begin_no_formula(what):
    made = Explained(FORMULA, FORMULA, FORMULA, (concept(FORMULA),), samples=grey(0.0, 0.25, 0.5, 0.75))
    made.plot(what).canvas.draw()


def test_dollar_signs_of_new_samples_begin_no_formula():
    new = Samples("text", (FORMULA, "b" * 29 + "$$"), ("0", "1"))
    Applied(torch.ones(2, 1), FORMULA, names=(FORMULA,), samples=new).plot().canvas.draw()


def test_maps_of_a_concept_have_one_scale():
    one = concept(heat=2.0)
    one.maps[2, :4] = 1.0
    figure = explained(one).plot("maps")
    assert len(figure.axes) == 2 * 4
    images, maps = drawn(figure)[:4], drawn(figure)[4:]
    assert [float(image[0, 0, 0]) for image in images] == [0.0, 0.25, 0.5, 0.75]
    for i in range(4):
        expected = overlay(grey(0.0, 0.25, 0.5, 0.75).images[i], one.maps[i], 2.0).permute(1, 2, 0)
        assert np.allclose(maps[i], expected.numpy())


def test_maps_without_the_images_are_drawn_alone_and_say_so():
    figure = explained(concept(), samples=False).plot("maps", samples=3)
    assert len(figure.axes) == 3
    assert "not kept" in figure.get_suptitle().replace("\n", " ")


def test_bars_are_the_importances_with_their_intervals():
    held = concept("a", 0.5, evidence={"effect": 0.5, "lo": 0.25, "hi": 1.0})
    figure = explained(held, Concept("b", -0.25, evidence={"p": 0.1})).plot("importances")
    (ax,) = figure.axes
    assert [bar.get_width() for bar in ax.patches] == [0.5, -0.25]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["C1 a", "C2 b"]
    assert ax.yaxis_inverted(), "the most important one stands above"
    assert len({bar.get_facecolor() for bar in ax.patches}) == 2, "against the class in another colour"
    (errors,) = ax.containers[1:]
    (segments,) = errors.lines[2]
    assert [tuple(p[0] for p in segment) for segment in segments.get_segments()] == [(0.25, 1.0)]


def test_what_can_be_drawn_is_drawn_unless_something_is_asked():
    words = explained(Concept("stripe", 0.5))
    assert words.plot().axes[0].patches
    with pytest.raises(NotApplicable, match="no pictures"):
        words.plot("concepts")
    with pytest.raises(NotApplicable) as error:
        words.plot("maps")
    assert "importances" in error.value.hint
    with pytest.raises(UsageError, match="did you mean 'maps'"):
        words.plot("map")
    with pytest.raises(UsageError, match="0 concepts"):
        words.plot(concepts=0)
    with pytest.raises(NotApplicable, match="no concept of 'zebra'"):
        explained().plot()


def test_given_axes_are_drawn_into():
    own = Figure()
    ax = own.subplots()
    assert explained(concept()).plot("importances", axes=ax) is own
    assert ax.patches
    grid = Figure()
    axes = grid.subplots(3, 2)
    assert explained(concept(), concept("b")).plot("maps", concepts=2, axes=axes) is grid
    assert [bool(ax.images) for ax in axes.flat] == [True] * 6
    assert not grid.get_suptitle()
    with pytest.raises(UsageError, match="3 rows"):
        explained(concept(), concept("b")).plot("maps", axes=Figure().subplots(2, 2))
    with pytest.raises(UsageError, match="single pair of axes"):
        explained(concept()).plot("importances", axes=axes)


def test_letters_and_lines_have_the_colour_of_the_style():
    dark = {"text.color": "white", "axes.labelcolor": "white", "figure.facecolor": "black"}
    with mpl.rc_context(dark):
        held = concept("a", 0.5, evidence={"effect": 0.5, "lo": 0.25, "hi": 1.0})
        bars = explained(held).plot("importances")
        rows = explained(held).plot()
    assert bars.get_facecolor()[:3] == (0, 0, 0)
    assert bars.axes[0].lines[-1].get_color() == "white"
    assert rows.axes[0].yaxis.label.get_color() == "white"


def test_new_samples_are_drawn_with_maps_or_as_bars():
    strength, new = torch.tensor([[0.5, 1.0], [2.0, torch.nan]]), grey(0.1, 0.9)
    made = Applied(strength, "mean code", torch.ones(2, 2, 8, 8), names=("a", "b"), samples=new)
    figure = made.plot()
    assert len(figure.axes) == 3 * 2
    assert [ax.get_title() for ax in figure.axes] == ["", "", "0.5", "2", "1", "nan"]
    first, second = Applied(strength, "mean code", names=("a", "b"), samples=new).plot().axes
    assert [bar.get_width() for bar in first.patches] == [0.5, 2.0]
    assert [text.get_text() for text in first.get_yticklabels()] == ["0.1", "0.9"]
    assert first.get_xlim() != second.get_xlim(), "strengths of different concepts have no scale in common"


def test_a_notebook_shows_a_figure_once_and_a_script_with_pyplot_can_show_it():
    code = """
        import sys, types
        import torch
        from xcore.contract import Concept
        from xcore.explained import Explained
        made = Explained("m", "zebra", "", (Concept("a", 1.0),))
        figure = made.plot()
        print("matplotlib.pyplot" in sys.modules, figure._repr_png_()[:4])
        import matplotlib; matplotlib.use("Agg")
        import matplotlib.pyplot as plt
        figure = made.plot()
        print(plt.get_fignums(), plt.gcf() is figure)
        plt.close("all")
        sys.modules["ipykernel"] = types.ModuleType("ipykernel")
        made.plot()
        print(plt.get_fignums())
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    assert done.stdout.splitlines() == ["False b'\\x89PNG'", "[1] True", "[]"]
