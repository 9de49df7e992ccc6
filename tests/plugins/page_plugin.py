"""Methods, beside those of toy_plugin.py, that give all that the page of a run can show; hostile names."""

from __future__ import annotations

import json
from pathlib import Path

from toy_plugin import Crops

from xcore import hookimpl

TAKE = "document.title='taken'"
HOSTILE = f'</script><script>{TAKE}</script><img src=x onerror="{TAKE}"> & {{{{ 7 * 7 }}}} \x1b[2J\u202e'
CLOUD = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="90" height="40"><script>document.title="taken"</script>'
    '<text x="5" y="25">stripes</text></svg>'
)


class Full(Crops):
    """Tested concepts, a trajectory with its predictions, a cloud of words, a trace, notes."""

    def explain(self, task: object) -> object:
        from dataclasses import replace

        from PIL import Image

        made = super().explain(task)
        files = {name: Path(task.workdir) / name for name in ("trajectory.png", "trajectory.json", "cloud.svg")}
        Image.new("RGB", (1600, 200), "navy").save(files["trajectory.png"])
        steps = [
            {"step": t, "predictions": ["red", HOSTILE], "target_probability": [0.1 * t, 0.2 * t]} for t in range(3)
        ]
        files["trajectory.json"].write_text(json.dumps({"prompt": HOSTILE, "snapshots": steps}))
        files["cloud.svg"].write_text(CLOUD)
        trace = tuple({"step": t, "reward": t / 10, "updated": t == 2} for t in range(4))
        evidence = {"effect": 0.5, "effect_sd": 0.1, "lo": 0.2, "hi": 0.8}
        first = replace(made.concepts[0], name=HOSTILE, words=("bland", HOSTILE), evidence=evidence)
        return replace(made, concepts=(first, *made.concepts[1:]), files=files, trace=trace, notes=(HOSTILE,))


class Tested:
    """A metric with a null and an interval: raises, lowers, and neither, for the three concepts."""

    direction = "higher"
    needs = frozenset({"samples"})

    def __init__(self, options: object) -> None:
        pass

    def score(self, runs: object) -> list[object]:
        from xcore.contract import Score

        found = []
        for i in range(len(runs[0].explanation.concepts)):
            mark = (1.0, -1.0, 0.0)[i]
            details = {
                "null_mean": 0.5,
                "effect": 0.3 * mark,
                "effect_lo": 0.3 * mark - 0.1,
                "effect_hi": 0.3 * mark + 0.1,
            }
            details |= {"effect_null_mean": 0.01, "p": 0.02, "mark": mark, "outside": abs(mark)}
            found.append(Score("tested", i, 0.9 - 0.4 * i, spread=0.1, over="random sets", n=20, details=details))
        return found


@hookimpl
def register_explainers(register: object) -> None:
    register("full", Full, summary="all that a page can show")


@hookimpl
def register_metrics(register: object) -> None:
    register("tested", Tested, summary="how often the class rises with the concept", caveat="is made up")
