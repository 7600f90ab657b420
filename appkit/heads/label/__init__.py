"""Labels texts and words by a linear layer on the base's final hidden states."""
