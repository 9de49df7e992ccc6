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
# # Compare methods
#
# One explanation always looks convincing. This notebook compares a method with rows that explain nothing, on pictures
# that no method has seen, and reads the figures with care.

# %%
import xcore

run = xcore.bench(
    ["craft"],
    classes=["zebra"],
    controls=["class-crops", "noise"],  # rows that explain nothing: crops of zebras, and noise
    metrics=["TS", "CS"],
    seeds=[0],
    budget={"samples": 12, "heldout": 12},
    out="run",
)
run

# %% [markdown]
# ## Read TS with its null
#
# **TS** is the share of held-out zebras whose class score rises if their activations move towards the concept. A TS
# near 1 looks like proof. The figure in parentheses is the mean TS of random concepts, which were rendered like the
# concept itself. It is far above 0, so a TS of a half says nothing. Only a TS that lies outside what random concepts
# reach gets an asterisk, or a dagger where the concept lowers the class. Noise is compared with other noise: its TS may
# be anything, and it has no mark.
#
# Look at the row `class-crops`: random crops of zebras reach a TS near 1, too. They contain zebra, but they are no
# discovery. So a high TS says that a concept matters to the network; it does not say that the method did more than
# cut out pieces of zebras.
#
# **CS** is the similarity of the concept's pictures to the class in the embedding of another network. It never asks
# the network that is explained. The noise shows how low it can be.

# %%
frame = run.to_pandas()
ts = frame[frame["metric"] == "TS"]
ts[["label", "rank", "value", "null_mean", "outside_null_seeds"]]

# %% [markdown]
# `null_mean` is the figure in parentheses, `outside_null_seeds` counts the seeds with a mark (here at most 1).
#
# ## What may be said
#
# With one seed and twelve pictures, differences of a few hundredths mean nothing. Run more seeds before you rank
# methods: the same call with `seeds=[0, 1, 2]` computes only what is missing.

# %%
ts.groupby("label")["value"].agg(["min", "max"]).round(2)

# %% [markdown]
# The single explanations are in the run, and can be looked at as any other:

# %%
record = next(outcome.record for outcome in run.result.outcomes if outcome.cell.label == "craft")
xcore.load(f"run/explanations/{record}").plot()
