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
# # Explain a network of your own
#
# You have a network and some pictures, and want to know what the network looks at. This notebook explains one class,
# looks at the result, keeps it, and finds the same concepts in new pictures.
#
# To let it run anywhere, the network is a small ResNet that ships with xcore, and the pictures are painted animals.
# Put your own module and your own pictures in their places.

# %%
import xcore

animals = xcore.data("minizoo")
network = xcore.open("minizoo/clean").model.module  # a torch.nn.Module, as yours
pictures = animals.samples("zebra", "explain", 20, seed=0).images  # (20, 3, 64, 64), in [0, 1]
type(network), pictures.shape

# %% [markdown]
# ## Open it
#
# xcore gives your network pictures in [0, 1]. Say how they become its input, as you did in training, and what its
# outputs are called. If the network normalises its input itself, leave `preprocess` out.


# %%
def prepare(images):
    return (images - 0.5) / 0.5


model = xcore.open(network, class_names=animals.classes, size=64, preprocess=prepare)
model

# %% [markdown]
# ## Explain
#
# CRAFT cuts crops out of the pictures, sorts them into concepts by what the network makes of them, and measures how
# much the class depends on each. Pictures may also be PIL images, numpy arrays, a list of paths or a folder.

# %%
explanation = xcore.explain("craft", model, pictures, target="zebra", options={"k": 5})
explanation

# %% [markdown]
# How to read it: each row is a concept, with the crops in which it is strongest. CRAFT does not name its concepts;
# the crops have to speak for themselves. The bar is the importance, in the unit that is named above the rows. The
# notes below the pictures say how much of the network the concepts account for. If they rebuild little of the class
# logit, or give another top class, they say little about the network, however neat they look.
#
# ## Plot
#
# `plot` draws with matplotlib: `"concepts"`, `"maps"` or `"importances"`.

# %%
explanation.plot("maps", concepts=2)

# %% [markdown]
# The redder, the stronger. The colours of a concept have one scale for all pictures, so a pale picture has little of
# it. A map says where the network's *activations* contain the concept; it does not say that these pixels cause the
# decision.

# %%
explanation.plot("importances", concepts=5)

# %% [markdown]
# ## Figures
#
# A data frame has every concept with all statistics of the method.

# %%
explanation.to_pandas()

# %% [markdown]
# ## Keep it, and load it again
#
# The folder holds the explanation, the explained pictures and how it was made. Nothing in it is a pickle.

# %%
explanation.save("zebra-by-craft")
again = xcore.load("zebra-by-craft")
again.to_pandas()["importance"].equals(explanation.to_pandas()["importance"])

# %% [markdown]
# ## New pictures
#
# Are the same concepts in pictures that were not explained, and where? Here are six animals of any kind.

# %%
others = animals.samples(None, "heldout", 6, seed=1).images
found = again.apply(model, others)
found

# %%
found.to_pandas().round(2)

# %% [markdown]
# A strength is no probability: compare it between pictures, in one column. A concept that is as strong in every
# animal as in zebras is no concept *of* zebras. That is worth a look before you name one:

# %%
zebras = again.apply(model, animals.samples("zebra", "heldout", 6, seed=1).images)
(zebras.to_pandas().mean() / found.to_pandas().mean()).round(2)
