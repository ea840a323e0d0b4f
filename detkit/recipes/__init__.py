"""The recipes that come with detkit: known by name, with the facts of each."""

from detkit.recipes.facts import Facts, recipe_facts
from detkit.recipes.recipe_files import is_shipped, recipe_folder, recipe_names, recipe_path

__all__ = ["Facts", "is_shipped", "recipe_facts", "recipe_folder", "recipe_names", "recipe_path"]
