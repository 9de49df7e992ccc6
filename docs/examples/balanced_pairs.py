"""Pictures with captions, backgrounds independent of the animal: python docs/examples/balanced_pairs.py DIR [N].

They teach the translator of TExplain words that the classifier's own training split would tie to its classes.
"""

import json
import sys
from pathlib import Path

from PIL import Image

from xcore.api import load_registry
from xcore.types import Ref

folder = Path(sys.argv[1])
count = int(sys.argv[2]) if len(sys.argv) > 2 else 3000
folder.mkdir(parents=True, exist_ok=True)
samples = load_registry().create("dataset", Ref("minizoo/objects")).samples(None, "train", count, 0)
with open(folder / "captions.jsonl", "w", encoding="utf-8") as file:
    for i, (image, caption) in enumerate(zip(samples.images, samples.meta["long_caption"], strict=True)):
        pixels = (image.permute(1, 2, 0) * 255).round().byte().numpy()
        Image.fromarray(pixels).save(folder / f"{i:05d}.png")
        file.write(json.dumps({"image": f"{i:05d}.png", "caption": caption}) + "\n")
