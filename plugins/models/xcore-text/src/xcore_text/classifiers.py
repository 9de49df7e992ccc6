"""Text classifiers: a TextCNN, and any sequence classifier of transformers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from xcore.contract import UsageError
from xcore.models import device
from xcore.models.classifiers import TorchClassifier, checked_classes
from xcore.models.graph import frozen, run, survey, tensor_of, useful_layers
from xcore.models.heads import best
from xcore.pretrained.hub import model_directory
from xcore.pretrained.loading import load_model
from xcore_text.options import TextOptions
from xcore_text.pretrained import NEEDS, Tokens
from xcore_text.textcnn import load


class TextClassifier(TorchClassifier):
    """A torch classifier of texts that notes how many texts it had to cut."""

    _cut: set[int]
    _limit: str

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of the network, and how many of the texts so far were longer than it reads."""
        told = super().notes
        if not self._cut:
            return told
        number = "1 text is" if len(self._cut) == 1 else f"{len(self._cut)} texts are"
        return (
            *told,
            f"{number} longer than {self._limit}; the rest was not read (see the option max_length)",
        )


class TextCNNClassifier(TextClassifier):
    """``textcnn:DIR``: a TextCNN that `xcore_text.textcnn.save` wrote. The default layer is `pooled`, before the ReLU.

    Parameters
    ----------
    options
        Class names, length, device and batch size.
    directory
        The directory.
    """

    def __init__(self, options: TextOptions, directory: str) -> None:
        saved = load(directory)
        model, vocabulary = saved.model, saved.vocabulary
        length = options.max_length if options.max_length is not None else model.max_length
        if length < model.shortest:
            raise UsageError(
                f"max_length is {length}, but the widest kernel of textcnn:{directory} takes {model.shortest} words",
                f"set max_length to {model.shortest} or more",
            )
        if length > model.max_length:
            raise UsageError(
                f"max_length is {length}, but the model reads {model.max_length} words of a text",
                f"set max_length to {model.max_length} or less",
            )
        self._cut, self._limit = set(), f"the {length} words that textcnn:{directory} reads"

        def preprocess(texts: Sequence[str]) -> tuple[Tensor, Tensor]:
            encoded = [vocabulary.encode(text) for text in texts]
            self._cut.update(hash(text) for text, row in zip(texts, encoded, strict=True) if len(row) > length)
            return model.inputs([row[:length] for row in encoded], length)

        classes = checked_classes(options.classes or saved.classes)
        if len(classes) != len(saved.classes):
            raise UsageError(
                f"the model gives {len(saved.classes)} logits but there are {len(classes)} class names",
                "set the option classes to a name for each logit",
            )
        super().__init__(
            model,
            classes,
            preprocess=preprocess,
            default_layer="pooled",
            modality="text",
            device=options.device or device.current(),
            batch_size=options.batch_size,
        )


class HuggingFaceClassifier(TextClassifier):
    """``hf-text:MODEL``: a sequence classifier of transformers with its tokenizer.

    All texts are padded to one length, with an attention mask, so that activations of tokens have one shape whatever
    the batch; logits are those of the text alone.

    Parameters
    ----------
    options
        Class names, length, device and batch size.
    argument
        A directory that `save_pretrained` wrote, or ``ORG/MODEL`` on the hub.

    Raises
    ------
    MissingError
        There is no such model, or it lacks a file.
    UsageError
        It is no sequence classifier, its logits change if a text is padded, or the options do not fit it.
    """

    def __init__(self, options: TextOptions, argument: str) -> None:
        from transformers import AutoModelForSequenceClassification

        folder = model_directory(argument, NEEDS)
        model = load_model(AutoModelForSequenceClassification, folder, "sequence classifier")
        tokens = Tokens(folder, model, options.max_length, usual=128)
        self._tokens = tokens
        self._cut, self._limit = tokens.cut, f"the {tokens.max_length} tokens that hf-text:{argument} reads"
        names = options.classes or [name for _, name in sorted(model.config.id2label.items())]
        super().__init__(
            model,
            names,
            preprocess=lambda texts: self._arguments(texts, tokens.max_length, count=True),
            modality="text",
            device=options.device or device.current(),
            batch_size=options.batch_size,
        )
        self._check_padding(argument)

    @cached_property
    def default_layer(self) -> str:
        """The last layer whose gradients differ between texts; see `bent_layer`."""
        return bent_layer(
            self.model.module, self._arguments(self._tokens.made_up(32, min(16, self._tokens.max_length)))
        )

    def _arguments(self, texts: Sequence[str], length: int | None = None, count: bool = False) -> Mapping[str, Tensor]:
        ids, mask = self._tokens(texts, length, count=count)
        return {"input_ids": ids.to(self.model.device), "attention_mask": mask.to(self.model.device)}

    def _check_padding(self, argument: str) -> None:
        """Raise `UsageError` if padding on the right changes the logits of a text."""
        text = self._tokens.made_up(1, 4)
        with frozen(self.model.module), torch.no_grad():
            alone, padded = (
                self.model.checked(run(self.model.module, self._arguments(text, length)))
                for length in (None, self._tokens.max_length)
            )
        if not torch.allclose(alone, padded, rtol=1e-2, atol=1e-2):
            raise UsageError(
                f"the logits of {argument!r} change by {float((alone - padded).abs().max()):.2g} if a text is padded",
                "models that need padding on the left, such as XLNet, cannot be explained; choose another model",
            )


def bent_layer(module: nn.Module, args: Mapping[str, Tensor]) -> str:
    """The last layer at which the gradient of a logit differs between texts of one class.

    Above the last non-linearity that has an effect, the logits are affine and their gradient is the same for every
    text, so TCAV is undefined there. These layers are found from the gradients for the given texts, compared within
    each class that the model predicts. Vectors (n, C) are preferred, such as ``bert.pooler.dense``,
    ``classifier.dense`` of RoBERTa or ``pre_classifier`` of DistilBERT; otherwise blocks (n, T, C) are taken, whose
    gradients are summed over the positions.

    Parameters
    ----------
    module
        A sequence classifier of transformers.
    args
        Its arguments for n texts.

    Returns
    -------
    str
        Name of the layer; if the gradients differ at no layer, that of the last block.
    """
    n = len(args["input_ids"])
    found, _ = survey(module, args, n)
    layers = useful_layers(module, found)
    outputs: dict[str, Any] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda _module, _args, output: outputs.update({name: tensor_of(output)})

    tables = [part for part in module.modules() if isinstance(part, nn.Embedding)]
    handles = [table.register_forward_hook(lambda _module, _args, output: output.requires_grad_()) for table in tables]
    handles += [module.get_submodule(name).register_forward_hook(keep(name)) for name in layers]
    try:
        with frozen(module), torch.enable_grad():
            logits = run(module, args).logits
            known = [name for name in layers if outputs[name].requires_grad]
            grads = torch.autograd.grad(logits[:, 0].sum(), [outputs[name] for name in known], allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
    classes = logits.argmax(1)

    def differs(g: Tensor | None) -> bool:
        if g is None:
            return False
        g = g.sum(1) if g.ndim == 3 else g
        groups = [g[classes == c] for c in classes.unique()]
        return all((part - part.mean(0)).norm() > 1e-3 * part.norm() for part in groups if len(part) >= 4)

    bent = [name for name, g in zip(known, grads, strict=True) if differs(g)]
    vectors = [name for name in bent if found[name].layout == "NC"]
    return vectors[-1] if vectors else best(module, found, bent or layers)
