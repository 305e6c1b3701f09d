"""How a network is trained: plain steps, recipes, and the Lightning shell."""
