"""Operations on the pixels of images: their planes, and the two steps of selective search."""
