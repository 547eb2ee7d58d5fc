"""The protocols of the paper (section 4), and what they found."""
