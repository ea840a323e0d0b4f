"""Tasks whose answers have meshes."""
