"""What may be typed for full options: names of recipes, short options. Read before parsing, without torch."""
