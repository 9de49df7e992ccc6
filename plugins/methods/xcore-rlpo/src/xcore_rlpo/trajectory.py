"""The trajectory: what a generator draws from one prompt and one noise while it is tuned, and how it is classified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.contract import Samples, Task
from xcore.models.outputs import probabilities, scores_of
from xcore_rlpo.algorithm import FOLLOW, Search, noise

if TYPE_CHECKING:
    from PIL import Image

SIDE, GAP, LINE = 96, 4, 14
"""Height of an image, distance between images and height of a line of text, in pixels."""


def follow(task: Task, search: Search) -> tuple[dict[str, Path], int]:
    """Draw the trajectory and write it below the task's working directory.

    Returns
    -------
    The files (``trajectory.json``, and ``trajectory.png`` for images) and the number of samples drawn. Nothing is
    drawn if no update of the generator was kept.
    """
    o = search.options
    if not search.adapters:
        return {}, 0
    most = search.kept if o.keep == "gain" else search.updates
    prompt = o.trajectory or search.phrases[most.index(max(most))]
    seeds = noise(o.trajectory_samples, search.seed, FOLLOW)
    search.keep_snapshot()  # the final state, whatever the step
    columns, record = [], list[dict[str, Any]]()
    for t in sorted(search.snapshots):
        adapter = search.adapter_of(prompt, t)
        drawn = search.generator.generate([prompt] * len(seeds), seeds, adapter)
        logits = task.classifier.logits(drawn)
        top = [task.classifier.classes[i] for i in logits.argmax(1).tolist()]
        share = probabilities(logits.double(), scores_of(task.classifier))[:, task.target].tolist()
        columns.append((t, drawn, top))
        record.append(
            {
                "step": t,
                "adapter": adapter.digest if adapter else None,
                "predictions": top,
                "target_probability": share,
                "target_logit": logits[:, task.target].tolist(),
                **({"texts": list(drawn.texts)} if drawn.modality == "text" else {}),
            }
        )
    files = {"trajectory.json": task.workdir / "trajectory.json"}
    about = {"prompt": prompt, "seeds": seeds, "target": task.target_name, "snapshots": record}
    files["trajectory.json"].write_text(json.dumps(about, indent=1), encoding="utf-8")
    if search.generator.modality == "image":
        files["trajectory.png"] = task.workdir / "trajectory.png"
        strip(prompt, columns).save(files["trajectory.png"])
    return files, len(seeds) * len(columns)


def strip(prompt: str, columns: list[tuple[int, Samples, list[str]]]) -> Image.Image:
    """A column for each snapshot: its step, and the images with the predictions below them."""
    from PIL import Image, ImageDraw, ImageFont

    first = columns[0][1].images
    rows, width = len(first), max(SIDE, round(SIDE * first.shape[3] / first.shape[2])) + GAP
    height = SIDE + LINE + GAP
    picture = Image.new("RGB", (GAP + width * len(columns), 2 * LINE + 2 * GAP + height * rows), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(11)

    def write(left: int, top: int, text: str) -> None:
        pen.text((left, top), text.encode("latin-1", "replace").decode("latin-1"), fill="black", font=font)

    write(GAP, GAP, prompt)
    for c, (t, samples, top_classes) in enumerate(columns):
        left = GAP + c * width
        write(left, GAP + LINE, f"t = {t}")
        for r, (image, name) in enumerate(zip(samples.images, top_classes, strict=True)):
            pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
            top = 2 * LINE + GAP + r * height
            tile = Image.fromarray(pixels).resize((width - GAP, SIDE), Image.Resampling.BICUBIC)
            picture.paste(tile, (left, top))
            write(left, top + SIDE, name)
    return picture
