"""A small world of written reviews in which the words that matter are known, and small models trained on it."""
