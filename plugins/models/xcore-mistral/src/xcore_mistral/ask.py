"""How a model is asked about a word: as turns of a chat, or as lines that it continues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xcore.contract import UsageError, XcoreError
from xcore_mistral.options import Options
from xcore_mistral.parse import parse

NEWLINES = ("\n", "Ċ", "<0x0A>")
"""How tokens contain a newline: as it is, as in byte-level BPE, or as in SentencePiece."""


class Asker:
    """The prompt format of a model: the tokens of a question and of an answer, and the words of an answer.

    If the tokenizer has a chat template, the examples are earlier turns of the chat and the question is the last turn.
    Without a template each question and each answer is a line, and the answer ends where its line ends.

    Parameters
    ----------
    tokenizer
        A tokenizer of transformers.
    ends
        The tokens that end any text of this model.
    options
        The question, the examples and the number of words.
    """

    def __init__(self, tokenizer: Any, ends: Sequence[int], options: Options) -> None:
        self.tokenizer = tokenizer
        self.options = options
        self.chat = bool(getattr(tokenizer, "chat_template", None))
        self._newline: tuple[int, ...] = ()
        lines: set[int] = set()
        if not self.chat:
            lines = {i for token, i in tokenizer.get_vocab().items() if any(n in token for n in NEWLINES)}
            written = tokenizer("\n", add_special_tokens=False)["input_ids"]
            self._newline = (written[-1],) if written and written[-1] in lines else ()
        self.stops = frozenset(ends) | lines
        """Tokens that end an answer."""
        self.end = self._newline or tuple(ends[:1])
        """Tokens that are written after a complete answer."""

    def question(self, word: str) -> str:
        """The question about a word, in one line."""
        return self.options.question.replace("{word}", " ".join(word.split()))

    def prompt(self, word: str) -> list[int]:
        """The tokens of the question about a word, with the examples before it."""
        if self.chat:
            return self._template(self._turns(word), True)
        shown = [line for w, answer in self.options.examples for line in (self.question(w), answer)]
        text = "\n".join([*shown, self.question(word)]) + "\n"
        tokens = list(self.tokenizer(text)["input_ids"])
        while tokens and tokens[-1] in self.stops - set(self._newline):  # some tokenizers append an end token
            tokens.pop()
        return tokens

    def completion(self, word: str, answer: str) -> list[int]:
        """The tokens of an answer about a word, with its end, as they follow those of `prompt`."""
        if self.chat:
            prompt = self.prompt(word)
            whole = self._template([*self._turns(word), {"role": "assistant", "content": answer}], False)
            tokens = whole[len(prompt) :]
            end = next((i for i, t in enumerate(tokens) if t in self.stops), None)
            if whole[: len(prompt)] == prompt and end:
                return tokens[: end + 1]
        return [*self.tokenizer(answer, add_special_tokens=False)["input_ids"], *self.end]

    def text(self, tokens: Sequence[int]) -> str:
        """The text that a model wrote, without the token that ended it."""
        written = [t for t in tokens if t not in self.stops] if self.chat else list(tokens)
        text: str = self.tokenizer.decode(written, skip_special_tokens=True)
        return text.strip() if self.chat else text.lstrip(" ").partition("\n")[0].strip()

    def words(self, answer: str, word: str, finished: bool) -> tuple[str, ...]:
        """The words that an answer about `word` lists, at most `options.words`."""
        o = self.options
        same = " ".join(word.lower().split())
        asked = [self.question(w) for w in (word, *(w for w, _ in o.examples))]
        shots = [a for w, a in o.examples if w.lower() != same]
        return parse(answer, word, asked=asked, shots=shots, finished=finished)[: o.words]

    def _turns(self, word: str) -> list[dict[str, str]]:
        turns = [t for w, a in self.options.examples for t in (("user", self.question(w)), ("assistant", a))]
        return [{"role": r, "content": c} for r, c in [*turns, ("user", self.question(word))]]

    def _template(self, turns: list[dict[str, str]], open_answer: bool) -> list[int]:
        try:
            tokens = self.tokenizer.apply_chat_template(turns, add_generation_prompt=open_answer, return_dict=False)
        except Exception as error:  # templates raise errors of their own kinds
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise XcoreError(
                f"the chat template of the model fails: {reason}", "use another model, or correct its chat template"
            ) from error
        if not tokens:
            raise UsageError(
                "the chat template of the model gives an empty prompt",
                "use another model, or correct its chat template",
            )
        return list(tokens)
