"""The demo: `make demo`, from nothing to a page of search results."""
