# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Explain a text classifier
#
# The classifier tells reviews that blame from reviews that praise. Which words does it go by? The classifier and the
# language model of this notebook are small and ship with xcore; [the page on texts](../text.md) says how to use your
# own.

# %%
import xcore

reviews = xcore.data("reviews")
model = xcore.open("reviews/textcnn")
texts = list(reviews.samples("negative", "explain", 12, seed=0).texts)  # any list of strings
texts[:3]

# %% [markdown]
# ## Explain
#
# RLPO takes words of these reviews, lets a language model list words of the same meaning, and measures how much the
# classifier reacts to each list. Six steps are few, and are done in seconds; the default is a hundred.

# %%
explanation = xcore.explain(
    "rlpo",
    model,
    texts,
    target="negative",
    generator="reviews/mistral",
    models={"text-embedder": "reviews/embedder"},
    options={"steps": 6, "actions": 6},
)
explanation

# %% [markdown]
# How to read it: a highlighted word names a concept. A solid line says that the concept speaks for *negative*, a
# dashed one that it speaks against it. Below the reviews stand the lists, with their importance.
#
# Not all of them convince. Words of blame are there, but so are things that a review merely mentions. The method says
# how the classifier reacts to lists of single words; it does not say that such a word decides a review. So ask the
# classifier.

# %%
explanation.to_pandas()[["concept", "words", "importance"]]

# %% [markdown]
# ## What if?
#
# Replace a word in a review, and look at the probability of *negative*.

# %%
from xcore.contract import Samples


def negative(*given):
    logits = model.logits(Samples("text", given, tuple(map(str, range(len(given))))))
    return [round(p, 3) for p in logits.softmax(1)[:, model.classes.index("negative")].tolist()]


dull, gripping = "we found the plot dull. it is on a small road.", "we found the plot gripping. it is on a small road."
big = "we found the plot dull. it is on a large road."
dict(zip([dull, gripping, big], negative(dull, gripping, big), strict=True))

# %% [markdown]
# One word of praise instead of one of blame turns the judgement; a large road instead of a small one does not. Try
# the words that the explanation ranks high, and believe those that pass.
