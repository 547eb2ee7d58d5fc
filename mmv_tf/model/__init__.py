"""The modality graph, its heads and losses, and the network that they make (paper sections 3.1 and 3.2)."""
