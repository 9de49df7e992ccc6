"""Images of every class, for methods whose concepts all classes of a network share."""

from __future__ import annotations

from xcore.contract import Dataset, NotApplicable, Samples, UsageError

MOST = 2000
"""Images of all classes together."""


def images_of_every_class(data: Dataset, n: int, seed: int, method: str) -> tuple[Samples, list[str]]:
    """Up to n training images of each class, and the class of each image; fewer than n where there are many classes.

    Parameters
    ----------
    method
        Name of the method, for the message.

    Raises
    ------
    NotApplicable
        There are images of fewer than two classes.
    """
    n = max(1, min(n, MOST // max(1, len(data.classes))))
    parts, classes = list[Samples](), list[str]()
    for cls in data.classes:
        try:
            part = data.samples(cls, "train", n, seed)
        except UsageError:  # a data set refuses a split in which the class has nothing
            continue
        if len(part):
            parts.append(Samples("image", part.images, part.ids))
            classes += [cls] * len(part)
    if len(parts) < 2:
        raise NotApplicable(
            f"{method} learns from images of all classes, and there are training images of fewer than two",
            "give data with several classes by --data",
        )
    return Samples.concat(parts), classes
