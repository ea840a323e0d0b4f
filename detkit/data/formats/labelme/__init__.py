"""LabelMe's folders: a JSON file beside each image."""
