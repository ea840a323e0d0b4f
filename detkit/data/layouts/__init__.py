"""Layouts of folders: which one a folder has, and where its parts are."""
