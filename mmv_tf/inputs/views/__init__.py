"""Views of a record beside its clip, and the times at which they begin."""
