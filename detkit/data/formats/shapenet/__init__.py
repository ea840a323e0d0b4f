"""Reader of ShapeNetCore with the renderings of 3D-R2N2."""
