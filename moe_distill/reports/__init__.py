"""Result rows and sets as tables, charts and HTML pages."""
