"""Models of whole images: classification, and localization of a single object."""
