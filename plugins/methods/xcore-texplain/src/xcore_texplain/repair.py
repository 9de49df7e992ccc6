"""`xcore texplain repair`: fine-tune a classifier without its shortcut, and compare that with other cures.

This module is light at import; `xcore_texplain.repairing` does the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.contract import UsageError
from xcore_texplain.repair_options import RepairOptions

if TYPE_CHECKING:
    from xcore.session import Finding


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
        Folder to write to. The networks of this call are in its folder ``models``, and those of each call that was
        made in the folder of its finding.
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
    from xcore_texplain.repairing import Repairs, show_models

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

            lexicon = Path(options.lexicon).expanduser()
            asked["lexicon"] = file_digest(lexicon) if lexicon.is_file() else ""
        repairs = Repairs(session, cell, options)
        finding = session.finding("texplain repair", asked, cell, repairs.found, refs=refs, out=out)
        show_models(finding.folder, out)
        return finding
