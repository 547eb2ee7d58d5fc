"""The child processes that decode what is not trusted."""
