"""`xcore texplain repair`: fine-tune a classifier without its shortcut, and compare that with other cures.

This module is light at import; `xcore_texplain.repairing` does the work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.contract import UsageError, unknown

if TYPE_CHECKING:
    from xcore.session import Finding

CURES: Mapping[str, str] = {
    "erm": "training images",
    "random": "training images; captions of other images",
    "texplain-word": "training images; captions of other images",
    "texplain-class": "training images; captions of other images",
    "reweighted": "groups of the training images",
    "group-dro": "groups of the training images",
    "last-layer": "groups of the validation images, which it trains on",
    "disc": "training images; pictures of concepts",
}
"""Cure -> what it uses. All of them are chosen by the average accuracy on validation images."""
TITLES: Mapping[str, str] = {
    "erm": "ERM (the start)",
    "random": "Random images masked",
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


def repair(
    classifier: str = "", *, data: str = "", out: str | Path = "repair", options: RepairOptions | None = None,
    **keys: Any,
) -> Finding:  # fmt: skip
    """Repair a classifier by masking what the dominant word of an image comes from, and compare with other cures.

    For each seed: a start (trained by ERM, or the classifier as it is), a translator for its features, sentences about
    each training image, flags of those whose most frequent word is not of their class, masks of the places that the
    word comes from, and networks that are fine-tuned from this start. The table holds the accuracy of each group of the
    test images, with paired differences over the seeds.

    Parameters
    ----------
    classifier
        Reference of a network of torch; "" = the default one.
    data
        Reference of the data set, with images for training, validation and test, best with groups; "" = the default.
    out
        Folder to write to.
    options
        Settings; None = the defaults.
    **keys
        Keys of a suite file, such as ``models``, ``set``, ``layer`` and ``generator``.

    Returns
    -------
    A finding with one row for each cure. Its figures hold the accuracies of each seed, and what was flagged.

    Raises
    ------
    UsageError
        A setting, the lexicon or a class is wrong, or a split has no images.
    MissingError
        There is no language model or no captions.
    NotApplicable
        The classifier is no network of torch, or its head is not linear.
    """
    about = {"classifiers": [classifier] if classifier else [], "data": data, "classes": [], **keys}
    return found_repair(about, options or RepairOptions(), Path(out))


def found_repair(about: dict[str, Any], options: RepairOptions, out: Path) -> Finding:
    """The finding of what the shared flags and the settings ask for."""
    from xcore.contract import Ref
    from xcore.session import open_session
    from xcore_texplain.repairing import Repairs

    options.check()
    about["classes"] = about.get("classes") or ["all"]
    with open_session(["texplain"], about, out / ".work") as session:
        cell = session.cells[0]
        if len({str(c.classifier) for c in session.cells}) > 1:
            raise UsageError(
                "several classifiers are named, and this command repairs one", "name one with --classifier"
            )
        asked = asdict(options)
        refs: dict[str, Sequence[Ref]] = {"dataset": [Ref(options.captions)]} if options.captions else {}
        if options.lexicon:
            from xcore.contract import file_digest

            asked["lexicon"] = (
                file_digest(Path(options.lexicon).expanduser()) if Path(options.lexicon).is_file() else ""
            )
        repairs = Repairs(session, cell, options, out)
        return session.finding("texplain repair", asked, cell, repairs.found, refs=refs, out=out)
