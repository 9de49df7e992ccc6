"""The method `skit`: named concepts tested one after the other by bets on the model's outputs.

- `betting`: payoffs of bets, the wealth that they make, when it rejects, and which of many tests count;
- `samplers`: what a concept's presence might have been, given that of the others;
- `explainer`: the method.
"""
