"""A session's translator and decoder, which say sentences about any images: what several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from xcore.contract import Dataset, Probe, Progress, Ref, Samples, TextDecoder
from xcore.session import Session
from xcore_texplain.dominant import describe
from xcore_texplain.features import features
from xcore_texplain.habits import without_habits
from xcore_texplain.options import Options
from xcore_texplain.sentences import combined_seed
from xcore_texplain.session import translator_recipe
from xcore_texplain.translator import Translator, load_translator, translate
from xcore_texplain.words import Word, WordCounts, compare_with_prior, count_words, lemmas_of


@dataclass(frozen=True, eq=False)
class Reader:
    """Says sentences about images, and counts their words."""

    decoder: TextDecoder
    probe: Probe
    translator: Translator
    options: Options
    about: str
    """How the translator was trained, for a note."""
    progress: Progress

    def said(self, images: Samples, seed: int) -> WordCounts:
        """Words of the sentences about each image, without those of ``texplain.drop``."""
        states = translate(self.translator, features(self.probe, images))
        told = describe(self.decoder, states, images, self.options.sentences, seed, self.progress)
        return count_words(told.sentences, lemmas_of(self.options.drop))

    def said_of_mean(self, images: Samples) -> WordCounts:
        """Words of the sentences about the mean feature of images."""
        z = features(self.probe, images).mean(0, keepdim=True)
        seed = combined_seed(self.options.seed, 2)
        sentences = self.decoder.sample(translate(self.translator, z), self.options.prior_sentences, seed)
        return count_words(sentences, lemmas_of(self.options.drop))

    def words(
        self, own: WordCounts, shuffled: WordCounts, mean: WordCounts, seed: int, is_own: Callable[[str], bool]
    ) -> tuple[list[Word], list[Word]]:
        """The figures of the words about a class, and the habits of the language model, as of `without_habits`."""
        figures = compare_with_prior(own, shuffled, mean, self.options.bootstrap, seed)
        return without_habits(figures, shuffled, is_own)


def open_reader(session: Session, captions: str = "") -> Reader:
    """The reader that the flags ask for, whose translator is trained if it does not exist yet.

    Parameters
    ----------
    captions
        Reference of a data set whose captions are learned from; "" = the data set of the session.

    Raises
    ------
    MissingError
        There is no language model, no translator in the folder that is named, or there are no captions.
    NotApplicable
        The classifier gives no activations, or the generator offers no probe.
    """
    recipe = translator_recipe(session)
    o: Options = session.explainer(session.cells[0]).options
    if captions:
        source: Dataset = session.component("dataset", Ref(captions))
        framed = getattr(source, "framed", None)
        recipe = replace(recipe, data=framed(recipe.framing) if framed and recipe.framing else source)
    translator, metadata = load_translator(recipe.folder(o.translator, session.artifact))
    about = (
        f"translator at {recipe.layer}: {metadata.get('pairs', '?')} pairs, {metadata.get('steps', '?')} steps, "
        f"validation loss {metadata.get('validation_loss', '?')}"
    )
    return Reader(recipe.decoder, recipe.probe, translator, o, about, session.reporter.step)


def shown_words(words: Sequence[Word], least: float, n: int) -> list[Word]:
    """The first n words of those that are in at least this share of the sentences."""
    return [w for w in words if w.freq >= least][:n]
