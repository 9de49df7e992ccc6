"""TextCNN: convolutions over word embeddings, averaged over the text. A probe can open each of its steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from xcore.contract import MissingError, UsageError, seeded
from xcore_text.vocabulary import Vocabulary

CONFIG, VOCABULARY, WEIGHTS = "config.json", "vocabulary.json", "model.safetensors"
ARCHITECTURE = "TextCNN"


class PairedEmbedding(nn.Module):
    """Two embeddings of each word side by side, one trained and one constant; that of padding is zero in both.

    Parameters
    ----------
    size
        Number of words.
    width
        Width e of each embedding.
    vectors
        The constant embedding, (size, e), with which the trained one starts too; None = random.
    """

    def __init__(self, size: int, width: int, vectors: Tensor | None = None) -> None:
        super().__init__()
        self.trained = nn.Embedding(size, width, padding_idx=0)
        self.constant = nn.Embedding(size, width, padding_idx=0)
        self.constant.weight.requires_grad_(False)
        if vectors is not None:
            if tuple(vectors.shape) != (size, width):
                raise UsageError(
                    f"the word vectors have shape {tuple(vectors.shape)}, but the embedding has shape ({size}, {width})"
                )
            with torch.no_grad():
                for part in (self.trained, self.constant):
                    part.weight.copy_(vectors)
                    part.weight[0] = 0

    def forward(self, ids: Tensor) -> Tensor:
        """(n, T) word numbers -> (n, T, 2e)."""
        return torch.cat((self.trained(ids), self.constant(ids)), dim=2)


class WindowConv(nn.Conv1d):
    """A convolution whose positions come before the channels: (n, T, C) -> (n, T - kernel + 1, channels)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class WindowMean(nn.Module):
    """The mean of each convolution over the windows inside the text, concatenated."""

    def __init__(self, kernels: Sequence[int]) -> None:
        super().__init__()
        self.kernels = tuple(kernels)

    def forward(self, maps: Sequence[Tensor], lengths: Tensor) -> Tensor:
        """Maps (n, W, channels), one for each kernel, and lengths (n,) in words -> (n, kernels * channels)."""
        lengths = lengths.clamp(min=max(self.kernels))  # a shorter text was padded to this length
        means = []
        for kernel, values in zip(self.kernels, maps, strict=True):
            windows = (lengths - kernel + 1)[:, None]
            inside = torch.arange(values.shape[1], device=values.device) < windows
            means.append((values * inside[:, :, None]).sum(1) / windows)
        return torch.cat(means, dim=1)


class TextCNN(nn.Module):
    """The convolutional text classifier of Kim with two embeddings and mean pooling.

    Its steps are the embeddings, convolutions over windows of words, the mean over the windows of the text (`pooled`),
    a ReLU, dropout and a linear decoder. `pooled` comes before the ReLU, because after it the logits are affine and
    their gradient is the same for every text. The mean is over windows that lie wholly inside the text, so logits do
    not depend on padding. A text that is shorter than the widest kernel is padded to its width.

    Parameters
    ----------
    size
        Number of words in the vocabulary, with padding and the unknown word.
    classes
        Number of classes.
    embedding
        Width of each of the two embeddings.
    channels
        Channels of each convolution.
    kernels
        Widths of the convolutions in words.
    dropout
        Dropout rate before the decoder.
    max_length
        Number of words that are read of a text.
    vectors
        Known word vectors (size, embedding) for the constant embedding, such as GloVe's; None = random.
    seed
        Seed of the weights; the global random state is left alone.

    References
    ----------
    Kim: Convolutional Neural Networks for Sentence Classification, EMNLP 2014; Zhang et al.: Dive into Deep Learning,
    section "Sentiment Analysis: Using Convolutional Neural Networks" (two embeddings, mean pooling).
    """

    def __init__(
        self,
        size: int,
        classes: int,
        *,
        embedding: int = 100,
        channels: int = 100,
        kernels: Sequence[int] = (3, 4, 5),
        dropout: float = 0.5,
        max_length: int = 128,
        vectors: Tensor | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not kernels or min(kernels) < 1 or max_length < max(kernels):
            raise UsageError(
                f"kernels {tuple(kernels)} do not fit into texts of at most {max_length} words",
                "kernels must be 1 or more, and max_length at least the widest kernel",
            )
        self.config: dict[str, Any] = {
            "size": size,
            "embedding": embedding,
            "channels": channels,
            "kernels": list(kernels),
            "dropout": dropout,
            "max_length": max_length,
        }
        self.max_length = max_length
        self.shortest = max(kernels)
        with seeded(seed):
            self.embedding = PairedEmbedding(size, embedding, vectors)
            self.convs = nn.ModuleList(WindowConv(2 * embedding, channels, kernel) for kernel in kernels)
            self.pooled = WindowMean(kernels)
            self.relu = nn.ReLU()
            self.dropout = nn.Dropout(dropout)
            self.decoder = nn.Linear(len(kernels) * channels, classes)
            for layer in (*self.convs, self.decoder):
                nn.init.xavier_uniform_(layer.weight)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Word numbers (n, T) with padding 0 at the end, and lengths (n,) in words -> logits (n, classes).

        T must be at least the width of the widest kernel.
        """
        embedded = self.embedding(ids)
        pooled = self.pooled([conv(embedded) for conv in self.convs], lengths)
        return self.decoder(self.dropout(self.relu(pooled)))  # type: ignore[no-any-return]

    def inputs(self, texts: Sequence[Sequence[int]], length: int | None = None) -> tuple[Tensor, Tensor]:
        """The arguments of `forward` for texts given as word numbers.

        Texts are cut after `max_length` words and padded to `length` words; None = as far as the longest text needs.
        """
        cut = [list(text[: self.max_length]) for text in texts]
        width = length if length is not None else max([self.shortest, *map(len, cut)])
        device = self.decoder.weight.device
        ids = torch.tensor([[*text, *[0] * (width - len(text))] for text in cut], dtype=torch.long, device=device)
        return ids.reshape(len(cut), width), torch.tensor([len(text) for text in cut], device=device)


class Saved(NamedTuple):
    """A TextCNN with its vocabulary and the names of its classes."""

    model: TextCNN
    vocabulary: Vocabulary
    classes: tuple[str, ...]


def save(model: TextCNN, vocabulary: Vocabulary, classes: Sequence[str], directory: str | Path) -> None:
    """Save a TextCNN as a directory with config.json, vocabulary.json and model.safetensors.

    Raises
    ------
    UsageError
        The numbers of words or classes do not fit the model.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    if len(vocabulary) != model.config["size"] or len(classes) != model.decoder.out_features:
        raise UsageError(
            f"the model is for {model.config['size']} words and {model.decoder.out_features} classes, "
            f"not for {len(vocabulary)} and {len(classes)}",
            "save it with the vocabulary and the classes that it was trained with",
        )
    config = {"architecture": ARCHITECTURE, "classes": list(classes), **model.config}
    (folder / CONFIG).write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    vocabulary.save(folder / VOCABULARY)
    save_file({name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}, folder / WEIGHTS)


def load(directory: str | Path) -> Saved:
    """Load a TextCNN that `save` wrote, in evaluation mode.

    Raises
    ------
    MissingError
        There is no such directory, or a file is missing in it.
    UsageError
        A file is damaged, or the files do not fit together.
    """
    folder = Path(directory).expanduser()
    _must_exist(folder, folder / CONFIG)
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if config.pop("architecture", None) != ARCHITECTURE:
            raise UsageError(
                f"{str(folder / CONFIG)!r} describes no {ARCHITECTURE}", "for a model of transformers write hf-text:DIR"
            )
        _must_exist(folder / VOCABULARY, folder / WEIGHTS)
        classes = tuple(config.pop("classes"))
        model = TextCNN(config.pop("size"), len(classes), **config)
        model.load_state_dict({k: v.float() for k, v in load_file(folder / WEIGHTS).items()})
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        line = " ".join(str(error).split())
        raise UsageError(
            f"no {ARCHITECTURE} can be read from {str(folder)!r}: {line}", "save it again with xcore_text.textcnn.save"
        ) from error
    vocabulary = Vocabulary.load(folder / VOCABULARY)
    if len(vocabulary) != model.config["size"]:
        words = f"{len(vocabulary)} words, but the model is for {model.config['size']}"
        raise UsageError(f"{str(folder / VOCABULARY)!r} has {words}", "save both again with xcore_text.textcnn.save")
    return Saved(model.eval(), vocabulary, classes)


def _must_exist(*paths: Path) -> None:
    for path in paths:
        if not path.exists():
            raise MissingError(f"there is no {str(path)!r}", "name a directory that xcore_text.textcnn.save wrote")
