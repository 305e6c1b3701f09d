"""Result rows: their tables, and the questions that they answer."""
