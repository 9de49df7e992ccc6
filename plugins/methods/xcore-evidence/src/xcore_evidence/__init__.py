"""Which named concepts a classifier uses, in context: the library, and the methods `surrogate`, `skit` and `elude`.

A concept is a phrase. Three kinds of evidence say what it does to a class, each by a regression of the margin of the
class, and each with an interval and a test:

- `xcore_evidence.observed`: pictures or texts of the data, in which phrases are present to different degrees;
- `xcore_evidence.factorial`: scenes that are drawn, or texts that are changed, by random combinations of phrases;
- `xcore_evidence.edited`: pictures of the class that are changed towards random combinations of phrases.

`xcore_evidence.blended` mixes pictures of concepts into given ones, where there are such pictures and no generator.

`xcore_evidence.skit` and `xcore_evidence.elude` are two methods about the same phrases: tests by betting, and a sum of
named attributes and unnamed features.

Importing this package imports none of them.
"""

__version__ = "0.1.0"
