"""The miniature benchmark: the paper's tables on simulated videos (CARD.md)."""
