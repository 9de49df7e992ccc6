"""The method `elude`: all predictions of a model as a sum of named attributes and few unnamed features.

- `additive`: the two fits, and how often each of them is right;
- `explainer`: the method;
- `chart`: its picture.
"""
