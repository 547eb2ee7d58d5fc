"""Tools of every room, which know none of them."""
