"""All that a plugin author must know: what travels, the protocols to fulfil, roles, hooks, options and errors.

Plugins import these names from `xcore.contract`. Each is loaded when it is first used, so importing this package costs
nothing; torch is named in annotations only. It also offers the errors, digests and seeding of `xcore.base`.
"""

from typing import TYPE_CHECKING

from xcore.base.lazy import lazy_exports

if TYPE_CHECKING:
    from xcore.base.digests import digest as digest
    from xcore.base.digests import file_digest as file_digest
    from xcore.base.digests import tree_digest as tree_digest
    from xcore.base.errors import MissingError as MissingError
    from xcore.base.errors import NotApplicable as NotApplicable
    from xcore.base.errors import PluginError as PluginError
    from xcore.base.errors import UsageError as UsageError
    from xcore.base.errors import XcoreError as XcoreError
    from xcore.base.errors import unknown as unknown
    from xcore.base.seeding import seeded as seeded
    from xcore.contract.hooks import Fingerprint as Fingerprint
    from xcore.contract.hooks import Register as Register
    from xcore.contract.hooks import hookimpl as hookimpl
    from xcore.contract.options import Options as Options
    from xcore.contract.options import split as split
    from xcore.contract.options import split_numbers as split_numbers
    from xcore.contract.options import validate as validate
    from xcore.contract.protocols import Classifier as Classifier
    from xcore.contract.protocols import Dataset as Dataset
    from xcore.contract.protocols import Engine as Engine
    from xcore.contract.protocols import Explainer as Explainer
    from xcore.contract.protocols import Generator as Generator
    from xcore.contract.protocols import Limits as Limits
    from xcore.contract.protocols import Metric as Metric
    from xcore.contract.protocols import Probe as Probe
    from xcore.contract.protocols import Progress as Progress
    from xcore.contract.protocols import Purpose as Purpose
    from xcore.contract.protocols import RandomSet as RandomSet
    from xcore.contract.protocols import Run as Run
    from xcore.contract.protocols import Task as Task
    from xcore.contract.protocols import Tracker as Tracker
    from xcore.contract.protocols import Work as Work
    from xcore.contract.roles import Captioner as Captioner
    from xcore.contract.roles import Embedder as Embedder
    from xcore.contract.roles import FactorOracle as FactorOracle
    from xcore.contract.roles import ImageText as ImageText
    from xcore.contract.roles import Localiser as Localiser
    from xcore.contract.roles import Segmenter as Segmenter
    from xcore.contract.roles import TextDecoder as TextDecoder
    from xcore.contract.roles import VisualQuestionAnswering as VisualQuestionAnswering
    from xcore.contract.samples import Modality as Modality
    from xcore.contract.samples import Samples as Samples
    from xcore.contract.types import Adapter as Adapter
    from xcore.contract.types import Budget as Budget
    from xcore.contract.types import Cell as Cell
    from xcore.contract.types import Concept as Concept
    from xcore.contract.types import Cost as Cost
    from xcore.contract.types import Dictionary as Dictionary
    from xcore.contract.types import Explanation as Explanation
    from xcore.contract.types import Outcome as Outcome
    from xcore.contract.types import Presence as Presence
    from xcore.contract.types import Ref as Ref
    from xcore.contract.types import Score as Score
    from xcore.contract.types import Split as Split
    from xcore.contract.types import StartedRun as StartedRun
    from xcore.contract.types import Status as Status
    from xcore.contract.types import Truth as Truth

_HOMES = {
    "xcore.base.digests": ("digest", "file_digest", "tree_digest"),
    "xcore.base.errors": ("MissingError", "NotApplicable", "PluginError", "UsageError", "XcoreError", "unknown"),
    "xcore.base.seeding": ("seeded",),
    "xcore.contract.hooks": ("Fingerprint", "Register", "hookimpl"),
    "xcore.contract.options": ("Options", "split", "split_numbers", "validate"),
    "xcore.contract.protocols": (
        *("Classifier", "Dataset", "Engine", "Explainer", "Generator", "Limits", "Metric", "Probe", "Progress"),
        *("Purpose", "RandomSet", "Run", "Task", "Tracker", "Work"),
    ),
    "xcore.contract.roles": (
        *("Captioner", "Embedder", "FactorOracle", "ImageText", "Localiser", "Segmenter", "TextDecoder"),
        "VisualQuestionAnswering",
    ),
    "xcore.contract.samples": ("Modality", "Samples"),
    "xcore.contract.types": (
        *("Adapter", "Budget", "Cell", "Concept", "Cost", "Dictionary", "Explanation", "Outcome", "Presence"),
        *("Ref", "Score", "Split", "StartedRun", "Status", "Truth"),
    ),
}
__getattr__, __dir__ = lazy_exports(__name__, _HOMES)
