"""Narrations: whose file it is (sidecars), what stands in it (cues, speech, rolling), what a clip gets (nearest)."""
