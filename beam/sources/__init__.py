"""The general ways in, a folder or a manifest; reading tables in any encoding; the place of a source."""
