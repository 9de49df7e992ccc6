"""CCE: concepts that compose, found as orthogonal subspaces in which the embeddings of images fall into clusters."""
