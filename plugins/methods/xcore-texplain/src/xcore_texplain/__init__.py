"""TExplain: linear maps take the features of a classifier to a frozen language model, which describes them in words.

Parts of it can be used by themselves: `xcore_texplain.decoders` and `xcore_texplain.blip` (language models that read
states), `xcore_texplain.translator` (the linear maps), `xcore_texplain.words` (counting and comparing words).
"""
