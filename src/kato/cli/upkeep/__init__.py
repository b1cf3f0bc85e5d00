"""Commands that keep a cell itself: it begins, ends, is looked after, moved and removed with all that it made."""
