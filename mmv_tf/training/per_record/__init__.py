"""State that a run keeps of each of its records, and what it computes of all of them between steps."""
