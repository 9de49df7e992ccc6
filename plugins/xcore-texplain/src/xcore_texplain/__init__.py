"""TExplain: a linear map takes a classifier's features to a frozen language model, which says what is in them.

The pieces are a library of their own: `xcore_texplain.decoders`, `xcore_texplain.translator`, `xcore_texplain.counts`.
"""
