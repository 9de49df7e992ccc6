"""CCE: concepts in subspaces that are orthogonal to one another, one subspace for each attribute of the images."""
