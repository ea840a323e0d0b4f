"""``detkit doctor``: checks of a recipe on its data."""
