"""Settings of `xcore texplain repair`, and the cures that it compares. This module imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xcore.contract import UsageError, unknown

WEIGHTS, FIGURES = "model.safetensors", "figures.json"
"""Files of a network that a cure trained."""
CURES: Mapping[str, str] = {
    "erm": "training images",
    "random": "training images; captions of other images",
    "random-class": "training images; captions of other images",
    "texplain-word": "training images; captions of other images",
    "texplain-class": "training images; captions of other images",
    "reweighted": "groups of the training images",
    "group-dro": "groups of the training images",
    "last-layer": "groups of the validation images, which it trains on",
    "disc": "training images; pictures of concepts",
}
"""Cure -> what it uses. All of them are chosen by the average accuracy on validation images."""
CONTROLS: Mapping[str, str] = {"texplain-class": "random-class"}
"""Cure -> the cure by random images that masks by the same reading; of the others it is "random"."""
TITLES: Mapping[str, str] = {
    "erm": "ERM (the start)",
    "random": "Random images masked (map of the word)",
    "random-class": "Random images masked (map of the class)",
    "texplain-word": "TExplain (map of the word)",
    "texplain-class": "TExplain (map of the class)",
    "reweighted": "Groups equally often",
    "group-dro": "GroupDRO",
    "last-layer": "Last layer, even groups (DFR)",
    "disc": "DISC",
}


@dataclass(frozen=True)
class RepairOptions:
    """Settings of `repair`; `check` raises `UsageError` if one is out of range."""

    train: bool = False
    """Whether each seed trains a start of its own, with a new head; False = the classifier is the start."""
    seeds: int = 5
    cures: tuple[str, ...] = tuple(CURES)
    captions: str = ""
    """Data set whose captions the translator learns from; "" = those of the data, or of ``texplain.pairs``."""
    lexicon: str = ""
    """JSON file with the words of each class."""
    words: tuple[str, ...] = ()
    """The only words that are taken for shortcuts; none = every word that is not of the class."""
    images: int = 1000
    """Most training images of each class."""
    validation_images: int = 1000
    """Most validation images of each class."""
    test_images: int = 1000
    """Most test images of each class."""
    sentences: int = 30
    deviations: float = 2.0
    """A pixel is masked where the map is above its mean by so many standard deviations."""
    epochs: int = 3
    lrs: tuple[float, ...] = (1e-5, 1e-4)
    start_epochs: int = 10
    start_lr: float = 1e-3
    batch: int = 32
    concepts: tuple[str, ...] = ()
    """Concepts of the bank of DISC; none = those of the data."""

    def check(self) -> None:
        """Raise `UsageError` for the first setting that cannot be."""
        for cure in self.cures:
            if cure not in CURES:
                raise unknown("cure", cure, CURES)
        least = {
            "seeds": 1,
            "images": 2,
            "validation_images": 2,
            "test_images": 2,
            "sentences": 2,
            "epochs": 1,
            "start_epochs": 1,
            "batch": 2,
        }
        for name, low in least.items():
            if getattr(self, name) < low:
                raise UsageError(f"{name} must be {low} or more, got {getattr(self, name)}")
        if not self.lrs or min(*self.lrs, self.start_lr) <= 0:
            raise UsageError("learning rates must be above 0", "write --lr 1e-5,1e-4")
