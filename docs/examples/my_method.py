"""Occlusion: cover one patch of an image after another, and measure how far the logit of the class falls.

Concept 1 consists of the patch of each image that costs most, concept 2 of the second, and so on. The method needs only
logits, so it also works on black boxes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcore import hookimpl

if TYPE_CHECKING:
    from xcore.contract import Explanation, Register, Task

GRID, CONCEPTS, EXEMPLARS = 4, 3, 20


@hookimpl
def register_explainers(register: Register) -> None:
    register("mine", Occlusion, summary="patches whose covering costs the class most of its logit")


class Occlusion:
    def __init__(self, options: None) -> None: ...  # the card names no options model, so it gets None

    def explain(self, task: Task) -> Explanation:
        import torch
        from torch.nn.functional import interpolate

        from xcore.contract import Concept, Explanation, Samples

        images = task.samples.images
        height, width = images.shape[-2:]
        side = min(height, width) // GRID
        patches = [
            (..., slice(top, top + side), slice(left, left + side))
            for top in range(0, height - side + 1, side)
            for left in range(0, width - side + 1, side)
        ]
        before = task.classifier.logits(task.samples)[:, task.target]
        drops = []
        for patch in patches:
            covered = images.clone()
            covered[patch] = images.mean(dim=(2, 3), keepdim=True)
            after = task.classifier.logits(Samples("image", covered, task.samples.ids))[:, task.target]
            drops.append(before - after)
            task.progress(len(drops), len(patches), "patches covered")
        drop, place = torch.stack(drops, dim=1).sort(dim=1, descending=True, stable=True)

        concepts = []
        for rank in range(CONCEPTS):
            chosen = drop[:, rank].argsort(descending=True, stable=True)[:EXEMPLARS]
            cut = torch.stack([images[i][patches[place[i, rank]]] for i in chosen])
            data = interpolate(cut, size=(height, width), mode="bilinear", align_corners=False)
            ids = tuple(f"{task.samples.ids[i]}#patch{place[i, rank]}" for i in chosen)
            concepts.append(
                Concept(
                    name=f"patch {rank + 1}",
                    importance=float(drop[:, rank].mean()),
                    samples=Samples("image", data, ids),
                    render=f"crop:{side}>{height}x{width}",  # TS then compares with random crops, not whole images
                    source=chosen,
                    local=drop[:, rank],
                )
            )
        return Explanation("mine", task.target_name, "mean fall of the class logit when covered", tuple(concepts))
