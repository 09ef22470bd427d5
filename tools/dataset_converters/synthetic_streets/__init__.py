"""Street scenes painted with their labels."""
