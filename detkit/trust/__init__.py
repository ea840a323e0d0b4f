"""What tells whether a recipe, a result or an export can be trusted."""
