"""Operations on triangle meshes, packed: the vertices of all objects in one tensor, and faces that index it.

The objects of a batch follow one another; `vertex_counts` and `face_counts` tell how many rows each has.
"""
