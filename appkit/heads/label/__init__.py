"""Labels of texts and of words, by a linear layer on the base's final hidden states."""
