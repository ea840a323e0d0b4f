"""Operations on maps that have a number for each pixel: classes, or segments."""
