"""ConceptSHAP: concepts from which the network's decisions can be recovered, ranked by their Shapley values."""
