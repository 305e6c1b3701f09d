"""What a distilled set is worth: students trained on it, and scores of them."""
