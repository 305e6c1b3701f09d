"""Result rows and sets as tables, charts and pages."""
