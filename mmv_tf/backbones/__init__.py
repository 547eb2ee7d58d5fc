"""Networks f_m: each maps one modality to a vector and knows nothing of the others."""
