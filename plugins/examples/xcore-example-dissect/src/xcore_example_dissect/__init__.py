"""Words for the concepts of CRAFT."""
