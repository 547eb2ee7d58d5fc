"""The Beam job that embeds a collection."""
